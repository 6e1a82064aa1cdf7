"""All angle arithmetic of the appliance.

Array frame: x front, y left, z up. Azimuth is counter-clockwise seen from above, 0 = front, in [-180, 180);
elevation is in [-90, 90], 0 = horizon (the convention of DCASE). A true bearing is clockwise from true north in [0, 360).
"""

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]


def wrap_azimuth_deg(azimuth_deg: float) -> float:
    """The same azimuth in [-180, 180)."""
    wrapped = (azimuth_deg + 180.0) % 360.0 - 180.0
    # A tiny negative number modulo 360 rounds to 360.0 itself.
    return -180.0 if wrapped >= 180.0 else wrapped


def wrap_bearing_deg(bearing_deg: float) -> float:
    """The same bearing in [0, 360)."""
    wrapped = bearing_deg % 360.0
    return 0.0 if wrapped >= 360.0 else wrapped


def unit_vector(azimuth_deg: float, elevation_deg: float) -> npt.NDArray[np.float64]:
    """Unit vector (3,) in the array frame that points from the array to the source."""
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    return np.array(
        [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)]
    )


def azimuth_elevation_deg(vector: FloatArray) -> tuple[float, float]:
    """Azimuth and elevation of a vector (3,) of any length above zero; the zero vector gives (0, 0)."""
    x, y, z = (float(component) for component in vector)
    return wrap_azimuth_deg(math.degrees(math.atan2(y, x))), math.degrees(math.atan2(z, math.hypot(x, y)))


def arc_distance_deg(
    azimuth_a_deg: float, elevation_a_deg: float, azimuth_b_deg: float, elevation_b_deg: float
) -> float:
    """Great-circle angle between two directions, in [0, 180]."""
    return arc_deg(unit_vector(azimuth_a_deg, elevation_a_deg), unit_vector(azimuth_b_deg, elevation_b_deg))


def arc_deg(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Great-circle angle between two unit vectors (3,), in [0, 180].

    By half of it (Kahan), which is as exact for nearly equal directions as for opposite ones.
    """
    return math.degrees(2.0 * math.atan2(math.dist(a, b), math.dist(a, -b)))


def mount_rotation(heading_true_deg: float, pitch_deg: float, roll_deg: float) -> npt.NDArray[np.float64]:
    """Rotation (3, 3) from the array frame to local north-west-up.

    The unit is first rolled about its x axis (positive: left side up), then pitched about its y axis
    (positive: front up), then turned so that its front looks along `heading_true_deg`.
    """
    heading, pitch, roll = (math.radians(angle) for angle in (heading_true_deg, pitch_deg, roll_deg))
    ch, sh, cp, sp, cr, sr = (f(angle) for angle in (heading, pitch, roll) for f in (math.cos, math.sin))
    turn = np.array([[ch, sh, 0.0], [-sh, ch, 0.0], [0.0, 0.0, 1.0]])
    tilt = np.array([[cp, 0.0, -sp], [0.0, 1.0, 0.0], [sp, 0.0, cp]])
    bank = np.array([[1.0, 0.0, 0.0], [0.0, cr, -sr], [0.0, sr, cr]])
    rotation: npt.NDArray[np.float64] = turn @ tilt @ bank
    return rotation


def true_bearing_elevation_deg(
    azimuth_deg: float, elevation_deg: float, rotation: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """True bearing and elevation above the local horizon of an array-frame direction, given `mount_rotation`."""
    azimuth_nwu_deg, elevation_local_deg = azimuth_elevation_deg(rotation @ unit_vector(azimuth_deg, elevation_deg))
    return wrap_bearing_deg(-azimuth_nwu_deg), elevation_local_deg


def either_side_deg(azimuth_deg: float, height_deg: float, rotation: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Elevations above the local horizon of what is `height_deg` above the array's plane, and of what is as far below it."""
    above, below = (true_bearing_elevation_deg(azimuth_deg, side * height_deg, rotation)[1] for side in (1.0, -1.0))
    return above, below


def horizon_elevation_deg(azimuth_deg: float, rotation: npt.NDArray[np.float64]) -> float:
    """Elevation in the array frame at which the half-plane of an azimuth meets the local horizon, given `mount_rotation`.

    0 for an array that hangs level. A planar array knows of a sound on the ground no more than that half-plane.
    """
    along, normal = rotation @ unit_vector(azimuth_deg, 0.0), rotation[:, 2]
    return math.degrees(math.atan(-along[2] / math.copysign(max(abs(normal[2]), 1e-6), normal[2])))
