"""Hours of one site through the pipeline of the field: how often its own sounds are taken for anomalies, and what is found.

One stream: the site is learned from some of its recordings; then come hours of others of the same sounds, in which every
anomaly is false; then sounds that it never made. Two seconds in three something sounds: a real site is quieter.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from appliance.config import NoveltySettings, SiteSettings
from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.events import seeded_ulids
from appliance.geometry import load_array
from appliance.lab.judge.novelty import SITE_ARRAY, SITE_POSE, SITE_SOUNDS, TEST_FOLDS, half_of, strange_labels
from appliance.lab.pack import DIFFUSE_CLASSES, Clip
from appliance.lab.workers import Log, each
from appliance.lab.world.draw import SceneDraw, on_bearing
from appliance.lab.world.recipe import Recipe, SourcePlan
from appliance.lab.world.render import render
from appliance.lab.world.sensors import LABEL_SAMPLES
from appliance.model.scene import SceneModel
from appliance.pipeline import Moment, run
from appliance.stages import build_stages, new_memory
from appliance.types import ANOMALY, AudioBlock, Event, Float32Array

LONG_SCENE_S, STRANGE_SCENE_S = 60.0, 20.0
_STRANGE_SOUND_S = 8.0
_EVERY_S = 12
_BLOCK_NS = LABEL_SAMPLES * 1_000_000_000 // SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class HoursFigures:
    """What came of one site."""

    learned: bool
    """The memory held the site well enough to say anything."""
    test_hours: float
    """Hours of the site's own sounds after it was learned."""
    false_alarms: int
    """Anomalies in them."""
    strange_scenes: int
    """Scenes with a sound that the site never made …"""
    anomalies: int
    """… of them those in which an anomaly began …"""
    named: int
    """… and those in which an event of any known class began, right or wrong."""
    by_label: dict[str, tuple[int, int]]
    """Strange sound → (scenes with an anomaly, with a named event)."""

    @property
    def false_alarms_per_day(self) -> float:
        """Extrapolated from the test hours."""
        return self.false_alarms * 24.0 / self.test_hours if self.test_hours else 0.0


class SceneStream(contextlib.AbstractContextManager["SceneStream"]):
    """An `AudioSource` of scenes one after the other, without a seam in time."""

    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, scenes: Iterable[Float32Array], mics: int) -> None:
        self.mics = mics
        self._scenes = scenes

    def blocks(self) -> Iterator[AudioBlock]:
        """All scenes in order, cut to whole label frames."""
        number = 0
        for samples in self._scenes:
            for start in range(0, samples.shape[1] - LABEL_SAMPLES + 1, LABEL_SAMPLES):
                block = samples[:, start : start + LABEL_SAMPLES]
                yield AudioBlock(block, SAMPLE_RATE_HZ, number * LABEL_SAMPLES, number * _BLOCK_NS)
                number += 1

    def close(self) -> None:
        """Nothing is held."""

    def __exit__(self, *_: object) -> None:
        self.close()


class _Begun:
    """An observer that keeps when which events began, and since when the site is known."""

    def __init__(self) -> None:
        self.events: list[tuple[float, str]] = []

    def frame(self, moment: Moment) -> None:
        """Keep what begins."""
        self.events += [(moment.stream_s, event.class_label) for event in moment.events if event.state == "new"]

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        """What ends is of no interest."""


def site_hours(
    seed: int = 2027,
    *,
    learn_minutes: int = 120,
    test_minutes: int = 120,
    each_label: int = 4,
    folds: tuple[int, ...] = TEST_FOLDS,
) -> list[Recipe]:
    """Scenes under `notes["part"]`: learn, normal (from other recordings) and anomalous, which also name their label."""
    draw = SceneDraw(np.random.default_rng(seed), folds)
    recipes = [_long_scene(draw, "learn", 0) for _ in range(learn_minutes)]
    recipes += [_long_scene(draw, "normal", 1) for _ in range(test_minutes)]
    for label in strange_labels(draw.labels):
        for _ in range(each_label):
            clip = draw.any_of(label)
            source = _source(draw, label, clip, 6.0, draw.seconds(label, clip, _STRANGE_SOUND_S))
            bed = _bed(draw, 1)
            recipes.append(_recipe(draw, STRANGE_SCENE_S, bed, (source,), {"part": "anomalous", "label": label}))
    return recipes


