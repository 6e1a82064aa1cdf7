"""A file system of 64 MB that is full, for real: alerts still flow, nothing crashes, recovery needs no hand."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from conftest import MakeEvent, damage_root, fill
from mqtt import PATIENCE_S, Broker, Subscriber, wait_until

from appliance.config import RetentionSettings
from appliance.daemon.sink import PatientSink
from appliance.errors import StoreError
from appliance.store import EventLog, Outbox
from appliance.store.database import integrity_faults
from appliance.store.ladder import free_bytes
from appliance.store.reserve import free_inside, held_bytes
from appliance.store.retention import retain
from appliance.types import Event

MB = 1_000_000
APPLIANCE = str(Path(sys.executable).with_name("appliance"))


def put_files(disk: Path, kind: str, count: int) -> None:
    """Clips or tracks of 1 MB, the first the oldest."""
    folder = disk / kind / "2026-09"
    folder.mkdir(parents=True)
    first_ns = time.time_ns() - 3600 * 1_000_000_000
    for number in range(count):
        file = folder / f"{number}.bin"
        file.write_bytes(bytes(MB))
        os.utime(file, ns=(first_ns + number, first_ns + number))


def lifecycle(make_event: MakeEvent, severity: str, **changes: object) -> list[Event]:
    new = make_event(severity=severity, **changes)
    return [new, make_event(event_id=new.event_id, severity=severity, sequence=1, state="end", **changes)]


def names(disk: Path, kind: str) -> list[str]:
    return sorted((file.name for file in (disk / kind).rglob("*.bin")), key=lambda name: int(name.split(".")[0]))


def test_a_commit_on_a_full_disk_takes_the_oldest_clips_then_tracks_then_what_was_held_back(
    small_disk: Path, make_event: MakeEvent
) -> None:
    path = small_disk / "events.db"
    put_files(small_disk, "clips", 6)
    put_files(small_disk, "tracks", 6)
    with EventLog(path) as log:
        log.append(make_event())
        retain(path, RetentionSettings(), clock_is_set=True)
        held = held_bytes(path)
        assert held + free_inside(log._db) > 6 * MB

        seen = []
        while held_bytes(path):
            fill(small_disk)
            log.append(make_event(class_label="x" * 400_000))
            seen.append((names(small_disk, "clips"), names(small_disk, "tracks"), held_bytes(path)))
        assert len(list(log.read())) == 1 + len(seen)
    everything = [f"{number}.bin" for number in range(6)]
    # At first what is free inside the log is enough.
    assert seen[0] == (everything, everything, held)
    for clips, tracks, still_held in seen:
        assert clips == everything[6 - len(clips) :]
        assert tracks == everything[6 - len(tracks) :]
        assert not clips or tracks == everything
        assert not tracks or still_held == held
    assert {len(clips) for clips, _, _ in seen} > {0, 6}
    assert integrity_faults(path) == []


def test_a_file_that_cannot_be_removed_keeps_nothing_else_from_making_room(
    small_disk: Path, make_event: MakeEvent
) -> None:
    """One that somebody keeps as evidence: `chattr +i`, or in a folder of root's."""
    path, held = small_disk / "events.db", small_disk / "clips" / "2026-09" / "0.bin"
    put_files(small_disk, "clips", 3)
    subprocess.run(["mount", "--bind", held, held], check=True)
    try:
        with EventLog(path) as log:
            log.append(make_event())
            retain(path, RetentionSettings(clips_mb=2), clock_is_set=True)
            assert names(small_disk, "clips") == ["0.bin", "2.bin"]
            held_back = held_bytes(path)
            assert held_back > 0
            alerts = 0
            while held_bytes(path):
                fill(small_disk)
                log.append(make_event(class_label="x" * 4000))
                alerts += 1
            assert names(small_disk, "clips") == ["0.bin"]
            assert alerts < 10_000
    finally:
        subprocess.run(["umount", held], check=True)


def test_without_anything_to_spare_detections_make_room_for_alerts(small_disk: Path, make_event: MakeEvent) -> None:
    """Those that are delivered before those that are not; no alert goes, and none is refused."""
    path = small_disk / "events.db"
    with EventLog(path) as log, Outbox(path) as outbox:
        alerts = lifecycle(make_event, "alert")
        for event in [*alerts, *(event for _ in range(1500) for event in lifecycle(make_event, "detection"))]:
            log.append(event)
        outbox.settle([message.outbox_id for message in outbox.pending(10_000)], "delivered")
        last = lifecycle(make_event, "detection")
        for event in last:
            log.append(event)
        retain(path, RetentionSettings(), clock_is_set=True)
        fill(small_disk)
        later = [event for _ in range(200) for event in lifecycle(make_event, "alert", class_label="x" * 4000)]
        for number, event in enumerate(later):
            if number % 100 == 0:
                fill(small_disk)
            log.append(event)
        assert list(log.read(severity="alert")) == [*alerts, *later]
        kept = list(log.read(severity="detection"))
        assert 2 < len(kept) < 2 * 1500
        assert kept[-2:] == last
        assert not outbox.shed()
    assert integrity_faults(path) == []


def test_undelivered_detections_go_last_and_that_is_said(small_disk: Path, make_event: MakeEvent) -> None:
    path = small_disk / "events.db"
    with EventLog(path) as log, Outbox(path) as outbox:
        for _ in range(150):
            for event in lifecycle(make_event, "detection"):
                log.append(event)
        retain(path, RetentionSettings(reserve_mb=2), clock_is_set=True)
        assert not outbox.shed()
        fill(small_disk)
        alerts = [event for _ in range(300) for event in lifecycle(make_event, "alert", class_label="x" * 4000)]
        stored = 0
        for event in alerts:
            try:
                log.append(event)
            except StoreError:
                break
            stored += 1
        assert list(log.read(severity="alert")) == alerts[:stored]
        assert outbox.shed()
    assert integrity_faults(path) == []


