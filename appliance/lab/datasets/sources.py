"""Clips from the audio pack and from public sets together, with no recording on both sides of a fold.

A source is `pack`, the name of a set that lies in `data_dir()`, or `name=folder`. A recording has one fold wherever it
turns up: the pack's if the pack has it, else that of the first source that names it. It is taken from that source only.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from appliance.errors import ConfigError
from appliance.lab import pack
from appliance.lab.datasets.audio_files import read_mono, seconds_of
from appliance.lab.datasets.kinds import ClipSet, Item, clips_of, set_dir
from appliance.lab.datasets.metadata import csv_rows, whole
from appliance.lab.datasets.registry import CLIP_SETS
from appliance.lab.pack import Clip

PACK = "pack"
HOURS_PER_LABEL = 1.0
"""What one set gives for one label at most: scenes hold their clips in memory, 115 MB an hour."""


def load_clips(sources: Iterable[str], folds: Iterable[int], hours_per_label: float = HOURS_PER_LABEL) -> list[Clip]:
    """Clips of these folds from these sources to learn from, in their order; of the pack only what a later fold holds too is left out.

    Raises `ConfigError` for an unknown or absent source, `RecordingError` for bad metadata or a missing file.
    """
    sources, wanted, clips = list(sources), set(folds), list[Clip]()
    fold_of = pack_folds()
    taken_from = dict.fromkeys(fold_of, PACK) if PACK in sources else {}
    for source in sources:
        if source == PACK:
            clips += pack.training_clips(wanted)
            continue
        clip_set, root = _clip_set(source)
        items = [_in_one_fold(item, fold_of) for item in clip_set.items(root)]
        own = [item for item in items if taken_from.setdefault(item.recording_id, source) == source]
        in_folds = [item for item in own if item.fold in wanted]
        clips += clips_of(clip_set, root, in_folds, seconds_of, hours_per_label)
    return clips


def read_clip(clip: Clip) -> npt.NDArray[np.float32]:
    """Samples (n,) at 16 kHz, mean removed, of a clip from any source. Raises `RecordingError` where unreadable."""
    return read_mono(clip.path) if Path(clip.path).is_absolute() else pack.read_clip(clip)


def pack_folds() -> dict[str, int]:
    """Fold of each recording of the pack, those included that we do not use; empty where there is no pack."""
    try:
        manifest = pack.pack_dir() / "manifest.csv"
    except ConfigError:
        return {}
    rows = csv_rows(manifest, ("recording_id", "fold"))
    return {row["recording_id"]: whole(row["fold"], where, "fold") for where, row in rows}


def _in_one_fold(item: Item, fold_of: dict[str, int]) -> Item:
    return replace(item, fold=fold_of.setdefault(item.recording_id, item.fold))


def _clip_set(source: str) -> tuple[ClipSet, Path]:
    name, mark, folder = source.partition("=")
    if name not in CLIP_SETS:
        raise ConfigError(f"source {source!r}: there are {PACK}, {', '.join(CLIP_SETS)}, or such a name=folder")
    return CLIP_SETS[name], set_dir(CLIP_SETS[name].card, Path(folder).expanduser() if mark else None)
