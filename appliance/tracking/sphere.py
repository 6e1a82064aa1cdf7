"""One direction on the unit sphere, followed by a Kalman filter that knows no poles and no seam.

The state is a unit vector and an angular rate in its tangent plane, so that nothing happens at ±180° or at the zenith.
The rate is an Ornstein–Uhlenbeck process (Singer's model without its acceleration; Singer 1970, Bar-Shalom, Li &
Kirubarajan 2001, §6.2): sources keep their course for a while, and a coasting track comes to rest instead of running
away. Measurement and process noise are isotropic on the sphere, so one (2, 2) covariance of angle and rate serves both
tangent axes.
"""

import math

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

_RATE_MEMORY_S = 3.0


class SphereFilter:
    """Direction and angular rate of one source; angles in degrees, time in seconds.

    A direction in the horizontal plane with measurements in that plane never leaves it: planar arrays need no case.
    """

    def __init__(self, direction: Vector, sigma_deg: float, rate_sigma_deg_s: float) -> None:
        """Start at unit vector `direction` (3,), known to `sigma_deg`, at an unknown rate of `rate_sigma_deg_s`."""
        self.direction = direction
        self._rate: Vector = np.zeros(3)
        self._covariance = np.diag([sigma_deg**2, rate_sigma_deg_s**2])
        self._rate_variance = rate_sigma_deg_s**2

    @property
    def variance_deg2(self) -> float:
        """Variance of the direction along either tangent axis."""
        return float(self._covariance[0, 0])

    @property
    def speed_deg_s(self) -> float:
        """How fast the direction is turning."""
        return float(np.linalg.norm(self._rate))

    def before(self, late_s: float) -> Vector:
        """Unit vector (3,) where it was so long ago."""
        return _along(self.direction, -late_s * self._rate)

    def predict(self, elapsed_s: float) -> None:
        """Move on by `elapsed_s`."""
        memory_s = _RATE_MEMORY_S
        keep = math.exp(-elapsed_s / memory_s)
        transition = np.array([[1.0, memory_s * (1.0 - keep)], [0.0, keep]])
        noise_angle = memory_s**2 * (2.0 * elapsed_s / memory_s - 3.0 + 4.0 * keep - keep**2)
        noise_cross = memory_s * (1.0 - keep) ** 2
        noise = self._rate_variance * np.array([[noise_angle, noise_cross], [noise_cross, 1.0 - keep**2]])
        self._covariance = transition @ self._covariance @ transition.T + noise
        self._move(memory_s * (1.0 - keep) * self._rate)
        self._rate = keep * self._rate

    def update(self, measured: Vector, sigma_deg: float, *, late_s: float = 0.0) -> None:
        """Take in a measured unit vector (3,) with 1-sigma error `sigma_deg`: where it was `late_s` ago."""
        innovation = tangent_deg(self.before(late_s), measured)
        of_state = np.array([1.0, -late_s])
        cross = self._covariance @ of_state
        gain = cross / (of_state @ cross + sigma_deg**2)
        self._covariance = self._covariance - np.outer(gain, cross)
        self._rate = self._rate + gain[1] * innovation
        self._move(gain[0] * innovation)

    def _move(self, step_deg: Vector) -> None:
        """Go along the great circle of a tangent vector, taking the rate along (parallel transport)."""
        start, self.direction = self.direction, _along(self.direction, step_deg)
        # Across the plane of the circle the rate stays; in it, it turns as the direction does.
        both = start + self.direction
        self._rate = self._rate - float(self._rate @ self.direction) / (1.0 + float(start @ self.direction)) * both


def _along(origin: Vector, step_deg: Vector) -> Vector:
    """Unit vector (3,) at the end of the great circle from `origin` along a tangent vector (3,)."""
    angle = math.radians(float(np.linalg.norm(step_deg)))
    if angle < 1e-12:
        return origin
    moved = math.cos(angle) * origin + math.sin(angle) / angle * np.radians(step_deg)
    unit: Vector = moved / np.linalg.norm(moved)
    return unit


def tangent_deg(origin: Vector, target: Vector) -> Vector:
    """Tangent vector (3,) at `origin` that leads to `target` along the great circle; its length is the arc in degrees."""
    across = target - (target @ origin) * origin
    length = float(np.linalg.norm(across))
    if length < 1e-12:
        return np.zeros(3)
    vector: Vector = math.degrees(math.atan2(length, float(target @ origin))) / length * across
    return vector
