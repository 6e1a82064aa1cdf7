"""A corrupt event log: it is kept aside, what still waits in it is carried over, and the loss is stated."""

import contextlib
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

from appliance import wire
from appliance.errors import StoreError, WireError
from appliance.types import Event

# What SQLite says of such a file; the first is also what a file of zeros gives, as a power cut may leave one.
CORRUPT = ("not a database", "malformed")


class CorruptError(StoreError):
    """The event log is damaged, or no event log at all."""


def quarantine(path: Path) -> tuple[Path, list[Event]]:
    """Move a corrupt log aside, with its write-ahead log; returns its new path and the undelivered events in it.

    Nobody of this process may have it open. Raises `StoreError` where it cannot be moved.
    """
    salvaged = _undelivered(path)
    stamp = wire.utc_text(time.time_ns())[:19].replace(":", "")
    kept = path.with_name(f"{path.name}.corrupt-{stamp}")
    number = 1
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}.corrupt-{stamp}-{number}")
    try:
        path.rename(kept)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(kept.with_name(kept.name + suffix))
    except OSError as error:
        raise StoreError(
            f"{path}: it is corrupt and cannot be moved away: {error.strerror}; move it by hand"
        ) from error
    return kept, salvaged


def _undelivered(path: Path) -> list[Event]:
    """Events with messages that still wait, as far as they can be read."""
    events: list[Event] = []
    with contextlib.suppress(sqlite3.Error, WireError):
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        with contextlib.closing(connection):
            rows = connection.execute(
                "SELECT payload FROM events WHERE id IN (SELECT event_row FROM outbox WHERE outcome IS NULL) ORDER BY id"
            )
            for (payload,) in rows:
                events.append(wire.event_from_json(payload))
    return events
