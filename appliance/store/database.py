"""Opening the SQLite file: WAL, migrations, and every way it fails turned into one line with the remedy."""

import functools
import logging
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from sqlite_utils import Database, Migrations

from appliance.errors import DENIED, ConfigError, StoreError
from appliance.store import reserve
from appliance.store.copies import copy_database
from appliance.store.quarantine import CORRUPT, CorruptError
from appliance.store.schema import MIGRATIONS

_LOG = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 5.0
WAL_LIMIT_BYTES = 4 * 1024 * 1024
# Below this, what SQLite calls an I/O error or a file that will not open is a full disk: it met it in its shared memory.
_FULL_BYTES = 256 * 1024

# SQLite's own words; Python 3.10 gives no error codes.
_REMEDIES = {
    "database is locked": "another program holds it; end that program (`fuser -v` names it) and try again",
    "disk is full": "the disk is full; free space on it",
    "readonly database": "it may not be written; run it with sudo, or give the appliance's user write access to the file and its directory",
    "unable to open": "it cannot be opened; run it with sudo, or give the appliance's user access to the file and its directory",
    "not a database": "this is not an event log; move it away, a new one is made at the next start",
    "malformed": "it is corrupt; stop the services and run `appliance db repair`, or move it away, a new one is made",
    "disk i/o error": "the disk fails or went away; check it and its cable (`dmesg`)",
}


_READ_ONLY = (
    "{folder} is mounted read-only; to read the log, copy it and its -wal to a folder that you may write, and give --db; for"
    " the services all but /var/lib/appliance is read-only: let them write there with `systemctl edit appliance-sensor appliance-publisher appliance-retention`, [Service] ReadWritePaths={folder}"
)


class DiskFullError(StoreError):
    """There is no room for a commit; nothing was written."""


class DeniedError(StoreError):
    """The event log's folder is closed to this user; only a person can open it."""

    exit_status = ConfigError.exit_status


def open_database(
    path: Path,
    *,
    synchronous: Literal["FULL", "NORMAL"],
    read_only: bool = False,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    migrations: Migrations = MIGRATIONS,
) -> Database:
    """An event log that is up to date: made where it is missing, migrated where it is old, a copy kept of the old.

    With `synchronous="FULL"` a commit is on the disk when it returns; with "NORMAL" a power cut may undo the latest
    ones, but never corrupts. Raises `StoreError` that names the path and the remedy.
    """
    try:
        return _open(path, synchronous, read_only, busy_timeout_s, migrations)
    except DiskFullError:
        # Even a log that is only to be opened needs room for its shared memory.
        if read_only or not reserve.release(path):
            raise
        return _open(path, synchronous, read_only, busy_timeout_s, migrations)


def _open(
    path: Path,
    synchronous: Literal["FULL", "NORMAL"],
    read_only: bool,
    busy_timeout_s: float,
    migrations: Migrations,
) -> Database:
    if not stat.S_ISDIR(_mode(path.parent)):
        raise StoreError(f"{path}: the directory does not exist; make it, or set [store] path in the site file")
    if not is_there(path) and read_only:
        raise StoreError(f"{path}: no such event log; the sensor makes it at its first start")
    mode = "ro" if read_only else "rwc"
    with translated(path):
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode={mode}", uri=True, timeout=busy_timeout_s, check_same_thread=False
        )
        # A flipped bit in a text is that text's affair: it must not keep the rows around it from being read.
        connection.text_factory = functools.partial(str, encoding="utf-8", errors="replace")
        try:
            db = Database(connection, execute_plugins=False)
            db.execute("PRAGMA foreign_keys = ON")
            _refuse_foreign(path, db, migrations)
            if not read_only:
                _enable_wal(db, busy_timeout_s)
                db.execute(f"PRAGMA synchronous = {synchronous}")
                # Without a limit the WAL keeps the size of its worst moment for ever.
                db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
                # Sorting must not need a disk that is full.
                db.execute("PRAGMA temp_store = MEMORY")
                _migrate(path, db, migrations)
            _check_version(path, db, migrations)
        except BaseException:
            connection.close()
            raise
    return db


def is_there(path: Path) -> bool:
    """True where there is a file; raises `DeniedError` where that cannot be told."""
    return stat.S_ISREG(_mode(path))


