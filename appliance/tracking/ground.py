"""Undo what the ground does to an elevation that intensity tells.

Besides its direct sound a source above the ground reaches the array by its reflection, from as far below the horizon.
Horizontal intensities of the two add, vertical ones cancel: over grass a drone at 33° is measured at 15°. Averaged over
100 Hz to 4 kHz, where the phase between the two takes every value, the tangent of the elevation shrinks by
(1 + |Q|²) / (1 − |Q|²), Q being the ground's reflection coefficient (`lab.world.ground`; a test holds the numbers to it).
"""

import numpy as np
import numpy.typing as npt

from appliance.angles import mount_rotation
from appliance.config import MountSettings
from appliance.tracking.sphere import Vector

SHRINKS_TANGENT_BY = {
    "none": 1.0,
    "snow": 1.3,
    "forest_floor": 1.4,
    "grass": 2.1,
    "bare_soil": 3.1,
    "gravel": 4.0,
    "asphalt": 4.0,
}
"""Surface → how much smaller the tangent of an elevation appears, for a source at 20°. On gravel (6.5) and asphalt (27) it is
not all undone: little elevation is left there to be told from the scatter."""


class Ground:
    """The ground below an array that hangs in some way."""

    def __init__(self, mount: MountSettings) -> None:
        self._factor = SHRINKS_TANGENT_BY[mount.ground]
        rotation = mount_rotation(mount.heading_true_deg, mount.pitch_deg, mount.roll_deg)
        self._up: Vector = rotation.T @ np.array([0.0, 0.0, 1.0])

    def raised(self, direction: Vector) -> Vector:
        """Where a measured unit vector (3,) in the array frame really comes from; below the horizon nothing changes."""
        height = float(direction @ self._up)
        if height <= 0.0 or self._factor == 1.0:
            return direction
        lifted = direction + (self._factor - 1.0) * height * self._up
        unit: npt.NDArray[np.float64] = lifted / np.linalg.norm(lifted)
        return unit

    def elevation_gain(self, direction: Vector) -> float:
        """By how much an error of the measured elevation has grown at a raised unit vector (3,): at the horizon most."""
        sine = float(direction @ self._up)
        if sine <= 0.0:
            return 1.0
        # d(true) / d(measured) of tan(true) = k · tan(measured).
        return self._factor * (1.0 - sine**2) + sine**2 / self._factor
