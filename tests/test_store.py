"""The event log on real files: what was committed is there, in order, and every failure names the file and the remedy."""

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from conftest import MakeEvent
from sqlite_utils import Database, Migrations
from ulid import ULID

from appliance import wire
from appliance.daemon.sink import PatientSink
from appliance.errors import StoreError
from appliance.store import EventLog, Outbox
from appliance.store.database import integrity_faults
from appliance.store.quarantine import quarantine
from appliance.store.schema import MIGRATIONS
from appliance.store.stamp import Stamp
from appliance.types import Event, UnitState


def lifecycle(make_event: MakeEvent, updates: int = 1, **changes: object) -> list[Event]:
    states = ["new", *["update"] * updates, "end"]
    event_id = str(ULID())
    return [
        make_event(event_id=event_id, state=state, sequence=sequence, **changes)
        for sequence, state in enumerate(states)
    ]


def queued(path: Path) -> list[tuple[str, str, int]]:
    """Kind, state and sequence of the pending messages, in the order they would be sent."""
    with Outbox(path) as outbox:
        messages = [(message.kind, json.loads(message.payload)) for message in outbox.pending(1000)]
    return [(kind, payload["state"], payload["sequence"]) for kind, payload in messages]


def test_what_is_appended_is_read_back_unchanged_and_in_order(event_log: EventLog, make_event: MakeEvent) -> None:
    events = [event for _ in range(3) for event in lifecycle(make_event)]
    for event in events:
        event_log.append(event)
    assert list(event_log.read()) == events


def test_columns_hold_what_the_json_holds(event_log: EventLog, make_event: MakeEvent) -> None:
    """An operator's SQL and the subscriber see the same event."""
    event = make_event(clip="01ARZ3NDEKTSV4RRFFQ69G5FAV.flac", clip_state="recording")
    event_log.append(event)
    with closing(Database(event_log.path, execute_plugins=False)) as db:
        (row,) = db["events"].rows
    # What came later than the table only the JSON holds.
    names = [name for name in Event.__slots__ if name not in ("nearest", "height_deg")]
    assert {name: row[name] for name in names} == {name: getattr(event, name) for name in names}


def test_filters_select_and_limit_takes_the_latest(event_log: EventLog, make_event: MakeEvent) -> None:
    drone, dog = make_event(utc_ns=100), make_event(utc_ns=200, class_label="dog", severity="detection")
    end = make_event(event_id=drone.event_id, sequence=1, utc_ns=300, state="end")
    for event in (drone, dog, end):
        event_log.append(event)
    assert list(event_log.read(class_label="dog")) == [dog]
    assert list(event_log.read(state="end")) == [end]
    assert list(event_log.read(severity="alert")) == [drone, end]
    assert list(event_log.read(event_id=drone.event_id)) == [drone, end]
    assert list(event_log.read(since_utc_ns=200)) == [dog, end]
    assert list(event_log.read(until_utc_ns=200)) == [drone]
    assert list(event_log.read(limit=2)) == [dog, end]
    assert list(event_log.read(severity="alert", limit=1)) == [end]
    assert list(event_log.read(class_label="cat", limit=5)) == []


def test_reading_pages_through_a_long_log(event_log: EventLog, make_event: MakeEvent) -> None:
    for track_id in range(1, 512):
        event_log.append(make_event(track_id=track_id))
    assert [event.track_id for event in event_log.read()] == list(range(1, 512))
    assert [event.track_id for event in event_log.read(limit=505)] == list(range(7, 512))


def test_open_events_are_the_latest_states_without_an_end(event_log: EventLog, make_event: MakeEvent) -> None:
    ended, begun, updated = lifecycle(make_event), lifecycle(make_event)[:1], lifecycle(make_event)[:2]
    for event in [*ended, *begun, *updated]:
        event_log.append(event)
    assert event_log.open_events() == [begun[0], updated[1]]


def test_a_repeated_sequence_is_refused_and_leaves_nothing_behind(event_log: EventLog, make_event: MakeEvent) -> None:
    event = make_event()
    event_log.append(event)
    with pytest.raises(StoreError, match="UNIQUE"):
        event_log.append(event)
    assert list(event_log.read()) == [event]
    assert queued(event_log.path) == [("alerts", "new", 0), ("events", "new", 0)]