def _mode(path: Path) -> int:
    try:
        # Never opened to look: closing it would undo the locks that this process has on the log.
        return path.stat().st_mode
    except PermissionError:
        raise DeniedError(f"{path}: {DENIED}") from None
    except (OSError, ValueError):
        return 0


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns what SQLite raises into a `StoreError` with the path and the remedy."""
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(path, error) from error


def store_error(path: Path, error: sqlite3.Error) -> StoreError:
    """What SQLite raised over the file `path`, as the error of ours that it is."""
    words = str(error).lower()
    if ("disk i/o error" in words or "unable to open" in words) and _is_full(path.parent):
        words = "disk is full"
    remedy = next((remedy for known, remedy in _REMEDIES.items() if known in words), str(error))
    if ("readonly database" in words or "unable to open" in words) and _is_read_only(path.parent):
        remedy = _READ_ONLY.format(folder=path.parent)
    kind = CorruptError if any(known in words for known in CORRUPT) else StoreError
    return (DiskFullError if "disk is full" in words else kind)(f"{path}: {remedy}")


def _is_read_only(directory: Path) -> bool:
    """True on a file system that this process, at least, sees mounted read-only."""
    try:
        return bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _is_full(directory: Path) -> bool:
    try:
        return shutil.disk_usage(directory).free < _FULL_BYTES
    except OSError:
        return False


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
    """What SQLite finds wrong with the file, and messages without their event; empty where all is sound.

    Raises `StoreError` where it cannot read.
    """
    with translated(path), closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
        try:
            rows = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
            orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
        except sqlite3.DatabaseError as error:
            if "malformed" not in str(error):
                raise
            rows, orphans = [str(error)], []
    return [*([] if rows == ["ok"] else rows), *(f"{row[0]} row {row[1]}: its event is missing" for row in orphans)]


def _refuse_foreign(path: Path, db: Database, migrations: Migrations) -> None:
    """Another program's database is left as it is, down to its journal mode, and is no damage to be moved aside."""
    # In this order: another process may be making a log of the empty file at this moment, in one transaction.
    foreign = [name for name in db.table_names() if not name.startswith(("sqlite_", "_sqlite_"))]
    if foreign and not migrations.applied(db):
        raise StoreError(
            f"{path}: not an event log but another program's SQLite file (it holds the table {foreign[0]!r:.80}); give"
            " another path, or move it away and a new log is made"
        )


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


def _migrate(path: Path, db: Database, migrations: Migrations) -> None:
    """All that are pending, and the record of them, in one transaction: all or nothing.

    The lock is taken before the look, as both processes start at once.
    """
    if not migrations.pending(db):
        return
    with transaction(db):
        pending = [migration.name for migration in migrations.pending(db)]
        if migrations.applied(db) and pending:
            _keep_old(path, pending[0])
        for name, following in zip(pending, [*pending, None][1:], strict=True):
            try:
                migrations.apply(db, stop_before=following)
            except sqlite3.Error as error:
                if any(known in str(error).lower() for known in _REMEDIES):
                    raise  # through no fault of the migration
                raise StoreError(
                    f"{path}: {name} failed ({error}); nothing was changed; install the former version and report this"
                ) from error


def _keep_old(path: Path, migration: str) -> None:
    """Copy the log as it was before `migration`, the way back to the former version."""
    copy = path.with_name(f"{path.name}.before-{migration}")
    try:
        # Hearing goes before a copy: a unit whose disk has no room for one must start all the same.
        if shutil.disk_usage(path.parent).free < 2 * path.stat().st_size:
            _LOG.warning("%s: too little room for a copy before %s; going on without", path, migration)
            return
        copy_database(path, copy)
    except OSError as error:
        raise StoreError(f"{copy}: {error.strerror}; give the appliance's user its directory") from error
    _LOG.info("%s: copied to %s before it is brought up to date", path, copy)


def _check_version(path: Path, db: Database, migrations: Migrations) -> None:
    with closing(Database(memory=True, execute_plugins=False)) as empty:
        known = {migration.name for migration in migrations.pending(empty)}
    if {migration.name for migration in migrations.applied(db)} - known:
        raise StoreError(
            f"{path}: written by a newer version of the appliance; install that version, or give another path"
        )
    if migrations.pending(db):
        raise StoreError(f"{path}: not an event log of this version; start the sensor once to bring it up to date")
