"""The two kinds of public sets: single sounds to draw scenes from, and recorded scenes with their truth to be judged on.

A set's own module knows its layout and nothing else: it lists what the metadata names. Everything that is the same for
all sets (which files are there, how long they are, what is wrong with them) is done here and in `check`.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ConfigError, RecordingError
from appliance.geometry import ArrayGeometry
from appliance.lab.pack import CLASSES, Clip
from appliance.lab.world.dcase_csv import SeldRow

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Card:
    """What a person must know before fetching a set."""

    name: str
    """How commands and settings call it."""
    title: str
    """How its authors call it."""
    folder: str
    """Name of its folder once unpacked."""
    homepage: str
    """Where it is to be had."""
    license: str
    """As its authors state it; single files may differ."""
    size: str
    """Files, hours and bytes."""
    files: int
    """Recordings of the whole set, 0 where its authors name no number."""
    layout: str
    """The files that are read, one path pattern per line, relative to the folder."""
    classes: Mapping[str, str | None]
    """Its classes → one of `SOUNDS`; None: not used, since it is neither a clean example of ours nor of *none*."""
    note: str = ""
    """What to beware of."""


@dataclass(frozen=True, slots=True)
class Item:
    """One sound that a set's metadata names, whether or not its file is there."""

    path: str
    """Relative to the set's folder; a row of a Parquet file as `file.parquet#row`."""
    label: str | None
    """One of `SOUNDS`, or None where it is not used."""
    their_class: str
    """The set's own class."""
    recording_id: str
    """Sounds cut from one recording share this; `freesound:<id>` wherever a set tells it, so that sets can be compared."""
    fold: int
    """1–5 as `pack.Clip` means them: 1–3 train, 4 validates, 5 is only judged on."""
    license: str
    """Of this file where the set tells it, else of the set."""


@dataclass(frozen=True, slots=True)
class ClipSet:
    """A set of single sounds."""

    card: Card
    items: Callable[[Path], list[Item]]
    """Reads the metadata under the set's folder. Raises `ConfigError` where it is missing, `RecordingError` where bad."""
    rates_hz: tuple[int, ...] = ()
    """Sampling rates that its files have; empty: any."""
    channels: tuple[int, ...] = (1,)
    """Numbers of channels that its files have."""


Truth = dict[int, list[SeldRow]]
"""Rows by label frame of 100 ms."""


@dataclass(frozen=True, slots=True)
class SceneItem:
    """One recorded scene that a set lists."""

    audio: Path
    truth: Path | None
    """File of the truth; None where the set gives none for this scene."""
    split: str
    """Part of the set, in its own words."""
    stems: tuple[Path, ...] = ()
    """Each source alone as it arrives, in the order of the truth's source index, where the set gives them."""


@dataclass(frozen=True, slots=True)
class SceneSet:
    """A set of recorded scenes."""

    card: Card
    items: Callable[[Path], list[SceneItem]]
    """Lists the scenes under the set's folder. Raises `ConfigError` where it does not look like this set."""
    read_truth: Callable[[SceneItem], Truth]
    """Truth of a scene, empty where there is none; class indices count `card.classes`."""
    rate_hz: int
    """Sampling rate of its files."""
    channels: int
    """Channels of its files."""
    array: Callable[[Path], ArrayGeometry] | None
    """The array whose microphones the channels are, from the set's folder; None where nobody says where they are."""


@dataclass(frozen=True, slots=True)
class SceneRecording:
    """A recorded scene, ready to be judged on."""

    audio: Path
    """Multichannel file."""
    array: ArrayGeometry | None
    """Where its microphones are."""
    truth: Truth
    """What sounds when and where; class indices count the set's classes."""
    classes: tuple[str, ...]
    """The set's classes."""
    labels: tuple[str | None, ...]
    """For each of them one of ours, or None."""
    split: str
    """Part of the set, in its own words."""
    license: str
    """Of the set."""
    stems: tuple[Path, ...]
    """As `SceneItem.stems`."""

    def our_truth(self) -> Truth:
        """The rows of `CLASSES` alone, class indices counting these; what we have no class for is left out."""
        ours = {
            index: CLASSES.index(label)
            for index, label in enumerate(self.labels)
            if label is not None and label in CLASSES
        }
        kept = {
            frame: [row._replace(class_index=ours[row.class_index]) for row in rows if row.class_index in ours]
            for frame, rows in self.truth.items()
        }
        return {frame: rows for frame, rows in kept.items() if rows}


def data_dir() -> Path:
    """Where public sets lie: `$APPLIANCE_DATA`, else `../shared/datasets` beside the checkout."""
    return Path(os.environ.get("APPLIANCE_DATA", Path(__file__).resolve().parents[4] / "shared" / "datasets"))


def set_dir(card: Card, root: Path | None = None) -> Path:
    """The set's folder: `root` where given, else under `data_dir()`. Raises `ConfigError` where there is none."""
    folder = data_dir() / card.folder if root is None else root
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: no {card.title} here; fetch it from {card.homepage} "
            f"(`appliance lab data where {card.name}` tells the layout)"
        )
    return folder


def needed(path: Path, card: Card) -> Path:
    """A file or folder without which a set cannot be read. Raises `ConfigError` where it is missing."""
    if not path.exists():
        raise ConfigError(
            f"{path}: missing, so this is not {card.title} as published; "
            f"`appliance lab data where {card.name}` tells the layout"
        )
    return path


def label_of(card: Card, their_class: str, where: str) -> str | None:
    """Our label of a set's class. Raises `RecordingError` that names `where` for a class that the set does not have."""
    try:
        return card.classes[their_class]
    except KeyError:
        raise RecordingError(
            f"{where}: class {their_class!r} is not one of {card.title}'s {len(card.classes)}; fetch the file again"
        ) from None


def training_fold(recording_id: str) -> int:
    """1–3, always the same for one recording: for sets that say which recordings train but divide them no further."""
    return 1 + hashlib.sha256(recording_id.encode()).digest()[0] % 3


def clips_of(
    clip_set: ClipSet,
    root: Path,
    items: Iterable[Item],
    seconds_of: Callable[[Path, str], float],
    hours_per_label: float,
) -> list[Clip]:
    """Clips of these items with absolute paths; of each label at most so many hours, drawn evenly from its recordings.

    `seconds_of` tells the length of an item from its folder and path. Which clips are drawn depends on their names alone.
    """
    clips: list[Clip] = []
    seconds_by_label: dict[str, float] = {}
    for item in sorted(items, key=lambda item: hashlib.sha256(item.path.encode()).digest()):
        if item.label is None or seconds_by_label.get(item.label, 0.0) >= hours_per_label * SECONDS_PER_HOUR:
            continue
        seconds = seconds_of(root, item.path)
        seconds_by_label[item.label] = seconds_by_label.get(item.label, 0.0) + seconds
        group = f"{clip_set.card.name}:{item.their_class}"
        path = str(root.resolve() / item.path)
        clips.append(Clip(path, item.label, group, item.recording_id, item.fold, seconds, item.license))
    return clips


def recordings_of(scene_set: SceneSet, root: Path) -> list[SceneRecording]:
    """All scenes under this folder with their truth."""
    classes = scene_set.card.classes
    array = scene_set.array(root) if scene_set.array else None
    return [
        SceneRecording(
            item.audio,
            array,
            scene_set.read_truth(item),
            tuple(classes),
            tuple(classes.values()),
            item.split,
            scene_set.card.license,
            item.stems,
        )
        for item in scene_set.items(root)
    ]
