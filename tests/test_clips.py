"""Audio clips: what is kept of an event, whole or not there, and never at the cost of hearing."""

import dataclasses
import hashlib
import io
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import MakeEvent, fill
from field_unit import FieldUnit
from test_daemon import until

from appliance.audio.excerpt import AudioRing, encode, read_back, suffix_for
from appliance.config import ClipSettings, RetentionSettings
from appliance.daemon.clips import ClipSink, settle_cut_off
from appliance.daemon.recorder import Recorder, bits_for
from appliance.errors import StoreError
from appliance.store import EventLog
from appliance.store.clips import ClipLog, clips_folder, read_part, write_whole
from appliance.store.database import integrity_faults
from appliance.store.ladder import has_room_for_clips
from appliance.store.repair import repair
from appliance.store.retention import retain
from appliance.types import AudioBlock, Clip, Event

RATE_HZ = 16_000
UTC_NS = 1_790_000_000_000_000_000
ABOUT = {"event_id": "x"}


def block(start_s: float, *, seconds: float = 0.1, mics: int = 4, gap: bool = False, bits: int = 16) -> AudioBlock:
    """Samples as a converter gives them, different in every block and at full scale."""
    random, full = np.random.default_rng(round(start_s * 100)), 2 ** (bits - 1)
    whole = random.integers(-full, full, (mics, round(seconds * RATE_HZ)))
    start = round(start_s * RATE_HZ)
    samples = (whole / full).astype(np.float32)
    return AudioBlock(samples, RATE_HZ, start, UTC_NS + start * 62_500, gap)


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "mics"), [(16, 4), (24, 4), (16, 16)])
def test_what_was_captured_comes_back_to_the_bit(tmp_path: Path, bits: int, mics: int) -> None:
    blocks = [block(number / 10, mics=mics, bits=bits) for number in range(5)]
    excerpt = encode(blocks, bits=bits, about=ABOUT)
    file = tmp_path / f"clip{suffix_for(mics)}"
    write_whole(file, excerpt.data)
    found, rate_hz = soundfile.read(file, dtype="float32")
    assert rate_hz == RATE_HZ
    assert np.array_equal(found.T, np.concatenate([each.samples for each in blocks], axis=1))
    assert read_back(file) == excerpt
    assert (excerpt.seconds, excerpt.start_utc_ns, excerpt.gaps) == (0.5, UTC_NS, ())
    assert excerpt.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_lost_audio_is_silent_and_marked(tmp_path: Path) -> None:
    blocks = [block(10.0), block(10.1), block(10.5, gap=True), block(10.6, gap=True)]
    excerpt = encode(blocks, bits=16, about=ABOUT)
    assert excerpt.seconds == pytest.approx(0.7)
    assert np.allclose(excerpt.gaps, [(0.2, 0.3), (0.6, 0.0)])
    file = tmp_path / "clip.flac"
    write_whole(file, excerpt.data)
    samples, _ = soundfile.read(file)
    assert not samples[3200:8000].any()
    assert samples[:3200].any(axis=1).all()
    assert read_back(file).gaps == excerpt.gaps


def test_beyond_full_scale_is_full_scale() -> None:
    loud = dataclasses.replace(block(0.0), samples=np.array([[2.0, -2.0, 1.0, -1.0]], np.float32))
    samples, _ = soundfile.read(io.BytesIO(encode([loud], bits=16, about=ABOUT).data))
    assert samples.tolist() == pytest.approx([1.0 - 2**-15, -1.0, 1.0 - 2**-15, -1.0])


def test_the_ring_holds_so_many_seconds_of_the_stream_and_no_more() -> None:
    ring = AudioRing(1.0)
    for number in range(1000):
        ring.push(block(number / 10))
    assert [each.start_sample for each in ring.blocks()] == [round(each / 10 * RATE_HZ) for each in range(990, 1000)]
    ring.push(block(200.0, gap=True))
    assert len(ring.blocks()) == 1
    none = AudioRing(0.0)
    none.push(block(0.0))
    assert none.blocks() == []


