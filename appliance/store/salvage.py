"""Reading what can still be read of a damaged SQLite file, row by row around the damage."""

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

_PAGE_ROWS = 500
# Where neither SQLite's own count nor the last page can be read.
_UNKNOWN_LAST_ROW = 200_000


def readable_rows(connection: sqlite3.Connection, table: str, where: str = "TRUE") -> Iterator[dict[str, Any]]:
    """Every row of `table` that can be read, by its columns, in the order of the keys; none where the table cannot.

    `where`: SQL for those that are wanted.
    """
    try:
        # Generated columns are not among these: they are made anew, and may stumble over damage.
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        (definition,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", [table]).fetchone()
    except (sqlite3.DatabaseError, TypeError):
        return
    select = f"SELECT {', '.join(columns)} FROM {table} WHERE {where}"  # noqa: S608 - tables are ours
    if "WITHOUT ROWID" in definition:
        with contextlib.suppress(sqlite3.DatabaseError):
            for row in connection.execute(select):
                yield dict(zip(columns, row, strict=True))
        return
    last = last_row_id(connection, table)
    for first in range(1, last + 1, _PAGE_ROWS):
        for row in _range(connection, select, first, min(first + _PAGE_ROWS - 1, last)):
            yield dict(zip(columns, row, strict=True))


def last_row_id(connection: sqlite3.Connection, table: str) -> int:
    """The highest row id that was ever given, as far as that can be known."""
    found = []
    for query, values in (
        ("SELECT seq FROM sqlite_sequence WHERE name = ?", [table]),
        (f"SELECT max(rowid) FROM {table}", []),  # noqa: S608 - tables are ours
    ):
        with contextlib.suppress(sqlite3.DatabaseError):
            row = connection.execute(query, values).fetchone()
            found.append(int(row[0] or 0) if row else 0)
    return max(found, default=_UNKNOWN_LAST_ROW)


def _range(connection: sqlite3.Connection, select: str, first: int, last: int) -> Iterator[tuple[Any, ...]]:
    """Rows of these ids; where that fails, of each half, down to the single row that is lost."""
    try:
        yield from connection.execute(f"{select} AND rowid BETWEEN ? AND ? ORDER BY rowid", [first, last]).fetchall()
    except sqlite3.DatabaseError:
        if first < last:
            middle = (first + last) // 2
            yield from _range(connection, select, first, middle)
            yield from _range(connection, select, middle + 1, last)
