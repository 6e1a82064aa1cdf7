"""DREGON (Strauss, Mordel, Miguet and Deleforge, 2018): eight microphones under a flying drone, and where the source was.

The drone carries the array, so this judges directions through rotor noise rather than the detection of drones.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from appliance.angles import azimuth_elevation_deg, unit_vector
from appliance.errors import ConfigError, RecordingError
from appliance.geometry import ArrayGeometry
from appliance.lab.datasets.kinds import Card, SceneItem, SceneSet, Truth
from appliance.lab.world.dcase_csv import SeldRow

CARD = Card(
    name="dregon",
    title="DREGON",
    folder="DREGON",
    homepage="https://dregon.inria.fr/datasets/dregon/",
    license="for research, as its page states",
    size="11 flights of about a minute, 42 MB a minute",
    files=11,
    layout="DREGON_free-flight_speech-high_room1/DREGON_free-flight_speech-high_room1.wav\n"
    "DREGON_free-flight_speech-high_room1/DREGON_free-flight_speech-high_room1_audiots.mat\n"
    "DREGON_free-flight_speech-high_room1/DREGON_free-flight_speech-high_room1_sourcepos.mat\n"
    "micPos.txt",
    classes={"speech": "speech", "whitenoise": None},
    note="The truth tells where the loudspeaker is, not when it sounds. Directions and micPos.txt are taken as published; "
    "users report that micPos.txt and the rotors' positions are turned by 180° to one another.",
)
Float64Array = npt.NDArray[np.float64]
_FRAME_S = 0.1
_MICS = 8


def items(root: Path) -> list[SceneItem]:
    """Each flight with its source's positions; flights with no source have no truth."""
    found = []
    for folder in sorted(root.glob("DREGON_*_room*")):
        path = folder / f"{folder.name}.wav"
        truth = None if "_nosource_" in folder.name else folder / f"{folder.name}_sourcepos.mat"
        found.append(SceneItem(path, truth, folder.name.removeprefix("DREGON_").partition("_")[0]))
    if not found:
        raise ConfigError(f"{root}: no folder DREGON_*_room*; `appliance lab data where dregon` tells the layout")
    return found


def read_truth(item: SceneItem) -> Truth:
    """Where the source is at the middle of each label frame, as far as it was tracked."""
    if item.truth is None:
        return {}
    clock = _fields(item.audio.with_name(f"{item.audio.stem}_audiots.mat"), "audio_timestamps", ())
    tracked = _fields(item.truth, "source_position", ("timestamps", "azimuth", "elevation"))
    since_s = tracked["timestamps"] - clock["audio_timestamps"][0]
    directions = zip(tracked["azimuth"], tracked["elevation"], strict=True)
    vectors = np.stack([unit_vector(azimuth_deg, elevation_deg) for azimuth_deg, elevation_deg in directions])
    frames = np.arange(int(soundfile.info(item.audio).duration / _FRAME_S))
    middle_s = (frames + 0.5) * _FRAME_S
    inside = (middle_s >= since_s[0]) & (middle_s <= since_s[-1])
    at = np.stack([np.interp(middle_s[inside], since_s, vectors[:, axis]) for axis in range(3)], axis=1)
    class_index = next((index for index, name in enumerate(CARD.classes) if f"_{name}" in item.audio.stem), None)
    if class_index is None:
        names = " nor ".join(CARD.classes)
        raise RecordingError(f"{item.audio}: its name tells neither {names}; keep the names as published")
    return {
        frame: [SeldRow(class_index, 0, *azimuth_elevation_deg(vector))]
        for frame, vector in zip(frames[inside].tolist(), at, strict=True)
    }


def array(root: Path) -> ArrayGeometry:
    """The eight microphones from `micPos.txt`, a matrix of metres in Matlab's notation, in the order of the channels."""
    path = root / "micPos.txt"
    try:
        text = re.sub(r"%.*", "", path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path}: cannot be read ({error}); fetch it from {CARD.homepage}") from error
    matrix = re.search(r"\[(.*?)\]", text, re.DOTALL)
    numbers = re.findall(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?", matrix[1] if matrix else "")
    if len(numbers) != 3 * _MICS:
        raise RecordingError(f"{path}: {len(numbers)} numbers in brackets, not 8 × 3; fetch it from {CARD.homepage}")
    positions_m = np.array(numbers, np.float64).reshape(_MICS, 3)
    return ArrayGeometry(CARD.name, positions_m - positions_m.mean(axis=0), tuple(range(_MICS)))


def _fields(path: Path, name: str, fields: tuple[str, ...]) -> dict[str, Float64Array]:
    """A variable of a Matlab file as flat arrays: its fields, or itself where it has none."""
    from scipy.io import loadmat

    try:
        value: Any = loadmat(path, squeeze_me=True)[name]
        found = {field: np.ravel(value[field].item()) for field in fields} if fields else {name: np.ravel(value)}
        return {field: np.asarray(values, np.float64) for field, values in found.items()}
    except (OSError, KeyError, ValueError, TypeError, NotImplementedError) as error:
        raise RecordingError(f"{path}: no {name} to be read in it ({error}); fetch it again") from error


DREGON = SceneSet(CARD, items, read_truth, rate_hz=44_100, channels=_MICS, array=array)