def test_what_waits_in_a_corrupt_log_is_kept_until_there_is_room_for_a_new_one(
    small_disk: Path, make_event: MakeEvent
) -> None:
    """A disk that is full in the moment of the replacement costs neither the log nor the alerts that were not sent yet."""
    path = small_disk / "events.db"
    waiting, later = lifecycle(make_event, "alert"), lifecycle(make_event, "alert")
    # The publisher's: with a log that is open, nobody needs room to read it.
    with EventLog(path, replace_corrupt=True) as log, Outbox(path):
        for event in waiting:
            log.append(event)
        damage_root(path, "events_by_time")
        log._db.execute("PRAGMA shrink_memory")
        sink = PatientSink(log)
        fill(small_disk)
        for event in later:
            sink.append(event)
            assert "the disk is full" in sink.fault
        assert not path.exists() or path.stat().st_size == 0
        (small_disk / "of_somebody_else").unlink()
        sink.finished([], 0.0)
        assert sink.fault == ""
        assert list(log.read()) == [*waiting, *later]
        (loss,) = log.losses
        assert "2 undelivered events are carried over" in loss
    assert integrity_faults(path) == []


def test_a_log_is_opened_on_a_full_disk_by_what_was_held_back(small_disk: Path, make_event: MakeEvent) -> None:
    """As after a reboot: even its shared memory finds no page."""
    path = small_disk / "events.db"
    with EventLog(path) as log:
        log.append(make_event())
    retain(path, RetentionSettings(), clock_is_set=True)
    fill(small_disk)
    with EventLog(path) as log:
        event = make_event()
        log.append(event)
        assert list(log.read())[-1] == event


WRITER = """
import itertools, sys, time
from pathlib import Path
from ulid import ULID
from appliance.daemon.sink import PatientSink
from appliance.store import EventLog
from appliance.types import Event

stop = Path(sys.argv[2])
with EventLog(Path(sys.argv[1]), busy_timeout_s=1.0) as log:
    sink = PatientSink(log)
    for number in itertools.count():
        if stop.exists():
            break
        event_id, now = str(ULID()), time.time_ns()
        kind, severity = ("drone", "alert") if number % 3 == 0 else ("dog", "detection")
        for sequence, state in enumerate(("new", "update", "end")):
            sink.append(Event(event_id, sequence, state, kind, 0.9, severity, number + 1, now, now, 0.0, 0.0, True, 0.0, 1.0,
                              "synchronised", False, "north", "mast-1"))
        if severity == "alert":
            print(event_id, flush=True)
        time.sleep(0.02)
    sink.finished([], 0.0)
"""


class Glutton(threading.Thread):
    """Somebody else on the disk, who takes every page as soon as it is free."""

    def __init__(self, disk: Path) -> None:
        super().__init__(daemon=True)
        self._disk = disk
        self._stop_event = threading.Event()

    def run(self) -> None:
        while not self._stop_event.wait(0.01):
            fill(self._disk)

    def stop(self) -> None:
        self._stop_event.set()
        self.join()


def test_alerts_flow_from_a_full_disk_to_the_operator_and_all_is_well_once_there_is_room(
    small_disk: Path, tmp_path: Path, broker: Broker
) -> None:
    """Writer and publisher are processes; somebody else eats the disk all the while."""
    path, site, stop = small_disk / "events.db", tmp_path / "site.toml", tmp_path / "stop"
    site.write_text(
        f"schema = 1\n[unit]\nsite = 'north'\nnode = 'mast-1'\n[store]\npath = '{path}'\n"
        f"[mqtt]\nhost = '127.0.0.1'\nport = {broker.port}\nreconnect_max_s = 0.2\n"
    )
    put_files(small_disk, "clips", 10)
    put_files(small_disk, "tracks", 5)
    EventLog(path).close()
    retain(path, RetentionSettings(), clock_is_set=True)
    glutton = Glutton(small_disk)
    said_file = tmp_path / "said"
    with said_file.open("w") as printed:
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(stop)], stdout=printed)
    publisher = subprocess.Popen([APPLIANCE, "publish", "--site", str(site)])
    try:
        with Subscriber(broker.port) as operator:

            def arrived(state: str) -> set[str]:
                return {
                    message.payload["event_id"]
                    for message in operator.on("alerts")
                    if message.payload["state"] == state
                }

            wait_until(lambda: len(arrived("end")) >= 5, "alerts flow while there is room")
            glutton.start()
            wait_until(lambda: not list(small_disk.rglob("*.bin")), "clips and tracks are gone")
            before = len(arrived("end"))
            wait_until(lambda: len(arrived("end")) >= before + 60, "alerts flow from a disk that stays full")
            assert free_bytes(path) < MB
            assert (writer.poll(), publisher.poll()) == (None, None)
            glutton.stop()
            (small_disk / "of_somebody_else").unlink()

            stop.touch()
            assert writer.wait(timeout=PATIENCE_S) == 0
            said = set(said_file.read_text().split())
            wait_until(lambda: arrived("new") == arrived("end") == said, "every alert has arrived")
            with Outbox(path) as outbox:
                wait_until(lambda: outbox.counts()["pending"] == 0, "nothing waits any more")
    finally:
        stop.touch()
        publisher.terminate()
        writer.wait(timeout=PATIENCE_S)
        assert publisher.wait(timeout=PATIENCE_S) == 0
    assert integrity_faults(path) == []
    retain(path, RetentionSettings(), clock_is_set=True)
    assert held_bytes(path) > 3 * MB
