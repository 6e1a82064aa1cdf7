"""Room held back for alerts: free pages inside the event log, which nobody else can take, and a file beside it.

A commit on a full disk needs pages in the log and pages in its write-ahead log; the latter is used again and again once
it is there. To open a log takes new pages, though: these the file gives, once, when it is removed.
"""

import os
from pathlib import Path

from sqlite_utils import Database

from appliance.errors import StoreError


def reserve_path(path: Path) -> Path:
    """The file that holds room for the event log `path`."""
    return path.with_name(f"{path.name}.reserve")


def held_bytes(path: Path) -> int:
    """How much the file beside the log holds."""
    try:
        return reserve_path(path).stat().st_size
    except FileNotFoundError:
        return 0


def hold(path: Path, size_bytes: int) -> bool:
    """Hold back so much in a file, really allocated; False where the disk has no room for it. Raises `StoreError`."""
    if held_bytes(path) == size_bytes:
        return True
    release(path)
    if size_bytes == 0:
        return True
    reserve = reserve_path(path)
    begun = reserve.with_name(reserve.name + ".new")
    try:
        with begun.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size_bytes)
            os.fsync(file.fileno())
        begun.rename(reserve)
    except OSError as error:
        begun.unlink(missing_ok=True)
        if isinstance(error, PermissionError):
            raise StoreError(f"{reserve}: {error.strerror}; give the appliance's user its directory") from error
        return False
    return True


def release(path: Path) -> int:
    """Give up the file; returns how many bytes that were."""
    size_bytes = held_bytes(path)
    if size_bytes:
        reserve_path(path).unlink(missing_ok=True)
    return size_bytes


def free_inside(db: Database) -> int:
    """Bytes of the log that are free for new rows."""
    page, unused = (int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_size", "freelist_count"))
    return page * unused


def hold_inside(db: Database, size_bytes: int) -> None:
    """Make so much of the log free, and the write-ahead log as large, up to its limit. Raises `sqlite3.Error`."""
    # Two transactions: pages that are written and freed in one are never allocated on the disk.
    with db.conn:
        db.execute("INSERT INTO room (bytes) VALUES (zeroblob(?))", [size_bytes])
    with db.conn:
        db.execute("DELETE FROM room")
