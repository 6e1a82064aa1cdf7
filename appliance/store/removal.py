"""Removing old events, a few at a time, so that nobody who writes has to wait; and the record of what was removed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sqlite_utils import Database

from appliance.store.database import transaction
from appliance.store.stamp import Stamp

Kind = Literal["clips", "tracks", "copies", "detections", "undelivered", "alerts"]
Cause = Literal["age", "size", "full"]

_BATCH_EVENTS = 50
# On a full disk a transaction must be small: what it changes goes to the write-ahead log first.
_SMALL_BATCH_EVENTS = 10

_WAITS = "EXISTS (SELECT 1 FROM outbox JOIN events AS e ON e.id = event_row WHERE e.event_id = ended.event_id AND outcome IS NULL)"
_ALERT = "EXISTS (SELECT 1 FROM events AS e WHERE e.event_id = ended.event_id AND e.severity = 'alert')"
# Whole lifecycles that have ended. An event that ever was an alert is one, whatever it ended as.
_OF_KIND = {
    "detections": f"NOT {_ALERT} AND NOT {_WAITS}",
    "undelivered": f"NOT {_ALERT} AND {_WAITS}",
    "alerts": f"{_ALERT} AND NOT {_WAITS}",
}


@dataclass(frozen=True, slots=True)
class Removal:
    """What was removed for one reason."""

    kind: Kind
    """clips and tracks: files; copies: of the event log; the others: state changes of events."""
    cause: Cause
    """age or size: its quota; full: the disk was."""
    items: int
    """How many."""
    size_bytes: int
    """How large they were."""


def remove_oldest(db: Database, kind: Kind, cause: Cause, now: Stamp) -> Removal:
    """Remove the oldest ended events of a kind, at most 50, in one transaction; `items` is 0 where there is none.

    Raises `sqlite3.Error`.
    """
    # The plus keeps SQLite from sorting all ended events to find the first.
    query = f"SELECT event_id FROM events AS ended WHERE +state = 'end' AND {_OF_KIND[kind]} ORDER BY id LIMIT ?"  # noqa: S608 - conditions are ours
    batch = _SMALL_BATCH_EVENTS if cause == "full" else _BATCH_EVENTS
    return _remove(db, query, [batch], Removal(kind, cause, 0, 0), now)


def remove_older(db: Database, kind: Kind, days: int, now: Stamp) -> Removal:
    """Remove ended events of a kind that were committed more than `days` ago, at most 50, in one transaction.

    Ages are counted as `Stamp` does; where neither boot nor a set clock dates an event, it has none and stays.
    Raises `sqlite3.Error`.
    """
    age_ns = days * 86_400 * 1_000_000_000
    query = f"""
        SELECT event_id FROM events AS ended
        WHERE utc_ns < ? AND +state = 'end'
        AND CASE WHEN boot_id = ? THEN boot_ns < ? ELSE clock <> 'unsynchronised' AND committed_utc_ns < ? END
        AND {_OF_KIND[kind]} ORDER BY utc_ns LIMIT ?
        """  # noqa: S608 - conditions are ours
    before_ns = now.utc_ns - age_ns
    values: list[str | int] = [before_ns, now.boot_id, now.boot_ns - age_ns, before_ns, _BATCH_EVENTS]
    return _remove(db, query, values, Removal(kind, "age", 0, 0), now)


def record(db: Database, removals: Iterable[Removal], now: Stamp) -> None:
    """Count removals, inside a transaction."""
    db.conn.executemany(
        """
        INSERT INTO removals VALUES (?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET items = items + excluded.items, bytes = bytes + excluded.bytes,
            last_utc_ns = excluded.last_utc_ns
        """,
        [(removal.kind, removal.cause, removal.items, removal.size_bytes, now.utc_ns) for removal in removals],
    )


def _remove(db: Database, query: str, values: list[str | int], removal: Removal, now: Stamp) -> Removal:
    with transaction(db):
        ids = [event_id for (event_id,) in db.execute(query, values)]
        marks = ", ".join("?" * len(ids))
        where = f"event_id IN ({marks})"
        items, size_bytes = db.execute(
            f"SELECT count(*), coalesce(sum(length(payload)), 0) FROM events WHERE {where}",  # noqa: S608 - question marks
            ids,
        ).fetchone()
        removed = Removal(removal.kind, removal.cause, items, size_bytes)
        if items:
            db.execute(
                f"UPDATE chain SET removed = 1 WHERE event_row IN (SELECT id FROM events WHERE {where})",  # noqa: S608
                ids,
            )
            db.execute(f"DELETE FROM events WHERE {where}", ids)  # noqa: S608 - question marks
            record(db, [removed], now)
    return removed
