"""The audio pack: its manifest, the classes we learn from it, and clips held in memory.

Folds are by original recording: 1–3 train, 4 validates, 5 tests. Fold 5 is never trained or tuned on.
"""

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from appliance.errors import ConfigError, RecordingError

CLASSES = (
    "drone",
    "helicopter",
    "airplane",
    "vehicle_engine",
    "power_tool",
    "gunshot",
    "explosion",
    "glass_break",
    "siren",
    "dog",
    "speech",
    "footsteps",
)
"""What the network names. Every other sound of the pack teaches *none*."""

CONFUSERS = (
    "ambience",
    "animal_other",
    "bells",
    "birds",
    "crickets",
    "fire",
    "hand_saw",
    "human_other",
    "impact_other",
    "insects_frogs",
    "machine_hum",
    "music",
    "rain",
    "thunder",
    "train",
    "vehicle_horn",
    "water",
    "wind",
)
"""What teaches *none*."""

SOUNDS = (*CLASSES, *CONFUSERS)
"""All that a scene may hold, told apart by the auxiliary loss alone."""

_PACK_CLASS = {
    "chainsaw_power_tool": "power_tool",
    "explosion_fireworks": "explosion",
    "siren_alarm": "siren",
    # One motor with its propeller on a stand: no drone, but a rotor from another source, and all in fold 1.
    "drone_motor_bench": "drone",
}
# Voices under another name: neither a clean example of *none* nor of *speech*.
_AMBIGUOUS_SUBCLASSES = {"children_playing", "laughing"}
_UNUSED_CLASSES = {"silence_room"}
_AGAIN_IN_FOLD = {
    "ambience/DroneDetectionThesis-Drone-detection-dat__BACKGROUND-008": 5,  # 7.5 s of BACKGROUND-016
    "animal_other/YashNita-Animal-Sound-Dataset__koyun-26": 5,  # koyun-21
    "chainsaw_power_tool/RizkiRachmadi-Illegal-Logging-Detection-__Chain-1": 5,  # Chain-6
    "chainsaw_power_tool/RizkiRachmadi-Illegal-Logging-Detection-__Chain-2": 4,  # Chain-4
    "dog/YashNita-Animal-Sound-Dataset__dog-164": 4,  # dog-140
    "drone/DroneDetectionThesis-Drone-detection-dat__DRONE-008": 5,  # DRONE-004
    "insects_frogs/YashNita-Animal-Sound-Dataset__kurbaga-6": 5,  # kurbaga-26
    "vehicle_engine/Vedranivic-Vehicle-sound-event-detection__tesAutobus1": 5,  # tesVlak1 of `train` sounds in it
}
"""Clips, without their suffix, of which the manifest does not say that they are heard again in a later fold: found by spectral
peaks in common, confirmed by correlation of the waveforms; three run at a slightly other speed."""
DIFFUSE_CLASSES = ("wind", "rain", "water", "ambience", "crickets", "thunder", "fire")
"""Sounds that come from everywhere and make the bed of a scene."""
SHORT_CLASSES = frozenset({"gunshot", "explosion", "glass_break", "dog", "footsteps"})
"""Sounds that are placed one by one rather than looped."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One row of the manifest."""

    path: str
    """Relative to the pack's root."""
    label: str
    """One of `CLASSES`, or the pack's own class where that teaches *none*."""
    group: str
    """Source and subclass: clips of one group share microphone, codec and model."""
    recording_id: str
    """Clips of one recording share this."""
    fold: int
    """1–5."""
    seconds: float
    """Length."""
    license: str
    """As the manifest states it."""


def pack_dir() -> Path:
    """Where the pack lies: `$APPLIANCE_PACK`, else `../shared/audio` beside the checkout."""
    path = Path(os.environ.get("APPLIANCE_PACK", Path(__file__).resolve().parents[3] / "shared" / "audio"))
    if not (path / "manifest.csv").is_file():
        raise ConfigError(f"{path}: no audio pack (manifest.csv) here; set APPLIANCE_PACK to its folder")
    return path


def load_clips(folds: Iterable[int]) -> list[Clip]:
    """Clips of these folds that we use, in the manifest's order."""
    wanted = set(folds)
    with (pack_dir() / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    clips = []
    for row in rows:
        if (
            int(row["fold"]) not in wanted
            or row["class"] in _UNUSED_CLASSES
            or row["subclass"] in _AMBIGUOUS_SUBCLASSES
        ):
            continue
        label = "hand_saw" if row["subclass"] == "hand_saw" else _PACK_CLASS.get(row["class"], row["class"])
        group = f"{row['source_repo']}:{row['subclass']}"
        clips.append(
            Clip(
                row["path"], label, group, row["recording_id"], int(row["fold"]), float(row["seconds"]), row["license"]
            )
        )
    return clips


def training_clips(folds: Iterable[int]) -> list[Clip]:
    """Clips of these folds to learn from: `load_clips` without what is heard again in a fold later than all of these, where
    it would be judged on.
    """
    folds = set(folds)
    again = {clip for clip, fold in _AGAIN_IN_FOLD.items() if fold > max(folds, default=0)}
    return [clip for clip in load_clips(folds) if clip.path.rpartition(".")[0] not in again]


def read_clip(clip: Clip) -> npt.NDArray[np.float32]:
    """Samples (n,) at 16 kHz, mean removed."""
    path = pack_dir() / clip.path
    try:
        samples, rate_hz = soundfile.read(path, dtype="float32")
    except (soundfile.LibsndfileError, OSError) as error:
        raise RecordingError(f"{path}: cannot be read ({error}); fetch the audio pack again") from error
    if rate_hz != 16_000 or samples.ndim != 1:
        raise RecordingError(
            f"{path}: {rate_hz} Hz, {samples.ndim} channel(s); the pack is mono 16 kHz, fetch it again"
        )
    return np.asarray(samples - samples.mean(), np.float32)
