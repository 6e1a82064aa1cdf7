"""DADS, Drone Audio Detection Samples: 180,320 sounds with and without a drone, gathered from ten other sets."""

from pathlib import Path

from appliance.errors import ConfigError
from appliance.lab.datasets.audio_files import parquet_columns
from appliance.lab.datasets.kinds import Card, ClipSet, Item, label_of, needed, training_fold

CARD = Card(
    name="dads",
    title="DADS",
    folder="drone-audio-detection-samples",
    homepage="https://huggingface.co/datasets/geronimobasso/drone-audio-detection-samples",
    license="MIT as a set; it gathers ten others, whose terms it does not repeat",
    size="180,320 clips, 61 h, 6.8 GB",
    files=180_320,
    layout="data/train-00000-of-00039.parquet",
    classes={"1": "drone", "0": None},
    note="It does not say which clips are cut from one recording, nor keep what other sets call test: for training only "
    "(folds 1 to 3). It holds recordings that are in the audio pack too, so a model trained on it cannot be judged fairly "
    "on the pack's drones. What has no drone in it is not used: sirens, voices and engines are among it, unnamed.",
)


def items(root: Path) -> list[Item]:
    """The rows of all Parquet files under `data`."""
    shards = sorted(needed(root / "data", CARD).glob("*.parquet"))
    if not shards:
        raise ConfigError(f"{root / 'data'}: no Parquet file; fetch {CARD.title} from {CARD.homepage}")
    found = []
    for shard in shards:
        for row, label in enumerate(parquet_columns(shard, ["label"]).column("label").to_pylist()):
            path = f"data/{shard.name}#{row}"
            recording_id = f"dads:{shard.stem}:{row}"
            our_label = label_of(CARD, str(label), f"{shard}#{row}")
            found.append(Item(path, our_label, str(label), recording_id, training_fold(recording_id), CARD.license))
    return found


DADS = ClipSet(CARD, items, rates_hz=(16_000,))