@pytest.mark.parametrize(("sample_format", "bits"), [("S16_LE", 16), ("S24_3LE", 24), ("S24_LE", 24), ("S32_LE", 24)])
def test_no_bit_of_the_device_is_dropped(sample_format: str, bits: int) -> None:
    assert bits_for(sample_format) == bits


# --- the recorder -----------------------------------------------------------------------------------------------------


class Desk:
    """Recorder and event log of one unit, with the audio played by hand."""

    def __init__(self, log: EventLog, **settings: Any) -> None:
        self.log = log
        self.room = True
        self.settings = ClipSettings(**({"before_s": 1.0, "after_s": 0.5} | settings))
        self.recorder = Recorder(log.path, self.settings, mics=4, bits=16, has_room=lambda: self.room)
        self.sink = ClipSink(log, self.settings, self.recorder)
        self.heard = 0

    def hear(self, seconds: float) -> None:
        """Audio that comes at once."""
        for _ in range(round(seconds * 10)):
            self.recorder.audio(block(self.heard / 10))
            self.heard += 1

    def clip(self, event: Event) -> Clip:
        with ClipLog(self.log.path) as clips:
            found = clips.of(event.event_id)
        assert found is not None
        return found

    def settled(self, event: Event) -> Clip:
        until(
            lambda: self.clip(event).state != "recording" and bool(self.clip(event).reason or self.clip(event).sha256)
        )
        return self.clip(event)

    def logged(self, event: Event) -> list[Event]:
        return list(self.log.read(event_id=event.event_id))


def follow(event: Event, sequence: int, state: str) -> Event:
    return dataclasses.replace(event, sequence=sequence, state=state)  # type: ignore[arg-type]


def test_an_alert_gets_the_seconds_around_it_and_its_messages_say_what_became_of_them(
    event_log: EventLog, make_event: MakeEvent
) -> None:
    desk = Desk(event_log)
    with desk.recorder:
        desk.hear(3.0)
        event = make_event()
        desk.sink.append(event)
        (new,) = desk.logged(event)
        assert (new.clip, new.clip_state, new.clip_sha256) == (f"{event.event_id}.flac", "recording", None)
        # Committed with the event, before anything of it is on the disk.
        assert desk.clip(event).state == "recording"
        assert not clips_folder(event_log.path).exists()
        desk.hear(0.5)
        clip = desk.settled(event)
        desk.sink.append(follow(event, 1, "end"))
        end = desk.logged(event)[-1]
    assert (end.clip, end.clip_state, end.clip_sha256) == (new.clip, "written", clip.sha256)
    (file,) = clips_folder(event_log.path).iterdir()
    data = file.read_bytes()
    assert (file.name, clip.sha256, clip.size_bytes) == (new.clip, hashlib.sha256(data).hexdigest(), len(data))
    assert (clip.seconds, clip.start_utc_ns) == (1.5, UTC_NS + 2 * 10**9)
    samples, _ = soundfile.read(file, dtype="float32")
    assert np.array_equal(samples.T, np.concatenate([block(20 / 10 + n / 10).samples for n in range(15)], axis=1))
    assert desk.recorder.counts == {"written": 1}
    assert desk.recorder.faults == []


def test_only_what_the_site_file_names_is_recorded(event_log: EventLog, make_event: MakeEvent) -> None:
    desk = Desk(event_log)
    with desk.recorder:
        desk.hear(1.0)
        detection, muted = make_event(severity="detection"), make_event(severity="detection", muted=True)
        for event in (detection, muted):
            desk.sink.append(event)
        late = follow(detection, 1, "update")
        desk.sink.append(dataclasses.replace(late, severity="alert"))
        desk.hear(1.0)
        desk.settled(detection)
    assert [event.clip for event in desk.logged(detection)] == [None, f"{detection.event_id}.flac"]
    assert desk.logged(muted)[0].clip is None
    assert len(list(clips_folder(event_log.path).iterdir())) == 1


