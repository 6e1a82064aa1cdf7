"""The perimeter benchmark: a fixed, seeded suite of scenes from fold-5 recordings only.

Parts: drones × SNR; drones × distance × ambient level; threats of every class; overlaps, pairs of one class and
crossings; target-free audio and hard negatives (loud sounds that are targets of their own or none at all, but no drone)
in every weather; and faults. Each scene knows its part through `Recipe.notes`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from appliance.geometry import load_array
from appliance.lab.pack import CLASSES, Clip
from appliance.lab.world.draw import SceneDraw, flown, on_bearing
from appliance.lab.world.levels import AMBIENT_DBA, DRONE_LEVELS, draw_level_dba
from appliance.lab.world.recipe import Pose, Recipe, Sensors, SourcePlan, Weather
from appliance.lab.world.trajectories import draw_drone

TEST_FOLDS = (5,)
ARRAYS = ("respeaker_usb_4mic", "tetrahedron_4cm2", "minidsp_uma8_v2")
DRONE_SNRS_DB = (20.0, 10.0, 5.0, 0.0, -5.0, -10.0, -15.0)
DISTANCES_M = (25.0, 50.0, 100.0, 200.0, 400.0, 800.0)
HARD_NEGATIVES = (
    "helicopter",
    "airplane",
    "vehicle_engine",
    "power_tool",
    "train",
    "machine_hum",
    "insects_frogs",
    "birds",
    "siren",
    "speech",
    "dog",
    "thunder",
)
FAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "dead microphone": {"dead": (1,)},
    "swapped microphones": {"swapped": ((0, 2),)},
    "polarity": {"inverted": (1,)},
    "gain 6 dB": {"gain_db": 6.0},
    "phase 40 µs": {"delay_us": 40.0},
    "moved 5 mm": {"moved_mm": (5.0, 0.0, 0.0)},
    "clipping": {"full_scale_db_spl": 64.0},
    "gaps": {"gaps": ((4.0, 0.4), (6.5, 0.2), (8.2, 0.8))},
}
"""What is wrong, as settings of `Sensors`; what is per microphone befalls the first."""
_FAULT_SNR_DB = 10.0
_SCENE_S = 12.0
_LONG_SCENE_S = 60.0
_POSE = Pose()
_WEATHERS = {
    "calm": Weather(),
    "wind 3 m/s": Weather(wind_m_s=3.0),
    "wind 6 m/s": Weather(wind_m_s=6.0),
    "wind 9 m/s": Weather(wind_m_s=9.0),
    "rain": Weather(rain_mm_h=8.0),
}
"""Of target-free audio: calm, three winds, rain."""


def perimeter_suite(
    seed: int = 2026,
    *,
    per_snr: int = 24,
    per_distance: int = 12,
    per_class: int = 10,
    overlaps: int = 36,
    minutes: int = 60,
    per_fault: int = 12,
    folds: tuple[int, ...] = TEST_FOLDS,
) -> Iterator[Recipe]:
    """All recipes in order. `minutes` is the length of each of the two target-free parts."""
    draw = SceneDraw(np.random.default_rng(seed), folds)
    yield from _drones_by_snr(draw, per_snr)
    yield from _drones_by_distance(draw, per_distance)
    yield from _threats(draw, per_class)
    yield from _overlaps(draw, overlaps)
    for part, labels in (("target_free", draw.none_labels), ("hard_negatives", list(HARD_NEGATIVES))):
        yield from target_free(draw, part, labels, minutes)
    yield from _faults(draw, per_fault)


def _drones_by_snr(draw: SceneDraw, each: int) -> Iterator[Recipe]:
    """Still and moving drones at one level of signal to noise."""
    drones = draw.in_turn("drone")
    for snr_db in DRONE_SNRS_DB:
        for index in range(each):
            clip = drones[index % len(drones)]
            manoeuvre = ("hover", "orbit", "transit")[index // len(ARRAYS) % 3]
            source = drone_plan(draw.rng, clip, manoeuvre, float(draw.rng.uniform(30.0, 120.0)), snr_db=snr_db)
            notes = {"snr_db": snr_db, "manoeuvre": manoeuvre}
            yield suite_scene(draw, index, "drone_snr", sources=(source,), notes=notes)


def _drones_by_distance(draw: SceneDraw, each: int) -> Iterator[Recipe]:
    """Camera drones at their own level, on calm days: one drone and flight at every distance and ambient level.

    The ambience is another one each time, or a false alarm that happens to lie where the drone is would count in all.
    """
    drones = draw.in_turn("drone")
    for index in range(each):
        clip, level_dba = drones[index % len(drones)], draw_level_dba(draw.rng, DRONE_LEVELS["camera"])
        own_seed = int(draw.rng.integers(2**31))
        for ambient_dba in AMBIENT_DBA.values():
            for distance_m in DISTANCES_M:
                rng = np.random.default_rng(own_seed)
                source = drone_plan(rng, clip, ("hover", "orbit")[index % 2], distance_m, level_dba=level_dba)
                yield Recipe(
                    seed=int(draw.rng.integers(2**31)),
                    seconds=_SCENE_S,
                    array=ARRAYS[index % len(ARRAYS)],
                    pose=_POSE,
                    bed=draw.bed(),
                    ambient_dba=ambient_dba,
                    sources=(source,),
                    notes={"part": "drone_distance", "distance_m": distance_m, "ambient_dba": ambient_dba},
                )


def _threats(draw: SceneDraw, each: int) -> Iterator[Recipe]:
    """Every class alone."""
    for label in CLASSES:
        clips = draw.in_turn(label)
        for index in range(each):
            clip = clips[index % len(clips)]
            source = _source(draw, label, clip, 3.0, 6.0, float(draw.rng.uniform(3.0, 20.0)))
            yield suite_scene(draw, index, "threats", sources=(source,))


def _overlaps(draw: SceneDraw, scenes: int) -> Iterator[Recipe]:
    """Two at once: of one class, crossing each other, or neither."""
    for index in range(scenes):
        kind = ("same class", "apart", "crossing", "apart")[index % 4]
        labels = [str(label) for label in draw.rng.choice(CLASSES, 2, replace=False)]
        if kind == "same class":
            labels[1] = labels[0]
        azimuth_deg = float(draw.rng.uniform(-180.0, 180.0))
        turn = float(draw.rng.choice((-1.0, 1.0)))
        paths: list[tuple[float, ...]]
        if kind == "crossing":
            swing = turn * float(draw.rng.uniform(25.0, 45.0))
            paths = [(azimuth_deg - swing, azimuth_deg + swing), (azimuth_deg + swing, azimuth_deg - swing)]
        else:
            # Nearer than this no array of this size tells two sounds apart by direction.
            paths = [(azimuth_deg,), (azimuth_deg + turn * float(draw.rng.uniform(40.0, 170.0)),)]
        sources = tuple(
            _source(draw, label, draw.any_of(label), 2.0 + 2.0 * place, 7.0, float(draw.rng.uniform(5.0, 20.0)), path)
            for place, (label, path) in enumerate(zip(labels, paths, strict=True))
        )
        yield suite_scene(draw, index, "overlaps", sources=sources, notes={"kind": kind})


def target_free(draw: SceneDraw, part: str, labels: list[str], minutes: int) -> Iterator[Recipe]:
    """Minutes full of other sounds."""
    for index in range(minutes):
        sources = []
        for start_s in range(2, 52, 10):
            label = str(draw.rng.choice(labels))
            seconds = min(float(draw.rng.uniform(4.0, 14.0)), 59.0 - start_s)
            snr_db = float(draw.rng.uniform(0.0, 20.0))
            sources.append(_source(draw, label, draw.any_of(label), float(start_s), seconds, snr_db))
        name, weather = list(_WEATHERS.items())[index % len(_WEATHERS)]
        rain = draw.rain() if weather.rain_mm_h else ()
        yield suite_scene(
            draw,
            index,
            part,
            seconds=_LONG_SCENE_S,
            sources=tuple(sources),
            weather=weather,
            rain=rain,
            notes={"weather": name},
        )


def _faults(draw: SceneDraw, each: int) -> Iterator[Recipe]:
    """The same drones with each fault and with none."""
    drones = draw.in_turn("drone")
    for index in range(each):
        source = drone_plan(draw.rng, drones[index % len(drones)], "hover", 60.0, snr_db=_FAULT_SNR_DB)
        ambient_dba = AMBIENT_DBA["suburban"]
        sound = suite_scene(draw, index, "faults", sources=(source,), weather=Weather(), ambient_dba=ambient_dba)
        mics = load_array(sound.array).mics
        for fault, settings in FAULTS.items():
            update = {"sensors": _sensors(settings, mics), "notes": {"part": "faults", "fault": fault}}
            yield sound.model_copy(update=update)


def _sensors(settings: dict[str, Any], mics: int) -> Sensors:
    nothing: dict[str, Any] = {"gain_db": 0.0, "delay_us": 0.0, "moved_mm": (0.0, 0.0, 0.0)}
    return Sensors.model_validate(
        {
            name: (value, *(nothing[name],) * (mics - 1)) if name in nothing else value
            for name, value in settings.items()
        }
    )


def suite_scene(
    draw: SceneDraw,
    index: int,
    part: str,
    *,
    sources: tuple[SourcePlan, ...],
    seconds: float = _SCENE_S,
    weather: Weather | None = None,
    ambient_dba: float | None = None,
    rain: tuple[str, ...] = (),
    notes: dict[str, Any] | None = None,
) -> Recipe:
    """A scene on one of `ARRAYS`, by its place in its part; wind and ambient level are drawn where they are not given."""
    if weather is None:
        weather = Weather(wind_m_s=float(draw.rng.uniform(1.0, 6.0)) if draw.rng.random() < 0.5 else 0.0)
    if ambient_dba is None:
        ambient_dba = float(draw.rng.uniform(AMBIENT_DBA["rural"], AMBIENT_DBA["urban"]))
    return Recipe(
        seed=int(draw.rng.integers(2**31)),
        seconds=seconds,
        array=ARRAYS[index % len(ARRAYS)],
        pose=_POSE,
        bed=draw.bed(),
        ambient_dba=ambient_dba,
        weather=weather,
        rain=rain,
        sources=sources,
        notes={"part": part, **(notes or {})},
    )


def drone_plan(
    rng: np.random.Generator,
    clip: Clip,
    manoeuvre: str,
    distance_m: float,
    *,
    snr_db: float | None = None,
    level_dba: float | None = None,
) -> SourcePlan:
    """Nine seconds of a drone from 2 s on."""
    seconds = 9.0
    flight = draw_drone(rng, manoeuvre, distance_m, seconds=seconds, array_height_m=_POSE.height_m)
    return SourcePlan(
        clip=clip.path,
        label="drone",
        start_s=2.0,
        seconds=seconds,
        positions_m=flown(flight, _POSE.height_m, seconds=seconds),
        snr_db=snr_db,
        level_dba=level_dba,
        fade_s=SceneDraw.fade_s("drone"),
    )


def _source(
    draw: SceneDraw,
    label: str,
    clip: Clip,
    start_s: float,
    seconds: float,
    snr_db: float,
    azimuth_deg: tuple[float, ...] | None = None,
) -> SourcePlan:
    """A source from anywhere, still or moving, 15 to 60 m away."""
    rng = draw.rng
    if azimuth_deg is None:
        azimuth = float(rng.uniform(-180.0, 180.0))
        azimuth_deg = (azimuth, azimuth + float(rng.normal(0.0, 5.0)) * seconds) if rng.random() < 0.5 else (azimuth,)
    elevation = float(np.clip(rng.normal(10.0, 12.0), -10.0, 60.0))
    seconds = draw.seconds(label, clip, seconds)
    positions_m = on_bearing(
        azimuth_deg,
        (elevation,) * len(azimuth_deg),
        float(rng.uniform(15.0, 60.0)),
        seconds=seconds,
        height_m=_POSE.height_m,
    )
    return SourcePlan(
        clip=clip.path,
        label=label,
        start_s=start_s,
        seconds=seconds,
        positions_m=positions_m,
        snr_db=snr_db,
        fade_s=draw.fade_s(label),
    )
