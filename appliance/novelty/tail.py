"""How far is too far: what the distances that a site's own vectors had before they were learned say of rarer ones.

Their upper tail is taken to be exponential (peaks over threshold, Pickands 1975), which says at which distance there is one
in so many.
"""

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_TAIL_SHARE = 0.1
LEAST_FOR_TAIL = 50
"""Distances needed before a tail is believed."""


def share_beyond(distance: float, distances: FloatArray) -> float:
    """Share of vectors that are at least so far, 0..1, by the (n,) distances of others; n at least `LEAST_FOR_TAIL`."""
    edge, excess = _tail(distances)
    if distance < edge:
        return float((distances >= distance).mean())
    return _TAIL_SHARE * math.exp(-(distance - edge) / excess) if excess > 0.0 else 0.0


def _tail(distances: FloatArray) -> tuple[float, float]:
    """Where the tail of the distances begins, and how far beyond that they lie on average."""
    edge = float(np.quantile(distances, 1.0 - _TAIL_SHARE))
    beyond = distances[distances > edge]
    return edge, float((beyond - edge).mean()) if len(beyond) else 0.0
