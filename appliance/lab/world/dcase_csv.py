"""The metadata of DCASE task 3: which class sounds in which label frame, from where. As rows, and as CSV.

A row of the file is `frame,class index,source index,azimuth,elevation`, with no header; STARSS23 adds a sixth column,
the distance in centimetres, which is read over. Ten frames make a second, the first is 0; angles are degrees.
"""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from appliance.errors import RecordingError
from appliance.lab.world.render import SourceTruth

_COLUMNS = (5, 6)


class SeldRow(NamedTuple):
    """One sound in one label frame."""

    class_index: int
    """Place in the list of classes."""
    source_index: int
    """Tells instances of one class apart; in a track's row, the track's number."""
    azimuth_deg: float
    """Counter-clockwise from the front seen from above, [-180, 180]."""
    elevation_deg: float
    """Above the horizon, [-90, 90]."""


SeldFrames = Mapping[int, Sequence[SeldRow]]
"""Rows by label frame; a silent frame may be absent."""


def frames_of_sources(sources: Iterable[SourceTruth], classes: Sequence[str]) -> dict[int, list[SeldRow]]:
    """The truth of a rendered scene; a source's index is its place in the scene.

    Sources of another label than `classes` are no targets and left out.
    """
    frames: dict[int, list[SeldRow]] = {}
    for source_index, source in enumerate(sources):
        if source.label not in classes:
            continue
        class_index = classes.index(source.label)
        for frame in np.flatnonzero(source.active).tolist():
            azimuth_deg, elevation_deg = float(source.azimuth_deg[frame]), float(source.elevation_deg[frame])
            frames.setdefault(frame, []).append(SeldRow(class_index, source_index, azimuth_deg, elevation_deg))
    return dict(sorted(frames.items()))


def save_dcase_csv(frames: SeldFrames, path: Path) -> None:
    """Write rows in the order of frames, angles in their shortest exact form."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for frame in sorted(frames):
            for row in frames[frame]:
                angles = float(row.azimuth_deg), float(row.elevation_deg)
                writer.writerow((frame, row.class_index, row.source_index, *angles))


def load_dcase_csv(path: Path, classes: int | None = None) -> dict[int, list[SeldRow]]:
    """Read rows, in their order within a frame; empty lines are skipped.

    Raises `RecordingError` that names file and line where the file cannot be read, a row is not of this format, an angle
    is out of range, or a class is not one of `classes`, where given.
    """
    frames: dict[int, list[SeldRow]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path}: cannot be read ({error}); expected DCASE metadata as CSV") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            frame, row = _parsed(line.split(","))
        except ValueError as error:
            form = "frame,class index,source index,azimuth,elevation"
            raise RecordingError(f"{path}:{number}: {error}; a row must be {form}, like 17,0,2,-45.5,10") from error
        if classes is not None and row.class_index >= classes:
            raise RecordingError(
                f"{path}:{number}: class {row.class_index}: there are {classes} classes, 0 is the first"
            )
        frames.setdefault(frame, []).append(row)
    return dict(sorted(frames.items()))


def _parsed(cells: list[str]) -> tuple[int, SeldRow]:
    if len(cells) not in _COLUMNS:
        raise ValueError(f"{len(cells)} columns")
    frame, class_index, source_index = (int(cell) for cell in cells[:3])
    azimuth_deg, elevation_deg = (float(cell) for cell in cells[3:5])
    if min(frame, class_index, source_index) < 0:
        raise ValueError("negative frame, class or source index")
    if not (math.isfinite(azimuth_deg) and abs(azimuth_deg) <= 180.0):
        raise ValueError(f"azimuth {azimuth_deg} is not within -180…180")
    if not (math.isfinite(elevation_deg) and abs(elevation_deg) <= 90.0):
        raise ValueError(f"elevation {elevation_deg} is not within -90…90")
    return frame, SeldRow(class_index, source_index, azimuth_deg, elevation_deg)