def test_alerts_hold_only_what_opens_and_closes_an_alert(event_log: EventLog, make_event: MakeEvent) -> None:
    for event in [*lifecycle(make_event, severity="alert"), *lifecycle(make_event, severity="detection")]:
        event_log.append(event)
    assert [entry for entry in queued(event_log.path) if entry[0] == "alerts"] == [
        ("alerts", "new", 0),
        ("alerts", "end", 2),
    ]


def test_an_event_that_becomes_an_alert_is_announced_once(event_log: EventLog, make_event: MakeEvent) -> None:
    new, *updates, end = lifecycle(make_event, updates=3)
    severities = ["detection", "detection", "alert", "alert", "detection"]
    for event, severity in zip([new, *updates, end], severities, strict=True):
        event_log.append(
            make_event(event_id=new.event_id, state=event.state, sequence=event.sequence, severity=severity)
        )
    alerts = [entry for entry in queued(event_log.path) if entry[0] == "alerts"]
    assert alerts == [("alerts", "update", 2), ("alerts", "end", 4)]


def test_outbox_sends_alerts_first_and_keeps_each_event_in_order(event_log: EventLog, make_event: MakeEvent) -> None:
    for event in [*lifecycle(make_event, severity="detection"), *lifecycle(make_event, severity="alert")]:
        event_log.append(event)
    with Outbox(event_log.path) as outbox:
        order = [(message.kind, json.loads(message.payload)) for message in outbox.pending(100)]
    assert [(kind, payload["severity"], payload["state"]) for kind, payload in order] == [
        ("alerts", "alert", "new"),
        ("alerts", "alert", "end"),
        ("events", "alert", "new"),
        ("events", "detection", "new"),
        ("events", "detection", "update"),
        ("events", "detection", "end"),
        ("events", "alert", "update"),
        ("events", "alert", "end"),
    ]


def test_a_message_is_pending_until_it_is_settled(event_log: EventLog, make_event: MakeEvent) -> None:
    for _ in range(4):
        event_log.append(make_event(severity="detection"))
    with Outbox(event_log.path) as outbox:
        first, second, third, fourth = (message.outbox_id for message in outbox.pending(10))
        assert [message.outbox_id for message in outbox.pending(2, sent=[first])] == [second, third]
        outbox.settle([first], "delivered")
        outbox.settle([second], "expired")
        assert [message.outbox_id for message in outbox.pending(10)] == [third, fourth]
        assert outbox.counts() == {"pending": 2, "delivered": 1, "superseded": 0, "expired": 1}
        outbox.settle([first], "expired")
        assert outbox.counts()["delivered"] == 1


def test_only_updates_that_a_later_change_makes_stale_are_called_stale(
    event_log: EventLog, make_event: MakeEvent
) -> None:
    ended, running = lifecycle(make_event, 3, severity="detection"), lifecycle(make_event, 3, severity="detection")[:-1]
    for event in [*ended, *running]:
        event_log.append(event)
    with Outbox(event_log.path) as outbox:
        waiting = outbox.pending(20)
        assert outbox.latest_id() == max(message.outbox_id for message in waiting)
    told = [
        (message.is_stale, message.is_open, json.loads(message.payload)["state"], message.event_id)
        for message in waiting
    ]
    assert sorted(told, key=lambda each: each[:3]) == [
        (False, False, "end", ended[0].event_id),
        (False, False, "new", ended[0].event_id),
        (False, True, "new", running[0].event_id),
        (False, True, "update", running[0].event_id),
        *[(True, False, "update", ended[0].event_id)] * 3,
        *[(True, True, "update", running[0].event_id)] * 2,
    ]


def test_outbox_notices_what_another_process_commits(event_log: EventLog, make_event: MakeEvent) -> None:
    with Outbox(event_log.path) as outbox:
        assert outbox.changed()
        assert not outbox.changed()
        event_log.append(make_event())
        assert outbox.changed()
        assert not outbox.changed()


