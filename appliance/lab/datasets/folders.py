"""Recordings of one's own, or any set that comes as a folder per class: `<sound>/<group>/…/*.wav`."""

import hashlib
from pathlib import Path

from appliance.errors import ConfigError
from appliance.lab.datasets.kinds import Card, ClipSet, Item
from appliance.lab.pack import SOUNDS

_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".aif", ".aiff"})
_FOLDS = 5

CARD = Card(
    name="folders",
    title="a folder per sound",
    folder="folders",
    homepage="your own recordings, or a set such as AVA or the 32 UAV models that you sort into such folders",
    license="yours to know",
    size="any",
    files=0,
    layout="drone/<model or session>/anything.wav\ndog/<session>/anything.flac",
    classes={sound: sound for sound in SOUNDS},
    note="All files under one <model or session> count as one recording and share a fold; a file directly under the sound "
    "is a recording by itself.",
)


def items(root: Path) -> list[Item]:
    """Every audio file below a folder that is called like one of `SOUNDS`."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    strange = [path.name for path in folders if path.name not in SOUNDS]
    if strange or not folders:
        named = f"folder {strange[0]!r} is no sound of ours" if strange else "no folder here"
        raise ConfigError(f"{root}: {named}; name folders {', '.join(SOUNDS)}")
    found = []
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES):
            inside = path.relative_to(folder)
            recording_id = f"folders:{folder.name}/{inside.parts[0]}"
            fold = 1 + hashlib.sha256(recording_id.encode()).digest()[0] % _FOLDS
            found.append(Item(str(path.relative_to(root)), folder.name, folder.name, recording_id, fold, CARD.license))
    return found


FOLDERS = ClipSet(CARD, items, channels=(1, 2))
