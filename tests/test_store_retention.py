"""Quotas by age and by size, a clock that jumps, a write-ahead log that grows: what goes, and what never does."""

import os
import sqlite3
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from conftest import MakeEvent

from appliance.config import RetentionSettings
from appliance.store import EventLog, Outbox
from appliance.store.database import WAL_LIMIT_BYTES, integrity_faults, open_database
from appliance.store.ladder import shed_events
from appliance.store.removal import Removal
from appliance.store.reserve import free_inside, held_bytes
from appliance.store.retention import retain, used_bytes, wal_bytes
from appliance.store.stamp import Stamp
from appliance.types import Event

DAY_NS = 86_400 * 1_000_000_000
T0_NS = 1_790_000_000 * 1_000_000_000
KB = 1000


def at(days: float, boot: str = "first", boot_days: float | None = None) -> Stamp:
    """So many days after the beginning, by a clock that is right."""
    return Stamp(T0_NS + int(days * DAY_NS), boot, int((days if boot_days is None else boot_days) * DAY_NS))


def logged(path: Path, make_event: MakeEvent, when: Stamp, *, end: bool = True, **changes: object) -> str:
    """An event that began and ended at a time of the unit; returns its id."""
    new = make_event(utc_ns=when.utc_ns, **{"severity": "detection", **changes})
    states = [
        new,
        make_event(**{name: getattr(new, name) for name in Event.__slots__} | {"sequence": 1, "state": "end"}),
    ]
    with EventLog(path, clock=lambda: when) as log:
        for event in states if end else states[:1]:
            log.append(event)
    return new.event_id


def deliver_all(path: Path) -> None:
    with Outbox(path) as outbox:
        outbox.settle([message.outbox_id for message in outbox.pending(10_000)], "delivered")


def left(path: Path) -> set[str]:
    with EventLog(path, read_only=True) as log:
        return {event.event_id for event in log.read()}


def quotas(**settings: int) -> RetentionSettings:
    return RetentionSettings(**{"reserve_mb": 0, "free_mb": 0, **settings})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def test_old_detections_go_once_they_ended_and_are_delivered_and_alerts_stay(path: Path, make_event: MakeEvent) -> None:
    gone = logged(path, make_event, at(0))
    alert = logged(path, make_event, at(0), severity="alert")
    running = logged(path, make_event, at(0), end=False)
    deliver_all(path)
    waiting, recent = logged(path, make_event, at(0)), logged(path, make_event, at(2))
    removals = retain(path, quotas(detections_days=30), clock_is_set=True, now=at(31))
    assert [(removal.kind, removal.cause, removal.items) for removal in removals] == [("detections", "age", 2)]
    assert left(path) == {alert, running, waiting, recent}
    assert gone not in left(path)
    with Outbox(path) as outbox:
        assert outbox.counts()["pending"] == 4
    assert integrity_faults(path) == []


def test_alerts_go_by_age_only_where_the_site_file_says_so_and_never_undelivered(
    path: Path, make_event: MakeEvent
) -> None:
    gone = logged(path, make_event, at(0), severity="alert")
    deliver_all(path)
    waiting = logged(path, make_event, at(0), severity="alert")
    assert retain(path, quotas(), clock_is_set=True, now=at(5000)) == []
    assert left(path) == {gone, waiting}
    retain(path, quotas(alerts_days=30), clock_is_set=True, now=at(31))
    assert left(path) == {waiting}


def test_an_event_that_ever_was_an_alert_is_one(path: Path, make_event: MakeEvent) -> None:
    new = make_event(utc_ns=T0_NS)
    with EventLog(path, clock=lambda: at(0)) as log:
        log.append(new)
        log.append(make_event(event_id=new.event_id, sequence=1, state="end", severity="detection", utc_ns=T0_NS))
    deliver_all(path)
    assert retain(path, quotas(detections_days=1, events_mb=1), clock_is_set=True, now=at(100)) == []


@pytest.mark.parametrize(
    ("committed", "clock", "now", "clock_is_set", "goes"),
    [
        (at(0), "synchronised", at(31), True, True),
        (at(0), "synchronised", at(31), False, False),  # nobody vouches for the present
        (at(0), "unsynchronised", at(31), True, True),  # one boot: counted since boot
        (at(0), "synchronised", at(9000, boot_days=1), True, False),  # the clock jumped ahead by years
        (at(0), "synchronised", at(-9000, boot_days=31), True, False),  # and back: kept until it is right again
        (at(0), "synchronised", at(31, "second", 0), True, True),
        (at(0), "unsynchronised", at(31, "second", 0), True, False),  # nobody knows when it was
        (at(9000), "synchronised", at(31, "second", 0), True, False),  # committed in what is now the future
    ],
)
def test_a_clock_that_jumps_ages_nothing(
    path: Path, make_event: MakeEvent, committed: Stamp, clock: str, now: Stamp, clock_is_set: bool, goes: bool
) -> None:
    logged(path, make_event, committed, clock=clock)
    deliver_all(path)
    retain(path, quotas(detections_days=30), clock_is_set=clock_is_set, now=now)
    assert (left(path) == set()) is goes


def test_a_log_beyond_its_size_loses_its_oldest_detections(path: Path, make_event: MakeEvent) -> None:
    alert = logged(path, make_event, at(0), severity="alert", class_label="x" * 50_000)
    ids = [logged(path, make_event, at(number), class_label="x" * 20_000) for number in range(30)]
    deliver_all(path)
    retain(path, quotas(events_mb=2), clock_is_set=False)
    kept = left(path)
    assert alert in kept
    assert kept - {alert} == set(ids[len(ids) - len(kept) + 1 :]) != set(ids)
    with EventLog(path) as log:
        assert used_bytes(log._db) <= 2_000_000
    assert retain(path, quotas(events_mb=2), clock_is_set=False) == []


