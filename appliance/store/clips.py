"""Audio clips in the event log: what was promised with an event, and what became of it. The files lie beside the log."""

import dataclasses
import json
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlite_utils import Database

from appliance.store.database import BUSY_TIMEOUT_S, open_database, transaction, translated
from appliance.types import Clip, Event

PART_BYTES = 64 * 1024
"""Audio in one answer. Some brokers take no message above 128 kB, and in JSON a third is added to it."""

_COLUMNS = "name, event_id, state, reason, start_utc_ns, seconds, bytes, sha256, gaps"


def clips_folder(log_path: Path) -> Path:
    """Where the clips of an event log lie; retention keeps it within its quota."""
    return log_path.parent / "clips"


def promise(db: Database, event_row: int, event: Event) -> None:
    """Note the clip that an event refers to, in the event's own transaction; no change where it was promised before."""
    if event.clip is not None:
        db.execute(
            "INSERT OR IGNORE INTO clips (name, event_row, event_id, state) VALUES (?, ?, ?, ?)",
            [event.clip, event_row, event.event_id, event.clip_state or "recording"],
        )


def clip_of(db: Database, event_id: str) -> Clip | None:
    """The clip of an event; None where none was promised."""
    found = db.execute(f"SELECT {_COLUMNS} FROM clips WHERE event_id = ? LIMIT 1", [event_id]).fetchone()  # noqa: S608 - columns are ours
    return _clip(found) if found else None


def read_part(log_path: Path, name: str, offset: int) -> bytes | None:
    """At most `PART_BYTES` of a clip's file from `offset` on; None where it is gone or cannot be read.

    `name` comes from the event log, and is still taken for a name alone: nobody may read another file by it.
    """
    with suppress(OSError), (clips_folder(log_path) / Path(name).name).open("rb") as file:
        file.seek(offset)
        return file.read(PART_BYTES)
    return None


class ClipLog:
    """The clips of one event log. Each use is one transaction; none is forced to the disk, as the files tell too."""

    def __init__(self, path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        """Open it; raises `StoreError`."""
        self.path = path
        self._db = open_database(path, synchronous="NORMAL", busy_timeout_s=busy_timeout_s)

    def settle(self, clip: Clip) -> bool:
        """Say what became of a clip; False where its event is not committed yet, or was removed. Raises `StoreError`."""
        with translated(self.path), transaction(self._db):
            values = [clip.state, clip.reason, clip.start_utc_ns, clip.seconds, clip.size_bytes, clip.sha256]
            return bool(
                self._db.execute(
                    "UPDATE clips SET state = ?, reason = ?, start_utc_ns = ?, seconds = ?, bytes = ?, sha256 = ?,"
                    " gaps = ? WHERE name = ?",
                    [*values, json.dumps(clip.gaps), clip.name],
                ).rowcount
            )

    def recording(self) -> list[Clip]:
        """Those that were promised and not settled. Raises `StoreError`."""
        with translated(self.path):
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM clips WHERE state = 'recording'").fetchall()  # noqa: S608 - columns are ours
        return [_clip(row) for row in rows]

    def of(self, event_id: str) -> Clip | None:
        """The clip of an event; None where none was promised. Raises `StoreError`."""
        with translated(self.path):
            return clip_of(self._db, event_id)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> "ClipLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def write_whole(file: Path, data: bytes) -> None:
    """Put a file in its place, whole and on the disk when this returns; raises `OSError`, and nothing is there then."""
    begun = file.with_name(f".{file.name}.part")
    try:
        with begun.open("wb", buffering=0) as part:
            left = memoryview(data)
            while left:
                left = left[part.write(left) :]
            os.fsync(part.fileno())
        begun.rename(file)
    except OSError:
        begun.unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove_parts(log_path: Path) -> None:
    """Remove what a sensor that was cut off had begun to write; raises `OSError`."""
    for part in clips_folder(log_path).glob(".*.part"):
        part.unlink(missing_ok=True)


def _clip(row: tuple[Any, ...]) -> Clip:
    gaps = tuple((float(offset), float(length)) for offset, length in json.loads(row[-1]))
    return dataclasses.replace(Clip(*row[:-1]), gaps=gaps)
