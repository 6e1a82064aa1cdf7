"""`appliance watch` at a real Mosquitto: what units say stands on the screen once, and nothing else can."""

import dataclasses
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from mqtt import PATIENCE_S, Broker, wait_until
from paho.mqtt import publish
from rich.console import Console
from test_publish_tls import Authority, tls_broker
from typer.testing import CliRunner
from ulid import ULID

from appliance import wire
from appliance.cli.main import app
from appliance.cli.watch_board import Board
from appliance.cli.watch_feed import Feed
from appliance.cli.watch_view import screen
from appliance.config import MqttSettings
from appliance.errors import ConfigError
from appliance.types import Event

UNIT = "acoustic/v1/north/mast-1"


def status_of(node: str, state: str, *reasons: str, **more: object) -> tuple[str, bytes]:
    said = {"schema": "acoustic.status.v1", "site": "north", "node": node, "state": state, "reasons": reasons, **more}
    return f"acoustic/v1/north/{node}/status", json.dumps(said).encode()


def message_of(event: Event, kind: str = "events") -> tuple[str, bytes]:
    unit = f"acoustic/v1/{event.site}/{event.node}"
    topic = f"{unit}/events/{event.event_id}" if kind == "events" else f"{unit}/alerts"
    return topic, wire.event_to_json(event).encode()


def tracks_of(node: str, *tracks: object) -> tuple[str, bytes]:
    said = {"schema": "acoustic.tracks.v1", "site": "north", "node": node, "tracks": tracks}
    return f"acoustic/v1/north/{node}/tracks", json.dumps(said).encode()


def text_of(board: Board, trouble: str = "", lines: int = 40) -> str:
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123 - closed with the test
    with console.file:
        console.print(screen(board, "broker:1883", trouble, lines=lines))
        return console.export_text()


# --- the board --------------------------------------------------------------------------------------------------------


def test_quiet_degraded_deaf_and_gone_are_told_apart(make_event: MakeEvent) -> None:
    board = Board()
    board.take(*status_of("a", "online"))
    board.take(*status_of("b", "degraded", "microphone 3 is dead", hearing=True))
    board.take(*status_of("c", "offline", "connection lost", hearing=False))
    board.take(*status_of("d", "online"))
    board.take(*message_of(make_event(node="d")))
    board.take(*message_of(make_event(node="e")))
    board.take(*status_of("f", "degraded", "no audio comes from the microphones", hearing=False))
    board.take(*status_of("g", "degraded", "of a version that does not say more"))
    assert [(unit.node, status) for unit, status in board.units()] == [
        ("a", "quiet"),
        ("b", "degraded"),
        ("c", "gone"),
        ("d", "active"),
        ("e", "unknown"),
        ("f", "deaf"),
        ("g", "degraded"),
    ]
    assert "microphone 3 is dead" in text_of(board)


def test_a_unit_that_has_fallen_silent_is_gone_whatever_it_said_last(make_event: MakeEvent) -> None:
    """Where unit and broker lose their power together there is no last will, and `online` is kept for ever."""
    now_s = 100.0
    board = Board(lambda: now_s)
    health = "acoustic/v1/north/{}/health", b'{"schema": "acoustic.health.v1", "site": "north", "node": "%s"}'
    for node in ("a", "b", "c"):
        board.take(*status_of(node, "online"))
    board.take(health[0].format("a"), health[1] % b"a")
    board.take(*message_of(make_event(node="a")))
    now_s += 60.0
    board.take(health[0].format("b"), health[1] % b"b")
    now_s += 60.0
    # Whose health the watcher may not read is not judged by it.
    assert [(unit.node, status) for unit, status in board.units()] == [("a", "gone"), ("b", "quiet"), ("c", "quiet")]
    assert "silent, said last that it is online" in text_of(board)
    board.take(health[0].format("a"), health[1] % b"a")
    assert [(unit.node, status) for unit, status in board.units()] == [("a", "active"), ("b", "quiet"), ("c", "quiet")]
    assert board.rejected == {}