@pytest.mark.parametrize("settings", [{"enabled": False}, {"severities": ()}, {"before_s": 0.0, "after_s": 0.0}])
def test_where_it_is_off_no_audio_is_kept_even_in_memory(
    event_log: EventLog, make_event: MakeEvent, settings: dict[str, Any]
) -> None:
    desk = Desk(event_log, **settings)
    with desk.recorder:
        desk.hear(2.0)
        event = make_event()
        desk.sink.append(event)
        desk.hear(2.0)
        desk.sink.append(follow(event, 1, "end"))
        assert desk.recorder._ring.blocks() == []
    assert [each.clip for each in desk.logged(event)] == [None, None]
    assert not clips_folder(event_log.path).exists()


def test_a_clip_that_waits_for_audio_is_written_with_what_there_is(event_log: EventLog, make_event: MakeEvent) -> None:
    desk = Desk(event_log)
    with desk.recorder:
        desk.hear(1.0)
        event = make_event()
        desk.sink.append(event)
        clip = desk.settled(event)
    assert (clip.state, clip.seconds) == ("written", 1.0)


def test_a_sensor_that_is_stopped_writes_what_it_has(event_log: EventLog, make_event: MakeEvent) -> None:
    desk = Desk(event_log, after_s=30.0)
    with desk.recorder:
        desk.hear(1.0)
        event = make_event()
        desk.sink.append(event)
        desk.hear(0.3)
        desk.sink.append(follow(event, 1, "end"))
    assert desk.clip(event).seconds == 1.3
    # The end came first, and says that it follows.
    assert desk.logged(event)[-1].clip_state == "recording"


