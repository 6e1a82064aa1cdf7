"""README and the lab's hold: what they name exists, their tables are those of the code, their commands parse, the program runs."""

import json
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
from conftest import MakeEvent
from mqtt import PATIENCE_S, Broker, wait_until
from paho.mqtt import publish
from typer.testing import CliRunner
from ulid import ULID

from appliance import wire
from appliance.cli.main import COMMANDS, app
from appliance.config import SiteSettings
from appliance.events.policies import DEFAULT_POLICIES
from appliance.geometry import load_array, shipped_arrays
from appliance.model.meta import find_model, load_meta
from appliance.publish.requests import read_request
from appliance.publish.topics import UnitTopics
from appliance.store import EventLog, Outbox
from appliance.types import ANOMALY, CommandName, Event

REPO = Path(__file__).resolve().parent.parent
README = (REPO / "README.md").read_text(encoding="utf-8")
LAB = REPO / "appliance" / "lab" / "README.md"
NOTEBOOK = LAB.with_name("NOTEBOOK.md")
ALL = README + LAB.read_text(encoding="utf-8") + NOTEBOOK.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", ALL, re.DOTALL | re.MULTILINE)
SPANS = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", ALL, flags=re.DOTALL | re.MULTILINE))
COMMAND_LINES = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
UNITS = {path.stem for path in (REPO / "systemd").glob("*.service")}


def section(title: str) -> str:
    """The text under a heading."""
    (text,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE)
    return str(text)


def rows(title: str, table: int = -1) -> list[list[str]]:
    """The rows of the last table under a heading, or of another, without its head; code marks are taken off single words."""
    body = re.split(r"^\|---.*\n", section(title), flags=re.MULTILINE)[1:][table].partition("\n\n")[0]
    return [[re.sub(r"^`([^`]*)`$", r"\1", cell.strip()) for cell in row.split("|")[1:-1]] for row in body.splitlines()]


def words(line: str) -> list[str]:
    """A shell line as its words, without comment and without sudo."""
    first, *rest = shlex.split(line, comments=True)
    return [first, *rest] if first != "sudo" else rest


# --- what it names exists ---------------------------------------------------------------------------------------------


def test_it_opens_with_one_paragraph_and_the_two_commands() -> None:
    opening, block = README.split("```sh\n")[:2]
    assert "##" not in opening
    assert [words(line) for line in block.partition("```")[0].splitlines()] == [["make", "demo"], ["make", "test"]]


def test_every_command_is_in_the_table_of_commands() -> None:
    named = [row[0] for row in rows("The technician's first five commands")]
    assert sorted(named) == sorted(f"appliance {name}" for name in [*COMMANDS, "lab"])


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPO / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    lines = [words(line) for line in [*COMMAND_LINES, *SPANS] if line.startswith("make ")]
    named = {word for line in lines for word in line[1:] if "=" not in word}
    assert {"demo", "test", "lab", "bench"} <= named <= targets


