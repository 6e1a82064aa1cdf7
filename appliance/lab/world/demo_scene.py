"""The demonstration recording: a minute at a fence, made of recordings whose licence allows it.

It shows the appliance at work and proves that every part of it runs; how well the model hears is the benchmark's to say. Its
sources were chosen among those that the shipped weights hear. All are of fold 5 but the explosion: the only one of fold 5 with
a free licence is a firework that these weights do not take for one. Of eight breaking glasses of fold 5 they hear five here.
"""

import csv
import json
from pathlib import Path

import soundfile

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.firmware import FIRMWARE_DIR
from appliance.lab.pack import pack_dir
from appliance.lab.world.draw import on_bearing
from appliance.lab.world.recipe import Pose, Recipe, Sensors, SourcePlan, Weather
from appliance.lab.world.render import nearest_truth_deg, render

_ESC50 = "saraalemadi-DroneAudioDataset__esc50"
_THESIS = "DroneDetectionThesis-Drone-detection-dat"
DEMO_DIR = FIRMWARE_DIR / "demo"

_POSE = Pose(height_m=3.0)


def _source(
    clip: str,
    label: str,
    start_s: float,
    seconds: float,
    snr_db: float,
    azimuth_deg: tuple[float, ...],
    elevation_deg: tuple[float, ...],
    distance_m: float,
    fade_s: float = 0.02,
) -> SourcePlan:
    positions_m = on_bearing(azimuth_deg, elevation_deg, distance_m, seconds=seconds, height_m=_POSE.height_m)
    return SourcePlan(
        clip=clip,
        label=label,
        start_s=start_s,
        seconds=seconds,
        positions_m=positions_m,
        snr_db=snr_db,
        fade_s=fade_s,
    )


RECIPE = Recipe(
    seed=20261123,
    seconds=60.0,
    array="respeaker_usb_4mic",
    pose=_POSE,
    bed=tuple(f"ambience/{_THESIS}__BACKGROUND-0{number}.flac" for number in (14, 15)),
    ambient_dba=48.0,
    weather=Weather(wind_m_s=3.0),
    sensors=Sensors(full_scale_db_spl=105.0),
    sources=(
        _source(
            f"drone/{_THESIS}__DRONE-003.flac",
            "drone",
            6.0,
            32.0,
            10.0,
            (-80.0, -60.0, -25.0, 20.0, 45.0),
            (12.0, 20.0, 28.0, 20.0, 12.0),
            60.0,
            3.0,
        ),
        _source(f"dog/{_ESC50}-5-203128-B-0.flac", "dog", 1.0, 4.0, 14.0, (120.0,), (-3.0,), 30.0),
        _source(f"glass_break/{_ESC50}-5-260432-A-39.flac", "glass_break", 38.4, 2.0, 16.0, (60.0,), (0.0,), 15.0),
        _source(
            f"explosion_fireworks/{_ESC50}-3-251617-A-48.flac", "explosion", 40.5, 3.0, 16.0, (-150.0,), (5.0,), 80.0
        ),
        _source(
            f"chainsaw_power_tool/{_ESC50}-5-171653-A-41.flac",
            "power_tool",
            46.0,
            12.0,
            14.0,
            (170.0, 150.0),
            (5.0, 5.0),
            100.0,
            1.0,
        ),
    ),
    notes={"confuser": "power_tool"},
)


def write_demo(folder: Path = DEMO_DIR) -> None:
    """Render the recording (16-bit FLAC), its truth (JSON) and the attribution of every source."""
    folder.mkdir(parents=True, exist_ok=True)
    scene = render(RECIPE)
    soundfile.write(folder / "fence.flac", scene.samples.T, SAMPLE_RATE_HZ, subtype="PCM_16")
    objects = []
    for plan, truth in zip(RECIPE.sources, scene.sources, strict=True):
        active = [int(frame) for frame in truth.active.nonzero()[0]]
        path = [
            (frame / 10.0, *(round(angle, 1) for angle in nearest_truth_deg(truth, frame)))
            for frame in active[::5] + active[-1:]
        ]
        objects.append(
            {
                "class": plan.label,
                "start_s": active[0] / 10.0,
                "end_s": (active[-1] + 1) / 10.0,
                "path": path,
            }
        )
    document = {
        "recording": "fence.flac",
        "array": RECIPE.array,
        "confuser": RECIPE.notes["confuser"],
        "objects": objects,
        "recipe": RECIPE.model_dump(mode="json"),
    }
    (folder / "fence.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    _write_attribution(folder / "ATTRIBUTION.md")


def _write_attribution(path: Path) -> None:
    with (pack_dir() / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    used = [*RECIPE.bed, *(plan.clip for plan in RECIPE.sources)]
    lines = [
        "# Where the demonstration recording comes from",
        "",
        "`fence.flac` is rendered by `appliance lab demo` from these recordings. The explosion was among those trained on, none of the",
        "others was.",
        "",
        "| recording | source | licence |",
        "|---|---|---|",
        *(f"| {rows[clip]['source_path']} | {rows[clip]['source_repo']} | {rows[clip]['license']} |" for clip in used),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