def test_two_units_of_one_name_are_told_and_one_that_was_replaced_is_not() -> None:
    now_s = 100.0
    board = Board(lambda: now_s)

    def speak(client_id: object) -> str:
        """Health from that client, ten seconds later; what the board then says of the unit."""
        nonlocal now_s
        now_s += 10.0
        said = {"schema": "acoustic.health.v1", "site": "north", "node": "a", "publisher": {"client_id": client_id}}
        board.take("acoustic/v1/north/a/health", json.dumps(said).encode())
        ((_, status),) = board.units()
        return status

    board.take(*status_of("a", "online"))
    assert [speak("one"), speak("one"), speak("two"), speak("two")] == ["quiet"] * 4
    assert [speak("one"), speak("two")] == ["degraded"] * 2
    assert "two units have this name (one and two); give one of them another [unit] node" in text_of(board)
    assert [speak("two") for _ in range(11)][-1] == "quiet"
    assert [speak(odd) for odd in (None, 7, "\x1b[2J", "x" * 1000)] == ["quiet"] * 4


def test_what_an_outage_held_up_does_not_look_new(make_event: MakeEvent) -> None:
    event = make_event(severity="alert")
    board = Board(utc_ns=lambda: event.onset_utc_ns + 2 * 3600 * 1_000_000_000)
    board.take(*message_of(event))
    board.take(*message_of(make_event(node="mast-2", clock="unsynchronised")))
    rows = [line for line in text_of(board).splitlines() if "047°" in line]
    assert [row.split(" ago")[0] for row in rows] == ["0 s", "2 h 00 min"]


def test_a_state_that_comes_twice_counts_once(make_event: MakeEvent) -> None:
    board, event = Board(), make_event(severity="alert")
    assert board.take(*message_of(event, "alerts")) is not None
    assert board.take(*message_of(event)) is None
    assert board.take(*message_of(event)) is None
    assert (len(board.open_events()), board.repeats) == (1, 2)


def test_the_highest_sequence_is_the_present_state(make_event: MakeEvent) -> None:
    """The end of an alert overtakes its event's updates: they are news, but open nothing again."""
    board, event_id = Board(), str(ULID())
    new, update, end = (
        make_event(event_id=event_id, sequence=sequence, state=state)
        for sequence, state in enumerate(("new", "update", "end"))
    )
    board.take(*message_of(new, "alerts"))
    board.take(*message_of(end, "alerts"))
    assert board.take(*message_of(update)) is not None
    assert board.open_events() == []
    assert [shown.event for shown in board.ended] == [end]


def test_open_events_stand_newest_first_with_bearing_and_alerts_marked(make_event: MakeEvent) -> None:
    board = Board()
    dog = make_event(class_label="dog", severity="detection", bearing_true_deg=7.2, bearing_sigma_deg=3.1)
    drone = make_event(class_label="drone", severity="alert", bearing_true_deg=359.8)
    board.take(*message_of(dog))
    board.take(*message_of(drone))
    board.take(*message_of(make_event(**vars_of(dog, sequence=1, state="update"))))
    rows = [line for line in text_of(board).splitlines() if "north/mast-1" in line and "°" in line]
    assert ["drone" in rows[0], "000° ± 4°" in rows[0], "alert" in rows[0]] == [True] * 3
    assert ["dog" in rows[1], "007° ± 3°" in rows[1], "detection" in rows[1]] == [True] * 3


def vars_of(event: Event, **changes: object) -> dict[str, object]:
    return {name: getattr(event, name) for name in Event.__slots__} | changes


def test_a_screen_has_room_for_what_it_can_hold_and_counts_the_rest(make_event: MakeEvent) -> None:
    board = Board()
    for number in range(300):
        board.take(*status_of(f"mast-{number:03d}", "online"))
        board.take(*message_of(make_event()))
    board.take(*status_of("mast-299", "offline", "connection lost"))
    lines = text_of(board, lines=30).splitlines()
    assert len(lines) <= 30
    assert any("mast-299" in line and "gone" in line for line in lines), "what needs somebody comes first"
    assert sum("more" in line for line in lines) == 2


def test_what_is_old_is_said_to_be_old() -> None:
    board = Board()
    board.take(*status_of("a", "online"))
    told = text_of(board, "MQTT broker broker:1883: connection lost")
    assert "what stands below is old" in told
    assert "quiet" not in told


