"""What goes when the disk is nearly full: clips, then tracks, then copies of the log, then detections; alerts never."""

import logging
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from sqlite_utils import Database

from appliance.config import RetentionSettings
from appliance.errors import StoreError
from appliance.store import reserve
from appliance.store.copies import old_copies, remove_copy
from appliance.store.database import DiskFullError, transaction
from appliance.store.removal import Kind, Removal, record, remove_oldest
from appliance.store.stamp import Stamp

_LOG = logging.getLogger(__name__)

_Written = TypeVar("_Written")

FILE_KINDS: tuple[Kind, ...] = ("clips", "tracks")
"""Kinds that are files, each in a folder of its name beside the event log; in the order in which they go."""

# What files leave for a commit that found the disk full: some thousand events, and the write-ahead log that they need.
_ROOM_BYTES = 4 * 1024 * 1024
# Below this, on the disk and inside the log, room is made before it is missed: to remove rows takes room too.
_LITTLE_BYTES = 512 * 1024


def free_bytes(path: Path) -> int:
    """Room on the event log's file system for one who is not root."""
    return shutil.disk_usage(path.parent).free


def wanted_free_bytes(path: Path, settings: RetentionSettings) -> int:
    """With less free disk than this, files are removed."""
    return min(settings.free_mb * 1_000_000, shutil.disk_usage(path.parent).total // 5)


def has_room_for_clips(path: Path, settings: RetentionSettings) -> bool:
    """False where the disk is so full that no clip is begun: half of where old ones go, so that new ones replace them."""
    try:
        return free_bytes(path) >= wanted_free_bytes(path, settings) // 2
    except OSError:
        return False


def files_of(path: Path, kind: Kind) -> list[tuple[int, int, Path]]:
    """(time of change in ns, bytes on the disk, file) of each file of a kind, oldest first."""
    found = []
    for file in (path.parent / kind).rglob("*"):
        with suppress(FileNotFoundError):
            stat = file.lstat()
            if not file.is_dir() or file.is_symlink():
                found.append((stat.st_mtime_ns, stat.st_blocks * 512, file))
    return sorted(found)


def remove_files(files: list[tuple[int, int, Path]], enough: Callable[[], bool]) -> tuple[int, int]:
    """Remove files in their order until it is enough; returns their number and bytes.

    One that cannot be removed is passed over: it must keep neither those after it nor the event log from being dealt with.
    """
    items = size_bytes = 0
    for _, size, file in files:
        if enough():
            break
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            _LOG.warning("%s: cannot be removed: %s; give the appliance's user its folder", file, error.strerror)
            continue
        items, size_bytes = items + 1, size_bytes + size
    return items, size_bytes


def shed_files(path: Path, free_target_bytes: int) -> Iterator[Removal]:
    """Remove clips, tracks and copies, oldest first, until so much is free. Raises `StoreError`."""

    def enough() -> bool:
        return free_bytes(path) >= free_target_bytes

    for kind in FILE_KINDS:
        if not enough():
            yield Removal(kind, "full", *remove_files(files_of(path, kind), enough))
    for copies in old_copies(path):
        for copy in copies:
            if not enough():
                yield Removal("copies", "full", 1, remove_copy(copy))


def shed_events(db: Database, enough: Callable[[], bool], now: Stamp) -> Iterator[Removal]:
    """Remove detections, oldest first and delivered ones before others, until it is enough. Raises `sqlite3.Error`."""
    kinds: tuple[Kind, ...] = ("detections", "undelivered")
    for kind in kinds:
        while not enough() and (removal := remove_oldest(db, kind, "full", now)).items:
            yield removal


def make_room(path: Path, db: Database) -> None:
    """The whole ladder, in the moment in which a commit has found the disk full.

    Alerts are not removed; they come to the room that was held back. Raises nothing: what cannot be done now is tried
    again with the next commit.
    """
    now = Stamp.now()
    removals: list[Removal] = []
    with suppress(StoreError, OSError):
        for removal in shed_files(path, _ROOM_BYTES):
            removals.append(removal)
    with suppress(sqlite3.Error, OSError):
        if free_bytes(path) < _LITTLE_BYTES:
            reserve.release(path)
            # Once the write-ahead log is written back, it is used again from its beginning.
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            # Room inside the file is as good: nothing has to be given back to the disk for new rows.
            for removal in shed_events(db, lambda: reserve.free_inside(db) >= 2 * _LITTLE_BYTES, now):
                removals.append(removal)
    with suppress(sqlite3.Error):
        record_files(db, removals, now)
    report(removals)


def record_files(db: Database, removals: list[Removal], now: Stamp) -> None:
    """Count the files among what was removed; events are counted as they go. Raises `sqlite3.Error`."""
    if files := [removal for removal in removals if removal.items and removal.kind in (*FILE_KINDS, "copies")]:
        with transaction(db):
            record(db, files, now)


def with_room(path: Path, db: Database, write: Callable[[], _Written]) -> _Written:
    """Do `write`, one transaction; where it finds the disk full, make room and do it once more.

    Raises what `write` raises.
    """
    if _has_little_room(path, db):
        make_room(path, db)
    try:
        return write()
    except DiskFullError:
        make_room(path, db)
        return write()


def _has_little_room(path: Path, db: Database) -> bool:
    """False also where that cannot be told: what is wrong is what the write then says."""
    with suppress(OSError, sqlite3.Error):
        return free_bytes(path) < _LITTLE_BYTES and reserve.free_inside(db) < _LITTLE_BYTES
    return False


def report(removals: list[Removal]) -> None:
    """Say in the log what was removed."""
    for kind, cause in dict.fromkeys((removal.kind, removal.cause) for removal in removals):
        same = [removal for removal in removals if (removal.kind, removal.cause) == (kind, cause)]
        items, size_bytes = sum(removal.items for removal in same), sum(removal.size_bytes for removal in same)
        if items:
            level = logging.WARNING if cause == "full" else logging.INFO
            why = "the disk is nearly full" if cause == "full" else f"its {cause} quota"
            _LOG.log(level, "removed %d %s (%.1f MB): %s", items, kind, size_bytes / 1e6, why)
