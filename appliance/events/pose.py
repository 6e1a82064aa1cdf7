"""From the array frame to the compass: bearing, elevation above the horizon, and how sure they are."""

import math

from appliance.angles import either_side_deg, horizon_elevation_deg, mount_rotation, true_bearing_elevation_deg
from appliance.config import MountSettings
from appliance.types import Track

_KNOWS_NOTHING_DEG = 180.0
_UPRIGHT = math.cos(math.radians(45.0))
"""A planar array that leans by more hears height as bearing."""


class Pose:
    """How the array hangs."""

    def __init__(self, mount: MountSettings) -> None:
        self._rotation = mount_rotation(mount.heading_true_deg, mount.pitch_deg, mount.roll_deg)
        self._upright = abs(float(self._rotation[2, 2]))
        self._heading_sigma_deg = mount.heading_sigma_deg

    def bearing_elevation_sigma_deg(self, track: Track) -> tuple[float, float, float]:
        """True bearing, elevation above the local horizon (0 where not valid), and sigma of the bearing with the mount's.

        A degree on the sphere is more of a bearing the higher the source; overhead there is none to speak of. What has no
        elevation is taken to be on the horizon: to a tilted array it is not in the array's own plane then.
        """
        doa, across_deg = track.doa, math.sqrt(track.covariance_deg2[0][0])
        above_deg = doa.elevation_deg
        if not doa.elevation_valid:
            above_deg = horizon_elevation_deg(doa.azimuth_deg, self._rotation)
            # How far the bearing turns with the azimuth in the array's plane, which lies aslant.
            across_deg *= (
                math.cos(math.radians(above_deg)) ** 2 / self._upright if self._upright > _UPRIGHT else math.inf
            )
        bearing_deg, elevation_deg = true_bearing_elevation_deg(doa.azimuth_deg, above_deg, self._rotation)
        across_deg /= max(math.cos(math.radians(elevation_deg)), 1e-3)
        sigma_deg = min(math.hypot(across_deg, self._heading_sigma_deg), _KNOWS_NOTHING_DEG)
        return bearing_deg, elevation_deg if doa.elevation_valid else 0.0, sigma_deg

    def height_deg(self, track: Track) -> float | None:
        """How high above the local horizon what has no valid elevation seems to be, were it not as far below the array's plane."""
        if track.doa.elevation_valid or track.height_deg is None:
            return None
        return max(either_side_deg(track.doa.azimuth_deg, track.height_deg, self._rotation))
