"""What the timer does: quotas by age and by size, the ladder of a nearly full disk, the write-ahead log, the reserve."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import closing
from itertools import accumulate
from pathlib import Path

from sqlite_utils import Database

from appliance.config import RetentionSettings
from appliance.errors import StoreError
from appliance.store import chain, reserve
from appliance.store.copies import old_copies, remove_copy
from appliance.store.database import WAL_LIMIT_BYTES, open_database, transaction, translated
from appliance.store.ladder import (
    FILE_KINDS,
    files_of,
    free_bytes,
    record_files,
    remove_files,
    report,
    shed_events,
    shed_files,
    wanted_free_bytes,
)
from appliance.store.removal import Kind, Removal, remove_older, remove_oldest
from appliance.store.stamp import Stamp

_LOG = logging.getLogger(__name__)

_MB = 1_000_000
_DAY_NS = 86_400 * 1_000_000_000
_KEPT_COPIES = 3
# Writers wait meanwhile.
_CHECKPOINT_PATIENCE_S = 1.0
# A file from before this was written by a clock that nobody had set: it has no age.
_FIRST_UNIT_UTC_NS = 1_767_225_600 * 1_000_000_000  # 2026-01-01


def retain(path: Path, settings: RetentionSettings, *, clock_is_set: bool, now: Stamp | None = None) -> list[Removal]:
    """Bring clips, tracks, copies and event log within their quotas; returns what was removed.

    Quotas by age rest where the clock is not set, so that one that jumps ahead does not cost a year of events.
    Raises `StoreError`; files are dealt with first, a log that cannot be opened does not keep the disk full.
    """
    now = now or Stamp.now()
    if not path.parent.is_dir():
        raise StoreError(f"{path}: the directory does not exist; start appliance-sensor once, or correct [store] path")
    total_bytes = shutil.disk_usage(path.parent).total
    reserve_bytes = min(settings.reserve_mb * _MB, total_bytes // 10)
    removals = [
        *_files_over_quota(path, settings, clock_is_set, now),
        *shed_files(path, wanted_free_bytes(path, settings)),
    ]
    try:
        if path.exists():
            with closing(open_database(path, synchronous="NORMAL")) as db, translated(path):
                record_files(db, removals, now)
                removals += _events_over_quota(db, settings, clock_is_set, now)
                removals += shed_events(
                    db, lambda: free_bytes(path) + reserve.free_inside(db) >= reserve_bytes // 2, now
                )
                with transaction(db):
                    chain.prune(db)
                _hold_reserve(path, db, reserve_bytes)
                limit_wal(path, db)
    finally:
        report(removals)
    return [removal for removal in removals if removal.items]


def _hold_reserve(path: Path, db: Database, reserve_bytes: int) -> None:
    """Half of the reserve inside the event log, half in the file that lets it be opened."""
    if free_bytes(path) + reserve.held_bytes(path) + reserve.free_inside(db) < 2 * reserve_bytes:
        _LOG.warning("%s: the disk is too full to hold room back for alerts; free space on it", path)
        return
    inside_bytes = reserve_bytes // 2
    # Half is let go before more is written: events use it up in the ordinary way.
    is_low = reserve.free_inside(db) < inside_bytes // 2 or wal_bytes(path) < WAL_LIMIT_BYTES // 2
    if inside_bytes and is_low:
        reserve.hold_inside(db, max(inside_bytes, WAL_LIMIT_BYTES))
    reserve.hold(path, reserve_bytes - inside_bytes)


def limit_wal(path: Path, db: Database) -> bool:
    """Write the write-ahead log back and truncate it to its limit, where it has outgrown that; False where a reader pins it.

    It keeps that much of the disk, which a commit on a full disk then finds. Raises `sqlite3.Error`.
    """
    if wal_bytes(path) <= WAL_LIMIT_BYTES * 5 // 4:
        return True
    db.execute(f"PRAGMA busy_timeout = {int(_CHECKPOINT_PATIENCE_S * 1000)}").fetchall()
    if db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]:
        _LOG.warning(
            "%s: its write-ahead log is %.0f MB large, as somebody reads it without an end; `fuser -v` names who",
            path,
            wal_bytes(path) / 1e6,
        )
        return False
    # SQLite truncates to `journal_size_limit` with the first commit that begins it again.
    reserve.hold_inside(db, 1)
    return True


def used_bytes(db: Database) -> int:
    """Bytes of the event log that hold something."""
    page, pages = (int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_size", "page_count"))
    return page * pages - reserve.free_inside(db)


def wal_bytes(path: Path) -> int:
    """Size of the write-ahead log."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def _files_over_quota(path: Path, settings: RetentionSettings, clock_is_set: bool, now: Stamp) -> Iterator[Removal]:
    quotas = {"clips": (settings.clips_days, settings.clips_mb), "tracks": (settings.tracks_days, settings.tracks_mb)}
    for kind in FILE_KINDS:
        days, limit_mb = quotas[kind]
        files = files_of(path, kind)
        if clock_is_set:
            too_old = range(_FIRST_UNIT_UTC_NS, now.utc_ns - days * _DAY_NS)
            yield Removal(kind, "age", *remove_files([file for file in files if file[0] in too_old], lambda: False))
            files = [file for file in files if file[0] not in too_old]
        kept_bytes = accumulate((size for _, size, _ in reversed(files)))
        fit = sum(kept <= limit_mb * _MB for kept in kept_bytes)
        yield Removal(kind, "size", *remove_files(files[: len(files) - fit], lambda: False))
    for copies in old_copies(path):
        for copy in copies[:-_KEPT_COPIES]:
            yield Removal("copies", "size", 1, remove_copy(copy))


def _events_over_quota(db: Database, settings: RetentionSettings, clock_is_set: bool, now: Stamp) -> Iterator[Removal]:
    ages: tuple[tuple[Kind, int | None], ...] = (
        ("detections", settings.detections_days),
        ("alerts", settings.alerts_days),
    )
    for kind, days in ages:
        while clock_is_set and days is not None and (removal := remove_older(db, kind, days, now)).items:
            yield removal
    while used_bytes(db) > settings.events_mb * _MB:
        if not (removal := remove_oldest(db, "detections", "size", now)).items:
            _LOG.warning("the event log is above [retention] events_mb, and nothing in it may be removed")
            break
        yield removal
