"""Each schema that was ever shipped is brought up to date, with a copy of it kept; a migration that fails changes nothing."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from conftest import MakeEvent
from sqlite_utils import Database, Migrations

from appliance import wire
from appliance.errors import StoreError
from appliance.store import EventLog, Outbox
from appliance.store.database import integrity_faults, open_database
from appliance.store.entry import _INSERT_EVENT, event_row
from appliance.store.schema import MIGRATIONS
from appliance.store.stamp import Stamp
from appliance.types import Event


def migration_names() -> list[str]:
    with closing(Database(memory=True, execute_plugins=False)) as empty:
        return [migration.name for migration in MIGRATIONS.pending(empty)]


NAMES = migration_names()


def old_log(path: Path, version: int, events: list[Event]) -> None:
    """An event log as a unit of that version left it: its tables, its events, its messages."""
    with closing(Database(path, execute_plugins=False)) as old:
        old.enable_wal()
        MIGRATIONS.apply(old, stop_before=NAMES[version : version + 1])
        for event in events if version >= 1 else []:
            row = old.execute(_INSERT_EVENT, event_row(event, Stamp.now())).lastrowid
            if version >= 2:
                old.execute("INSERT INTO outbox (event_row, kind, priority) VALUES (?, 'events', 1)", [row])
        old.conn.commit()


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@pytest.mark.parametrize("version", range(len(NAMES)), ids=["nothing", *NAMES[:-1]])
def test_every_earlier_schema_is_brought_up_to_date(tmp_path: Path, make_event: MakeEvent, version: int) -> None:
    path = tmp_path / "events.db"
    before = [make_event(severity="detection") for _ in range(3)] if version else []
    old_log(path, version, before)
    with EventLog(path) as log, Outbox(path) as outbox:
        event = make_event()
        log.append(event)
        log.set_state("config", {})
        assert list(log.read()) == [*before, event]
        # Before there was an outbox nothing waited.
        waiting = {(message.kind, message.event_id) for message in outbox.pending(10)}
        assert waiting == {
            ("alerts", event.event_id),
            ("events", event.event_id),
            *(("events", old.event_id) for old in before if version >= 2),
        }
    assert integrity_faults(path) == []


@pytest.mark.parametrize("version", range(1, len(NAMES)))
def test_the_old_schema_is_kept_whole_beside_the_new_one(tmp_path: Path, make_event: MakeEvent, version: int) -> None:
    """Back to the release before: its file is there, with what was in it."""
    path = tmp_path / "events.db"
    events = [make_event() for _ in range(3)]
    old_log(path, version, events)
    old_tables = tables(path)
    EventLog(path).close()
    copy = tmp_path / f"events.db.before-{NAMES[version]}"
    assert tables(copy) == old_tables < tables(path)
    assert integrity_faults(copy) == []
    with closing(sqlite3.connect(copy)) as connection:
        kept = [wire.event_from_json(payload) for (payload,) in connection.execute("SELECT payload FROM events")]
    assert kept == events


def test_a_new_log_and_one_that_is_up_to_date_are_not_copied(tmp_path: Path) -> None:
    for _ in range(2):
        EventLog(tmp_path / "events.db").close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["events.db"]


def with_two_more(fail: bool) -> Migrations:
    """The next release, whose second new migration may meet what it did not expect."""
    newer = Migrations(MIGRATIONS.name)
    for migration in MIGRATIONS._migrations:
        newer(name=migration.name)(migration.fn)

    @newer()
    def m998_renames(db: Database) -> None:
        db.execute("ALTER TABLE events RENAME COLUMN track_id TO tracked_as")

    @newer()
    def m999_counts(db: Database) -> None:
        db.execute("CREATE TABLE counts (n INTEGER NOT NULL) STRICT")
        db.execute("INSERT INTO counts VALUES (?)", ["many" if fail else 1])

    return newer


def test_a_migration_that_fails_changes_nothing_and_says_so(tmp_path: Path, make_event: MakeEvent) -> None:
    """The release before starts on the file as if nothing had been."""
    path = tmp_path / "events.db"
    event = make_event()
    with EventLog(path) as log:
        log.append(event)
    before = tables(path)
    with pytest.raises(StoreError, match=r"events\.db: m999_counts failed \(.*\); nothing was changed; install the"):
        open_database(path, synchronous="FULL", migrations=with_two_more(fail=True))
    assert tables(path) == before
    assert integrity_faults(path) == []
    with EventLog(path) as log:
        log.append(make_event())
        assert next(log.read()) == event

    open_database(path, synchronous="FULL", migrations=with_two_more(fail=False)).close()
    assert tables(path) == {*before, "counts"}
