"""A sound event log made of a damaged one, with every row that can still be read."""

import contextlib
import fcntl
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlite_utils import Database

from appliance import wire
from appliance.errors import StoreError, WireError
from appliance.store import chain
from appliance.store.copies import settle_file
from appliance.store.database import open_database, transaction, translated
from appliance.store.quarantine import move_aside
from appliance.store.salvage import last_row_id, readable_rows

# SQLite's locking bytes: whoever has a log in WAL mode open holds a read lock on these.
_SHARED_FIRST, _SHARED_BYTES = 0x40000000 + 2, 510


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair saved."""

    kept_as: Path
    """Where the damaged file lies now."""
    saved: int
    """State changes of events that are in the new log."""
    lost: int
    """State changes that were committed once, and are neither there nor removed by retention."""
    waiting: int
    """Messages in the new log that wait to be delivered."""
    broken_chain: str
    """Why the hash chain could not be kept, so that it was begun anew; empty where it could, or was none."""


def unreadable_rows(db: Database) -> list[str]:
    """A sentence for each state change of which no event can be made: damage to a text that SQLite cannot tell."""
    faults = []
    for row_id, payload in db.execute("SELECT id, payload FROM events ORDER BY id"):
        try:
            wire.event_from_json(payload)
        except WireError as error:
            faults.append(f"row {row_id}: {error}")
    return faults


def is_in_use(path: Path) -> bool:
    """True where another process has the event log open. Nobody of this process may have."""
    with path.open("rb+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_BYTES, _SHARED_FIRST)
        except BlockingIOError:
            return True
    return False


def repair(path: Path) -> Repair:
    """Put a new log in the place of a damaged one; the old one is kept beside it.

    Raises `StoreError` where the log is in use, nothing of it can be read, or a file cannot be written; the old one
    then lies where it lay.
    """
    try:
        if is_in_use(path):
            raise StoreError(f"{path}: it is in use; stop the services first: systemctl stop 'appliance-*'")
        begun = path.with_name(f"{path.name}.repair")
        _remove(begun)
        try:
            with closing(open_database(begun, synchronous="NORMAL")) as new, translated(path):
                saved, lost, waiting = _copy(path, new)
            broken_chain = _mend_chain(begun)
            if not saved:
                raise StoreError(
                    f"{path}: no event in it can be read; start the sensor, which keeps it aside and begins a new one"
                )
            settle_file(begun, like=path)
            kept_as = move_aside(path)
            begun.rename(path)
        finally:
            _remove(begun)
    except OSError as error:
        raise StoreError(
            f"{error.filename or path}: {error.strerror}; run it as root: sudo appliance db repair"
        ) from error
    return Repair(kept_as, saved, lost, waiting, broken_chain)


def _copy(path: Path, new: Database) -> tuple[int, int, int]:
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as old:
        # Messages are checked against their events once all are there.
        new.execute("PRAGMA foreign_keys = OFF")
        with transaction(new):
            for table in new.table_names():
                if not table.startswith(("sqlite_", "_sqlite_")):
                    _copy_table(old, new, table)
            for table in ("outbox", "clips"):
                new.execute(f"DELETE FROM {table} WHERE event_row NOT IN (SELECT id FROM events)")  # noqa: S608 - tables are ours
            committed = last_row_id(old, "events")
            # A row id is never given twice, even where the last rows were lost.
            new.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'events'", [committed])
        saved, waiting, removed = new.execute(
            """
            SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM outbox WHERE outcome IS NULL),
                (SELECT coalesce(sum(items), 0) FROM removals WHERE kind IN ('detections', 'undelivered', 'alerts'))
            """
        ).fetchone()
    return saved, max(0, committed - saved - removed), waiting


def _copy_table(old: sqlite3.Connection, new: Database, table: str) -> None:
    columns = [row[1] for row in new.execute(f"PRAGMA table_info({table})")]
    insert = f"INSERT INTO {table} ({{}}) VALUES ({{}})"  # noqa: S608 - tables are ours
    for row in readable_rows(old, table):
        kept: dict[str, Any] = {column: value for column, value in row.items() if column in columns}
        # A row that breaks the table's own rules, or the contract, was damaged where no checksum tells.
        with contextlib.suppress(sqlite3.IntegrityError, WireError):
            if table == "events":
                wire.event_from_json(kept["payload"])
            new.execute(insert.format(", ".join(kept), ", ".join("?" * len(kept))), list(kept.values()))


def _mend_chain(begun: Path) -> str:
    """Begin the chain anew where rows of it are lost; the proof for what was before stays with the damaged file."""
    with closing(open_database(begun, synchronous="NORMAL")) as new, translated(begun):
        if not new.execute("SELECT 1 FROM chain").fetchone() or not (fault := chain.verify(begun).fault):
            return ""
        with transaction(new):
            new.execute("DELETE FROM chain")
            chain.begin(new)
    return fault


def _remove(database: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
