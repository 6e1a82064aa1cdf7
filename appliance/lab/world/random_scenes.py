"""Scenes as they may be anywhere: drawn from a seed, for training and for whoever wants many of them.

Drones fly as drones do and other things walk, drive, pass or stand, at the levels of their kind; so what is far is faint.
Arrays are the shipped ones and random ones, all a little off; one scene in six stands in a yard or hall.
"""

import math

import numpy as np

from appliance.lab.pack import CLASSES
from appliance.lab.world.arrays import draw_geometry
from appliance.lab.world.draw import SceneDraw, flown, on_bearing
from appliance.lab.world.ground import FLOW_RESISTIVITY_PA_S_M2
from appliance.lab.world.levels import DRONE_LEVELS, SOURCE_LEVELS, draw_level_dba
from appliance.lab.world.recipe import Pose, Position, Recipe, Room, Sensors, SourcePlan, Weather
from appliance.lab.world.trajectories import DRONE_MANOEUVRES, draw_drive, draw_drone, draw_walk

_DISTANCE_M = {"drone": (15.0, 600.0), "helicopter": (100.0, 1500.0), "airplane": (200.0, 1500.0)}
_NEAR_M = (3.0, 150.0)
"""Distance at the nearest, drawn so that each doubling is as likely as the next."""
_WALKING, _DRIVING, _FLYING = ("footsteps", "speech"), ("vehicle_engine", "train"), ("helicopter", "airplane")


def random_recipe(draw: SceneDraw, seed: int, index: int, *, seconds: float = 10.0) -> Recipe:
    """Scene `index` of a seed: the same whatever else is drawn. `draw` gives the recordings, not the choices."""
    draw = draw.with_rng(np.random.default_rng([seed, index]))
    rng = draw.rng
    geometry = draw_geometry(rng)
    pose = Pose(
        height_m=float(rng.uniform(1.0, 6.0)),
        heading_true_deg=float(rng.uniform(0.0, 359.0)),
        pitch_deg=float(np.clip(rng.normal(0.0, 2.0), -9.0, 9.0)),
        roll_deg=float(np.clip(rng.normal(0.0, 2.0), -9.0, 9.0)),
    )
    room = _room(rng, pose.height_m) if rng.random() < 1 / 6 else None
    targets = 0 if rng.random() < 0.3 else 1 + int(rng.choice(3, p=(0.6, 0.28, 0.12)))
    named = [label for label in draw.labels if label in CLASSES]
    others = [label for label in draw.none_labels if label in SOURCE_LEVELS]
    labels = [str(rng.choice(named)) if rng.random() > 0.25 else "drone" for _ in range(targets)]
    labels += [str(rng.choice(others)) for _ in range(int(rng.integers(3)))]
    raining = rng.random() < 0.1
    return Recipe(
        seed=int(rng.integers(2**31)),
        seconds=seconds,
        array=geometry.name,
        mics_m=tuple((x, y, z) for x, y, z in geometry.positions_m.tolist()) if geometry.name == "random" else (),
        pose=pose,
        sources=tuple(_source(draw, label, pose.height_m, room, seconds) for label in labels),
        ambient_dba=float(rng.uniform(30.0, 62.0)),
        bed=draw.bed(),
        rain=draw.rain() if raining else (),
        weather=Weather(
            temperature_c=float(rng.uniform(-10.0, 35.0)),
            humidity_percent=float(rng.uniform(30.0, 95.0)),
            wind_m_s=float(rng.uniform(0.5, 10.0)) if room is None and rng.random() < 0.6 else 0.0,
            wind_from_deg=float(rng.uniform(0.0, 359.0)),
            rain_mm_h=float(rng.uniform(0.5, 20.0)) if raining else 0.0,
        ),
        surface=str(rng.choice(list(FLOW_RESISTIVITY_PA_S_M2))),
        room=room,
        sensors=_sensors(rng, geometry.mics, seconds),
    )