def test_age_does_not_follow_a_clock_that_is_set(tmp_path: Path, make_event: MakeEvent) -> None:
    """The network comes, and with it the right time: an alert of a minute ago is not ten years old."""
    year_ns = 365 * 86_400 * 1_000_000_000
    before = Stamp(utc_ns=0, boot_id="first", boot_ns=5_000_000_000)
    same_boot = Stamp(utc_ns=10 * year_ns, boot_id="first", boot_ns=65_000_000_000)
    clock_set_back = Stamp(utc_ns=-year_ns, boot_id="first", boot_ns=65_000_000_000)
    next_boot = Stamp(utc_ns=90_000_000_000, boot_id="second", boot_ns=1)
    with EventLog(tmp_path / "events.db", clock=lambda: before) as log:
        log.append(make_event(severity="detection"))
    for now, age_s in ((same_boot, 60.0), (clock_set_back, 60.0), (next_boot, 90.0)):
        with Outbox(tmp_path / "events.db", clock=lambda now=now: now) as outbox:  # type: ignore[misc]
            assert [message.age_s for message in outbox.pending(1)] == [age_s]


def test_across_boots_nothing_is_younger_than_the_boot_and_years_of_an_unset_clock_are_no_age(
    tmp_path: Path, make_event: MakeEvent
) -> None:
    """No battery-backed clock: an alert from just before a power cut neither expires at once nor counts as new for ever."""
    long_ago = Stamp(utc_ns=0, boot_id="first", boot_ns=5_000_000_000)
    now = Stamp(utc_ns=1_790_000_000_000_000_000, boot_id="second", boot_ns=40_000_000_000)
    set_back = Stamp(utc_ns=-1_000_000_000, boot_id="second", boot_ns=40_000_000_000)
    path = tmp_path / "events.db"
    with EventLog(path, clock=lambda: long_ago) as log:
        log.append(make_event(severity="detection", clock="unsynchronised"))
        log.append(make_event(severity="detection", clock="synchronised"))
        log.set_state("sensor", {"hearing": True, "faults": []})
    for then, ages_s in ((now, [40.0, 1_790_000_000.0]), (set_back, [40.0, 40.0])):
        with Outbox(path, clock=lambda then=then: then) as outbox:  # type: ignore[misc]
            assert [message.age_s for message in outbox.pending(2)] == ages_s
    with EventLog(path, clock=lambda: set_back) as log:
        assert log.states()["sensor"].age_s == 40.0


def test_a_stamp_of_now_moves_on() -> None:
    first, second = Stamp.now(), Stamp.now()
    assert first.boot_id == second.boot_id != ""
    assert second.boot_ns > first.boot_ns


def test_unit_state_keeps_the_latest_of_each_key_with_its_age(tmp_path: Path) -> None:
    seconds = iter([10, 20, 30, 45])
    with EventLog(tmp_path / "events.db", clock=lambda: Stamp(0, "boot", next(seconds) * 1_000_000_000)) as log:
        log.set_state("sensor", {"hearing": True, "faults": []})
        log.set_state("sensor", {"hearing": False, "faults": ["microphone 3 is dead"]})
        log.set_state("config", {"array": "ring8"})
        assert log.states() == {
            "sensor": UnitState({"hearing": False, "faults": ["microphone 3 is dead"]}, age_s=25.0),
            "config": UnitState({"array": "ring8"}, age_s=15.0),
        }


def test_file_is_in_wal_mode_with_every_migration_recorded(event_log: EventLog) -> None:
    db = Database(event_log.path, execute_plugins=False)
    assert db.journal_mode == "wal"
    assert [migration.name for migration in MIGRATIONS.applied(db)][:2] == ["m001_events", "m002_outbox"]
    assert MIGRATIONS.pending(db) == []
    db.close()


def test_many_processes_may_start_at_once(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from appliance.store import EventLog; EventLog(Path(sys.argv[1])).close()"
    starts = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "events.db")]) for _ in range(6)]
    assert [start.wait(timeout=60) for start in starts] == [0] * 6


