"""A hash chain over the rows of the event log: once begun, every row is bound to all before it.

`link = SHA-256(link before ‖ digest)`, `digest = SHA-256(the row as JSON)`. Whoever may write the file may also compute
the chain anew; only a link that was noted elsewhere (`--known`) proves that this was not done.
"""

import hashlib
import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from appliance.errors import ConfigError
from appliance.store.database import open_database, translated

# Never to be changed: the digests of old rows cover exactly these.
_COVERED = (
    "id, event_id, sequence, state, class_label, confidence, severity, track_id, onset_utc_ns, utc_ns, azimuth_deg, "
    "elevation_deg, elevation_valid, bearing_true_deg, bearing_sigma_deg, clock, after_gap, site, node, payload, "
    "committed_utc_ns, boot_id, boot_ns"
)
_PAGE_ROWS = 500


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a walk along the chain found."""

    rows: int
    """Events that are covered and were checked."""
    removed: int
    """Events that retention has removed; their place in the chain is kept."""
    head: str
    """The latest link, in hexadecimal: note it, and a later chain must still contain it."""
    fault: str
    """The first row that is not as it was written, and how; empty where all is well."""


def begin(db: Database) -> None:
    """Begin the chain with the next row, inside a transaction; no change where it has begun."""
    db.execute(
        """
        INSERT INTO chain (event_row, link)
        SELECT coalesce((SELECT max(id) FROM events), 0), ? WHERE NOT EXISTS (SELECT 1 FROM chain)
        """,
        [hashlib.sha256(b"acoustic.events").digest()],
    )


def extend(db: Database, row_id: int) -> None:
    """Add a row that has just been inserted, in its transaction; no change where no chain was begun."""
    if (last := db.execute("SELECT link FROM chain ORDER BY event_row DESC LIMIT 1").fetchone()) is None:
        return
    row = db.execute(f"SELECT {_COVERED} FROM events WHERE id = ?", [row_id]).fetchone()  # noqa: S608 - columns are ours
    digest = _digest(row)
    db.execute("INSERT INTO chain (event_row, digest, link) VALUES (?, ?, ?)", [row_id, digest, _link(last[0], digest)])


def prune(db: Database) -> None:
    """Forget the links before the oldest row that is still there; the last of them stays, as the anchor."""
    db.execute(
        """
        DELETE FROM chain WHERE event_row < (
            SELECT coalesce(min(event_row) - 1, (SELECT max(event_row) FROM chain))
            FROM chain WHERE NOT removed AND digest IS NOT NULL
        )
        """
    )
    db.execute("UPDATE chain SET digest = NULL WHERE event_row = (SELECT min(event_row) FROM chain)")


def verify(path: Path, *, known: str | None = None) -> Verdict:
    """Walk the whole chain; `known` is a link noted earlier, which it must contain.

    Raises `ConfigError` where no chain was begun, `StoreError` where the log cannot be read.
    """
    with closing(open_database(path, synchronous="NORMAL", read_only=True)) as db, translated(path):
        return _verify(path, db, known)


def _verify(path: Path, db: Database, known: str | None) -> Verdict:
    # The anchor was written when the chain was begun, or is what was left of a part that retention removed.
    if (anchor := db.execute("SELECT event_row, link FROM chain ORDER BY event_row LIMIT 1").fetchone()) is None:
        raise ConfigError(f"{path}: it has no hash chain; set [store] hash_chain = true in the site file to begin one")
    row_id, link = anchor
    rows = removed = 0
    seen = known is None or link.hex() == known.lower()
    while page := _page(db, row_id):
        for chain_row, digest, chain_link, was_removed, *row in page:
            row_id += 1
            if chain_row != row_id:
                return Verdict(rows, removed, link.hex(), _not_in_chain(db, row_id))
            gone = row[0] is None
            if gone and not was_removed:
                fault = f"row {row_id} is missing"
            elif digest is None or (not gone and _digest(row) != digest):
                fault = f"{_name(db, row_id)} was altered"
            elif _link(link, digest) != chain_link:
                fault = f"the chain itself was altered at {_name(db, row_id)}"
            else:
                fault = ""
            if fault:
                return Verdict(rows, removed, link.hex(), fault)
            link = chain_link
            rows, removed = rows + (not gone), removed + gone
            seen = seen or link.hex() == (known or "").lower()
    # What was inserted last, by SQLite's own count: rows cut off at the end leave no hole.
    inserted, chained = db.execute(
        "SELECT (SELECT seq FROM sqlite_sequence WHERE name = 'events'), (SELECT max(event_row) FROM chain)"
    ).fetchone()
    fault = ""
    if (inserted or 0) > chained:
        fault = _not_in_chain(db, chained + 1)
    elif not seen:
        fault = f"the known link {known} is not in it: it was computed anew, or that part was removed by retention"
    return Verdict(rows, removed, link.hex(), fault)


def _page(db: Database, after: int) -> list[tuple[Any, ...]]:
    # Page by page, so that a long walk does not pin the write-ahead log.
    query = f"""
        SELECT event_row, digest, link, removed, {_COVERED} FROM chain LEFT JOIN events ON id = event_row
        WHERE event_row > ? ORDER BY event_row LIMIT {_PAGE_ROWS}
        """  # noqa: S608 - columns are ours
    rows: list[tuple[Any, ...]] = db.execute(query, [after]).fetchall()
    return rows


def _not_in_chain(db: Database, row_id: int) -> str:
    is_there = db.execute("SELECT 1 FROM events WHERE id = ?", [row_id]).fetchone()
    return f"{_name(db, row_id)} was put in from outside" if is_there else f"row {row_id} is missing"


def _name(db: Database, row_id: int) -> str:
    row = db.execute("SELECT event_id, state, sequence FROM events WHERE id = ?", [row_id]).fetchone()
    return f"row {row_id} (event {row[0]}, {row[1]}, sequence {row[2]})" if row else f"row {row_id}"


def _digest(row: Any) -> bytes:
    # Whatever somebody put there is to be reported, not to be stumbled over.
    return hashlib.sha256(
        json.dumps(list(row), ensure_ascii=False, separators=(",", ":"), default=repr).encode()
    ).digest()


def _link(before: bytes, digest: bytes) -> bytes:
    return hashlib.sha256(before + digest).digest()
