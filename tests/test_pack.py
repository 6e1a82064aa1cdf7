"""The audio pack: what is judged on is never learned from, also where the manifest takes two cuts of a recording for two."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import uniform_filter1d
from scipy.signal import fftconvolve

from appliance.lab.datasets.sources import load_clips as load_from_sources
from appliance.lab.pack import load_clips, read_clip, training_clips
from appliance.lab.world.draw import SceneDraw

CLIPS = {Path(clip.path).stem.rpartition("__")[2]: clip for clip in load_clips(range(1, 6))}
COPIES = [
    ("BACKGROUND-008", "BACKGROUND-016"),
    ("Chain-1", "Chain-6"),
    ("Chain-2", "Chain-4"),
    ("DRONE-008", "DRONE-004"),
    ("dog-164", "dog-140"),
    ("koyun-26", "koyun-21"),
    ("kurbaga-6", "kurbaga-26"),
    ("tesAutobus1", "tesVlak1"),
]
"""A clip, and one of a later fold that is of the same recording."""
_WINDOW = 4000


def whitened(name: str) -> npt.NDArray[np.float64]:
    """A clip with a flat spectrum: what two steady sounds have in common is then only what is one sound."""
    spectrum = np.fft.rfft(read_clip(CLIPS[name]).astype(np.float64))
    return np.fft.irfft(spectrum / (uniform_filter1d(np.abs(spectrum), 200) + 1e-9))


def likeness(one: str, other: str) -> float:
    """How well a quarter of a second of one is found anywhere in the other: a quarter of such windows correlate better."""
    heard, there = whitened(one), whitened(other)
    energy = np.maximum(fftconvolve(there**2, np.ones(_WINDOW), "valid"), 1e-12)
    found = []
    for start in np.linspace(0, len(heard) - _WINDOW, 8).astype(int):
        window = heard[start : start + _WINDOW]
        found.append(np.abs(fftconvolve(there, window[::-1], "valid") / np.sqrt(energy * (window @ window))).max())
    return float(np.quantile(found, 0.75))


@pytest.mark.parametrize(("earlier", "later"), COPIES)
def test_what_is_heard_again_in_a_later_fold_is_judged_on_and_not_learned(earlier: str, later: str) -> None:
    own, judged = CLIPS[earlier], CLIPS[later]
    assert likeness(earlier, later) > 0.4
    before = range(1, judged.fold)
    assert own in load_clips(before)
    assert own not in training_clips(before)
    assert own not in load_from_sources(["pack"], before)
    assert judged in training_clips([judged.fold])
    rng = np.random.default_rng(0)
    assert own in SceneDraw(rng, tuple(before)).clips(own.label)
    assert own not in SceneDraw(rng, tuple(before), to_learn=True).clips(own.label)


@pytest.mark.parametrize(
    ("one", "other"), [("DRONE-007", "DRONE-004"), ("Chain-1", "Chain-4"), ("BACKGROUND-007", "BACKGROUND-016")]
)
def test_sounds_of_one_kind_are_no_copies(one: str, other: str) -> None:
    assert likeness(one, other) < 0.2


def test_nothing_else_is_left_out() -> None:
    assert training_clips(range(1, 6)) == load_clips(range(1, 6))
    for last in (3, 4):
        folds = range(1, last + 1)
        left_out = {clip.path for clip in load_clips(folds)} - {clip.path for clip in training_clips(folds)}
        expected = {(CLIPS[earlier], CLIPS[later]) for earlier, later in COPIES}
        assert left_out == {own.path for own, judged in expected if own.fold <= last < judged.fold}


def test_a_carried_copy_of_the_pack_leaves_them_out_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no fold 5, and its files are called otherwise."""
    columns = "path,class,source_repo,license,seconds,fold,subclass,recording_id"
    path = CLIPS["DRONE-008"].path.replace(".flac", ".ogg")
    manifest = f"{columns}\n{path},drone,thesis,CC0,10,4,thesis,DRONE1\n"
    (tmp_path / "manifest.csv").write_text(manifest, encoding="utf-8")
    monkeypatch.setenv("APPLIANCE_PACK", str(tmp_path))
    assert [clip.path for clip in load_clips([4])] == [path]
    assert training_clips([1, 2, 3, 4]) == []