def test_an_open_event_moves_with_its_track_and_stops_where_that_is_not_said_any_more(make_event: MakeEvent) -> None:
    now_s = 100.0
    board = Board(lambda: now_s)
    event = make_event(bearing_true_deg=47.0, bearing_sigma_deg=4.0)
    track = {"event_id": event.event_id, "bearing_true_deg": 51.2, "bearing_sigma_deg": 2.1}
    other = {"event_id": None, "bearing_true_deg": 200.0, "bearing_sigma_deg": 2.1}
    board.take(*tracks_of("mast-1", track))
    board.take(*message_of(event))
    assert "047° ± 4°" in text_of(board)
    assert board.take(*tracks_of("mast-1", other, track)) is None
    assert "051° ± 2°" in text_of(board)
    now_s += 3.0
    assert "047° ± 4°" in text_of(board)
    board.take(*tracks_of("mast-1", track))
    board.take(*message_of(dataclasses.replace(event, state="end", sequence=1)))
    assert "051°" not in text_of(board)
    assert board.rejected == {}


def test_a_unit_whose_retained_status_is_cleared_is_gone_from_the_screen(broker: Broker, make_event: MakeEvent) -> None:
    board = Board()
    feed = Feed(MqttSettings(host="127.0.0.1", port=broker.port), ["acoustic/v1/+/+/status"], board.take)

    def heard(nodes: list[str]) -> bool:
        feed.step(0.1)
        return [unit.node for unit, status in board.units() if status == "gone"] == nodes

    for node in ("mast-1", "mast-2"):
        say(broker.port, status_of(node, "offline", "stopped"), retain=True)
        board.take(*message_of(make_event(node=node)))
    wait_until(lambda: heard(["mast-1", "mast-2"]), "both units")
    say(broker.port, (f"{UNIT}/status", b""), retain=True)
    wait_until(lambda: heard(["mast-2"]), "one of them cleared")
    feed.close()
    assert len(board.units()) == 1
    assert [shown.event.node for shown in board.open_events()] == ["mast-2"]
    assert board.rejected == {}


def test_what_the_taker_did_not_finish_comes_again_to_the_same_client_id(broker: Broker, make_event: MakeEvent) -> None:
    """Killed, or stopped by a full disk, before its line was written: to the broker it is not delivered."""
    taken: list[str] = []

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def feed_to(take: Callable[[str, bytes], object]) -> Feed:
        mqtt = MqttSettings(host="127.0.0.1", port=broker.port)
        return Feed(mqtt, ["acoustic/v1/+/+/alerts"], take, client_id="command-centre")

    def stepped(feed: Feed, done: Callable[[], object]) -> bool:
        feed.step(0.1)
        return bool(done())

    def fails(feed: Feed) -> bool:
        try:
            feed.step(0.1)
        except OSError:
            return True
        return False

    failing = feed_to(fail)
    wait_until(lambda: stepped(failing, lambda: failing.connected), "subscribed")
    say(broker.port, message_of(make_event(), "alerts"))
    wait_until(lambda: fails(failing), "the alert")
    failing.close()
    feed = feed_to(lambda topic, _: taken.append(topic))
    wait_until(lambda: stepped(feed, lambda: taken), "the same alert")
    feed.close()
    assert taken == [f"{UNIT}/alerts"]


def test_memory_is_bounded(make_event: MakeEvent) -> None:
    board = Board()
    for _ in range(1_200):
        board.take(*message_of(make_event()))
    assert len(board.open_events()) == 1_000


@pytest.mark.parametrize(
    ("cause", "topic", "payload"),
    [
        ("topic", "acoustic/v2/north/mast-1/status", b"{}"),
        ("topic", f"{UNIT}/config", b'{"site":"north","node":"mast-1"}'),
        ("health", f"{UNIT}/health", b'{"site":"north","node":"mast-1"}'),
        ("tracks", f"{UNIT}/tracks", b'{"site":"north","node":"mast-1"}'),
        ("tracks", *tracks_of("mast-1", 5)),
        ("tracks", *tracks_of("mast-1", {"event_id": "x"})),
        ("tracks", *tracks_of("mast-1", {"event_id": "x", "bearing_true_deg": "north", "bearing_sigma_deg": 1})),
        ("tracks", *tracks_of("mast-1", {"event_id": "x", "bearing_true_deg": 10**400, "bearing_sigma_deg": 1})),
        ("tracks", *tracks_of("mast-1", {"event_id": "x", "bearing_true_deg": 1e300, "bearing_sigma_deg": 1})),
        ("json", f"{UNIT}/status", b"\xff"),
        ("json", f"{UNIT}/status", b"[" * 50_000),
        ("json", f"{UNIT}/status", b'{"site":"north","node":"mast-1","reasons":[NaN]}'),
        ("size", f"{UNIT}/status", b" " * 70_000),
        ("unit", f"{UNIT}/status", b'{"site":"north","node":"mast-2"}'),
        ("unit", "acoustic/v1/north/\x1b[2J/status", b'{"site":"north","node":"\\u001b[2J"}'),
        ("status", *status_of("mast-1", "splendid")),
        ("event", f"{UNIT}/alerts", b'{"site":"north","node":"mast-1","schema":"acoustic.event.v1"}'),
    ],
)
def test_what_breaks_the_contract_is_counted_and_not_shown(cause: str, topic: str, payload: bytes) -> None:
    board = Board()
    assert board.take(topic, payload) is None
    assert board.rejected == {cause: 1}
    assert board.units() == []
    assert f"rejected: {cause} 1" in text_of(board)


