"""Does a site's memory find what the site does not normally make? As DCASE Task 2 asks: AUC, and pAUC at FPR ≤ 0.1.

A site is learned from scenes of its own sounds. Then it hears scenes of these sounds from other recordings (normal) and of
sounds that it never heard (anomalous), all from fold 5. A scene scores as its strangest two seconds do. Memory and scores
come from the same code that a unit would run; only what makes the vectors is exchanged.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from appliance.dsp.features import FEATURE_NAMES, FeatureExtractor
from appliance.dsp.stft import HOP_SAMPLES, HOPS_PER_LABEL, SAMPLE_RATE_HZ
from appliance.lab.draw import SceneDraw, on_bearing
from appliance.lab.evaluate import Log, each
from appliance.lab.novelty_metrics import auc, partial_auc
from appliance.lab.pack import DIFFUSE_CLASSES, SHORT_CLASSES, Clip
from appliance.lab.recipe import Pose, Recipe, SourcePlan
from appliance.lab.render import render
from appliance.model.scene import SceneModel
from appliance.novelty.listener import WINDOW_S
from appliance.novelty.memory import MemorySettings, SiteMemory
from appliance.novelty.vectors import level_vector
from appliance.types import AudioBlock, FeatureFrame, Float32Array

SITE_SOUNDS = ("birds", "dog", "speech", "vehicle_engine", "airplane")
TEST_FOLDS = (5,)
_WINDOW_HOPS = round(WINDOW_S * SAMPLE_RATE_HZ / HOP_SAMPLES)
SITE_ARRAY = "respeaker_usb_4mic"
_SCENE_S, _START_S, _SECONDS = 10.0, 2.0, 7.0
SITE_POSE = Pose()

Vectors = Callable[[Sequence[FeatureFrame]], Float32Array]
"""Feature frames of a scene → (windows, dimensions), one vector per `WINDOW_S`."""


@dataclass(frozen=True, slots=True)
class NoveltyFigures:
    """What came of one kind of vector."""

    auc: float
    """Over all anomalous sounds."""
    partial_auc: float
    """The same at FPR ≤ 0.1."""
    by_label: dict[str, float]
    """AUC of each anomalous sound."""
    found: float
    """Share of anomalous scenes beyond the distance that one in a thousand of the site's windows should reach …"""
    false: float
    """… and share of normal scenes beyond it."""


def level_vectors(frames: Sequence[FeatureFrame]) -> Float32Array:
    """What needs no network: `novelty.vectors.level_vector` of each window."""
    levels = np.stack([frame.values[FEATURE_NAMES.index("level")] for frame in frames])
    starts = range(0, len(levels) - _WINDOW_HOPS + 1, _WINDOW_HOPS)
    return np.stack([level_vector(levels[start : start + _WINDOW_HOPS]) for start in starts])


def model_vectors(model: SceneModel, output: str, frames: Sequence[FeatureFrame]) -> Float32Array:
    """Mean over each window of what a model says under `output`, which is (1, dimensions) per label frame."""
    model.reset()
    steps = range(0, len(frames) - HOPS_PER_LABEL + 1, HOPS_PER_LABEL)
    said = np.stack([model.hear(frames[start : start + HOPS_PER_LABEL])[output][0] for start in steps])
    window = _WINDOW_HOPS // HOPS_PER_LABEL
    windows = len(said) // window
    mean: Float32Array = said[: windows * window].reshape(windows, window, -1).mean(axis=1)
    return mean


def site_suite(
    seed: int = 2026, *, learn: int = 120, each_label: int = 6, folds: tuple[int, ...] = TEST_FOLDS
) -> Iterator[Recipe]:
    """Scenes under `notes["part"]`: `learn` of them to learn, then normal ones from other recordings, then anomalous ones."""
    draw = SceneDraw(np.random.default_rng(seed), folds)
    for index in range(learn):
        label = SITE_SOUNDS[index % len(SITE_SOUNDS)]
        yield _scene(draw, "learn", label, draw.clips(label)[0::2])
    strange = strange_labels(draw.labels)
    for index in range(each_label * len(strange)):
        label = SITE_SOUNDS[index % len(SITE_SOUNDS)]
        yield _scene(draw, "normal", label, draw.clips(label)[1::2])
    for label in strange:
        for _ in range(each_label):
            yield _scene(draw, "anomalous", label, draw.clips(label))


def strange_labels(labels: Sequence[str]) -> list[str]:
    """Those of these labels that the site never makes, and that are sounds rather than ambience."""
    return [label for label in labels if label not in (*SITE_SOUNDS, *DIFFUSE_CLASSES)]


def hear_windows(makers: Sequence[str], model: Path | None, recipe: Recipe) -> list[Float32Array]:
    """Vectors (windows, dimensions) of one scene by each maker: `levels`, or the name of an output of the model."""
    samples = render(recipe).samples
    frames = FeatureExtractor(recipe.geometry()).push(AudioBlock(samples, SAMPLE_RATE_HZ, 0, 0))
    loaded = None if model is None else SceneModel.load(model)
    vectors = []
    for maker in makers:
        if maker == "levels":
            vectors.append(level_vectors(frames))
        else:
            assert loaded is not None
            vectors.append(model_vectors(loaded, maker, frames))
    return vectors


def judge_novelty(
    recipes: Sequence[Recipe], makers: Sequence[str], model: Path | None = None, *, workers: int = 2, log: Log = print
) -> dict[str, NoveltyFigures]:
    """Figures by maker of vectors."""
    heard = list(each(partial(hear_windows, tuple(makers), model), recipes, workers, log))
    return {maker: figures(recipes, [scene[index] for scene in heard]) for index, maker in enumerate(makers)}


def figures(recipes: Sequence[Recipe], vectors: Sequence[Float32Array]) -> NoveltyFigures:
    """Learn the site in the order of its scenes, then score the others; nothing of these is learned."""
    parts = [str(recipe.notes["part"]) for recipe in recipes]
    learned_s = WINDOW_S * sum(len(own) for own, part in zip(vectors, parts, strict=True) if part == "learn")
    memory = SiteMemory(vectors[0].shape[1], MemorySettings(learning_s=learned_s))
    time_s = 0.0
    for own, part in zip(vectors, parts, strict=True):
        for vector in own if part == "learn" else ():
            time_s += WINDOW_S
            memory.learn(vector, time_s, WINDOW_S)
    scores: dict[str, list[float]] = {}
    for recipe, own, part in zip(recipes, vectors, parts, strict=True):
        if part != "learn":
            label = "normal" if part == "normal" else recipe.sources[0].label
            scores.setdefault(label, []).append(max(memory.distance(vector) for vector in own))
    normal = np.array(scores.pop("normal"))
    anomalous = np.concatenate([np.array(own) for own in scores.values()])
    limit = memory.novel_from(1000.0)
    return NoveltyFigures(
        auc(normal, anomalous),
        partial_auc(normal, anomalous),
        {label: auc(normal, np.array(own)) for label, own in scores.items()},
        float((anomalous > limit).mean()),
        float((normal > limit).mean()),
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
