"""A corrupt event log: it is kept aside, what still waits in it is carried over, and the loss is stated."""

import contextlib
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

from appliance import wire
from appliance.errors import StoreError, WireError
from appliance.store.copies import free_name
from appliance.store.salvage import readable_rows
from appliance.types import Event

# What SQLite says of such a file; the first is also what a file of zeros gives, as a power cut may leave one.
CORRUPT = ("not a database", "malformed")


class CorruptError(StoreError):
    """The event log is damaged, or no event log at all."""


def quarantine(path: Path) -> tuple[Path, list[Event]]:
    """Move a corrupt log aside, with its write-ahead log; returns its new path and the undelivered events in it.

    Nobody of this process may have it open. Raises `StoreError` where it cannot be moved.
    """
    try:
        kept = move_aside(path)
    except OSError as error:
        raise StoreError(
            f"{path}: it is corrupt and cannot be moved away: {error.strerror}; move it by hand"
        ) from error
    # Only then: whoever is killed while reading a large damaged file must not begin with it again.
    return kept, _undelivered(kept)


def move_aside(path: Path) -> Path:
    """Rename a log and its write-ahead log to a name that says when; returns it."""
    stamp = wire.utc_text(time.time_ns())[:19].replace(":", "")
    kept = free_name(path.with_name(f"{path.name}.corrupt-{stamp}"))
    path.rename(kept)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(kept.with_name(kept.name + suffix))
    return kept


def _undelivered(path: Path) -> list[Event]:
    """Events with messages that still wait, as far as they can be read."""
    events: list[Event] = []
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection,
    ):
        # By the table itself, as an index may be what is damaged.
        waiting = {row["event_row"] for row in readable_rows(connection, "outbox", where="+outcome IS NULL")}
        for event_row in sorted(waiting):
            with contextlib.suppress(sqlite3.Error, WireError):
                for (payload,) in connection.execute("SELECT payload FROM events WHERE id = ?", [event_row]):
                    events.append(wire.event_from_json(payload))
    return events
