"""UrbanSound8K (Salamon, Jacoby and Bello, 2014): 8,732 cuts of up to 4 s from Freesound, ten urban classes, ten folds."""

from pathlib import Path

from appliance.lab.datasets.kinds import Card, ClipSet, Item, label_of, needed
from appliance.lab.datasets.metadata import csv_rows, whole

CARD = Card(
    name="urbansound8k",
    title="UrbanSound8K",
    folder="UrbanSound8K",
    homepage="https://urbansounddataset.weebly.com/urbansound8k.html",
    license="CC BY-NC 3.0",
    size="8,732 clips, 8.8 h, 7 GB",
    files=8732,
    layout="metadata/UrbanSound8K.csv\naudio/fold1/101415-3-0-2.wav",
    classes={
        "air_conditioner": "machine_hum",
        "car_horn": "vehicle_horn",
        "children_playing": None,
        "dog_bark": "dog",
        "drilling": "power_tool",
        "engine_idling": "vehicle_engine",
        "gun_shot": "gunshot",
        "jackhammer": "power_tool",
        "siren": "siren",
        "street_music": "music",
    },
    note="Only what is in the foreground is used. Its folds 1 to 10 become ours two by two. Any rate, one or two channels.",
)
_FOREGROUND = "1"


def items(root: Path) -> list[Item]:
    """What `metadata/UrbanSound8K.csv` lists; background sounds are listed and not used."""
    table = needed(root / "metadata" / "UrbanSound8K.csv", CARD)
    found = []
    for where, row in csv_rows(table, ("slice_file_name", "fsID", "salience", "fold", "class")):
        label = label_of(CARD, row["class"], where)
        fold = whole(row["fold"], where, "fold")
        found.append(
            Item(
                f"audio/fold{fold}/{row['slice_file_name']}",
                label if row["salience"] == _FOREGROUND else None,
                row["class"],
                f"freesound:{row['fsID']}",
                (fold + 1) // 2,
                CARD.license,
            )
        )
    return found


URBANSOUND8K = ClipSet(CARD, items, channels=(1, 2))
