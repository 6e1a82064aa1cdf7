"""How high a sound is that a planar array hears.

Its microphones tell above from below by nothing, but a wave from 45° runs along them 1.4 times as fast as one from the horizon. What the
ground reflects runs along them just as the sound itself does, so it bends nothing.
"""

import math

import numpy as np
from scipy.interpolate import CubicSpline

from appliance.types import Float32Array

ELEVATIONS_DEG = np.arange(0.0, 90.0, 10.0)
"""At which is listened."""
_BETWEEN_DEG = np.arange(0.0, 81.0, 2.0)
# A spline is linear in its values. Above the plane is as below it, so it is level there.
_BETWEEN = CubicSpline(
    ELEVATIONS_DEG, np.eye(len(ELEVATIONS_DEG)), bc_type=((1, np.zeros(len(ELEVATIONS_DEG))), "not-a-knot")
)(_BETWEEN_DEG)
_MEMORY_S = 2.0
_EXPECTED_DEG = 12.0
"""Mean elevation of sounds of which nothing has been heard: few come from overhead."""
_LIKELIHOOD = 20.0
"""Natural logarithms of a likelihood per unit of strength: bins are many, but neighbours say the same."""


class Height:
    """Of one sound. State: how strongly it was heard from each elevation."""

    def __init__(self, strength: Float32Array) -> None:
        """What it begins with, as `hear` takes it in."""
        self._strength = strength

    def hear(self, strength: Float32Array, seconds: float) -> None:
        """How strongly (elevations,) it was heard in the next so many seconds, in the units of `Arrival.strength`."""
        keep = np.float32(math.exp(-seconds / _MEMORY_S))
        self._strength = keep * self._strength + (1 - keep) * strength

    @property
    def deg(self) -> float:
        """Elevation above the array's plane, or as far below it: the mean of what is likely."""
        log_likely = _LIKELIHOOD * (_BETWEEN @ self._strength) - _BETWEEN_DEG / _EXPECTED_DEG
        likely = np.exp(log_likely - log_likely.max())
        return float(likely @ _BETWEEN_DEG / likely.sum())