def put_file(path: Path, kind: str, name: str, size_bytes: int, age_days: float) -> Path:
    file = path.parent / kind / "day" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(os.urandom(size_bytes))
    when_ns = time.time_ns() - int(age_days * DAY_NS)
    os.utime(file, ns=(when_ns, when_ns))
    return file


def test_clips_and_tracks_keep_within_age_and_size(path: Path) -> None:
    old, first, second = (
        put_file(path, "clips", name, 600 * KB, age) for name, age in (("old", 31), ("first", 2), ("second", 1))
    )
    undated = put_file(path, "tracks", "undated", 100 * KB, 365 * 50)
    recent = put_file(path, "tracks", "recent", 100 * KB, 0)
    settings = quotas(clips_days=30, clips_mb=1, tracks_days=1, tracks_mb=1)
    retain(path, settings, clock_is_set=False)
    assert [file.exists() for file in (old, first, second, undated, recent)] == [False, False, True, True, True]
    old = put_file(path, "clips", "old", 1 * KB, 31)
    retain(path, settings, clock_is_set=True)
    assert [file.exists() for file in (old, second, undated, recent)] == [False, True, True, True]


def test_the_latest_copies_of_each_sort_are_kept(path: Path) -> None:
    EventLog(path).close()
    for number in range(5):
        for sort in ("corrupt", "before"):
            copy = path.with_name(f"{path.name}.{sort}-{number}")
            copy.write_bytes(b"copy")
            copy.with_name(copy.name + "-wal").write_bytes(b"log")
            os.utime(copy, ns=(number, number))
    retain(path, quotas(), clock_is_set=True)
    names = sorted(entry.name for entry in path.parent.iterdir() if "copy" not in entry.name)
    expected = {
        f"{path.name}.{sort}-{number}{wal}"
        for sort in ("corrupt", "before")
        for number in (2, 3, 4)
        for wal in ("", "-wal")
    }
    assert set(names) - {path.name} == expected


def test_what_was_removed_is_on_record(path: Path, make_event: MakeEvent) -> None:
    for day in range(2):
        logged(path, make_event, at(day))
        deliver_all(path)
        retain(path, quotas(detections_days=1), clock_is_set=True, now=at(day + 1.5))
    put_file(path, "clips", "old", KB, 40)
    retain(path, quotas(), clock_is_set=True)
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT kind, cause, items FROM removals ORDER BY kind").fetchall()
    assert rows == [("clips", "age", 1), ("detections", "age", 4)]


def test_detections_that_went_undelivered_are_told_for_a_day(path: Path, make_event: MakeEvent) -> None:
    logged(path, make_event, at(0))
    shed(path, at(0))
    assert left(path) == set()
    for days, told in ((0.9, True), (1.1, False), (-0.1, True), (-365.0, False)):
        with Outbox(path, clock=partial(at, days)) as outbox:
            assert outbox.shed() == told


def test_delivered_detections_that_went_are_no_fault(path: Path, make_event: MakeEvent) -> None:
    logged(path, make_event, at(0))
    deliver_all(path)
    shed(path, at(0))
    assert left(path) == set()
    with Outbox(path, clock=lambda: at(0)) as outbox:
        assert not outbox.shed()


def shed(path: Path, now: Stamp) -> None:
    """What the timer does on a disk that somebody else keeps full."""
    with closing(open_database(path, synchronous="NORMAL")) as db:
        assert [*shed_events(db, lambda: False, now)]


def test_room_is_held_back_once_and_not_written_again(path: Path) -> None:
    with EventLog(path) as log:
        retain(path, RetentionSettings(reserve_mb=2), clock_is_set=True)
        assert held_bytes(path) == 1_000_000
        assert free_inside(log._db) >= 1_000_000
        before = path.stat().st_size, wal_bytes(path), path.with_name("events.db.reserve").stat().st_mtime_ns
        retain(path, RetentionSettings(reserve_mb=2), clock_is_set=True)
        assert before == (path.stat().st_size, wal_bytes(path), path.with_name("events.db.reserve").stat().st_mtime_ns)
        retain(path, RetentionSettings(reserve_mb=0), clock_is_set=True)
        assert held_bytes(path) == 0


def test_a_reader_without_an_end_lets_the_write_ahead_log_grow_and_it_shrinks_after(
    path: Path, make_event: MakeEvent, caplog: pytest.LogCaptureFixture
) -> None:
    with EventLog(path) as log, closing(sqlite3.connect(path, isolation_level=None)) as reader:
        log.append(make_event())
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        while wal_bytes(path) < 2 * WAL_LIMIT_BYTES:
            log.append(make_event(class_label="x" * 200_000))
        retain(path, quotas(), clock_is_set=True)
        assert "somebody reads it without an end" in caplog.text
        assert wal_bytes(path) >= 2 * WAL_LIMIT_BYTES
        reader.execute("ROLLBACK")
        retain(path, quotas(), clock_is_set=True)
        assert wal_bytes(path) <= WAL_LIMIT_BYTES
    assert integrity_faults(path) == []


def test_without_an_event_log_only_files_are_looked_after(path: Path) -> None:
    file = put_file(path, "clips", "old", KB, 40)
    assert retain(path, quotas(), clock_is_set=True) == [Removal("clips", "age", 1, 4096)]
    assert not file.exists()
    assert not path.exists()
