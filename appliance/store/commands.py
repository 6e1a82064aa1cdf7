"""Commands in the event log: who asked for what and when, what was answered, and what of it still holds.

The publisher writes them, the sensor follows. What changes the unit, its record and its answer are one transaction.
"""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlite_utils import Database

from appliance.store.clips import clip_of
from appliance.store.database import BUSY_TIMEOUT_S, open_database, transaction, translated
from appliance.store.stamp import Stamp
from appliance.types import Adjustments, Answer, Clip, Command, Job, Mute

# A flood of commands must not fill the disk.
_KEPT_COMMANDS = 10_000
_KEPT_ACKNOWLEDGEMENTS = 10_000
_TOLD_ACKNOWLEDGEMENTS = 10


class Effects:
    """What a command may change; only inside `CommandLog.carry_out`."""

    def __init__(self, db: Database, now: Stamp, who: str) -> None:
        self._db = db
        self._now = now
        self._who = who

    def acknowledge(self, event_id: str) -> tuple[str, int] | None:
        """Note that somebody deals with the event: who did so first, and its UTC in nanoseconds; None where there is no such event."""
        if not self.knows(event_id):
            return None
        self._db.execute(
            "INSERT OR IGNORE INTO acknowledgements VALUES (?, ?, ?)", [event_id, self._who, self._now.utc_ns]
        )
        self._db.execute(
            "DELETE FROM acknowledgements WHERE utc_ns <= (SELECT utc_ns FROM acknowledgements ORDER BY utc_ns DESC LIMIT 1 OFFSET ?)",
            [_KEPT_ACKNOWLEDGEMENTS],
        )
        who, utc_ns = self._db.execute(
            "SELECT asked_by, utc_ns FROM acknowledgements WHERE event_id = ?", [event_id]
        ).fetchone()
        return who, utc_ns

    def clip(self, event_id: str) -> Clip | None:
        """The clip of an event; None where none was promised."""
        return clip_of(self._db, event_id)

    def knows(self, event_id: str) -> bool:
        """True where there is such an event."""
        return bool(self._db.execute("SELECT 1 FROM events WHERE event_id = ? LIMIT 1", [event_id]).fetchone())

    def mutes(self) -> list[Mute]:
        """Those that have not ended."""
        return _mutes(self._db, self._now)

    def mute(self, class_label: str | None, from_deg: float | None, to_deg: float | None, duration_s: float) -> int:
        """Begin a mute; returns its id. Those that have ended are forgotten."""
        active = [mute.mute_id for mute in self.mutes()]
        self._db.execute(f"DELETE FROM mutes WHERE id NOT IN ({', '.join('?' * len(active))})", active)  # noqa: S608 - only question marks are put in
        now = self._now
        row = self._db.execute(
            "INSERT INTO mutes (class_label, from_deg, to_deg, duration_s, asked_by, utc_ns, boot_id, boot_ns)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [class_label, from_deg, to_deg, duration_s, self._who, now.utc_ns, now.boot_id, now.boot_ns],
        ).lastrowid
        assert row is not None
        return row

    def unmute(self, mute_id: int) -> bool:
        """End a mute early; False where none such holds."""
        if mute_id not in [mute.mute_id for mute in self.mutes()]:
            return False
        self._db.execute("DELETE FROM mutes WHERE id = ?", [mute_id])
        return True

    def set_threshold(self, class_label: str, threshold: float | None) -> None:
        """Put a threshold in place of the site file's; with None give that back its place."""
        if threshold is None:
            self._db.execute("DELETE FROM thresholds WHERE class_label = ?", [class_label])
        else:
            self._db.execute(
                "INSERT OR REPLACE INTO thresholds VALUES (?, ?, ?, ?)",
                [class_label, threshold, self._who, self._now.utc_ns],
            )


