"""Opening the SQLite file: WAL, migrations, and every way it fails turned into one line with the remedy."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from sqlite_utils import Database

from appliance.errors import StoreError
from appliance.store.quarantine import CORRUPT, CorruptError
from appliance.store.schema import MIGRATIONS

BUSY_TIMEOUT_S = 5.0
_WAL_LIMIT_BYTES = 4 * 1024 * 1024

# SQLite's own words; Python 3.10 gives no error codes.
_REMEDIES = {
    "database is locked": "another program holds it; end that program (`fuser -v` names it) and try again",
    "disk is full": "the disk is full; free space on it",
    "readonly database": "it may not be written; give the appliance's user write access to the file and its directory",
    "unable to open": "it cannot be opened; give the appliance's user access to the file and its directory",
    "not a database": "this is not an event log; move it away, a new one is made at the next start",
    "malformed": "it is corrupt; move it away for recovery (`sqlite3 FILE .recover`), a new one is made at the next start",
    "disk i/o error": "the disk fails or went away; check it and its cable (`dmesg`)",
    "no such table": "this SQLite file is not an event log; give another path",
}


def open_database(
    path: Path,
    *,
    synchronous: Literal["FULL", "NORMAL"],
    read_only: bool = False,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
) -> Database:
    """An event log that is up to date: made where it is missing, migrated where it is old.

    With `synchronous="FULL"` a commit is on the disk when it returns; with "NORMAL" a power cut may undo the latest
    ones, but never corrupts. Raises `StoreError` that names the path and the remedy.
    """
    if not path.parent.is_dir():
        raise StoreError(f"{path}: the directory does not exist; make it, or set [store] path in the site file")
    if read_only and not path.is_file():
        raise StoreError(f"{path}: no such event log; the sensor makes it at its first start")
    mode = "ro" if read_only else "rwc"
    with translated(path):
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode={mode}", uri=True, timeout=busy_timeout_s, check_same_thread=False
        )
        try:
            db = Database(connection, execute_plugins=False)
            db.execute("PRAGMA foreign_keys = ON")
            if not read_only:
                _enable_wal(db, busy_timeout_s)
                db.execute(f"PRAGMA synchronous = {synchronous}")
                # Without a limit the WAL keeps the size of its worst moment for ever.
                db.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
                _migrate(db)
            _check_version(path, db)
        except BaseException:
            connection.close()
            raise
    return db


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns what SQLite raises into a `StoreError` with the path and the remedy."""
    try:
        yield
    except sqlite3.Error as error:
        words = str(error).lower()
        remedy = next((remedy for known, remedy in _REMEDIES.items() if known in words), str(error))
        kind = CorruptError if any(known in words for known in CORRUPT) else StoreError
        raise kind(f"{path}: {remedy}") from error


@contextmanager
def transaction(db: Database) -> Iterator[None]:
    """All or nothing. The write lock is taken first: a reader that turns writer may find that it cannot."""
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.conn.execute("COMMIT")
    except BaseException:
        db.conn.rollback()
        raise


def integrity_faults(path: Path) -> list[str]:
    """What SQLite's `integrity_check` finds wrong; empty for a sound file. Raises `StoreError` where it cannot read."""
    with translated(path), closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
        try:
            rows = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as error:
            if "malformed" not in str(error):
                raise
            rows = [str(error)]
    return [] if rows == ["ok"] else rows


def _enable_wal(db: Database, busy_timeout_s: float) -> None:
    # SQLite does not wait for the other process here, even with a busy timeout: both processes start at once.
    deadline = time.monotonic() + busy_timeout_s
    while db.journal_mode != "wal":
        try:
            db.enable_wal()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _migrate(db: Database) -> None:
    """Each migration and its record in one transaction; the lock is taken before the look, as both processes start at once."""
    while MIGRATIONS.pending(db):
        with transaction(db):
            pending = [migration.name for migration in MIGRATIONS.pending(db)]
            MIGRATIONS.apply(db, stop_before=pending[1:2])


def _check_version(path: Path, db: Database) -> None:
    with closing(Database(memory=True, execute_plugins=False)) as empty:
        known = {migration.name for migration in MIGRATIONS.pending(empty)}
    if {migration.name for migration in MIGRATIONS.applied(db)} - known:
        raise StoreError(
            f"{path}: written by a newer version of the appliance; install that version, or give another path"
        )
    if MIGRATIONS.pending(db):
        raise StoreError(f"{path}: not an event log of this version; start the sensor once to bring it up to date")