def test_a_newer_schema_is_left_alone(event_log: EventLog) -> None:
    db = Database(event_log.path, execute_plugins=False)
    db.table("_sqlite_migrations").insert(
        {"migration_set": MIGRATIONS.name, "name": "m999_future", "applied_at": "later"}
    )
    db.close()
    with pytest.raises(StoreError, match="newer version"):
        EventLog(event_log.path)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere/events\.db: the directory does not exist; make it"):
        EventLog(tmp_path / "nowhere" / "events.db")


def test_a_folder_that_the_service_sees_read_only_leads_to_its_unit(small_disk: Path, make_event: MakeEvent) -> None:
    """As ProtectSystem=strict shows it, whoever owns the folder."""
    with EventLog(small_disk / "events.db") as log:
        log.append(make_event())
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for name in ("events.db", "not-there-yet.db"):
        with pytest.raises(StoreError, match=rf"{name}: .* ReadWritePaths={small_disk}$"):
            EventLog(small_disk / name)
    with pytest.raises(StoreError, match="to read the log, copy it and its -wal"):
        EventLog(small_disk / "events.db", read_only=True)


def test_reading_a_missing_log_does_not_make_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such event log"):
        EventLog(tmp_path / "events.db", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_reading_alone_works_beside_the_writer_and_cannot_write(event_log: EventLog, make_event: MakeEvent) -> None:
    event = make_event()
    event_log.append(event)
    with EventLog(event_log.path, read_only=True) as reader:
        assert list(reader.read()) == [event]
        with pytest.raises(StoreError, match="may not be written"):
            reader.append(make_event())


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(b"not a database, but somebody's notes. " * 200)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"events\.db: this is not an event log"):
        EventLog(path, read_only=read_only)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("read_only", "replace_corrupt"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("migrated", [False, True])
def test_another_programs_sqlite_file_is_refused_and_left_as_it_was(
    tmp_path: Path, read_only: bool, replace_corrupt: bool, migrated: bool
) -> None:
    path = tmp_path / "other.db"
    with closing(Database(path, execute_plugins=False)) as other:
        if migrated:
            theirs = Migrations("somebody.else")
            theirs(name="m001")(lambda db: db.table("notes").create({"text": str}))
            theirs.apply(other)
        other.table("notes").insert({"text": "hello"})
    before = path.read_bytes()
    with pytest.raises(
        StoreError, match=r"other\.db: not an event log but another program's .*'notes'\); give another"
    ):
        EventLog(path, read_only=read_only, replace_corrupt=replace_corrupt)
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("other.db", before)]


def test_an_empty_file_becomes_a_log(tmp_path: Path, make_event: MakeEvent) -> None:
    (tmp_path / "events.db").touch()
    with EventLog(tmp_path / "events.db") as log:
        log.append(make_event())
    assert integrity_faults(log.path) == []


def test_a_corrupt_file_is_reported(event_log: EventLog, make_event: MakeEvent) -> None:
    for _ in range(200):
        event_log.append(make_event())
    event_log.close()
    raw = bytearray(event_log.path.read_bytes())
    raw[4096 * 3 :] = os.urandom(len(raw) - 4096 * 3)
    event_log.path.write_bytes(raw)
    assert integrity_faults(event_log.path) != []
    with pytest.raises(StoreError, match=r"events\.db: it is corrupt"), EventLog(event_log.path) as log:
        list(log.read())


def test_a_locked_file_is_reported_and_nothing_is_half_written(event_log: EventLog, make_event: MakeEvent) -> None:
    with EventLog(event_log.path, busy_timeout_s=0.05) as log:
        holder = sqlite3.connect(event_log.path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"events\.db: another program holds it"):
            log.append(make_event())
        holder.execute("ROLLBACK")
        holder.close()
        event = make_event()
        log.append(event)
        assert list(log.read()) == [event]