class CommandLog:
    """Commands, their answers and what they changed, on the file of the event log. Each use is one transaction."""

    def __init__(
        self, path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S, clock: Callable[[], Stamp] = Stamp.now
    ) -> None:
        """Open it; raises `StoreError`."""
        self.path = path
        self._clock = clock
        self._db = open_database(path, synchronous="FULL", busy_timeout_s=busy_timeout_s)

    def carry_out(self, command: Command, answer: Callable[[Effects], str | None]) -> int:
        """Do what `answer` makes of the effects, and log the command with the payload that it returns.

        None leaves the answer to the sensor, as a job. A command whose id was logged before is not carried out again:
        its first answer is sent once more. Returns its key in the log. Raises `StoreError`; nothing was done then.
        """
        now = self._clock()
        with translated(self.path), transaction(self._db):
            if (known := self._repeated(command)) is not None:
                return known
            payload = answer(Effects(self._db, now, command.asked_by or ""))
            row = self._db.execute(
                "INSERT INTO commands (command_id, name, asked_by, request, response_topic, correlation, answer,"
                " answered_utc_ns, utc_ns, boot_id, boot_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    command.command_id,
                    command.name,
                    command.asked_by,
                    command.request,
                    command.response_topic,
                    command.correlation,
                    payload,
                    None if payload is None else now.utc_ns,
                    now.utc_ns,
                    now.boot_id,
                    now.boot_ns,
                ],
            ).lastrowid
            assert row is not None
            self._db.execute("DELETE FROM commands WHERE id <= (SELECT max(id) FROM commands) - ?", [_KEPT_COMMANDS])
        return row

    def is_id_used(self, command: Command) -> bool:
        """True where another command was logged under its id: other words, or another asker's."""
        with translated(self.path):
            return bool(
                self._db.execute(
                    "SELECT 1 FROM commands WHERE command_id = ? AND (name, request) != (?, ?)",
                    [command.command_id, command.name, command.request],
                ).fetchone()
            )

    def jobs(self) -> list[Job]:
        """What the sensor has not answered yet, oldest first."""
        now = self._clock()
        rows = self._rows(
            "SELECT id, name, command_id, utc_ns, boot_id, boot_ns FROM commands WHERE sent = 0 AND answer IS NULL ORDER BY id"
        )
        return [Job(row, name, command_id, Stamp(*stamp).age_s(now)) for row, name, command_id, *stamp in rows]

    def answer(self, row: int, payload: str) -> bool:
        """Answer a job; False where it was answered already."""
        with translated(self.path), transaction(self._db):
            return bool(
                self._db.execute(
                    "UPDATE commands SET answer = ?, answered_utc_ns = ? WHERE id = ? AND answer IS NULL",
                    [payload, self._clock().utc_ns, row],
                ).rowcount
            )

    def unsent(self) -> list[Answer]:
        """Answers that the broker has not acknowledged yet, oldest first."""
        now = self._clock()
        rows = self._rows(
            "SELECT id, response_topic, correlation, answer, utc_ns, boot_id, boot_ns FROM commands"
            " WHERE sent = 0 AND answer IS NOT NULL ORDER BY id"
        )
        return [
            Answer(row, topic, correlation, payload, Stamp(*stamp).age_s(now))
            for row, topic, correlation, payload, *stamp in rows
        ]

    def mark_sent(self, row: int) -> None:
        """The broker has the answer, or nobody waits for it any more."""
        with translated(self.path), transaction(self._db):
            self._db.execute("UPDATE commands SET sent = 1 WHERE id = ?", [row])

    def adjustments(self) -> Adjustments:
        """What holds at the moment."""
        now = self._clock()
        with translated(self.path):
            mutes = _mutes(self._db, now)
        thresholds = dict(self._rows("SELECT class_label, threshold FROM thresholds ORDER BY class_label"))
        acknowledged = self._rows(
            f"SELECT event_id, asked_by, utc_ns FROM acknowledgements ORDER BY utc_ns DESC LIMIT {_TOLD_ACKNOWLEDGEMENTS}"  # noqa: S608 - a number of ours
        )
        return Adjustments(tuple(mutes), thresholds, tuple(acknowledged))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> "CommandLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _repeated(self, command: Command) -> int | None:
        """The key of the command under whose id this one comes; whoever asks now gets its answer."""
        if command.command_id is None:
            return None
        known = self._db.execute("SELECT id FROM commands WHERE command_id = ?", [command.command_id]).fetchone()
        if known is None:
            return None
        self._db.execute(
            "UPDATE commands SET sent = 0, response_topic = ?, correlation = ? WHERE id = ?",
            [command.response_topic, command.correlation, known[0]],
        )
        return int(known[0])

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        with translated(self.path):
            rows: list[tuple[Any, ...]] = self._db.execute(query).fetchall()
        return rows


def _mutes(db: Database, now: Stamp) -> list[Mute]:
    """Their time runs on while the unit is off, and does not follow a clock that is set meanwhile."""
    rows = db.execute(
        "SELECT id, class_label, from_deg, to_deg, asked_by, duration_s, utc_ns, boot_id, boot_ns FROM mutes ORDER BY id"
    ).fetchall()
    mutes = []
    for mute_id, class_label, from_deg, to_deg, who, duration_s, *stamp in rows:
        begun = Stamp(*stamp)
        until_utc_ns = begun.utc_ns + round(duration_s * 1e9)
        mutes.append(Mute(mute_id, class_label, from_deg, to_deg, who, until_utc_ns, duration_s - begun.age_s(now)))
    return [mute for mute in mutes if mute.left_s > 0.0]
