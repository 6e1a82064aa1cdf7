"""Which detection belongs to which track: one assignment over all of them (Hungarian), by arc and class."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from appliance.angles import arc_deg
from appliance.tracking.detections import Detection
from appliance.tracking.target import Target
from appliance.types import Float32Array

_LEAST_AFFINITY = 0.35
"""Below it a detection is another thing at the same place: a shot fired beside a generator is no generator."""
_FORBIDDEN = 1e6


def associate(targets: Sequence[Target], found: Sequence[Detection], gate_deg: float) -> list[tuple[int, int]]:
    """Pairs (index of target, index of detection), each at most once, none farther apart than `gate_deg`."""
    if not targets or not found:
        return []
    costs = np.array([[_cost(target, detection, gate_deg) for detection in found] for target in targets])
    rows, columns = linear_sum_assignment(costs)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if costs[r, c] < _FORBIDDEN]


def class_affinity(a: Float32Array, b: Float32Array) -> float:
    """Bhattacharyya coefficient of two score vectors (classes,), each normalised: 1 for the same mix, 0 for disjoint."""
    return float(np.sqrt(_normalised(a) * _normalised(b)).sum())


def _normalised(scores: Float32Array) -> npt.NDArray[np.float64]:
    wide = scores.astype(np.float64)
    normalised: npt.NDArray[np.float64] = wide / max(float(wide.sum()), 1e-12)
    return normalised


def _cost(target: Target, detection: Detection, gate_deg: float) -> float:
    arc = arc_deg(target.filter.before(detection.late_s), detection.direction)
    # What nothing has named yet may be anything, but what has a name of that kind comes first.
    affinity = class_affinity(target.class_probs, detection.scores) if target.named else _LEAST_AFFINITY
    if arc > gate_deg or affinity < _LEAST_AFFINITY:
        return _FORBIDDEN
    return arc / gate_deg + (1.0 - affinity)