def test_a_full_disk_is_reported_and_the_log_recovers(event_log: EventLog, make_event: MakeEvent) -> None:
    """SQLite's page limit fails as a full disk does, by SQLITE_FULL."""
    kept = make_event()
    event_log.append(kept)
    pages = event_log._db.execute("PRAGMA page_count").fetchone()[0]
    event_log._db.execute(f"PRAGMA max_page_count = {pages}")
    events = (make_event(class_label="x" * 3000) for _ in range(100))
    with pytest.raises(StoreError, match=r"events\.db: the disk is full; free space"):
        deque(map(event_log.append, events), maxlen=0)
    stored = len(list(event_log.read()))
    event_log._db.execute("PRAGMA max_page_count = 1000000")
    last = make_event()
    event_log.append(last)
    after = list(event_log.read())
    assert (after[0], after[-1], len(after)) == (kept, last, stored + 1)


WRITER = """
import sys
from pathlib import Path
from ulid import ULID
from appliance.store import EventLog
from appliance.types import Event, UnitState

log = EventLog(Path(sys.argv[1]))
for track_id in range(1, 1_000_000):
    log.append(Event(str(ULID()), 0, "new", "drone", 0.9, "alert", track_id, 0, 0, 0.0, 0.0, True, 0.0, 1.0,
                     "synchronised", False, "north", "mast-1"))
    print(track_id, flush=True)
"""


def test_kill_9_of_the_writer_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    acknowledged = 0
    for kills in range(1, 6):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                if int(line) == 7 * kills:
                    break
            writer.send_signal(signal.SIGKILL)
            acknowledged += 7 * kills + len(writer.stdout.read().split())
        assert integrity_faults(path) == []
        with EventLog(path) as log, Outbox(path) as outbox:
            stored = [event.event_id for event in log.read()]
            assert len(set(stored)) == len(stored)
            # A commit whose line was not yet printed may be there too: at most one per kill.
            assert acknowledged <= len(stored) <= acknowledged + kills
            assert outbox.counts()["pending"] == 2 * len(stored)


def damage(path: Path, pages: range) -> None:
    """Overwrite pages, as a dying card does."""
    raw = bytearray(path.read_bytes())
    for page in pages:
        raw[4096 * page : 4096 * (page + 1)] = os.urandom(4096)
    path.write_bytes(raw)


def test_a_corrupt_log_is_kept_aside_and_a_new_one_begun(tmp_path: Path, make_event: MakeEvent) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(bytes(8192))
    with EventLog(path, replace_corrupt=True) as log:
        event = make_event()
        log.append(event)
        assert list(log.read()) == [event]
        (loss,) = log.losses
    (kept,) = tmp_path.glob("events.db.corrupt-*")
    assert kept.read_bytes() == bytes(8192)
    assert loss == (
        f"the event log was corrupt and begun anew; the old one is kept as {kept}, 0 undelivered events are carried over"
    )


