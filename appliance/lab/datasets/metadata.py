"""Metadata tables of public sets, with errors that name file and line."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from appliance.errors import RecordingError


def csv_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a CSV file that has a head, each with `file:line` before it.

    Raises `RecordingError` where the file cannot be read, lacks one of `columns`, or a row is short.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise RecordingError(f"{path}: no column {', '.join(missing)}; fetch the file again")
            for row in reader:
                where = f"{path}:{reader.line_num}"
                if any(row[column] is None for column in columns):
                    raise RecordingError(f"{where}: fewer than {len(columns)} columns; fetch the file again")
                yield where, row
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path}: cannot be read ({error}); fetch the file again") from error


def whole(value: str, where: str, column: str) -> int:
    """A cell that must be a whole number."""
    try:
        return int(value)
    except ValueError:
        raise RecordingError(f"{where}: {column} {value!r} is not a whole number; fetch the file again") from None
