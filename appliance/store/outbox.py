"""The outbox, as the publisher drains it: the same file, the messages of committed events that wait to be sent."""

from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Any

from appliance.store.database import BUSY_TIMEOUT_S, open_database, transaction, translated
from appliance.store.ladder import with_room
from appliance.store.stamp import Stamp
from appliance.types import MessageOutcome, OutboxMessage

# For ever would hide the next fault, and a sensor may be started anew before anybody has looked.
_SHED_TOLD_NS = 86_400 * 1_000_000_000


class Outbox:
    """Pending messages, in order of priority and then of commit. Order within one event always holds."""

    def __init__(
        self, path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S, clock: Callable[[], Stamp] = Stamp.now
    ) -> None:
        self.path = path
        self._clock = clock
        # A delivery that a power cut forgets is repeated under the same id; that is cheaper than a sync for each.
        self._db = open_database(path, synchronous="NORMAL", busy_timeout_s=busy_timeout_s)
        self._seen_version = -1

    def changed(self) -> bool:
        """True where another process committed since the last call; costs microseconds, so that it can be polled."""
        with translated(self.path):
            version = int(self._db.execute("PRAGMA data_version").fetchone()[0])
        changed, self._seen_version = version != self._seen_version, version
        return changed

    def pending(self, limit: int, *, sent: Collection[int] = ()) -> list[OutboxMessage]:
        """The next messages to send, without those already `sent` and waiting for their acknowledgement."""
        now = self._clock()
        query = f"""
            SELECT outbox.id, kind, event_id, payload,
                NOT EXISTS (SELECT 1 FROM events AS e WHERE e.state = 'end' AND e.event_id = events.event_id),
                state = 'update' AND EXISTS (
                    SELECT 1 FROM events AS e WHERE e.event_id = events.event_id AND e.sequence > events.sequence
                ),
                clock, committed_utc_ns, boot_id, boot_ns
            FROM outbox JOIN events ON events.id = event_row
            WHERE outcome IS NULL AND outbox.id NOT IN ({", ".join("?" * len(sent))})
            ORDER BY priority, outbox.id LIMIT ?
            """  # noqa: S608 - only question marks are put in
        with translated(self.path):
            rows: list[tuple[Any, ...]] = self._db.execute(query, [*sent, limit]).fetchall()
        return [
            OutboxMessage(
                row_id,
                kind,
                event_id,
                payload,
                Stamp(*stamp).age_s(now, utc_is_known=clock != "unsynchronised"),
                bool(is_open),
                bool(is_stale),
            )
            for row_id, kind, event_id, payload, is_open, is_stale, clock, *stamp in rows
        ]

    def settle(self, outbox_ids: Collection[int], outcome: MessageOutcome) -> None:
        """Record, in one transaction, what became of messages."""
        now_utc_ns = self._clock().utc_ns

        def write() -> None:
            with translated(self.path), transaction(self._db):
                self._db.conn.executemany(
                    "UPDATE outbox SET outcome = ?, settled_utc_ns = ? WHERE id = ? AND outcome IS NULL",
                    [(outcome, now_utc_ns, outbox_id) for outbox_id in outbox_ids],
                )

        # What cannot be settled keeps what comes after it from being sent.
        with_room(self.path, self._db, write)

    def latest_id(self) -> int:
        """The highest key that was ever given."""
        with translated(self.path):
            row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        return int(row[0]) if row else 0

    def counts(self) -> dict[str, int]:
        """How many messages are pending, and how many had each outcome."""
        with translated(self.path):
            rows = self._db.execute("SELECT coalesce(outcome, 'pending'), count(*) FROM outbox GROUP BY outcome")
            return {"pending": 0, "delivered": 0, "superseded": 0, "expired": 0} | dict(rows.fetchall())

    def shed(self) -> bool:
        """True where in the last 24 hours a full disk cost detections that were not delivered yet, whoever removed them."""
        now_utc_ns = self._clock().utc_ns
        with translated(self.path):
            # What is farther ahead was dated by a clock that was years fast, and would be told for as long.
            query = "SELECT 1 FROM removals WHERE kind = 'undelivered' AND abs(last_utc_ns - ?) < ?"
            return self._db.execute(query, [now_utc_ns, _SHED_TOLD_NS]).fetchone() is not None

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> "Outbox":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