def judge_hours(
    recipes: Sequence[Recipe], model: Path, novelty: NoveltySettings, *, workers: int = 2, log: Log = print
) -> HoursFigures:
    """Run the pipeline over all scenes as one stream, and count what was announced in which part."""
    geometry, network = load_array(SITE_ARRAY), SceneModel.load(model)
    settings = SiteSettings(array=SITE_ARRAY, novelty=novelty.model_copy(update={"enabled": True}))
    memory = new_memory(settings, network)
    stages = build_stages(
        settings, geometry, network, ulids=seeded_ulids(b"novelty"), clock=lambda: "replay", memory=memory
    )
    begun = _Begun()
    scenes = each(_samples, recipes, workers, log)
    source, sink = SceneStream(scenes, geometry.mics), list[Event]()
    run(source, stages, sink, [begun])
    return count(recipes, begun.events, learned=memory.learned)


def count(recipes: Sequence[Recipe], events: Sequence[tuple[float, str]], *, learned: bool) -> HoursFigures:
    """Figures of events (second of the stream, class) that began in these scenes, one after the other."""
    figures = HoursFigures(learned, 0.0, 0, 0, 0, 0, {})
    start_s = 0.0
    for recipe in recipes:
        stop_s = start_s + recipe.seconds
        labels = [label for at_s, label in events if start_s < at_s <= stop_s]
        anomalies = labels.count(ANOMALY)
        if recipe.notes["part"] == "normal":
            hours = figures.test_hours + recipe.seconds / 3600.0
            figures = replace(figures, test_hours=hours, false_alarms=figures.false_alarms + anomalies)
        elif recipe.notes["part"] == "anomalous":
            found, named = int(anomalies > 0), int(len(labels) > anomalies)
            before = figures.by_label.get(recipe.notes["label"], (0, 0))
            figures.by_label[recipe.notes["label"]] = (before[0] + found, before[1] + named)
            figures = replace(
                figures,
                strange_scenes=figures.strange_scenes + 1,
                anomalies=figures.anomalies + found,
                named=figures.named + named,
            )
        start_s = stop_s
    return figures


def _samples(recipe: Recipe) -> Float32Array:
    return render(recipe).samples


def _long_scene(draw: SceneDraw, part: str, half: int) -> Recipe:
    """A minute of the site."""
    sources = []
    for start_s in range(1, 50, _EVERY_S):
        label = SITE_SOUNDS[int(draw.rng.integers(len(SITE_SOUNDS)))]
        clips = half_of(draw.clips(label), half)
        clip = clips[int(draw.rng.integers(len(clips)))]
        seconds = draw.seconds(label, clip, float(draw.rng.uniform(4.0, 10.0)))
        sources.append(_source(draw, label, clip, float(start_s), seconds))
    return _recipe(draw, LONG_SCENE_S, _bed(draw, half), tuple(sources), {"part": part})


def _bed(draw: SceneDraw, half: int) -> tuple[str, ...]:
    pool = [clip for label in DIFFUSE_CLASSES if label in draw.labels for clip in half_of(draw.clips(label), half)]
    return tuple(pool[int(index)].path for index in draw.rng.integers(len(pool), size=2))


def _source(draw: SceneDraw, label: str, clip: Clip, start_s: float, seconds: float) -> SourcePlan:
    bearing = draw.rng.uniform((-180.0, 0.0, 15.0), (180.0, 30.0, 60.0))
    azimuth_deg, elevation_deg, distance_m = bearing.tolist()
    place = partial(on_bearing, seconds=seconds, height_m=SITE_POSE.height_m)
    return SourcePlan(
        clip=clip.path,
        label=label,
        start_s=start_s,
        seconds=seconds,
        positions_m=place((azimuth_deg,), (elevation_deg,), distance_m),
        snr_db=float(draw.rng.uniform(0.0, 15.0)),
        fade_s=draw.fade_s(label),
    )


def _recipe(
    draw: SceneDraw, seconds: float, bed: tuple[str, ...], sources: tuple[SourcePlan, ...], notes: dict[str, str]
) -> Recipe:
    return Recipe(
        seed=int(draw.rng.integers(2**31)),
        seconds=seconds,
        array=SITE_ARRAY,
        pose=SITE_POSE,
        bed=bed,
        sources=sources,
        notes=notes,
    )
