"""Whole copies of an event log, made while it is in use."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from appliance.errors import StoreError


def copy_database(path: Path, target: Path) -> None:
    """A consistent copy of what is committed now, page by page, on the disk when this returns; writers go on meanwhile.

    Raises `sqlite3.Error` where SQLite cannot read or write, `OSError` where the copy cannot be put in its place.
    """
    begun = target.with_name(target.name + ".new")
    begun.unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(begun)) as copy,
        ):
            # VACUUM INTO stumbles over generated columns where the source is only to be read (SQLite 3.40).
            source.backup(copy)
            # One file, with nothing beside it once somebody has looked into it.
            copy.execute("PRAGMA journal_mode = DELETE").fetchall()
        # The FAT of a stick knows neither mode nor owner; the copy is as good.
        with suppress(PermissionError):
            _liken(begun, path)
        _sync(begun)
        begun.rename(target)
        _sync(target.parent)
    finally:
        begun.unlink(missing_ok=True)


def settle_file(new: Path, *, like: Path) -> None:
    """Give a new file mode and, for root, owner of the old one, and force it to the disk (SQLite has not)."""
    _liken(new, like)
    _sync(new)


def free_name(target: Path) -> Path:
    """`target`, or `target-2`, `target-3` … where that is taken."""
    number, free = 1, target
    while free.exists():
        number += 1
        free = target.with_name(f"{target.name}-{number}")
    return free


def old_copies(path: Path) -> list[list[Path]]:
    """Copies that the appliance itself made, of each sort (corrupt, before a migration), oldest first."""
    patterns = (f"{path.name}.corrupt-*", f"{path.name}.before-*")
    found = ([copy for copy in path.parent.glob(pattern) if _is_copy(copy)] for pattern in patterns)
    return [sorted(copies, key=lambda copy: copy.stat().st_mtime_ns) for copies in found]


def remove_copy(copy: Path) -> int:
    """Remove a copy with its write-ahead log; returns its bytes. Raises `StoreError`."""
    removed_bytes = 0
    for suffix in ("", "-wal", "-shm"):
        file = copy.with_name(copy.name + suffix)
        try:
            size_bytes = file.stat().st_size
            file.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(f"{file}: cannot be removed: {error.strerror}; remove it by hand") from error
        removed_bytes += size_bytes
    return removed_bytes


def _is_copy(path: Path) -> bool:
    return path.is_file() and not path.name.endswith(("-wal", "-shm", ".new"))


def _liken(new: Path, old: Path) -> None:
    status = old.stat()
    new.chmod(status.st_mode & 0o777)
    # A technician with sudo must not leave a log behind that the services cannot write.
    if os.geteuid() == 0:
        os.chown(new, status.st_uid, status.st_gid)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
