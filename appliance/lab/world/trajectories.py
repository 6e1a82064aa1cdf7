"""Where sources move: sampled positions in the array frame, and the flights, walks and drives that make them.

Heights are given above the ground and become z by `array_height_m`; the ground is level in the array frame.
Speeds and heights are those of the things themselves: a camera drone climbs at 2–6 m/s and flies at up to 20 m/s, an
FPV drone at up to 40 m/s, a person walks at 0.8–2 m/s, a car passes at 8–25 m/s.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from appliance.errors import ConfigError

FloatArray = npt.NDArray[np.float64]

INTERVAL_S = 0.05
DRONE_MANOEUVRES = ("hover", "approach", "transit", "orbit", "climb")

_WANDER_HZ = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """Positions at equal intervals, joined by a cubic spline; beyond its ends a source goes on straight.

    Raises `ConfigError` where positions are not finite numbers (points, 3).
    """

    positions_m: FloatArray
    """(points, 3) in the array frame (x front, y left, z up); one point: still."""
    interval_s: float = INTERVAL_S
    """Seconds between points."""
    start_s: float = 0.0
    """Time of the first point. Sound is late by its way: what is heard at 0 s left the source before."""

    def __post_init__(self) -> None:
        positions = self.positions_m
        if positions.ndim != 2 or positions.shape[1] != 3 or len(positions) == 0 or not np.isfinite(positions).all():
            raise ConfigError(f"trajectory: positions_m {positions.shape}: give finite positions (points, 3) in metres")
        if not self.interval_s > 0.0:
            raise ConfigError(
                f"trajectory: interval_s = {self.interval_s}: not above zero; set the time between points"
            )

    def at(self, times_s: npt.ArrayLike) -> FloatArray:
        """Positions (..., 3) at times (...)."""
        return self.at_with_velocity(times_s)[0]

    def at_with_velocity(self, times_s: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Positions (..., 3) in m and velocities (..., 3) in m/s at times (...) in s."""
        times = np.asarray(times_s, np.float64)
        if len(self.positions_m) == 1:
            return np.broadcast_to(self.positions_m[0], (*times.shape, 3)), np.zeros((*times.shape, 3))
        knots_s = self.start_s + self.interval_s * np.arange(len(self.positions_m))
        spline = CubicSpline(knots_s, self.positions_m, bc_type="natural")
        inside = np.clip(times, knots_s[0], knots_s[-1])
        velocity = spline(inside, 1)
        return spline(inside) + velocity * (times - inside)[..., None], velocity


def still(position_m: npt.ArrayLike) -> Trajectory:
    """A source that stays at (3,)."""
    return Trajectory(np.asarray(position_m, np.float64).reshape(1, 3))


def straight(
    from_m: npt.ArrayLike, to_m: npt.ArrayLike, speed_m_s: float, *, seconds: float, start_s: float = 0.0
) -> Trajectory:
    """Through `from_m` (3,) at `start_s` towards `to_m` (3,) and on beyond it at constant speed: transit, drive, dive."""
    begin, end = np.asarray(from_m, np.float64), np.asarray(to_m, np.float64)
    heading = (end - begin) / np.linalg.norm(end - begin)
    times_s = _times_s(seconds)
    return Trajectory(begin + speed_m_s * times_s[:, None] * heading, start_s=start_s)


def approach(
    from_m: npt.ArrayLike,
    speed_m_s: float,
    *,
    seconds: float,
    nearest_m: float = 15.0,
    braking_m_s2: float = 3.0,
    start_s: float = 0.0,
) -> Trajectory:
    """From (3,) straight at the array, level, braking so that it comes to rest `nearest_m` from the array's axis."""
    begin = np.asarray(from_m, np.float64)
    range_m = float(np.hypot(begin[0], begin[1]))
    times_s = _times_s(seconds)
    gone_m = _gone_m(times_s, speed_m_s, max(range_m - nearest_m, 0.0), braking_m_s2)
    positions = np.tile(begin, (len(times_s), 1))
    positions[:, :2] *= (1.0 - gone_m / max(range_m, 1e-9))[:, None]
    return Trajectory(positions, start_s=start_s)