@pytest.mark.parametrize("change", [{"class_label": "\x1b[31mdrone"}, {"event_id": "x" * 500}])
def test_an_event_cannot_steer_the_terminal(make_event: MakeEvent, change: dict[str, str]) -> None:
    board = Board()
    assert board.take(*message_of(make_event(**change))) is None
    assert board.rejected == {"event": 1}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    topic=st.sampled_from([f"{UNIT}/status", f"{UNIT}/alerts", f"{UNIT}/events/x", "a/b"]), content=JSON, key=st.text()
)
def test_no_payload_can_end_it(topic: str, content: Any, key: str) -> None:
    board = Board()
    said = {"site": "north", "node": "mast-1", "schema": "acoustic.status.v1", "state": "online", "reasons": [content]}
    for payload in (json.dumps(content), json.dumps(said | {key: content}), json.dumps(said | {"state": content})):
        board.take(topic, payload.encode())
        assert "\x1b" not in text_of(board)


# --- the command ------------------------------------------------------------------------------------------------------


class Watch:
    """`appliance watch` as a process of its own."""

    def __init__(self, directory: Path, port: int, *arguments: str, stdout: int | None = None) -> None:
        self._out, self._err = directory / "watched", directory / "watch.err"
        program = "from appliance.cli.main import main; main()"
        command = [sys.executable, "-c", program, "watch", "--broker", f"127.0.0.1:{port}", *arguments]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(command, stdout=stdout or out, stderr=err)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._out.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def complaints(self) -> str:
        return self._err.read_text()

    def interrupt(self) -> int:
        """As Ctrl-C does; returns the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=PATIENCE_S)


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., Watch]]:
    started: list[Watch] = []

    def start(port: int, *arguments: str, stdout: int | None = None) -> Watch:
        started.append(Watch(tmp_path, port, *arguments, stdout=stdout))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def say(port: int, message: tuple[str, bytes], *, retain: bool = False, **papers: Any) -> None:
    topic, payload = message
    publish.single(topic, payload, qos=1, retain=retain, hostname="127.0.0.1", port=port, **papers)


def test_lines_hold_each_state_once_over_an_outage_of_the_broker(
    broker: Broker, watch: Callable[..., Watch], make_event: MakeEvent
) -> None:
    say(broker.port, status_of("mast-1", "online"), retain=True)
    watching = watch(broker.port, "--jsonl", "--client-id", "command-centre")
    wait_until(lambda: len(watching.lines()) == 1, "the retained status")
    first, second = make_event(severity="alert"), make_event(class_label="dog", severity="detection")
    say(broker.port, message_of(first, "alerts"))
    say(broker.port, message_of(first))
    wait_until(lambda: len(watching.lines()) == 2, "the first event")
    broker.stop()
    wait_until(watching.complaints, "the outage is told")
    broker.start()
    say(broker.port, message_of(first))
    say(broker.port, message_of(second))
    wait_until(lambda: json.loads(message_of(second)[1]) in watching.lines(), "the second event")
    assert watching.interrupt() == 0
    ids = [line["id"] for line in watching.lines() if "id" in line]
    assert ids == [f"{first.event_id}.0", f"{second.event_id}.0"]
    assert watching.complaints().startswith(f"appliance: MQTT broker 127.0.0.1:{broker.port}: ")
    assert watching.complaints().count("\n") <= 3


def test_the_screen_shows_units_and_events_and_ends_with_ctrl_c(
    broker: Broker, watch: Callable[..., Watch], make_event: MakeEvent
) -> None:
    say(broker.port, status_of("mast-1", "degraded", "microphone 3 is dead"), retain=True)
    ours, theirs = pty.openpty()
    shown = bytearray()

    def has(text: bytes) -> Callable[[], bool]:
        def look() -> bool:
            shown.extend(os.read(ours, 65536))
            return text in shown

        return look

    with open(ours, "rb", buffering=0):  # noqa: PTH123 - a descriptor
        watching = watch(broker.port, stdout=theirs)
        os.close(theirs)
        wait_until(has(b"microphone 3 is dead"), "the retained status")
        say(broker.port, message_of(make_event(bearing_true_deg=47.25)))
        wait_until(has("047° ± 4°".encode()), "the event")
        watching.process.send_signal(signal.SIGINT)
        wait_until(has(b"\x1b[?1049l"), "the terminal is given back as it was")
        assert watching.process.wait(timeout=PATIENCE_S) == 0


def test_only_one_site_is_watched_where_one_is_named(
    broker: Broker, watch: Callable[..., Watch], make_event: MakeEvent
) -> None:
    elsewhere, here = make_event(site="south"), make_event(site="north")
    say(broker.port, status_of("mast-1", "online"), retain=True)
    watching = watch(broker.port, "--jsonl", "--site", "north")
    wait_until(watching.lines, "subscribed")
    say(broker.port, message_of(elsewhere))
    say(broker.port, message_of(here))
    wait_until(lambda: len(watching.lines()) == 2, "the event of the site")
    assert watching.lines()[1]["event_id"] == here.event_id


def test_tls_with_a_client_certificate(tmp_path: Path, watch: Callable[..., Watch]) -> None:
    authority = Authority(tmp_path, "authority")
    broker = tls_broker(tmp_path, authority, authority.issue("broker"))
    broker.start()
    try:
        papers = authority.issue("command-centre")
        trusted = {"ca_certs": str(authority.certificate)} | {
            "certfile": str(papers["cert_file"]),
            "keyfile": str(papers["key_file"]),
        }
        say(broker.port, status_of("mast-1", "online"), retain=True, tls=trusted)
        arguments = ["--tls", "--ca-file", str(authority.certificate), "--jsonl"]
        arguments += ["--cert-file", str(papers["cert_file"]), "--key-file", str(papers["key_file"])]
        watching = watch(broker.port, *arguments)
        wait_until(watching.lines, "the retained status")
        assert watching.interrupt() == 0
    finally:
        broker.stop()


def test_a_broker_that_is_not_there_ends_it_with_one_line(watch: Callable[..., Watch]) -> None:
    watching = watch(1, "--jsonl")
    assert watching.process.wait(timeout=PATIENCE_S) == 69
    assert watching.complaints() == "appliance: MQTT broker 127.0.0.1:1: Connection refused; check host and port\n"


@pytest.mark.parametrize("broker", ["host:", "host:mqtt", ":1883", "host:99999"])
def test_a_broker_that_is_misspelt_is_named(broker: str) -> None:
    result = CliRunner().invoke(app, ["watch", "--broker", broker])
    assert f"--broker {broker}: " in str(result.exception)


@pytest.mark.parametrize("option", ["ca-file", "cert-file", "key-file"])
def test_a_certificate_without_tls_sends_no_password_in_clear(option: str) -> None:
    result = CliRunner().invoke(app, ["watch", "--broker", "127.0.0.1:1", f"--{option}", "x.pem"])
    assert isinstance(result.exception, ConfigError)
    assert f"{option.replace('-', '_')}: tls is false, nothing would be encrypted; set" in str(result.exception)


@pytest.mark.parametrize("option", ["site", "node"])
@pytest.mark.parametrize("name", ["a/b", "nor*", "#", "+/+", "", "north\n"])
def test_a_name_that_no_unit_can_have_is_refused_before_anything_is_waited_for(option: str, name: str) -> None:
    said = CliRunner().invoke(app, ["watch", "--broker", "127.0.0.1:1", f"--{option}", name]).exception
    assert isinstance(said, ConfigError)
    assert str(said) == (
        f"--{option} {name!r}: no unit is called so; give [unit] {option} of its site file, or leave it out for all"
    )
