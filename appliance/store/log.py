"""The event log, as the sensor writes it and people read it."""

import functools
import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from appliance import wire
from appliance.store import chain
from appliance.store.database import BUSY_TIMEOUT_S, open_database, transaction, translated
from appliance.store.entry import event_row, insert_event
from appliance.store.ladder import with_room
from appliance.store.quarantine import CorruptError, quarantine
from appliance.store.stamp import Stamp
from appliance.texts import Texts
from appliance.types import Event, EventState, Severity, StateKey, UnitState

_LOG = logging.getLogger(__name__)

_PAGE_ROWS = 500


class EventLog:
    """The log on one SQLite file. May be used from several threads; each use is one transaction."""

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool = False,
        replace_corrupt: bool = False,
        hash_chain: bool = False,
        texts: Texts | None = None,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        clock: Callable[[], Stamp] = Stamp.now,
    ) -> None:
        """Open or make it; raises `StoreError`.

        With `replace_corrupt`, for the sensor, a damaged file is moved aside, now or at a later `append`, and a new one
        begun: what is heard next matters more. What waited undelivered is carried over where it can still be read.
        `texts` words the sentences of what is appended; English where it is left out.
        With `hash_chain` every row from now on is bound to all before it; a chain once begun goes on in any case.
        """
        self.path = path
        self.losses: list[str] = []
        """A sentence for each time that the file was found corrupt and replaced."""
        self._replace_corrupt = replace_corrupt
        self._hash_chain = hash_chain
        self._texts = texts
        self._clock = clock
        self._lock = threading.Lock()
        self._open = functools.partial(
            open_database, path, synchronous="FULL", read_only=read_only, busy_timeout_s=busy_timeout_s
        )
        try:
            self._db = self._open()
        except CorruptError as error:
            if not replace_corrupt:
                raise
            self._replace(error)
        if hash_chain:
            self._begin_chain()

    def append(self, event: Event) -> None:
        """Commit the event together with its messages to send and the clip that it promises; when this returns, a power cut cannot undo it.

        The full lifecycle goes to `events`. To `alerts` goes what opens an alert, and the end of what ever was one.
        Raises `StoreError`; nothing was written then.
        """
        row = event_row(event, self._clock(), self._texts)
        with self._lock:
            self._write(lambda: self._insert(event, row))

    def read(
        self,
        *,
        class_label: str | None = None,
        state: EventState | None = None,
        severity: Severity | None = None,
        event_id: str | None = None,
        since_utc_ns: int | None = None,
        until_utc_ns: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Event]:
        """State changes in the order of their commit; with `limit` the latest that many. `until` is exclusive.

        Reads page by page, so that a slow consumer neither fills the memory nor pins the write-ahead log.
        """
        conditions = {
            "class_label = ?": class_label,
            "state = ?": state,
            "severity = ?": severity,
            "event_id = ?": event_id,
            "utc_ns >= ?": since_utc_ns,
            "utc_ns < ?": until_utc_ns,
        }
        given = {condition: value for condition, value in conditions.items() if value is not None}
        where, values = " AND ".join([*given, "id >= ?"]), list(given.values())
        first_row = 0 if limit is None else self._first_of_latest(where, values, limit)
        query = f"SELECT id, payload FROM events WHERE {where} ORDER BY id LIMIT {_PAGE_ROWS}"  # noqa: S608 - conditions are ours
        while page := self._rows(query, [*values, first_row]):
            for _, payload in page:
                yield wire.event_from_json(payload)
            first_row = page[-1][0] + 1

    def open_events(self) -> list[Event]:
        """The latest state of each event that has no end: what a sensor that was cut off left behind."""
        rows = self._rows(
            """
            SELECT payload FROM events AS latest
            WHERE id IN (
                SELECT (SELECT max(id) FROM events WHERE event_id = begun.event_id)
                FROM events AS begun
                WHERE state = 'new'
                AND NOT EXISTS (SELECT 1 FROM events WHERE state = 'end' AND event_id = begun.event_id)
            ) ORDER BY id
            """
        )
        return [wire.event_from_json(payload) for (payload,) in rows]

    def set_state(self, key: StateKey, value: Any) -> None:
        """Say something about the unit for the publisher to pass on; `value` is whatever JSON holds.

        Unlike an event it is not forced to the disk: it is said every few seconds, and flash wears.
        """
        stamp = self._clock()
        row = [key, json.dumps(value, allow_nan=False), stamp.utc_ns, stamp.boot_id, stamp.boot_ns]
        with self._lock:
            self._write(lambda: self._put_state(row))

    def states(self) -> dict[StateKey, UnitState]:
        """All that was said with `set_state`, the latest of each key."""
        now = self._clock()
        rows = self._rows("SELECT key, value, utc_ns, boot_id, boot_ns FROM unit_state")
        return {key: UnitState(json.loads(value), Stamp(*stamp).age_s(now)) for key, value, *stamp in rows}

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, write: Callable[[], None]) -> None:
        """Do `write`, one transaction, on a disk that was full and on a file that was corrupt."""
        try:
            with_room(self.path, self._db, write)
        except CorruptError as error:
            if not self._replace_corrupt:
                raise
            self._db.close()
            self._replace(error)
            write()

    def _put_state(self, row: list[Any]) -> None:
        with translated(self.path):
            self._db.execute("PRAGMA synchronous = NORMAL")
            try:
                with transaction(self._db):
                    self._db.execute("INSERT OR REPLACE INTO unit_state VALUES (?, ?, ?, ?, ?)", row)
            finally:
                self._db.execute("PRAGMA synchronous = FULL")

    def _begin_chain(self) -> None:
        with translated(self.path), transaction(self._db):
            chain.begin(self._db)

    def _insert(self, event: Event, row: dict[str, Any]) -> None:
        with translated(self.path), transaction(self._db):
            insert_event(self._db, event, row)

    def _replace(self, error: CorruptError) -> None:
        kept, undelivered = quarantine(self.path)
        self._db = self._open()
        if self._hash_chain:
            self._begin_chain()
        for event in undelivered:
            self._insert(event, event_row(event, self._clock(), self._texts))
        self.losses.append(
            f"the event log was corrupt and begun anew; the old one is kept as {kept}, {len(undelivered)} undelivered events were carried over"
        )
        _LOG.error("%s; %s", error, self.losses[-1])

    def _first_of_latest(self, where: str, values: list[Any], limit: int) -> int:
        query = f"SELECT min(id) FROM (SELECT id FROM events WHERE {where} ORDER BY id DESC LIMIT ?)"  # noqa: S608 - conditions are ours
        return int(self._rows(query, [*values, 0, limit])[0][0] or 0)

    def _rows(self, query: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
        with self._lock, translated(self.path):
            rows: list[tuple[Any, ...]] = self._db.execute(query, values or []).fetchall()
        return rows