def orbit(
    radius_m: float,
    z_m: float,
    speed_m_s: float,
    *,
    seconds: float,
    azimuth_deg: float = 0.0,
    centre_m: tuple[float, float] = (0.0, 0.0),
    start_s: float = 0.0,
) -> Trajectory:
    """A level circle round (x, y), counter-clockwise (clockwise for a negative speed), from `azimuth_deg` on it."""
    angle = math.radians(azimuth_deg) + speed_m_s / radius_m * _times_s(seconds)
    circle = np.stack(
        [
            centre_m[0] + radius_m * np.cos(angle),
            centre_m[1] + radius_m * np.sin(angle),
            np.full(len(angle), z_m),
        ],
        axis=1,
    )
    return Trajectory(circle, start_s=start_s)


def climb(
    from_m: npt.ArrayLike,
    to_z_m: float,
    speed_m_s: float,
    *,
    seconds: float,
    braking_m_s2: float = 3.0,
    start_s: float = 0.0,
) -> Trajectory:
    """Straight up or down from (3,) at this speed, braking so that it comes to hover at `to_z_m`."""
    begin = np.asarray(from_m, np.float64)
    way_m = float(to_z_m - begin[2])
    times_s = _times_s(seconds)
    positions = np.tile(begin, (len(times_s), 1))
    positions[:, 2] += math.copysign(1.0, way_m) * _gone_m(times_s, speed_m_s, abs(way_m), braking_m_s2)
    return Trajectory(positions, start_s=start_s)


def unsteady(rng: np.random.Generator, trajectory: Trajectory, sigma_m: float, *, lowest_z_m: float) -> Trajectory:
    """The same with slow wandering of this standard deviation per axis: wind and the flight controller, below 0.3 Hz.

    A still trajectory must be given points first (a hover is a climb of no height). Nothing sinks below `lowest_z_m`.
    """
    points = len(trajectory.positions_m)
    margin = int(3.0 / (_WANDER_HZ * trajectory.interval_s))
    reach = np.arange(-margin, margin + 1) * trajectory.interval_s
    kernel = np.exp(-0.5 * (2.0 * np.pi * _WANDER_HZ * reach / 2.0) ** 2)
    kernel /= np.sqrt((kernel**2).sum())
    noise = rng.standard_normal((points + 2 * margin, 3))
    wander = np.stack([np.convolve(noise[:, axis], kernel, mode="valid") for axis in range(3)], axis=1)
    positions = trajectory.positions_m + sigma_m * wander
    positions[:, 2] = np.maximum(positions[:, 2], lowest_z_m)
    return Trajectory(positions, trajectory.interval_s, trajectory.start_s)


