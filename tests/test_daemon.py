"""The sensor process: whole, on a real ALSA PCM with a real model and event log; and its parts where they must fail."""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from compatibility import differences
from conftest import MakeEvent, damage_root
from plane_waves import at_array, hum

from appliance.daemon.cut_off import end_cut_off_events, settle_books
from appliance.daemon.heartbeat import Heartbeat
from appliance.daemon.sink import PatientSink
from appliance.errors import StoreError
from appliance.geometry import load_array
from appliance.novelty.keep import memory_path, read_memory
from appliance.pipeline import Moment
from appliance.store import EventLog
from appliance.store.clips import ClipLog
from appliance.store.commands import CommandLog
from appliance.types import Command, SceneFrame, StateKey, UnitState
from appliance.wire import load_schema

ARRAY = "tetrahedron_4cm2"
_CHUNK_S = 0.1
_PATIENCE_S = 90.0


class Microphones:
    """A FIFO that an ALSA `file` PCM reads as its hardware: a drone at 40° left, for as long as it is open."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        # Open for both ends, so that neither ALSA nor the test waits for the other to open.
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        samples = at_array(hum(2.0, amplitude=0.02), load_array(ARRAY), 40.0, 20.0)
        self._sound = (samples.T * 32767).astype("<i2")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._play)
        self._thread.start()

    def _play(self) -> None:
        chunk, at = round(16000 * _CHUNK_S), 0
        while not self._over.wait(_CHUNK_S / 2):
            left = np.roll(self._sound, -at, axis=0)[:chunk].tobytes()
            at += chunk
            while left and not self._over.is_set():
                # Full once nobody listens any more.
                try:
                    left = left[os.write(self._descriptor, left) :]
                except BlockingIOError:
                    self._over.wait(_CHUNK_S / 10)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        os.close(self._descriptor)


class Systemd:
    """The other end of sd_notify(3)."""

    def __init__(self) -> None:
        # pytest's own directories are too deep for the path of a socket.
        self._directory = tempfile.TemporaryDirectory()
        self.path = Path(self._directory.name) / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)
        self._said: list[str] = []

    @property
    def said(self) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._said.append(self._socket.recv(4096).decode())
        return self._said

    def close(self) -> None:
        self._socket.close()
        self._directory.cleanup()


@pytest.fixture
def microphones(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "microphones.raw"
    source = Microphones(path)
    yield path
    source.close()


@pytest.fixture
def systemd() -> Iterator[Systemd]:
    manager = Systemd()
    yield manager
    manager.close()


Start = Callable[[Path, str], "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path, microphones: Path, systemd: Systemd) -> Iterator[Start]:
    """Starts `appliance run` on the PCM `yard` with a model, and tables of the site file."""
    (tmp_path / "asound.conf").write_text(
        "</usr/share/alsa/alsa.conf>\n"
        f'pcm.yard {{ type file slave.pcm "null" file "/dev/null" infile "{microphones}" format "raw" }}\n'
    )
    processes = []

    def started(model: Path, tables: str) -> "subprocess.Popen[str]":
        site = tmp_path / "site.toml"
        site.write_text(
            f'array = "{ARRAY}"\n[mount]\nheading_true_deg = 90.0\n'
            '[capture]\ndevice = "yard"\nchannels = 4\nsample_rate_hz = 16000\nsample_format = "S16_LE"\n'
            f'[model]\nfile = "{model}"\n[store]\npath = "{tmp_path / "events.db"}"\n{tables}'
        )
        process = subprocess.Popen(
            [sys.executable, "-c", "from appliance.cli.main import main; main()", "run", "--site", str(site)],
            env=os.environ | {"ALSA_CONFIG_PATH": str(tmp_path / "asound.conf"), "NOTIFY_SOCKET": str(systemd.path)},
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield started
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def sensor(start: Start, intensity_model: Path) -> "subprocess.Popen[str]":
    return start(intensity_model, "")


def of_contract(name: StateKey, states: dict[StateKey, UnitState]) -> Iterator[str]:
    """What the sensor says and the published schema does not name, or the other way round."""
    schema, value = load_schema(f"{name}.v1")["properties"]["sensor"], states[name].value
    jsonschema.Draft202012Validator(schema).validate(value)
    return differences(value, schema)


def until(true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while not true():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.1)


def test_hears_logs_reports_and_ends_what_is_open_when_told_to_stop(
    sensor: "subprocess.Popen[str]", systemd: Systemd, tmp_path: Path
) -> None:
    db = tmp_path / "events.db"
    until(db.is_file)
    with EventLog(db) as log:
        until(lambda: bool(list(log.read())))
        (new, *_) = log.read()
        assert (new.class_label, new.state, new.severity) == ("drone", "new", "alert")
        assert new.bearing_true_deg == pytest.approx(50.0, abs=3.0)
        assert new.clock in ("synchronised", "unsynchronised")
        until(lambda: "health" in log.states() and log.states()["health"].value["frames"] > 20)
        states = log.states()
        assert states["sensor"].value == {"hearing": True, "faults": []}
        health = states["health"].value
        assert len(health["levels_dbfs"]) == 4
        assert all(-40.0 < level < -15.0 for level in health["levels_dbfs"])
        assert health["audio"]["lost_samples"] == 0
        assert health["open_events"] == 1
        assert health["microphones_used"] == [1, 2, 3, 4]
        assert "novelty" not in health
        assert states["config"].value["model"]["name"] == "intensity"
        assert states["config"].value["mount"]["heading_true_deg"] == 90.0
        assert "mqtt" not in states["config"].value
        # What the site file leaves out is said as it is.
        assert states["config"].value["tracking"]["detection_activity"] == 0.15
        assert states["config"].value["capture"]["alsa_channels"] == [0, 1, 2, 3]
        assert [*of_contract("config", states)] == []
        assert [*of_contract("health", states)] == ["/novelty"]
        # Of every class what holds, with what the site file leaves out.
        assert states["config"].value["policy"]["anomaly"]["window_frames"] == 30
        until(lambda: systemd.said.count("WATCHDOG=1") >= 2)
        sensor.send_signal(signal.SIGTERM)
        assert sensor.wait(_PATIENCE_S) == 0
        assert [event.state for event in log.read()][-1] == "end"
        assert log.open_events() == []
        assert log.states()["sensor"].value == {"hearing": False, "faults": ["the sensor was stopped"]}
    assert systemd.said[0] == "READY=1"
    assert systemd.said[-1] == "STOPPING=1"
    assert any(said.startswith("STATUS=hearing") for said in systemd.said)


def test_the_site_is_learned_while_it_runs_and_kept_when_it_stops(
    start: Start, tagged_model: Path, tmp_path: Path
) -> None:
    sensor, db = start(tagged_model, "[novelty]\nenabled = true\n"), tmp_path / "events.db"
    until(db.is_file)
    with EventLog(db) as log:
        until(lambda: "health" in log.states() and log.states()["health"].value["novelty"]["sounds"] >= 1)
        told = log.states()["health"].value["novelty"]
        assert [*of_contract("health", log.states())] == []
        assert (told["state"], told["learning_s"]) == ("learning", 14400)
        sensor.send_signal(signal.SIGTERM)
        assert sensor.wait(_PATIENCE_S) == 0
    memory, _ = read_memory(memory_path(db))
    assert round(memory.heard_s) >= told["heard_s"] > 0
    assert memory.prototypes >= told["sounds"]


def test_novelty_without_a_tagger_is_for_a_person_to_mend(start: Start, intensity_model: Path, tmp_path: Path) -> None:
    sensor = start(intensity_model, "[novelty]\nenabled = true\n")
    _, said = sensor.communicate(timeout=_PATIENCE_S)
    assert sensor.returncode == 78
    assert f"{tmp_path / 'site.toml'}: [novelty] enabled: " in said
    assert "set enabled to false" in said


def test_commands_reach_the_running_sensor(sensor: "subprocess.Popen[str]", tmp_path: Path) -> None:
    """A mute turns the next alert into a detection, a self-test is answered, a restart ends it in good order."""
    db = tmp_path / "events.db"
    EventLog(db).close()
    with CommandLog(db) as commands, EventLog(db) as log:
        commands.carry_out(asked("mute"), lambda effects: str(effects.mute("drone", None, None, 600.0)))
        until(lambda: bool(list(log.read())))
        (new, *_) = log.read()
        assert (new.class_label, new.severity, new.muted) == ("drone", "detection", True)
        until(lambda: "sensor" in log.states() and log.states()["sensor"].value["hearing"])
        commands.carry_out(asked("selftest"), lambda _: None)
        until(lambda: len(commands.unsent()) == 2)
        checks = json.loads(commands.unsent()[1].payload)["result"]["checks"]
        assert [check["name"] for check in checks] == ["hearing", "model", "detection", "clock", "disk"]
        assert checks[0]["passed"]
        assert checks[1]["passed"]
        assert checks[2]["passed"], checks[2]["text"]
        commands.carry_out(asked("restart"), lambda _: None)
        assert sensor.wait(_PATIENCE_S) == 0
        assert json.loads(commands.unsent()[2].payload)["text"] == "the sensor restarts"
        assert [event.state for event in log.read()][-1] == "end"


def asked(name: str) -> Command:
    return Command(name, None, "alice", "{}", "acoustic/v1/site/node/answers/desk", None)


@pytest.fixture(params=["all of it", "events_by_state", "clips"])
def corrupt_log(tmp_path: Path, make_event: MakeEvent, request: pytest.FixtureRequest) -> Path:
    """An event log that a failing card has eaten, or a page of it, before the sensor starts."""
    path = tmp_path / "events.db"
    if request.param == "all of it":
        path.write_bytes(b"SQLite format 3\x00" + bytes(range(256)) * 32)
    else:
        with EventLog(path) as log:
            log.append(make_event())
        damage_root(path, request.param)
    return path


def test_a_corrupt_event_log_does_not_make_the_unit_deaf(corrupt_log: Path, sensor: "subprocess.Popen[str]") -> None:
    """It is set aside, a new one is begun, and the loss is a fault that the publisher tells."""
    until(lambda: len(list(corrupt_log.parent.glob("events.db.corrupt-*[0-9]"))) == 1)
    until(lambda: sqlite3_opens(corrupt_log))
    with EventLog(corrupt_log) as log:
        until(lambda: "sensor" in log.states() and log.states()["sensor"].value["hearing"])
        (fault,) = log.states()["sensor"].value["faults"]
        assert "corrupt" in fault
    assert sensor.poll() is None


def sqlite3_opens(path: Path) -> bool:
    try:
        with contextlib.closing(sqlite3.connect(path)) as db:
            return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    except sqlite3.DatabaseError:
        return False


def test_what_an_earlier_run_left_open_is_ended(event_log: EventLog, make_event: MakeEvent) -> None:
    cut_off, whole = make_event(), make_event()
    event_log.append(cut_off)
    event_log.append(make_event(event_id=cut_off.event_id, sequence=1, state="update", confidence=0.5))
    event_log.append(whole)
    event_log.append(make_event(event_id=whole.event_id, sequence=1, state="end"))
    end_cut_off_events(event_log)
    assert event_log.open_events() == []
    *_, end = event_log.read(event_id=cut_off.event_id)
    assert (end.state, end.sequence, end.confidence) == ("end", 2, 0.5)
    assert len(list(event_log.read(event_id=whole.event_id))) == 2


@pytest.mark.parametrize(
    "name", ["events", "events_by_state", "sqlite_autoindex_events_1", "outbox", "clips", "clips_by_event"]
)
def test_whichever_page_is_damaged_the_books_are_settled_and_what_comes_after_is_kept(
    tmp_path: Path, make_event: MakeEvent, name: str
) -> None:
    path = tmp_path / "events.db"
    cut_off, heard = make_event(), make_event()
    with EventLog(path) as log:
        log.append(dataclasses.replace(cut_off, clip=f"{cut_off.event_id}.flac", clip_state="recording"))
    damage_root(path, name)
    with EventLog(path, replace_corrupt=True) as log:
        settle_books(log)
        assert log.open_events() == []
        log.append(heard)
        kept = [(event.event_id, event.state) for event in log.read()]
        assert kept[-1] == (heard.event_id, "new")
        if name not in ("events", "outbox"):  # what is damaged is not what waited
            assert kept[:-1] == [(cut_off.event_id, "new"), (cut_off.event_id, "end")]
        assert len(log.losses) == 1
    if name in ("events_by_state", "clips"):  # found before the clips were settled
        with ClipLog(path) as clips:
            assert clips.recording() == []


def test_damage_among_the_clips_is_found_where_no_event_was_left_open(tmp_path: Path, make_event: MakeEvent) -> None:
    path = tmp_path / "events.db"
    new = make_event()
    events = [new, dataclasses.replace(new, sequence=1, state="end")]
    with EventLog(path) as log:
        for event in events:
            log.append(event)
    damage_root(path, "clips")
    with EventLog(path, replace_corrupt=True) as log:
        settle_books(log)
        assert len(log.losses) == 1
        assert list(log.read()) == events


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"event_id":"%s","sequence":1', b'"evenu_id":"%s","sequence":1'),
        (b'{"specversion":"1.0","id":"%s.1', b'["specversion":"1.0","id":"%s.1'),
        (b'{"specversion":"1.0","id":"%s.1', b'{"specversion":"1.0","id":"%s\xff1'),
        (b'{"specversion":"1.0","id":"%s.1', b'\xff"specversion":"1.0","id":"%s.1'),
        (b'"event_id":"%s","sequence":1', b'"event_id":"%s","sequence":0'),
        (b"%srecording[]", b"%srecording[["),
    ],
)
def test_an_altered_row_ends_no_sensor_and_keeps_no_other_event_from_its_end(
    tmp_path: Path, make_event: MakeEvent, old: bytes, new: bytes
) -> None:
    """Damage that no page tells of, at the first start after it and at the next."""
    path = tmp_path / "events.db"
    altered, other = make_event(), make_event()
    with EventLog(path) as log:
        log.append(altered)
        update = dataclasses.replace(altered, sequence=1, state="update")
        log.append(dataclasses.replace(update, clip=f"{altered.event_id}.flac", clip_state="recording"))
        log.append(other)
    raw, event_id = path.read_bytes(), altered.event_id.encode()
    assert raw.count(old % event_id) == 1
    path.write_bytes(raw.replace(old % event_id, new % event_id))
    for _ in range(2):
        with EventLog(path, replace_corrupt=True) as log:
            settle_books(log)
            assert other.event_id not in [event.event_id for event in log.open_events()]
            assert log.losses == []


def test_events_wait_in_order_while_the_log_is_locked(tmp_path: Path, make_event: MakeEvent) -> None:
    path = tmp_path / "events.db"
    with EventLog(path, busy_timeout_s=0.05) as log:
        sink = PatientSink(log)
        events = [make_event(utc_ns=i) for i in range(3)]
        sink.append(events[0])
        other = sqlite3.connect(path)
        other.execute("BEGIN IMMEDIATE")
        sink.append(events[1])
        sink.append(events[2])
        assert "another program holds it" in sink.fault
        with pytest.raises(StoreError):
            sink.finished([], 0.0)
        other.rollback()
        other.close()
        sink.finished([], 0.0)
        assert sink.fault == ""
        assert list(log.read()) == events


def moment(*levels_dbfs: float, step_s: float = 0.01, after_gap: bool = False, stream_s: float = 0.0) -> Moment:
    scene = SceneFrame((), stream_s, 0, after_gap=after_gap)
    return Moment(scene, (), (), stream_s, levels_dbfs, step_s, tuple(range(len(levels_dbfs))))


def beat(log: EventLog, *moments: Moment, faults: tuple[str, ...] = ()) -> dict[str, UnitState]:
    with Heartbeat(log, lambda: faults, lambda: {"extra": 1}) as heartbeat:
        for each in moments:
            heartbeat.frame(each)
        heartbeat.speak()
    return {str(key): state for key, state in log.states().items()}


def test_before_the_first_frame_it_does_not_claim_to_hear(event_log: EventLog) -> None:
    assert beat(event_log)["sensor"].value["hearing"] is False


def test_a_dead_microphone_is_a_fault_and_all_dead_is_deaf(event_log: EventLog) -> None:
    said = beat(event_log, *[moment(-50.0, -120.0)] * 100)
    assert said["sensor"].value == {"hearing": True, "faults": ["microphone 2 gives digital silence"]}
    assert beat(event_log, *[moment(-120.0, -120.0)] * 100)["sensor"].value["hearing"] is False
    assert beat(event_log, *[moment(-120.0, -120.0)] * 99, moment(-60.0, -60.0))["sensor"].value["hearing"] is True


def test_audio_that_is_lost_again_and_again_is_a_fault_and_a_gap_now_and_then_is_none(event_log: EventLog) -> None:
    """Each gap makes all that hears begin anew: nothing is announced any more, and yet every second is heard."""
    often = [moment(-50.0, after_gap=True), *[moment(-50.0)] * 4] * 20
    (fault,) = beat(event_log, *often)["sensor"].value["faults"]
    assert fault.startswith("audio is lost again and again; ")
    assert beat(event_log, *often, *[moment(-50.0)] * 600)["sensor"].value["faults"] == []
    rarely = [moment(-50.0, after_gap=True), *[moment(-50.0)] * 50] * 20
    assert beat(event_log, *rarely)["sensor"].value["faults"] == []


@pytest.mark.parametrize(("lost_s", "told"), [(0.8, True), (0.2, False)])
def test_of_longer_gaps_fewer_are_a_fault(event_log: EventLog, lost_s: float, told: bool) -> None:
    """A cable over which one packet in twenty is lost: a gap of more than half a second every twelve."""
    minute = [
        moment(-50.0, after_gap=frame > 0 and frame % 120 == 0, stream_s=0.1 * frame + lost_s * (frame // 120))
        for frame in range(600)
    ]
    assert bool(beat(event_log, *minute)["sensor"].value["faults"]) is told


def test_health_holds_latency_and_details_and_slowness_is_a_fault(event_log: EventLog) -> None:
    said = beat(event_log, *[moment(-50.0)] * 98, *[moment(-50.0, step_s=0.2)] * 2, faults=("full disk",))
    health = said["health"].value
    assert (health["step_p50_ms"], health["step_p99_ms"], health["extra"]) == (10.0, 200.0, 1)
    full, slow = said["sensor"].value["faults"]
    assert full == "full disk"
    assert slow.startswith("too slow: ")
    # A changed sentence would be published anew.
    assert beat(event_log, *[moment(-50.0, step_s=0.3)] * 100)["sensor"].value["faults"] == [slow]


def test_a_frame_that_waited_as_the_sensor_started_is_no_fault(event_log: EventLog) -> None:
    assert beat(event_log, moment(-50.0, step_s=0.5), *[moment(-50.0)] * 98)["sensor"].value["faults"] == []