def _source(draw: SceneDraw, label: str, height_m: float, room: Room | None, seconds: float) -> SourcePlan:
    rng = draw.rng
    clip = draw.any_of(label)
    start_s = float(rng.uniform(0.0, 0.6)) * seconds
    sounding_s = draw.seconds(label, clip, float(rng.uniform(0.3, 1.0)) * (seconds - start_s))
    level = SOURCE_LEVELS[label] if label != "drone" else DRONE_LEVELS[str(rng.choice(list(DRONE_LEVELS)))]
    return SourcePlan(
        clip=clip.path,
        label=label,
        start_s=start_s,
        seconds=sounding_s,
        positions_m=_way(rng, label, height_m, sounding_s) if room is None else (_inside(rng, room),),
        level_dba=draw_level_dba(rng, level),
        fade_s=draw.fade_s(label),
        offset_s=0.0 if sounding_s >= clip.seconds else float(rng.uniform(0.0, clip.seconds - sounding_s)),
    )


def _way(rng: np.random.Generator, label: str, height_m: float, seconds: float) -> tuple[Position, ...]:
    """Where a source goes outdoors."""
    nearest_m, farthest_m = _DISTANCE_M.get(label, _NEAR_M)
    distance_m = math.exp(rng.uniform(math.log(nearest_m), math.log(farthest_m)))
    if label == "drone":
        manoeuvre = str(rng.choice(DRONE_MANOEUVRES))
        flight = draw_drone(rng, manoeuvre, distance_m, seconds=seconds, array_height_m=height_m)
        return flown(flight, height_m, seconds=seconds)
    if label in _WALKING and rng.random() < 0.6:
        return flown(draw_walk(rng, distance_m, seconds=seconds, array_height_m=height_m), height_m, seconds=seconds)
    if label in _DRIVING and rng.random() < 0.6:
        drive = draw_drive(rng, max(distance_m, 5.0), seconds=seconds, array_height_m=height_m)
        return flown(drive, height_m, seconds=seconds)
    low_deg, high_deg = (10.0, 80.0) if label in _FLYING else (-5.0, 25.0)
    azimuth_deg, elevation_deg = float(rng.uniform(-180.0, 180.0)), float(rng.uniform(low_deg, high_deg))
    turned_deg = float(np.clip(rng.normal(0.0, 3.0), -8.0, 8.0)) * seconds if label in _FLYING else 0.0
    azimuths_deg = (azimuth_deg, azimuth_deg + turned_deg) if turned_deg else (azimuth_deg,)
    elevations_deg = (elevation_deg,) * len(azimuths_deg)
    return on_bearing(azimuths_deg, elevations_deg, distance_m, seconds=seconds, height_m=height_m)


def _room(rng: np.random.Generator, height_m: float) -> Room:
    """A yard, open above, or a hall."""
    x_m, y_m = (float(side) for side in rng.uniform(8.0, 40.0, 2))
    z_m = height_m + float(rng.uniform(0.5, 6.0))
    ceiling = 1.0 if rng.random() < 0.7 else float(rng.uniform(0.1, 0.6))
    walls = [float(share) for share in rng.uniform(0.05, 0.6, 5)]
    foot = (x_m * float(rng.uniform(0.2, 0.8)), y_m * float(rng.uniform(0.2, 0.8)))
    absorption = (walls[0], walls[1], walls[2], walls[3], walls[4], ceiling)
    return Room(size_m=(x_m, y_m, z_m), array_m=foot, absorption=absorption)


def _inside(rng: np.random.Generator, room: Room) -> Position:
    """Somewhere in a room, a metre or more from the array's mast."""
    while True:
        x, y, z = (float(side * rng.uniform(0.05, 0.95)) for side in room.size_m)
        position_m = (x - room.array_m[0], y - room.array_m[1], z)
        if math.hypot(*position_m[:2]) >= 1.0:
            return position_m


def _sensors(rng: np.random.Generator, mics: int, seconds: float) -> Sensors:
    """Never quite what the data sheet says; at times broken."""
    broken = str(rng.choice(("dead", "swapped", "gaps"))) if rng.random() < 0.06 else ""
    one, other = (int(mic) for mic in rng.choice(mics, 2, replace=False))
    return Sensors(
        self_noise_dba=float(rng.uniform(26.0, 36.0)),
        gain_db=tuple(rng.normal(0.0, 0.7, mics).round(3).tolist()),
        delay_us=tuple(rng.normal(0.0, 3.0, mics).round(3).tolist()),
        moved_mm=tuple((x, y, z) for x, y, z in rng.normal(0.0, 0.7, (mics, 3)).round(3).tolist()),
        dead=(one,) if broken == "dead" else (),
        swapped=((one, other),) if broken == "swapped" else (),
        gaps=((round(0.5 * seconds, 1), 0.3),) if broken == "gaps" else (),
    )
