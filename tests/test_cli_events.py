"""`appliance events` as a person or a script runs it."""

import csv
import io
import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import jsonschema
import pytest
from conftest import MakeEvent

from appliance import wire
from appliance.store import EventLog, Outbox
from appliance.texts import Texts
from appliance.types import Event

VERIFIES_ALL = "appliance: {0}: events verify walks the whole chain; leave {0} out\n"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("appliance")), "events", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def logged(event_log: EventLog, make_event: MakeEvent) -> list[Event]:
    """A drone that came and went, and a dog two hours ago."""
    drone = make_event(utc_ns=time.time_ns())
    events = [
        make_event(class_label="dog", severity="detection", utc_ns=time.time_ns() - 7200 * 1_000_000_000),
        drone,
        make_event(event_id=drone.event_id, sequence=1, state="end", utc_ns=drone.utc_ns + 1),
    ]
    for event in events:
        event_log.append(event)
    return events


def test_jsonl_is_one_message_of_the_contract_per_line(event_log: EventLog, logged: list[Event]) -> None:
    lines = run("--db", event_log.path, "--format", "jsonl").stdout.splitlines()
    for line in lines:
        jsonschema.Draft202012Validator(wire.load_schema("event.v1")).validate(json.loads(line))
    assert [wire.event_from_json(line) for line in lines] == logged


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        (["--class", "dog"], [0]),
        (["--severity", "alert"], [1, 2]),
        (["--state", "end"], [2]),
        (["--limit", "2"], [1, 2]),
        (["--since", "1h"], [1, 2]),
        (["--until", "60m"], [0]),
        (["--since", "99999999999d"], [0, 1, 2]),
        (["--since", "0001-01-01T00:00:00Z"], [0, 1, 2]),
        (["--since", "9999-12-31T23:59:59Z"], []),
        (["--until", "9999-12-31T23:59:59Z"], [0, 1, 2]),
        (["--limit", "99999999999999999999"], [0, 1, 2]),
        (["--since", "2026-01-01T00:00:00Z", "--class", "drone", "--state", "new"], [1]),
    ],
)
def test_filters(event_log: EventLog, logged: list[Event], arguments: list[str], chosen: list[int]) -> None:
    result = run("--db", event_log.path, "--format", "jsonl", *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    found = result.stdout.splitlines()
    assert [wire.event_from_json(line) for line in found] == [logged[index] for index in chosen]


def test_one_event_by_its_id(event_log: EventLog, logged: list[Event]) -> None:
    found = run("--db", event_log.path, "--format", "jsonl", "--event-id", logged[1].event_id).stdout.splitlines()
    assert [wire.event_from_json(line) for line in found] == logged[1:]


def test_csv_has_the_keys_of_the_message_as_its_columns(event_log: EventLog, logged: list[Event]) -> None:
    rows = list(csv.DictReader(io.StringIO(run("--db", event_log.path, "--format", "csv").stdout)))
    empty = dict.fromkeys(wire.MESSAGE_KEYS, "")
    assert rows == [empty | {key: str(value) for key, value in wire.event_to_dict(event).items()} for event in logged]


def test_csv_holds_what_an_anomaly_is_like_as_json(event_log: EventLog, make_event: MakeEvent) -> None:
    event_log.append(make_event(class_label="anomaly", nearest=(("bells", 0.4), ("hand_saw", 0.1))))
    (row,) = csv.DictReader(io.StringIO(run("--db", event_log.path, "--format", "csv").stdout))
    assert json.loads(row["nearest"]) == [
        {"class": "bells", "probability": 0.4},
        {"class": "hand_saw", "probability": 0.1},
    ]


@pytest.mark.parametrize("output", ["table", "jsonl", "csv"])
def test_it_speaks_the_language_in_which_the_unit_said_it(tmp_path: Path, make_event: MakeEvent, output: str) -> None:
    texts = Texts(
        schema=1, event=dict.fromkeys(("new", "update", "end"), "{class} in {bearing}°"), classes={"drone": "Drohne"}
    )
    with EventLog(tmp_path / "events.db", texts=texts) as log, Outbox(log.path) as outbox:
        log.append(make_event())
        (published, _) = (message.payload for message in outbox.pending(2))
    printed = run("--db", tmp_path / "events.db", "--format", output).stdout
    assert "Drohne in 047°" in printed
    assert output != "jsonl" or printed == published + "\n"


@pytest.mark.parametrize("output", ["table", "jsonl", "csv"])
def test_a_terminal_without_a_degree_sign_gets_a_question_mark(
    event_log: EventLog, logged: list[Event], monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = run("--db", event_log.path, "--format", output)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("047? true") == len(logged)


def test_csv_of_an_empty_log_still_has_its_header(event_log: EventLog) -> None:
    assert run("--db", event_log.path, "--format", "csv").stdout == ",".join(wire.MESSAGE_KEYS) + "\n"


def test_table_says_it_as_a_person_would(event_log: EventLog, logged: list[Event]) -> None:
    printed = run("--db", event_log.path).stdout
    for event in logged:
        (line,) = [line for line in printed.splitlines() if event.event_id in line and f" {event.state} " in line]
        assert wire.event_text(event) in line
        assert wire.utc_text(event.utc_ns)[:19].replace("T", " ") in line


@pytest.mark.parametrize("output", ["jsonl", "csv", "table"])
def test_a_damaged_row_hides_no_other(event_log: EventLog, logged: list[Event], output: str) -> None:
    with closing(sqlite3.connect(event_log.path)) as db, db:
        db.execute("""UPDATE events SET payload = replace(payload, '"state"', '"stade"') WHERE id = 2""")
    result = run("--db", event_log.path, "--format", output)
    shown = [line for line in result.stdout.splitlines() if any(event.event_id in line for event in logged)]
    assert [event.event_id in line for event, line in zip((logged[0], logged[2]), shown, strict=True)] == [True, True]
    assert (result.returncode, result.stderr) == (
        74,
        f"appliance: {event_log.path}: 1 rows cannot be read and are left out; run appliance db check --db {event_log.path}\n",
    )


def test_a_class_is_no_markup(event_log: EventLog, make_event: MakeEvent) -> None:
    event_log.append(make_event(class_label="[/x]:bell:"))
    assert "[/x]:bell:, bearing 047° true" in run("--db", event_log.path).stdout


def test_site_file_names_the_log(tmp_path: Path, event_log: EventLog, logged: list[Event]) -> None:
    site = tmp_path / "site.toml"
    site.write_text(f'schema = 1\n[store]\npath = "{event_log.path}"\n')
    assert len(run("--site", site, "--format", "jsonl").stdout.splitlines()) == len(logged)


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (
            ["--db", "nowhere.db"],
            74,
            "appliance: nowhere.db: no such event log; the sensor makes it at its first start\n",
        ),
        (["--db", "a", "--site", "b"], 78, "appliance: --db and --site: both name an event log; give one of them\n"),
        (
            ["--since", "yesterday"],
            78,
            "appliance: --since 'yesterday': not a time; give 2026-09-21T14:00:00Z (UTC), or 30s, 15m, 2h or 7d\n",
        ),
        (["verify", "--class", "drone", "--limit", "3"], 78, VERIFIES_ALL.format("--class")),
        (["verify", "--limit", "3"], 78, VERIFIES_ALL.format("--limit")),
        (["verify", "--format", "csv"], 78, VERIFIES_ALL.format("--format")),
        (
            ["--known", "abc"],
            78,
            "appliance: --known: only events verify takes it; say appliance events verify --known HASH\n",
        ),
        (
            ["--since", "9" * 5000 + "d"],
            78,
            f"appliance: --since '{'9' * 79}: not a time; give 2026-09-21T14:00:00Z (UTC), or 30s, 15m, 2h or 7d\n",
        ),
    ],
)
def test_mistakes_are_one_line_with_the_remedy(
    event_log: EventLog, arguments: list[str], status: int, complaint: str
) -> None:
    arguments = arguments if "--db" in arguments else [*arguments, "--db", str(event_log.path)]
    result = run(*arguments)
    assert (result.returncode, result.stdout, result.stderr) == (status, "", complaint)


@pytest.mark.parametrize("output", ["table", "jsonl", "csv"])
def test_an_export_to_a_full_disk_says_so(event_log: EventLog, make_event: MakeEvent, output: str) -> None:
    for _ in range(30):
        event_log.append(make_event())
    program = "from appliance.cli.main import main; main()"
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        command = [sys.executable, "-c", program, "events", "--db", str(event_log.path), "--format", output]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 74
    assert done.stderr == b"appliance: the output: the disk is full; free space on it\n"


def test_a_reader_that_leaves_early_is_no_error(event_log: EventLog, make_event: MakeEvent) -> None:
    for _ in range(300):
        event_log.append(make_event())
    command = [
        str(Path(sys.executable).with_name("appliance")),
        "events",
        "--db",
        str(event_log.path),
        "--format",
        "jsonl",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
