"""Does a site's memory find what the site does not normally make? As DCASE Task 2 asks: AUC, and pAUC at FPR ≤ 0.1.

A site is learned from scenes of its own sounds. Then it hears scenes of these sounds from other recordings (normal) and of sounds
that it never heard (anomalous), all from fold 5. A scene scores as its strangest moment does. The memory is that of a
unit; what makes the vectors is exchanged.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from appliance.config import SiteSettings
from appliance.dsp.features import FEATURE_NAMES, FeatureExtractor
from appliance.dsp.stft import HOP_SAMPLES, HOPS_PER_LABEL, SAMPLE_RATE_HZ
from appliance.events import seeded_ulids
from appliance.geometry import ArrayGeometry
from appliance.lab.hear import MemorySource
from appliance.lab.metrics.novelty import auc, partial_auc
from appliance.lab.pack import DIFFUSE_CLASSES, SHORT_CLASSES, Clip
from appliance.lab.workers import Log, each
from appliance.lab.world.draw import SceneDraw, on_bearing
from appliance.lab.world.recipe import Pose, Recipe, SourcePlan
from appliance.lab.world.render import render
from appliance.model.scene import SceneModel
from appliance.novelty.listener import sound_vector
from appliance.novelty.memory import MemorySettings, SiteMemory
from appliance.pipeline import Moment, run
from appliance.stages import build_stages
from appliance.types import AudioBlock, Event, FeatureFrame, Float32Array

SITE_SOUNDS = ("birds", "dog", "speech", "vehicle_engine", "airplane")
TEST_FOLDS = (5,)
SITE_ARRAY = "respeaker_usb_4mic"
SITE_POSE = Pose()
WINDOW_S = 2.0
"""What is no track is heard in windows so long."""
_WINDOW_HOPS = round(WINDOW_S * SAMPLE_RATE_HZ / HOP_SAMPLES)
_SCENE_S, _START_S, _SECONDS = 10.0, 2.0, 7.0

Maker = Callable[[Float32Array, ArrayGeometry], Float32Array]
"""Samples (mics, n) of a scene and its array → (moments, dimensions)."""


@dataclass(frozen=True, slots=True)
class NoveltyFigures:
    """What came of one kind of vector."""

    auc: float
    """Over all anomalous sounds."""
    partial_auc: float
    """The same at FPR ≤ 0.1."""
    by_label: dict[str, float]
    """AUC of each anomalous sound."""


def level_vectors(samples: Float32Array, geometry: ArrayGeometry) -> Float32Array:
    """What needs no network: mean and standard deviation of each band's level over each window, (windows, 2·bands).

    The mean over all bands is taken out: a louder sound is the same sound.
    """
    frames = _features(samples, geometry)
    levels = np.stack([frame.values[FEATURE_NAMES.index("level")] for frame in frames])
    windows = levels[: len(levels) // _WINDOW_HOPS * _WINDOW_HOPS].reshape(-1, _WINDOW_HOPS, levels.shape[1])
    mean = windows.mean(axis=1)
    vectors: Float32Array = np.concatenate([mean - mean.mean(axis=1, keepdims=True), windows.std(axis=1)], axis=1)
    return vectors


def output_vectors(model: SceneModel, output: str, samples: Float32Array, geometry: ArrayGeometry) -> Float32Array:
    """Mean over each window of what a model says under `output`, which is (1, dimensions) per label frame."""
    frames = _features(samples, geometry)
    model.reset()
    steps = range(0, len(frames) - HOPS_PER_LABEL + 1, HOPS_PER_LABEL)
    said = np.stack([model.hear(frames[start : start + HOPS_PER_LABEL])[output][0] for start in steps])
    window = _WINDOW_HOPS // HOPS_PER_LABEL
    windows = len(said) // window
    mean: Float32Array = said[: windows * window].reshape(windows, window, -1).mean(axis=1)
    return mean


def track_vectors(model: SceneModel, samples: Float32Array, geometry: ArrayGeometry) -> Float32Array:
    """What a unit learns from: all that the tagger took any track for."""
    stages = build_stages(SiteSettings(), geometry, model, ulids=seeded_ulids(b"novelty"), clock=lambda: "replay")
    heard = _Sounds()
    model.reset()
    run(MemorySource(samples), stages, list[Event](), [heard])
    vectors = [sound_vector(sounds) for sounds in heard.said]
    return np.stack(vectors) if vectors else np.zeros((0, len(model.sounds)), np.float32)


class _Sounds:
    """An observer that keeps whatever the tagger says of any track."""

    def __init__(self) -> None:
        self.said: list[Float32Array] = []
        self._latest: dict[int, Float32Array] = {}

    def frame(self, moment: Moment) -> None:
        """Keep what is new."""
        for track in moment.tracks:
            if track.sounds is not None and track.sounds is not self._latest.get(track.track_id):
                self._latest[track.track_id] = track.sounds
                self.said.append(track.sounds)

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        """All was kept."""


def _features(samples: Float32Array, geometry: ArrayGeometry) -> list[FeatureFrame]:
    return FeatureExtractor(geometry).push(AudioBlock(samples, SAMPLE_RATE_HZ, 0, 0))


def site_suite(
    seed: int = 2026, *, learn: int = 120, each_label: int = 6, folds: tuple[int, ...] = TEST_FOLDS
) -> Iterator[Recipe]:
    """Scenes under `notes["part"]`: `learn` of them to learn, then normal ones from other recordings, then anomalous ones."""
    draw = SceneDraw(np.random.default_rng(seed), folds)
    for index in range(learn):
        label = SITE_SOUNDS[index % len(SITE_SOUNDS)]
        yield _scene(draw, "learn", label, half_of(draw.clips(label), 0))
    strange = strange_labels(draw.labels)
    for index in range(each_label * len(strange)):
        label = SITE_SOUNDS[index % len(SITE_SOUNDS)]
        yield _scene(draw, "normal", label, half_of(draw.clips(label), 1))
    for label in strange:
        for _ in range(each_label):
            yield _scene(draw, "anomalous", label, draw.clips(label))


def half_of(clips: Sequence[Clip], half: int) -> list[Clip]:
    """Those of every second recording, from the first (0) or the second one (1) on: no recording is cut into both."""
    own = list(dict.fromkeys(clip.recording_id for clip in clips))[half::2]
    return [clip for clip in clips if clip.recording_id in own]


def strange_labels(labels: Sequence[str]) -> list[str]:
    """Those of these labels that the site never makes, and that are sounds rather than ambience."""
    return [label for label in labels if label not in (*SITE_SOUNDS, *DIFFUSE_CLASSES)]


def heard_vectors(makers: Sequence[str], model: Path, recipe: Recipe) -> list[Float32Array]:
    """Vectors (moments, dimensions) of one scene by each maker: `levels`, `tracks`, or the name of an output of the model."""
    samples, geometry, loaded = render(recipe).samples, recipe.geometry(), SceneModel.load(model)
    known: dict[str, Maker] = {"levels": level_vectors, "tracks": partial(track_vectors, loaded)}
    return [known.get(maker, partial(output_vectors, loaded, maker))(samples, geometry) for maker in makers]


def judge_novelty(
    recipes: Sequence[Recipe], makers: Sequence[str], model: Path, *, workers: int = 2, log: Log = print
) -> dict[str, NoveltyFigures]:
    """Figures by maker of vectors."""
    heard = list(each(partial(heard_vectors, tuple(makers), model), recipes, workers, log))
    return {maker: figures(recipes, [scene[index] for scene in heard]) for index, maker in enumerate(makers)}


def figures(recipes: Sequence[Recipe], vectors: Sequence[Float32Array]) -> NoveltyFigures:
    """Learn the site in the order of its scenes, then score the others; nothing of these is learned."""
    parts = [str(recipe.notes["part"]) for recipe in recipes]
    memory = SiteMemory(vectors[0].shape[1], MemorySettings())
    for own, part in zip(vectors, parts, strict=True):
        if part == "learn":
            memory.learn(list(own), None)
    scores: dict[str, list[float]] = {}
    for recipe, own, part in zip(recipes, vectors, parts, strict=True):
        if part != "learn":
            label = "normal" if part == "normal" else recipe.sources[0].label
            scores.setdefault(label, []).append(max((memory.distance(vector) for vector in own), default=0.0))
    normal = np.array(scores.pop("normal"))
    anomalous = np.concatenate([np.array(own) for own in scores.values()])
    return NoveltyFigures(
        auc(normal, anomalous),
        partial_auc(normal, anomalous),
        {label: auc(normal, np.array(own)) for label, own in scores.items()},
    )


def _scene(draw: SceneDraw, part: str, label: str, clips: Sequence[Clip]) -> Recipe:
    rng: np.random.Generator = draw.rng
    clip = clips[int(rng.integers(len(clips)))]
    seconds = min(_SECONDS, clip.seconds) if label in SHORT_CLASSES else _SECONDS
    bearing: npt.NDArray[np.float64] = rng.uniform((-180.0, 0.0, 15.0), (180.0, 30.0, 60.0))
    azimuth_deg, elevation_deg, distance_m = bearing.tolist()
    source = SourcePlan(
        clip=clip.path,
        label=label,
        start_s=_START_S,
        seconds=seconds,
        positions_m=on_bearing(
            (azimuth_deg,), (elevation_deg,), distance_m, seconds=seconds, height_m=SITE_POSE.height_m
        ),
        snr_db=float(rng.uniform(0.0, 15.0)),
        fade_s=SceneDraw.fade_s(label),
    )
    return Recipe(
        seed=int(rng.integers(2**31)),
        seconds=_SCENE_S,
        array=SITE_ARRAY,
        pose=SITE_POSE,
        bed=draw.bed(),
        sources=(source,),
        notes={"part": part},
    )