def test_damage_while_it_runs_costs_no_event_that_comes_after(tmp_path: Path, make_event: MakeEvent) -> None:
    path = tmp_path / "events.db"
    with EventLog(path, replace_corrupt=True) as log:
        for _ in range(100):
            log.append(make_event())
        log._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        damage(path, range(1, path.stat().st_size // 4096))
        # A fresh cache, as memory pressure or a restart gives it.
        log._db.execute("PRAGMA shrink_memory")
        after = [make_event() for _ in range(3)]
        for event in after:
            log.append(event)
        assert list(log.read())[-3:] == after
        assert len(log.losses) == 1
    assert integrity_faults(path) == []


def test_undelivered_events_are_carried_over_where_they_can_be_read(tmp_path: Path, make_event: MakeEvent) -> None:
    path = tmp_path / "events.db"
    delivered, waiting = make_event(severity="detection"), lifecycle(make_event, severity="alert")
    with EventLog(path) as log, Outbox(path) as outbox:
        log.append(delivered)
        outbox.settle([message.outbox_id for message in outbox.pending(1)], "delivered")
        for event in waiting:
            log.append(event)
        # Something that only a write stumbles on: the index over times.
        root = log._db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events_by_time'").fetchone()[0]
        log._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damage(path, range(root - 1, root))
    with EventLog(path, replace_corrupt=True) as log:
        latest = make_event(severity="detection")
        log.append(latest)
        assert list(log.read()) == [*waiting, latest]
        assert "3 undelivered events are carried over" in log.losses[0]
    assert [entry for entry in queued(path) if entry[0] == "alerts"] == [("alerts", "new", 0), ("alerts", "end", 2)]


def test_what_waits_is_carried_over_around_a_damaged_page(tmp_path: Path, make_event: MakeEvent) -> None:
    """One page of many costs the rows that were in it, and none that come after."""
    path = tmp_path / "events.db"
    with EventLog(path) as log:
        events = [make_event(track_id=number) for number in range(1, 201)]
        for event in events:
            log.append(event)
        log._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        raw = path.read_bytes()
        leaves = [
            page
            for page in range(2, len(raw) // 4096)
            if raw[4096 * page] == 13 and b'"drone"' in raw[4096 * page :][:4096]
        ]
    damage(path, range(leaves[20], leaves[20] + 1))
    damage(path, range(log_page(path, "events_by_time"), log_page(path, "events_by_time") + 1))
    with EventLog(path, replace_corrupt=True) as log:
        log.append(make_event(track_id=201))
        kept = [event.track_id for event in log.read()]
        assert kept[-1] == 201
        assert 180 < len(kept) < 201
        assert "the old one is kept" in log.losses[0]
    assert integrity_faults(path) == []


def log_page(path: Path, name: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [name]).fetchone()[0]
    return int(root) - 1


KILLED_AT_THE_SALVAGE = """
import os, sys
from pathlib import Path
from appliance.store import EventLog

def kill(event, arguments):
    if event == "sqlite3.connect" and "mode=ro" in str(arguments[0]):
        os._exit(9)

sys.addaudithook(kill)
EventLog(Path(sys.argv[1]), replace_corrupt=True)
"""


def test_a_kill_while_a_damaged_log_is_read_does_not_begin_with_it_again(tmp_path: Path, make_event: MakeEvent) -> None:
    """A large one takes seconds, and the watchdog has no patience."""
    path = tmp_path / "events.db"
    with EventLog(path) as log:
        log.append(make_event())
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert subprocess.run([sys.executable, "-c", KILLED_AT_THE_SALVAGE, path], check=False).returncode == 9
    with EventLog(path, replace_corrupt=True) as log:
        assert log.losses == []
        log.append(make_event())
    assert len([kept for kept in tmp_path.glob("events.db.corrupt-*") if kept.suffix[-4:] not in ("-wal", "-shm")]) == 1


def test_of_a_damaged_log_only_what_waits_is_read(tmp_path: Path, make_event: MakeEvent) -> None:
    """However many events were delivered; counted in calls, for a clock would tell of the machine."""
    path = tmp_path / "events.db"
    waiting = make_event(severity="detection")
    with EventLog(path) as log:
        log.append(make_event())
        db = log._db.conn
        columns = [row[1] for row in db.execute("PRAGMA table_info(events)")]
        copied = ", ".join("'x' || n" if name == "event_id" else name for name in columns[1:])
        numbers = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 5000)"
        db.execute(f"INSERT INTO events ({', '.join(columns[1:])}) {numbers} SELECT {copied} FROM events, numbers")  # noqa: S608 - columns are ours
        db.execute(
            "INSERT INTO outbox (event_row, kind, priority, outcome) SELECT id, 'events', 2, 'delivered' FROM events"
        )
        db.execute("UPDATE outbox SET outcome = 'delivered'")
        db.commit()
        log.append(waiting)
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        _, carried = quarantine(path)
    finally:
        sys.setprofile(None)
    assert carried == [waiting]
    assert calls < 5_000


def test_a_heartbeat_finds_the_damage_too(tmp_path: Path, make_event: MakeEvent) -> None:
    path = tmp_path / "events.db"
    with EventLog(path, replace_corrupt=True) as log:
        log.append(make_event())
        log._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        damage(path, range(1, path.stat().st_size // 4096))
        log._db.execute("PRAGMA shrink_memory")
        log.set_state("sensor", {"hearing": True, "faults": []})
        assert log.states()["sensor"].value == {"hearing": True, "faults": []}
        assert len(log.losses) == 1


@pytest.mark.usefixtures("silent_disk")
def test_a_disk_that_does_not_say_how_full_it_is_is_written_to(event_log: EventLog, make_event: MakeEvent) -> None:
    event = make_event()
    event_log.append(event)
    event_log.set_state("sensor", {"hearing": True, "faults": []})
    with Outbox(event_log.path) as outbox:
        outbox.settle([message.outbox_id for message in outbox.pending(10)], "delivered")
        assert outbox.counts()["delivered"] == 2
    assert list(event_log.read()) == [event]


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("events", lambda log: list(log.read())),
        ("events_by_state", lambda log: log.open_events()),
        ("unit_state", lambda log: log.states()),
    ],
)
def test_a_read_finds_the_damage_too(
    tmp_path: Path, make_event: MakeEvent, name: str, read: Callable[[EventLog], object]
) -> None:
    path = tmp_path / "events.db"
    with EventLog(path) as log:
        log.append(make_event())
        log.set_state("sensor", {})
        log._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    damage(path, range(log_page(path, name), log_page(path, name) + 1))
    with EventLog(path) as log, pytest.raises(StoreError, match="it is corrupt"):
        read(log)
    with EventLog(path, replace_corrupt=True) as log:
        read(log)
        assert len(log.losses) == 1
    assert integrity_faults(path) == []


def test_events_wait_while_the_folder_of_the_log_is_gone(tmp_path: Path, make_event: MakeEvent) -> None:
    """What is written to a file that was taken away, nobody would ever read."""
    path = tmp_path / "log" / "events.db"
    path.parent.mkdir()
    events = [make_event() for _ in range(3)]
    with EventLog(path, replace_corrupt=True) as log:
        sink = PatientSink(log)
        sink.append(events[0])
        shutil.rmtree(path.parent)
        sink.append(events[1])
        assert "the directory does not exist" in sink.fault
        with pytest.raises(StoreError):
            log.set_state("sensor", {})
        path.parent.mkdir()
        sink.append(events[2])
        sink.finished([], 0.0)
        assert list(log.read()) == events[1:]
        assert log.losses == [f"the event log was taken away and begun anew at {path}"]


def test_a_corrupt_log_that_cannot_be_moved_is_tried_again(tmp_path: Path, make_event: MakeEvent) -> None:
    path = tmp_path / "events.db"
    events = [make_event(), make_event()]
    with EventLog(path, replace_corrupt=True) as log:
        log.append(events[0])
        log._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        damage(path, range(log_page(path, "events_by_time"), log_page(path, "events_by_time") + 1))
        log._db.execute("PRAGMA shrink_memory")
        with pytest.MonkeyPatch.context() as broken:
            broken.setattr(Path, "rename", refused)
            for _ in range(2):
                with pytest.raises(StoreError, match="it is corrupt and cannot be moved away: Read-only file system"):
                    log.append(events[1])
        log.append(events[1])
        assert list(log.read()) == events


def refused(*_: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_what_a_new_log_refuses_keeps_out_nothing_else(tmp_path: Path, make_event: MakeEvent) -> None:
    """Two rows of a damaged log may claim to be the same state change."""
    path = tmp_path / "events.db"
    first, second, third = make_event(), make_event(), make_event()
    with EventLog(path) as log:
        for event in (first, second):
            log.append(event)
        log._db.execute("UPDATE events SET payload = ? WHERE id = 2", [wire.event_to_json(first)])
        log._db.conn.commit()
        log._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    damage(path, range(log_page(path, "events_by_time"), log_page(path, "events_by_time") + 1))
    with EventLog(path, replace_corrupt=True) as log:
        log.append(third)
        assert list(log.read()) == [first, third]


def test_without_leave_nothing_is_moved(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(bytes(8192))
    with pytest.raises(StoreError, match="not an event log"):
        EventLog(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["events.db"]


def test_a_heartbeat_does_not_weaken_the_events_after_it(event_log: EventLog) -> None:
    event_log.set_state("sensor", {"hearing": True, "faults": []})
    full = 2
    assert event_log._db.execute("PRAGMA synchronous").fetchone()[0] == full
