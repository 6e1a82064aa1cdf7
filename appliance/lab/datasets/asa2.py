"""ASA2, the set of DeepASA (Lee, Kwon and Choi, 2025): four-channel mixtures of 4 s with every source alone.

The layout is that of the loader in the authors' repository (donghoney0416/DeepASA).
"""

from pathlib import Path

from appliance.errors import ConfigError, RecordingError
from appliance.lab.datasets.kinds import Card, SceneItem, SceneSet, Truth, needed
from appliance.lab.world.dcase_csv import SeldRow

CARD = Card(
    name="asa2",
    title="ASA2",
    folder="ASA2_dataset",
    homepage="https://huggingface.co/datasets/donghoney22/ASA2_dataset",
    license="as its page states; its sounds come from other sets",
    size="4-s mixtures of up to five sources, 1 MB each, and as much for each source",
    files=0,
    layout="dev/mixed/0.wav\ndev/info/0.csv\ndev/reverb/0/0.wav\ndev/anechoic/0/0.wav\ntest/…",
    classes={
        "domestic sound": None,
        "male speech": "speech",
        "musical instrument": None,
        "clapping": None,
        "music": None,
        "laughter": None,
        "footsteps": "footsteps",
        "knock": None,
        "water tap": None,
        "door": None,
        "female speech": "speech",
        "bell": None,
        "telephone": None,
    },
    note="Its own code does not say where the four microphones are, so no array is named. Its elevation counts from the "
    "nadir and is turned here to ours, 0 at the horizon.",
)
_PARTS = ("dev", "test")
_HORIZON_DEG = 90.0


def items(root: Path) -> list[SceneItem]:
    """Each mixture of `dev` and `test`."""
    parts = [part for part in _PARTS if (root / part).is_dir()]
    if not parts:
        raise ConfigError(f"{root}: neither dev nor test in it; `appliance lab data where asa2` tells the layout")
    found = []
    for part in parts:
        for path in sorted(needed(root / part / "mixed", CARD).glob("*.wav")):
            stems = (root / part / "reverb" / path.stem).glob("*.wav")
            ordered = sorted(stems, key=lambda stem: (len(stem.stem), stem.stem))  # 2 before 10
            found.append(SceneItem(path, root / part / "info" / f"{path.stem}.csv", part, tuple(ordered)))
    if not found:
        raise ConfigError(f"{root}: no mixture in {' or '.join(parts)}; fetch {CARD.title} from {CARD.homepage}")
    return found


def read_truth(item: SceneItem) -> Truth:
    """Rows of the `info` table: frame, source, class, azimuth, elevation; its head is not looked at."""
    assert item.truth is not None
    try:
        lines = item.truth.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(f"{item.truth}: cannot be read ({error}); fetch it again") from error
    truth: Truth = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        try:
            frame, source, class_index, azimuth_deg, elevation_deg = (float(cell) for cell in line.split(",")[:5])
        except ValueError:
            form = "frame,source,class,azimuth,elevation"
            raise RecordingError(f"{item.truth}:{number}: a row must be {form}; fetch the file again") from None
        if not 0 <= class_index < len(CARD.classes):
            raise RecordingError(f"{item.truth}:{number}: class {class_index:g}: there are {len(CARD.classes)}")
        row = SeldRow(int(class_index), int(source), azimuth_deg, elevation_deg - _HORIZON_DEG)
        truth.setdefault(int(frame), []).append(row)
    return dict(sorted(truth.items()))


ASA2 = SceneSet(CARD, items, read_truth, rate_hz=16_000, channels=4, array=None)