def draw_drone(
    rng: np.random.Generator,
    manoeuvre: str,
    distance_m: float,
    *,
    seconds: float,
    array_height_m: float,
    start_s: float = 0.0,
) -> Trajectory:
    """A drone's flight with `distance_m` between array and drone: throughout (hover, orbit), at its nearest (transit),
    at first (approach), or at the top (climb); slow wandering of 0.1–0.6 m comes on top.

    Heights 10–120 m above ground (the open category's ceiling) but never steeper than 60°, speeds 5–20 m/s.
    Raises `ConfigError` for a manoeuvre that is not one of `DRONE_MANOEUVRES`.
    """
    ceiling_m = min(120.0, array_height_m + distance_m * math.sin(math.radians(60.0)))
    floor_m = min(10.0, ceiling_m)
    height_m = float(rng.uniform(floor_m, ceiling_m))
    z_m = height_m - array_height_m
    z_m = math.copysign(min(abs(z_m), 0.95 * distance_m), z_m)
    range_m = math.sqrt(distance_m**2 - z_m**2)
    azimuth = rng.uniform(-math.pi, math.pi)
    radial = np.array([math.cos(azimuth), math.sin(azimuth), 0.0])
    along = np.array([-math.sin(azimuth), math.cos(azimuth), 0.0])
    place = range_m * radial + np.array([0.0, 0.0, z_m])
    speed_m_s = float(rng.uniform(5.0, 20.0))
    if manoeuvre == "hover":
        flown = climb(place, z_m, 0.0, seconds=seconds, start_s=start_s)
    elif manoeuvre == "approach":
        flown = approach(place, speed_m_s, nearest_m=min(15.0, range_m), seconds=seconds, start_s=start_s)
    elif manoeuvre == "transit":
        before_m = speed_m_s * seconds * float(rng.uniform(0.3, 0.7))
        turn = float(rng.choice((-1.0, 1.0)))
        flown = straight(
            place - turn * before_m * along, place + turn * along, speed_m_s, seconds=seconds, start_s=start_s
        )
    elif manoeuvre == "orbit":
        turn = float(rng.choice((-1.0, 1.0)))
        # At most 4 m/s² to the side: about 22° of bank.
        speed_m_s = min(speed_m_s, math.sqrt(4.0 * max(range_m, 1.0)))
        flown = orbit(
            max(range_m, 1.0),
            z_m,
            turn * speed_m_s,
            azimuth_deg=math.degrees(azimuth),
            seconds=seconds,
            start_s=start_s,
        )
    elif manoeuvre == "climb":
        low_m = min(z_m, 2.0 - array_height_m)
        foot = np.array([place[0], place[1], low_m])
        flown = climb(foot, z_m, float(rng.uniform(2.0, 6.0)), seconds=seconds, start_s=start_s)
    else:
        raise ConfigError(f"manoeuvre = {manoeuvre!r}: unknown; one of: {', '.join(DRONE_MANOEUVRES)}")
    return unsteady(rng, flown, float(rng.uniform(0.1, 0.6)), lowest_z_m=1.0 - array_height_m)


def draw_walk(
    rng: np.random.Generator, distance_m: float, *, seconds: float, array_height_m: float, start_s: float = 0.0
) -> Trajectory:
    """A person who passes at `distance_m` on the ground at 0.8–2 m/s; the feet sound at 0.05 m, a mouth is at 1.5 m."""
    return _pass_by(rng, distance_m, rng.uniform(0.8, 2.0), seconds, 0.05 - array_height_m, start_s)


def draw_drive(
    rng: np.random.Generator, distance_m: float, *, seconds: float, array_height_m: float, start_s: float = 0.0
) -> Trajectory:
    """A vehicle on a straight road that passes at `distance_m` at 8–25 m/s; its engine and tyres sound at 0.5 m."""
    return _pass_by(rng, distance_m, rng.uniform(8.0, 25.0), seconds, 0.5 - array_height_m, start_s)


def _pass_by(
    rng: np.random.Generator, distance_m: float, speed_m_s: float, seconds: float, z_m: float, start_s: float
) -> Trajectory:
    azimuth = rng.uniform(-math.pi, math.pi)
    nearest = np.array([distance_m * math.cos(azimuth), distance_m * math.sin(azimuth), z_m])
    along = np.array([-math.sin(azimuth), math.cos(azimuth), 0.0]) * rng.choice((-1.0, 1.0))
    before_m = speed_m_s * seconds * rng.uniform(0.2, 0.8)
    return straight(nearest - before_m * along, nearest + along, speed_m_s, seconds=seconds, start_s=start_s)


def _gone_m(times_s: FloatArray, speed_m_s: float, way_m: float, braking_m_s2: float) -> FloatArray:
    """Metres gone (times,) of a way at constant speed (or what can be braked on it), braked at its end to rest."""
    speed_m_s = min(speed_m_s, math.sqrt(2.0 * braking_m_s2 * way_m))
    if speed_m_s <= 0.0:
        return np.zeros_like(times_s)
    braking_s = speed_m_s / braking_m_s2
    cruise_s = way_m / speed_m_s - braking_s / 2.0
    slowing_s = np.clip(times_s - cruise_s, 0.0, braking_s)
    gone: FloatArray = speed_m_s * (np.minimum(times_s, cruise_s) + slowing_s) - braking_m_s2 * slowing_s**2 / 2.0
    return gone


def _times_s(seconds: float) -> FloatArray:
    return INTERVAL_S * np.arange(max(1, math.ceil(seconds / INTERVAL_S)) + 1, dtype=np.float64)