def test_a_disk_that_hangs_slows_nothing_and_memory_stays_bounded(
    event_log: EventLog, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that does not return: here into a FIFO that nobody reads."""
    monkeypatch.setattr("appliance.daemon.recorder._MOST_BYTES", 4 * 1_000_000)
    monkeypatch.setattr("appliance.daemon.recorder._SLOW_S", 0.5)
    desk = Desk(event_log)
    first, others = make_event(), [make_event() for _ in range(60)]
    folder = clips_folder(event_log.path)
    folder.mkdir()
    stuck = folder / f".{first.event_id}.flac.part"
    os.mkfifo(stuck)
    with desk.recorder:
        desk.hear(1.0)
        for event in [first, *others]:
            began_s = time.monotonic()
            desk.sink.append(event)
            desk.hear(0.5)
            assert time.monotonic() - began_s < 5.0
        assert desk.recorder._held_bytes <= 4 * 1_000_000
        assert [len(desk.logged(event)) for event in [first, *others]] == [1] * 61
        refused = desk.logged(others[-1])[0]
        assert refused.clip_state == "failed"
        until(lambda: "audio clips wait: the disk does not take them" in desk.recorder.faults)
        # The disk comes back: what waited is written, what was refused is known.
        with stuck.open("rb") as reader:
            reader.read()
        assert desk.settled(others[0]).state == "written"
        assert desk.settled(others[-1]).reason == "too many at once, or too slow a disk"
        until(lambda: "audio clips wait: the disk does not take them" not in desk.recorder.faults)
    assert {path.name for path in folder.glob("*.flac")} >= {f"{others[0].event_id}.flac"}


def test_an_event_that_waits_in_memory_is_told_of_its_clip_once_it_is_committed(
    event_log: EventLog, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event log may be locked for longer than a clip takes to write."""
    monkeypatch.setattr("appliance.daemon.outcomes._AGAIN_S", 0.1)
    desk = Desk(event_log)
    held: list[Event] = []

    class Patient:
        def append(self, event: Event) -> None:
            held.append(event)

    sink = ClipSink(Patient(), desk.settings, desk.recorder)
    with desk.recorder:
        desk.hear(1.0)
        event = make_event()
        sink.append(event)
        desk.hear(1.0)
        until(lambda: bool(list(clips_folder(event_log.path).glob("*.flac"))))
        event_log.append(held[0])
        assert desk.settled(event).state == "written"


# --- a full disk ------------------------------------------------------------------------------------------------------


def test_on_a_nearly_full_disk_events_are_kept_and_clips_are_not_and_that_is_said(
    small_disk: Path, make_event: MakeEvent
) -> None:
    with EventLog(small_disk / "events.db") as log:
        retain(log.path, RetentionSettings(), clock_is_set=True)
        desk = Desk(log)
        recorder = Recorder(
            log.path, desk.settings, mics=4, bits=16, has_room=lambda: has_room_for_clips(log.path, RetentionSettings())
        )
        desk.recorder, desk.sink = recorder, ClipSink(log, desk.settings, recorder)
        with recorder:
            desk.hear(1.0)
            first = make_event()
            desk.sink.append(first)
            fill(small_disk)
            until(lambda: recorder.faults == ["no audio clips are kept: the disk is nearly full"])
            desk.hear(1.0)
            assert desk.settled(first).reason == "the disk is nearly full"
            second = make_event()
            desk.sink.append(second)
            assert [event.clip_state for event in log.read()] == ["recording", "failed"]
            assert not list(clips_folder(log.path).glob("*"))
            (small_disk / "of_somebody_else").unlink()
            until(lambda: recorder.faults == [])
            third = make_event()
            desk.sink.append(third)
            desk.hear(1.0)
            assert desk.settled(third).state == "written"


def test_a_unit_on_a_nearly_full_disk_hears_alerts_and_says_what_it_does_not_keep(
    small_disk: Path, tmp_path: Path, intensity_model: Path
) -> None:
    """The whole sensor; once there is room nobody has to do anything."""
    unit = FieldUnit(tmp_path, intensity_model, disk=small_disk)
    EventLog(unit.log).close()
    retain(unit.log, RetentionSettings(), clock_is_set=True)
    fill(small_disk)
    try:
        unit.start()
        with EventLog(unit.log) as log:
            until(lambda: bool(list(log.read())))
            new = next(log.read())
            assert (new.severity, new.clip_state) == ("alert", "failed")

            def faults() -> list[str]:
                return log.states()["sensor"].value["faults"] if "sensor" in log.states() else []

            until(lambda: "no audio clips are kept: the disk is nearly full" in faults())
            assert log.states()["sensor"].value["hearing"]
            assert not list(unit.clips.glob("*"))
            (small_disk / "of_somebody_else").unlink()
            until(lambda: faults() == [])
        assert unit.stop() == 0
    finally:
        unit.close()


def test_a_disk_that_fills_up_while_a_clip_is_written_leaves_no_half_of_it(
    small_disk: Path, make_event: MakeEvent
) -> None:
    with EventLog(small_disk / "events.db") as log:
        retain(log.path, RetentionSettings(), clock_is_set=True)
        desk = Desk(log)
        with desk.recorder:
            desk.hear(1.0)
            fill(small_disk)
            event = make_event()
            desk.sink.append(event)
            desk.hear(1.0)
            assert "No space left" in desk.settled(event).reason
            assert list(clips_folder(log.path).glob("*")) == []
            assert "the latest audio clip was not kept" in desk.recorder.faults[0]
        assert len(desk.logged(event)) == 1


def test_retention_counts_clips_and_they_go_with_the_log_of_their_events(
    event_log: EventLog, make_event: MakeEvent
) -> None:
    desk = Desk(event_log)
    with desk.recorder:
        for _ in range(3):
            desk.hear(1.0)
            event = make_event()
            desk.sink.append(event)
            desk.hear(0.5)
            desk.settled(event)
    (removal,) = retain(event_log.path, RetentionSettings(clips_mb=0, free_mb=0), clock_is_set=False)
    assert (removal.kind, removal.cause, removal.items) == ("clips", "size", 3)
    assert list(clips_folder(event_log.path).iterdir()) == []


def test_by_the_name_of_a_clip_no_other_file_is_read(event_log: EventLog) -> None:
    clips_folder(event_log.path).mkdir()
    for name in ("../events.db", "..", "", "/etc/hostname"):
        assert read_part(event_log.path, name, 0) is None


# --- cut off ----------------------------------------------------------------------------------------------------------


def test_what_a_cut_off_sensor_promised_is_settled_by_what_lies_on_the_disk(
    event_log: EventLog, make_event: MakeEvent
) -> None:
    """Killed before the write, in the middle of it, after it, and over a file that is none."""
    events = [make_event() for _ in range(4)]
    for event in events:
        event_log.append(dataclasses.replace(event, clip=f"{event.event_id}.flac", clip_state="recording"))
    never, half, whole, damaged = events
    folder = clips_folder(event_log.path)
    folder.mkdir()
    (folder / f".{half.event_id}.flac.part").write_bytes(b"fLaC")
    excerpt = encode([block(0.0), block(0.3, gap=True)], bits=16, about=ABOUT)
    write_whole(folder / f"{whole.event_id}.flac", excerpt.data)
    (folder / f"{damaged.event_id}.flac").write_bytes(b"nothing")
    settle_cut_off(event_log.path)
    with ClipLog(event_log.path) as clips:
        assert clips.recording() == []
        for event in (never, half, damaged):
            clip = clips.of(event.event_id)
            assert clip is not None
            assert (clip.state, clip.reason) == ("failed", "the sensor was cut off before it was written")
        saved = clips.of(whole.event_id)
    assert saved is not None
    assert (saved.state, saved.sha256, saved.gaps) == ("written", excerpt.sha256, excerpt.gaps)
    assert not list(folder.glob(".*"))


WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from ulid import ULID
from appliance.config import ClipSettings
from appliance.daemon.clips import ClipSink, settle_cut_off
from appliance.daemon.recorder import Recorder
from appliance.store import EventLog
from appliance.types import AudioBlock, Event

settings = ClipSettings(before_s=1.0, after_s=0.1)
noise = np.random.default_rng(0).uniform(-1.0, 1.0, (4, 1600)).astype(np.float32)
with EventLog(Path(sys.argv[1])) as log:
    settle_cut_off(log.path)
    recorder = Recorder(log.path, settings, mics=4, bits=16, has_room=lambda: True)
    sink = ClipSink(log, settings, recorder)
    with recorder:
        for number in range(10**6):
            recorder.audio(AudioBlock(noise, 16000, number * 1600, time.time_ns()))
            if number % 4 == 0:
                now = time.time_ns()
                sink.append(Event(str(ULID()), 0, "new", "drone", 0.9, "alert", 1, now, now, 0.0, 0.0, True, 0.0, 1.0,
                                  "synchronised", False, "north", "mast-1"))
                print("committed", flush=True)
            time.sleep(0.005)
"""


def test_killed_at_any_moment_a_clip_is_whole_or_not_there(tmp_path: Path) -> None:
    """And every event of an acknowledged commit has its reference, which is settled at the next start."""
    path = tmp_path / "events.db"
    when = random.Random(0)
    for _ in range(8):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"committed\n"
        time.sleep(when.uniform(0.0, 0.3))
        writer.kill()
        writer.communicate()
    parts = list(clips_folder(path).glob(".*.part"))
    settle_cut_off(path)
    with EventLog(path) as log, ClipLog(path) as clips:
        events = list(log.read())
        assert integrity_faults(path) == []
        assert clips.recording() == []
        states: Counter[str] = Counter()
        for event in events:
            clip = clips.of(event.event_id)
            assert clip is not None
            file = clips_folder(path) / clip.name
            states[clip.state] += 1
            assert file.exists() == (clip.state == "written")
            if clip.state == "written":
                assert hashlib.sha256(file.read_bytes()).hexdigest() == clip.sha256
                assert soundfile.info(file).frames == round(clip.seconds * RATE_HZ)
    assert states["written"] > 8, (states, len(parts))
    assert not list(clips_folder(path).glob(".*"))


def test_event_reference_and_messages_are_one_transaction(event_log: EventLog, make_event: MakeEvent) -> None:
    """A reference that cannot be written takes the event with it, which then waits and is tried again."""
    event = make_event()
    promised = dataclasses.replace(event, clip=f"{event.event_id}.flac", clip_state="recording")
    with closing(sqlite3.connect(event_log.path)) as other:
        other.execute("CREATE TRIGGER refuse BEFORE INSERT ON clips BEGIN SELECT raise(ABORT, 'refused'); END")
        other.commit()
        with pytest.raises(StoreError):
            event_log.append(promised)
        assert list(event_log.read()) == []
        assert other.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
        other.execute("DROP TRIGGER refuse")
        other.commit()
    event_log.append(promised)
    event_log.append(dataclasses.replace(promised, sequence=1, state="update"))
    with ClipLog(event_log.path) as clips:
        assert clips.recording() == [Clip(f"{event.event_id}.flac", event.event_id, "recording")]


def test_a_repaired_log_keeps_its_clips(event_log: EventLog, make_event: MakeEvent) -> None:
    event = make_event()
    event_log.append(dataclasses.replace(event, clip=f"{event.event_id}.flac", clip_state="recording"))
    clip = Clip(f"{event.event_id}.flac", event.event_id, "written", "", UTC_NS, 10.0, 5, "ab", ((1.0, 0.5),))
    with ClipLog(event_log.path) as clips:
        assert clips.settle(clip)
    event_log.close()
    repair(event_log.path)
    with ClipLog(event_log.path) as clips:
        assert clips.of(event.event_id) == clip
    assert integrity_faults(event_log.path) == []


# --- the whole sensor -------------------------------------------------------------------------------------------------

StartUnit = Callable[..., FieldUnit]


@pytest.fixture
def unit(tmp_path: Path, intensity_model: Path) -> Iterator[StartUnit]:
    units: list[FieldUnit] = []

    def start(*tables: str) -> FieldUnit:
        units.append(FieldUnit(tmp_path, intensity_model, *tables))
        units[-1].start()
        return units[-1]

    yield start
    for each in units:
        each.close()


def first_event(unit: FieldUnit) -> Event:
    until(unit.log.is_file)
    with EventLog(unit.log) as log:
        until(lambda: bool(list(log.read())))
        return next(log.read())


def test_the_sensor_keeps_what_it_heard_of_an_alert(unit: StartUnit) -> None:
    """From an ALSA PCM to a FLAC file in which the drone is heard again."""
    running = unit("[clips]", "before_s = 1.0", "after_s = 1.0")
    new = first_event(running)
    assert (new.class_label, new.clip_state) == ("drone", "recording")
    assert new.clip is not None
    file = running.clips / new.clip
    until(file.is_file)
    with EventLog(running.log) as log:
        until(lambda: "health" in log.states() and log.states()["health"].value["clips"] == {"written": 1, "failed": 0})
        assert log.states()["sensor"].value["faults"] == []
    assert running.stop() == 0
    with ClipLog(running.log) as clips:
        clip = clips.of(new.event_id)
    assert clip is not None
    assert clip.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    samples, rate_hz = soundfile.read(file)
    assert (rate_hz, samples.shape[1]) == (RATE_HZ, 4)
    assert len(samples) / rate_hz == pytest.approx(clip.seconds)
    assert 1.0 <= clip.seconds <= 2.2
    spectrum = np.abs(np.fft.rfft(samples[:, 0]))
    assert np.argmax(spectrum) * rate_hz / len(samples) % 110.0 == pytest.approx(0.0, abs=1.0)
    with EventLog(running.log) as log:
        end = list(log.read(event_id=new.event_id))[-1]
    assert (end.state, end.clip_state, end.clip_sha256) == ("end", "written", clip.sha256)


def test_killed_in_the_middle_of_a_clip_it_says_so_at_its_next_start(unit: StartUnit) -> None:
    running = unit("[clips]", "after_s = 30.0")
    new = first_event(running)
    running.kill()
    running.clips.mkdir(exist_ok=True)
    (running.clips / f".{new.clip}.part").write_bytes(b"fLaC")
    running.start()
    with EventLog(running.log) as log:
        until(lambda: any(event.state == "end" for event in log.read(event_id=new.event_id)))
        end = list(log.read(event_id=new.event_id))[-1]
    assert (end.clip, end.clip_state) == (new.clip, "failed")
    assert not (running.clips / f".{new.clip}.part").exists()
    assert running.runs


def test_where_the_site_file_says_off_nothing_is_recorded(unit: StartUnit) -> None:
    running = unit("[clips]", "enabled = false")
    new = first_event(running)
    assert running.stop() == 0
    assert new.clip is None
    assert not running.clips.exists()
    with EventLog(running.log) as log:
        assert "clip" not in json.loads(next(iter(log._rows("SELECT payload FROM events")))[0])