@pytest.mark.parametrize("readme", [REPO / "README.md", LAB, NOTEBOOK])
def test_links_lead_somewhere(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", text)
    assert len(links) > 3
    for link, heading in links:
        target = readme.parent / link if link else readme
        assert target.exists(), link
        assert not heading or heading in anchors(target), heading


def anchors(page: Path) -> set[str]:
    """What a page's headings can be reached by."""
    titles = re.findall(r"^##+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", sorted({span for span in SPANS if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/[\w.-]*", span)}))
def test_paths_exist(path: str) -> None:
    assert (REPO / path).exists()


def test_every_folder_of_the_laboratory_is_told() -> None:
    told = re.findall(r"^\| `(appliance/lab/\w+/)` \|", LAB.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(REPO / path for path in told) == sorted(lab_folders())


def lab_folders() -> list[Path]:
    return [path for path in LAB.parent.iterdir() if path.is_dir() and not path.name.startswith("__")]


def test_every_folder_of_the_repository_is_told() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=True).stdout
    top = {line.split("/")[0] + "/" for line in tracked.splitlines() if "/" in line and not line.startswith(".")}
    assert top <= {row[0] for row in rows("Where things are")}


def test_the_picture_shows_the_stages_in_their_folders() -> None:
    stages = re.findall(r"^ (\w+)/", section("How sound becomes an alert"), re.MULTILINE)
    assert stages == ["audio", "dsp", "model", "tracking", "model", "events", "store", "publish"]
    assert all((REPO / "appliance" / stage).is_dir() for stage in stages)


# --- its tables are those of the code ---------------------------------------------------------------------------------


def test_classes_are_those_of_the_policies_and_of_the_shipped_model() -> None:
    told = {name: (severity, confirmed_by) for name, severity, confirmed_by, _ in rows("What it hears")}
    assert told == {
        name: (policy.severity, f"{policy.confirm_frames / 10:g} s within {policy.window_frames / 10:g} s")
        for name, policy in DEFAULT_POLICIES.items()
    }
    assert tuple(told) == (*load_meta(find_model(SiteSettings().model.file)).classes, ANOMALY)


def test_arrays_and_their_bands_are_what_the_command_prints() -> None:
    told = {row[0]: row[1:] for row in rows("Installing a unit")}
    assert list(told) == shipped_arrays()
    for name, (mics, azimuth, elevation) in told.items():
        geometry = load_array(name)
        assert (mics, elevation) == (str(geometry.mics), "height only" if geometry.is_planar else "yes")
        assert f"azimuth: {azimuth}\n" in CliRunner().invoke(app, ["arrays", name]).output


def test_event_fields_are_those_of_the_schema() -> None:
    properties = wire.load_schema("event.v1")["properties"]
    told = [(name, kind.replace("`", ""), meaning) for name, kind, meaning in rows("What an event says")]
    assert told == [(name, kind_of(field), field["description"].rstrip(".")) for name, field in properties.items()]


def kind_of(field: dict[str, Any]) -> str:
    """The values a field can have, for a person."""
    if "$ref" in field:
        return {"#/$defs/utc": "UTC time", "#/$defs/level": "name"}[field["$ref"]]
    return str(field.get("const") or ", ".join(field.get("enum", [])) or field["type"])


def test_topics_are_those_of_a_unit() -> None:
    unit = UnitTopics("{site}", "{node}")
    retained = {str(topic): "yes" for topic in (unit.status, unit.health, unit.config)}
    asked = (unit.command("{name}"), unit.answers("{asker}"))
    passing = {str(topic): "no" for topic in (unit.event("{event_id}"), unit.alerts, unit.tracks, *asked)}
    told = {row[0]: row[1] for row in rows("Where it is said: MQTT topics", table=0)}
    assert told == retained | passing


def test_commands_are_those_of_the_schema() -> None:
    forms = wire.load_schema("command.v1")["$defs"]
    shared = {"schema", "id", "by"}
    told = {row[0]: re.findall(r"\w+", row[1]) for row in rows("Where it is said: MQTT topics", table=1)}
    assert told == {
        name: [key for key in forms[name]["properties"] if key not in shared] for name in get_args(CommandName)
    }
    (example,) = re.findall(r"-m '(.*)'", section("Where it is said: MQTT topics"))
    assert read_request("mute", example.encode()).by == "alice"


# --- its commands parse -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [line for line in COMMAND_LINES if Path(words(line)[0]).name == "appliance"])
def test_command_lines_parse(line: str) -> None:
    command: Any = typer.main.get_command(app)
    context, arguments = command.make_context("appliance", [], resilient_parsing=True), words(line)[1:]
    while hasattr(command, "resolve_command"):
        name, command, arguments = command.resolve_command(context, arguments)
        context = command.make_context(name, arguments.copy(), parent=context)


@pytest.mark.parametrize("span", sorted({span for span in SPANS if re.match(r"appliance [a-z]", span)}))
def test_commands_in_the_text_know_their_options(span: str) -> None:
    result = CliRunner().invoke(app, [*words(span)[1:], "--help"])
    assert result.exit_code == 0, result.output


def test_scripts_know_the_options_they_are_given() -> None:
    lines = [words(line) for line in [*COMMAND_LINES, *SPANS] if "deploy/" in line and ".sh" in line]
    assert {line[0] for line in lines} == {"deploy/install.sh", "deploy/bundle.sh", "deploy/uninstall.sh"}
    for script, *arguments in lines:
        source = (REPO / script).read_text(encoding="utf-8")
        assert all(f" {word})" in source for word in arguments if word.startswith("--")), (script, arguments)


def test_services_and_tools_exist_under_their_names() -> None:
    named = set(re.findall(r"(?<![\w/-])appliance-[a-z]+", README))
    installed = (REPO / "deploy" / "install.sh").read_text(encoding="utf-8")
    assert named == UNITS | {"appliance-verify"}
    assert "/usr/local/sbin/appliance-verify" in installed


# --- its program runs -------------------------------------------------------------------------------------------------


class ReadmeSubscriber:
    """The README's program, in a folder of its own; what it prints is kept over its restarts."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._port = folder, port
        folder.mkdir()
        (self._program,) = [block for kind, block in BLOCKS if kind == "python"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "printed").open("ab") as printed:
            command = [sys.executable, "-c", self._program, "127.0.0.1", str(self._port)]
            self._process = subprocess.Popen(command, stdout=printed, cwd=self._folder)

    def kill(self) -> None:
        """As the power does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=PATIENCE_S)

    def remembers_anything(self) -> bool:
        """True once it has committed an id."""
        with closing(sqlite3.connect(self._folder / "seen.db")) as seen:
            return bool(seen.execute("SELECT count(*) FROM seen").fetchone()[0])

    def printed(self) -> list[str]:
        return (self._folder / "printed").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def subscriber(tmp_path: Path, broker: Broker) -> Iterator[ReadmeSubscriber]:
    subscriber = ReadmeSubscriber(tmp_path / "subscriber", broker.port)
    yield subscriber
    subscriber.kill()


def line_of(event: Event) -> str:
    return f"{event.site} {event.node} {event.state} {wire.event_text(event)}"


def say(broker: Broker, event: Event) -> None:
    """Publish as a unit does that was not sure whether its message arrived."""
    topic = UnitTopics(event.site, event.node).event(event.event_id)
    publish.single(str(topic), wire.event_to_json(event), qos=1, hostname="127.0.0.1", port=broker.port)


def publish_all(site: Path, log: EventLog) -> None:
    """Run the unit's publisher until the broker has everything."""
    command = [sys.executable, "-c", "from appliance.cli.main import main; main()", "publish", "--site", str(site)]
    with subprocess.Popen(command) as publisher, Outbox(log.path) as outbox:
        try:
            wait_until(lambda: outbox.counts()["pending"] == 0, "all delivered")
        finally:
            publisher.terminate()
    assert publisher.returncode == 0


def test_the_subscriber_is_as_short_as_it_says() -> None:
    (program,) = [block for kind, block in BLOCKS if kind == "python"]
    assert len([line for line in program.splitlines() if line]) == 15
    assert "Fifteen lines" in section("For subscribers")


def test_the_subscriber_shows_each_message_once_and_misses_none(
    tmp_path: Path, broker: Broker, subscriber: ReadmeSubscriber, event_log: EventLog, make_event: MakeEvent
) -> None:
    subscriber.start()
    first, last = make_event(class_label="dog", severity="detection"), make_event(class_label="siren")

    def heard_first() -> list[str]:
        say(broker, first)
        return subscriber.printed()

    wait_until(heard_first, "the first event is shown, however often it is sent")
    # Killed between print and commit it would show that one again, as the README says.
    wait_until(subscriber.remembers_anything, "and remembered")
    subscriber.kill()

    drone = str(ULID())
    while_away = [
        make_event(event_id=drone, state=state, sequence=sequence) for sequence, state in enumerate(("new", "end"))
    ]
    for event in while_away:
        event_log.append(event)
    site = tmp_path / "site.toml"
    unit = "[unit]\nsite = 'north'\nnode = 'mast-1'\n"
    mqtt = f"[mqtt]\nhost = '127.0.0.1'\nport = {broker.port}\n"
    site.write_text(f"schema = 1\n{unit}[store]\npath = '{event_log.path}'\n{mqtt}", encoding="utf-8")
    publish_all(site, event_log)
    say(broker, first)

    subscriber.start()
    say(broker, while_away[0])
    say(broker, last)
    wait_until(lambda: line_of(last) in subscriber.printed(), "the last event is shown")
    assert subscriber.printed() == [line_of(event) for event in (first, *while_away, last)]


def test_the_id_to_de_duplicate_by_is_event_id_and_sequence(make_event: MakeEvent) -> None:
    event = make_event(sequence=3, state="update")
    assert json.loads(wire.event_to_json(event))["id"] == f"{event.event_id}.3"
