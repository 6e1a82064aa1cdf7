"""SELD scores of DCASE 2023 task 3: ER20°, F20°, LE_CD, LR_CD and the SELD error, by segments of one second.

Definitions: Mesaros, Adavanne, Politis, Heittola & Virtanen, *Joint measurement of localization and detection of sound
events*, WASPAA 2019 (segments, location-dependent detection, class-dependent localisation); Politis, Mesaros, Adavanne,
Heittola & Virtanen, *Overview and evaluation of sound event localization and detection in DCASE 2019*, IEEE/ACM TASLP 29,
2021 (several instances of one class); counting rules as in the challenge's public tool, sharathadavanne/seld-dcase2023.

The figures are those of the tool, save for three things that it leaves to chance or to the data:
- instances of a class are told apart by their source index, not by the order of their rows in the file;
- frames beyond the last one of the reference are judged too, so that late false alarms count;
- macro averages go over the classes that sound in the reference; the tool gives a class that sounds nowhere F 0, LE 180.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import count

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from appliance.angles import arc_distance_deg
from appliance.lab.world.dcase_csv import SeldFrames, SeldRow

MAX_ERROR_DEG = 20.0
"""A detection farther than this from its reference is in the wrong place."""
SEGMENT_FRAMES = 10
"""Label frames (100 ms) in a segment."""
NO_LOCALISATION_DEG = 180.0
"""Localisation error where nothing of a class was localised."""

_Frames = dict[int, list[SeldRow]]


@dataclass(frozen=True, slots=True, eq=False)
class SeldCounts:
    """What was counted, per class; counts of several scenes add up."""

    tracks: npt.NDArray[np.int64]
    """(classes,) reference instances, per segment the most that sound at once."""
    hits: npt.NDArray[np.int64]
    """(classes,) reference instances found, on average within 20° over the segment."""
    misplaced: npt.NDArray[np.int64]
    """(classes,) reference instances found, but farther away."""
    false: npt.NDArray[np.int64]
    """(classes,) predicted instances too many."""
    missed: npt.NDArray[np.int64]
    """(classes,) reference instances too many."""
    error_deg: npt.NDArray[np.float64]
    """(classes,) sum over found instances of their mean error in the segment."""
    errors: npt.NDArray[np.int64]
    """(3,) substitutions, deletions, insertions over all classes."""

    def __add__(self, other: "SeldCounts") -> "SeldCounts":
        return SeldCounts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class SeldScores:
    """The scores; names with `_micro` pool all classes, the others are means over the classes of the reference."""

    er20: float
    """Error rate: (substitutions + deletions + insertions) / reference instances, all classes pooled."""
    f20: float
    """F score, macro: what the challenge ranks by."""
    f20_micro: float
    """F score over pooled counts."""
    le_cd_deg: float
    """Class-dependent localisation error, macro."""
    le_cd_micro_deg: float
    """The same over pooled counts."""
    lr_cd: float
    """Class-dependent localisation recall, macro."""
    lr_cd_micro: float
    """The same over pooled counts."""
    seld: float
    """Mean of ER, 1 − F, LE / 180° and 1 − LR, macro: 0 is perfect."""
    seld_micro: float
    """The same of the pooled figures."""
    f20_by_class: npt.NDArray[np.float64]
    """(classes,); NaN where a class does not sound in the reference."""
    le_cd_deg_by_class: npt.NDArray[np.float64]
    """(classes,); NaN likewise."""
    lr_cd_by_class: npt.NDArray[np.float64]
    """(classes,); NaN likewise."""


def count_seld(
    reference: SeldFrames, prediction: SeldFrames, classes: int, *, azimuth_only: bool = False
) -> SeldCounts:
    """Judge one scene. `azimuth_only` leaves elevation out, for planar arrays.

    In each segment and class, predictions are associated with references frame by frame (Hungarian, least total arc);
    the errors of an instance are averaged over its frames in the segment and then held against 20°.
    Raises `IndexError` where a row's class is not one of `classes`.
    """
    per_class = np.zeros((5, classes), np.int64)
    error_deg = np.zeros(classes)
    errors = np.zeros(3, np.int64)
    too_many: defaultdict[int, npt.NDArray[np.int64]] = defaultdict(lambda: np.zeros(2, np.int64))
    true_parts, predicted_parts = _parts(reference, azimuth_only), _parts(prediction, azimuth_only)
    for segment, class_index in sorted(true_parts.keys() | predicted_parts.keys()):
        true = true_parts.get((segment, class_index), {})
        predicted = predicted_parts.get((segment, class_index), {})
        track_errors_deg = _track_errors_deg(true, predicted)
        far = sum(error > MAX_ERROR_DEG for error in track_errors_deg)
        extra, lacking = _surplus(true, predicted, bool(track_errors_deg))
        per_class[:, class_index] += (_most(true), len(track_errors_deg) - far, far, extra, lacking)
        error_deg[class_index] += sum(track_errors_deg)
        # A misplaced instance is no miss as well: it makes a substitution only with a miss elsewhere in the segment.
        too_many[segment] += (extra + far, lacking)
    for extra, lacking in too_many.values():
        errors += (min(extra, lacking), max(0, lacking - extra), max(0, extra - lacking))
    tracks, hits, misplaced, false, missed = per_class
    return SeldCounts(tracks, hits, misplaced, false, missed, error_deg, errors)


def seld_scores(counts: SeldCounts) -> SeldScores:
    """Scores of one scene or of the sum of several. Raises `ValueError` where the reference is silent throughout."""
    sounding = counts.tracks > 0
    if not sounding.any():
        raise ValueError("the reference is silent: SELD scores are not defined, count false alarms instead")
    er20 = float(counts.errors.sum() / counts.tracks.sum())
    f20, le_cd_deg, lr_cd = _detection_localisation(counts, sounding)
    pooled = SeldCounts(*(getattr(counts, field.name).sum(keepdims=True) for field in fields(counts)))
    micro = [float(figure[0]) for figure in _detection_localisation(pooled, np.array([True]))]
    macro = [float(np.mean(figure[sounding])) for figure in (f20, le_cd_deg, lr_cd)]
    return SeldScores(
        er20=er20,
        f20=macro[0],
        f20_micro=micro[0],
        le_cd_deg=macro[1],
        le_cd_micro_deg=micro[1],
        lr_cd=macro[2],
        lr_cd_micro=micro[2],
        seld=_seld(er20, *macro),
        seld_micro=_seld(er20, *micro),
        f20_by_class=f20,
        le_cd_deg_by_class=le_cd_deg,
        lr_cd_by_class=lr_cd,
    )


def _seld(er20: float, f20: float, le_cd_deg: float, lr_cd: float) -> float:
    return (er20 + 1.0 - f20 + le_cd_deg / 180.0 + 1.0 - lr_cd) / 4.0


def _detection_localisation(
    counts: SeldCounts, sounding: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """F20, LE_CD (degrees) and LR_CD, each (classes,); NaN where not `sounding`."""
    found = counts.hits + counts.misplaced
    f20, le_cd_deg, lr_cd = (np.full(len(sounding), np.nan) for _ in range(3))
    np.divide(counts.hits, found + 0.5 * (counts.false + counts.missed), out=f20, where=sounding)
    np.divide(found, found + counts.missed, out=lr_cd, where=sounding)
    le_cd_deg[sounding] = NO_LOCALISATION_DEG
    np.divide(counts.error_deg, found, out=le_cd_deg, where=sounding & (found > 0))
    return f20, le_cd_deg, lr_cd


def _parts(frames: SeldFrames, azimuth_only: bool) -> dict[tuple[int, int], _Frames]:
    """Rows by (segment, class), then by frame."""
    parts: dict[tuple[int, int], _Frames] = defaultdict(lambda: defaultdict(list))
    for frame, rows in frames.items():
        for row in rows:
            flat = row._replace(elevation_deg=0.0) if azimuth_only else row
            parts[frame // SEGMENT_FRAMES, row.class_index][frame].append(flat)
    return parts


def _most(frames: _Frames) -> int:
    """Instances in the fullest frame."""
    return max((len(rows) for rows in frames.values()), default=0)


def _surplus(true: _Frames, predicted: _Frames, met: bool) -> tuple[int, int]:
    """False and missed instances of one class in one segment."""
    if true and predicted and not met:
        # Both sound in the segment but never together: no direction can be judged; the tool calls that missed.
        return 0, _most(predicted)
    return max(0, _most(predicted) - _most(true)), max(0, _most(true) - _most(predicted))


def _track_errors_deg(true: _Frames, predicted: _Frames) -> list[float]:
    """Mean error in degrees of each reference instance that met a prediction in at least one frame."""
    errors_deg: defaultdict[int, list[float]] = defaultdict(list)
    for frame, lanes in _lanes(true):
        others = predicted.get(frame, [])
        arcs_deg = np.array([[arc_distance_deg(*row[2:], *other[2:]) for other in others] for row in lanes.values()])
        for place, other in zip(*linear_sum_assignment(arcs_deg), strict=True):
            errors_deg[list(lanes)[place]].append(float(arcs_deg[place, other]))
    return [sum(errors) / len(errors) for errors in errors_deg.values()]


def _lanes(frames: _Frames) -> Iterator[tuple[int, dict[int, SeldRow]]]:
    """Frames in order, their rows by *lane*: as many lanes as instances sound at once, each instance keeping its own.

    Speakers who take turns within a segment share a lane, as the challenge counts them: one reference instance.
    """
    last_in: dict[int, int] = {}
    for frame in sorted(frames):
        lanes: dict[int, SeldRow] = {}
        newcomers = []
        # Ties are broken by direction, for neither numbering nor order in a file may change a score.
        for row in sorted(frames[frame], key=lambda row: row[2:]):
            own = [lane for lane, source in last_in.items() if source == row.source_index and lane not in lanes]
            if own:
                lanes[own[0]] = row
            else:
                newcomers.append(row)
        for row in newcomers:
            lanes[next(lane for lane in count() if lane not in lanes)] = row
        last_in.update({lane: row.source_index for lane, row in lanes.items()})
        yield frame, lanes
