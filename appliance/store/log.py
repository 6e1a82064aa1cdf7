"""The event log, as the sensor writes it and people read it."""

import json
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from sqlite_utils import Database

from appliance import wire
from appliance.errors import WireError
from appliance.store import chain
from appliance.store.database import BUSY_TIMEOUT_S, open_database, transaction, translated
from appliance.store.entry import event_row, insert_event
from appliance.store.ladder import with_room
from appliance.store.quarantine import CorruptError, quarantine
from appliance.store.stamp import Stamp
from appliance.texts import Texts
from appliance.types import Event, EventState, Severity, StateKey, UnitState

if TYPE_CHECKING:
    from typing_extensions import Unpack  # of Python 3.11

_LOG = logging.getLogger(__name__)

_Result = TypeVar("_Result")

_PAGE_ROWS = 500
_CONDITIONS = {
    "class_label": "class_label = ?",
    "state": "state = ?",
    "severity": "severity = ?",
    "event_id": "event_id = ?",
    "since_utc_ns": "utc_ns >= ?",
    "until_utc_ns": "utc_ns < ?",
}


class Choice(TypedDict, total=False):
    """Which state changes; `until_utc_ns` is exclusive, and of all that is chosen `limit` takes the latest."""

    class_label: str | None
    state: EventState | None
    severity: Severity | None
    event_id: str | None
    since_utc_ns: int | None
    until_utc_ns: int | None
    limit: int | None


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

        With `replace_corrupt`, for the sensor, a damaged file is moved aside, now or at a later use, and a new one begun,
        as it is where the file is gone: what is heard next matters more. What waited undelivered in a damaged one is
        carried over where it can still be read.
        `texts` words the sentences of what is appended; English where it is left out.
        With `hash_chain` every row from now on is bound to all before it; a chain once begun goes on in any case.
        """
        self.path = path
        self.losses: list[str] = []
        """A sentence for each time that the file was found corrupt, or gone, and replaced."""
        self.unreadable = 0
        """Rows that `messages` has passed over, as they were damaged so that no event can be made of them."""
        self._replace_corrupt = replace_corrupt
        self._hash_chain = hash_chain
        self._texts = texts
        self._clock = clock
        self._read_only = read_only
        self._busy_timeout_s = busy_timeout_s
        self._lock = threading.Lock()
        self._db: Database
        self._is_open = False
        self._carried: deque[Event] = deque()
        """Undelivered events of a corrupt log that are not in its successor yet, in the order of their commit."""
        self._use(lambda: None)

    def append(self, event: Event) -> None:
        """Commit the event together with its messages to send and the clip that it promises; when this returns, a power cut cannot undo it.

        The full lifecycle goes to `events`. To `alerts` goes what opens an alert, and the end of what ever was one.
        Raises `StoreError`; nothing was written then.
        """
        row = event_row(event, self._clock(), self._texts)
        with self._lock:
            self._use(lambda: with_room(self.path, self._db, lambda: self._insert(event, row)))

    def messages(self, **choice: "Unpack[Choice]") -> Iterator[tuple[Event, str]]:
        """State changes in the order of their commit, each with its message as it was committed and is published.

        Reads page by page, so that a slow consumer neither fills the memory nor pins the write-ahead log. A damaged row
        hides no other: it is passed over, and counted in `unreadable`.
        """
        given = {_CONDITIONS[key]: value for key, value in choice.items() if key != "limit" and value is not None}
        limit = choice.get("limit")
        where, values = " AND ".join([*given, "id >= ?"]), list(given.values())
        first_row = 0 if limit is None else self._first_of_latest(where, values, limit)
        query = f"SELECT id, payload FROM events WHERE {where} ORDER BY id LIMIT {_PAGE_ROWS}"  # noqa: S608 - conditions are ours
        while page := self._rows(query, [*values, first_row]):
            for _, payload in page:
                try:
                    event = wire.event_from_json(payload)
                except WireError:
                    self.unreadable += 1
                else:
                    yield event, payload
            first_row = page[-1][0] + 1

    def read(self, **choice: "Unpack[Choice]") -> Iterator[Event]:
        """The state changes of `messages`, by the same choice."""
        return (event for event, _ in self.messages(**choice))

    def open_events(self) -> list[Event]:
        """The latest state of each event that has no end: what a sensor that was cut off left behind.

        Those whose row was damaged so that no event can be made of it are passed over.
        """
        rows = self._rows(
            """
            SELECT event_id, payload FROM events AS latest
            WHERE id IN (
                SELECT (SELECT max(id) FROM events WHERE event_id = begun.event_id)
                FROM events AS begun
                WHERE state = 'new'
                AND NOT EXISTS (SELECT 1 FROM events WHERE state = 'end' AND event_id = begun.event_id)
            ) ORDER BY id
            """
        )
        events = []
        for event_id, payload in rows:
            try:
                events.append(wire.event_from_json(payload))
            except WireError as error:
                _LOG.error("%s: event %s cannot be read, and has no end: %s", self.path, event_id, error)
        return events

    def set_state(self, key: StateKey, value: Any) -> None:
        """Say something about the unit for the publisher to pass on; `value` is whatever JSON holds.

        Unlike an event it is not forced to the disk: it is said every few seconds, and flash wears.
        """
        stamp = self._clock()
        row = [key, json.dumps(value, allow_nan=False), stamp.utc_ns, stamp.boot_id, stamp.boot_ns]
        with self._lock:
            self._use(lambda: with_room(self.path, self._db, lambda: self._put_state(row)))

    def states(self) -> dict[StateKey, UnitState]:
        """All that was said with `set_state`, the latest of each key."""
        now = self._clock()
        rows = self._rows("SELECT key, value, utc_ns, boot_id, boot_ns FROM unit_state")
        return {key: UnitState(json.loads(value), Stamp(*stamp).age_s(now)) for key, value, *stamp in rows}

    def mended(self, work: Callable[[], _Result]) -> _Result:
        """Do `work`, which opens the same file by itself; where that is corrupt, once more on a new one.

        Raises what `work` raises.
        """
        try:
            return work()
        except CorruptError as error:
            with self._lock:
                self._move_aside(error)
                self._make_ready()
            return work()

    def close(self) -> None:
        """Close the file."""
        self._db.close()
        if self._carried:
            _LOG.error(
                "%s: %d undelivered events of the corrupt log could not be carried over; `appliance db repair` on the old one saves them",
                self.path,
                len(self._carried),
            )

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _use(self, work: Callable[[], _Result]) -> _Result:
        """Do `work` on the open file; where that is corrupt, once more on a new one. What fails is tried again with the next use."""
        try:
            self._make_ready()
            return work()
        except CorruptError as error:
            self._move_aside(error)
            self._make_ready()
            return work()

    def _make_ready(self) -> None:
        """Open the file where it is not, and put into it what was carried over from a corrupt one."""
        if self._is_open and self._replace_corrupt and _is_gone(self.path):
            # SQLite would go on writing to a file that nobody can ever open.
            self._shut()
            self.losses.append(f"the event log was taken away and begun anew at {self.path}")
        if not self._is_open:
            self._db, self._is_open = self._open(), True
        while self._carried:
            with_room(self.path, self._db, lambda: self._carry_over(self._carried[0]))
            self._carried.popleft()

    def _open(self) -> Database:
        db = open_database(
            self.path, synchronous="FULL", read_only=self._read_only, busy_timeout_s=self._busy_timeout_s
        )
        try:
            if self._hash_chain:
                with translated(self.path), transaction(db):
                    chain.begin(db)
        except BaseException:
            db.close()
            raise
        return db

    def _shut(self) -> None:
        if self._is_open:
            self._db.close()
            self._is_open = False

    def _move_aside(self, error: CorruptError) -> None:
        """Keep a corrupt file under another name, and what waits in it in memory until it is in a new one."""
        if not self._replace_corrupt:
            raise error
        self._shut()
        kept, undelivered = quarantine(self.path)
        self._carried.extendleft(reversed(undelivered))
        self.losses.append(
            f"the event log was corrupt and begun anew; the old one is kept as {kept}, {len(undelivered)} undelivered events are carried over"
        )
        _LOG.error("%s; %s", error, self.losses[-1])

    def _put_state(self, row: list[Any]) -> None:
        with translated(self.path):
            self._db.execute("PRAGMA synchronous = NORMAL")
            try:
                with transaction(self._db):
                    self._db.execute("INSERT OR REPLACE INTO unit_state VALUES (?, ?, ?, ?, ?)", row)
            finally:
                self._db.execute("PRAGMA synchronous = FULL")

    def _insert(self, event: Event, row: dict[str, Any]) -> None:
        with translated(self.path), transaction(self._db):
            insert_event(self._db, event, row)

    def _carry_over(self, event: Event) -> None:
        # What the new log refuses was damaged where no checksum tells; it must not keep out what comes after it.
        with translated(self.path), suppress(sqlite3.IntegrityError, WireError):
            row = event_row(event, self._clock(), self._texts)
            with transaction(self._db):
                insert_event(self._db, event, row)

    def _first_of_latest(self, where: str, values: list[Any], limit: int) -> int:
        query = f"SELECT min(id) FROM (SELECT id FROM events WHERE {where} ORDER BY id DESC LIMIT ?)"  # noqa: S608 - conditions are ours
        return int(self._rows(query, [*values, 0, limit])[0][0] or 0)

    def _rows(self, query: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
        def read() -> list[tuple[Any, ...]]:
            with translated(self.path):
                rows: list[tuple[Any, ...]] = self._db.execute(query, values or []).fetchall()
            return rows

        with self._lock:
            return self._use(read)


def _is_gone(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        # Whatever is wrong with the disk is for SQLite to say.
        return False
    return False
