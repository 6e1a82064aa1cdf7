"""What one state change writes to the event log: its row, the messages to send, the clip that it promises."""

import dataclasses
from typing import Any

from sqlite_utils import Database

from appliance import wire
from appliance.store import chain
from appliance.store.clips import promise
from appliance.store.stamp import Stamp
from appliance.texts import Texts
from appliance.types import Event

# What came after the first release has a default, and its column is generated from the payload.
_COLUMNS = [field.name for field in dataclasses.fields(Event) if field.default is dataclasses.MISSING]
_STORED = [*_COLUMNS, "payload", "committed_utc_ns", "boot_id", "boot_ns"]
_INSERT_EVENT = f"INSERT INTO events ({', '.join(_STORED)}) VALUES ({', '.join(':' + name for name in _STORED)})"  # noqa: S608 - column names are ours


def event_row(event: Event, committed: Stamp, texts: Texts | None = None) -> dict[str, Any]:
    """The columns of `events` for a state change that is committed now. Raises `WireError`."""
    return {name: getattr(event, name) for name in _COLUMNS} | {
        "payload": wire.event_to_json(event, texts),
        "committed_utc_ns": committed.utc_ns,
        "boot_id": committed.boot_id,
        "boot_ns": committed.boot_ns,
    }


def insert_event(db: Database, event: Event, row: dict[str, Any]) -> None:
    """Write the event and all that goes with it, inside a transaction. Raises `sqlite3.Error`."""
    was_alert = db.execute(
        "SELECT 1 FROM events WHERE event_id = ? AND severity = 'alert' LIMIT 1", [event.event_id]
    ).fetchone()
    row_id = int(db.execute(_INSERT_EVENT, row).lastrowid or 0)
    chain.extend(db, row_id)
    messages = [(row_id, "events", _priority(event))]
    if (event.severity == "alert" and not was_alert) or (event.state == "end" and was_alert):
        messages.append((row_id, "alerts", 0))
    db.conn.executemany("INSERT INTO outbox (event_row, kind, priority) VALUES (?, ?, ?)", messages)
    promise(db, row_id, event)


def _priority(event: Event) -> int:
    """Alerts (0 on their own topic, 1) before detections (2) before what follows them (3).

    An end ranks with the updates, not above: it must never overtake one of its own event.
    """
    if event.state != "new":
        return 3
    return 1 if event.severity == "alert" else 2
