"""Each class's threshold for one model, found on scenes of fold 4; fold 5 is never looked at.

An event begins where a track reaches its class's threshold in K of N frames (`events.policy`), so the Kth best of any N
frames is the highest threshold at which the track would still have been announced. Tracks near a source of their class
are hits, all others false alarms; each class gets the lowest threshold that keeps its false alarms rare.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from appliance.angles import arc_distance_deg, wrap_azimuth_deg
from appliance.config import ClassPolicy
from appliance.events import DEFAULT_POLICIES
from appliance.geometry import load_array
from appliance.lab.hear import System, hear
from appliance.lab.judged import GRACE_S, MAX_ERROR_DEG
from appliance.lab.pack import CLASSES
from appliance.lab.perimeter import perimeter_suite
from appliance.lab.recipe import Recipe
from appliance.lab.render import SourceTruth, render
from appliance.lab.systems import onnx_systems
from appliance.lab.workers import each
from appliance.pipeline import Moment
from appliance.types import Event

TUNING_FOLDS = (4,)
FALSE_ALARMS_PER_HOUR = 4.0
"""Of one class, in audio that holds a loud sound of another kind every few seconds; a real site is far quieter."""
_LOWEST, _HIGHEST = 0.35, 0.95
_FRAME_S = 0.1

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reached:
    """How far the tracks of one scene came, per class."""

    seconds: float
    """Length of the scene."""
    hits: dict[str, list[float]] = field(default_factory=dict)
    """Class → for each of its sources, the highest threshold at which it is announced; 0 where never."""
    false_alarms: dict[str, list[float]] = field(default_factory=dict)
    """Class → for each track that is no source of it, the highest threshold at which it is announced."""


class _Tracks:
    """An observer that keeps every track's class scores and directions."""

    def __init__(self) -> None:
        self.scores: dict[int, list[npt.NDArray[np.float32]]] = {}
        self.places: dict[int, list[tuple[int, float, float]]] = {}

    def frame(self, moment: Moment) -> None:
        """Keep what is heard in this frame; a coasting track shows nothing."""
        for track in moment.tracks:
            scores = track.class_probs if track.updated else np.zeros_like(track.class_probs)
            self.scores.setdefault(track.track_id, []).append(scores)
            if track.updated:
                place = (moment.scene.frame_index, track.doa.azimuth_deg, track.doa.elevation_deg)
                self.places.setdefault(track.track_id, []).append(place)

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        """Events are of no interest here."""


def reached(system: System, recipe: Recipe) -> Reached:
    """Let a system hear a scene, and hold its tracks against the truth."""
    scene, geometry = render(recipe), load_array(recipe.array)
    tracks = _Tracks()
    hear(scene.samples, geometry, system, [tracks])
    outcome = Reached(recipe.seconds)
    for index, label in enumerate(system.stages(geometry)[1].classes):
        policy = DEFAULT_POLICIES.get(label, ClassPolicy())
        best = [0.0 for source in scene.sources if source.label == label]
        for track_id, scores in tracks.scores.items():
            score = _kth_of_n(np.array([frame[index] for frame in scores]), policy)
            owner = _owner(scene.sources, label, tracks.places[track_id], geometry.is_planar)
            if owner is not None:
                best[owner] = max(best[owner], score)
            elif score > 0.0:
                outcome.false_alarms.setdefault(label, []).append(score)
        if best:
            outcome.hits[label] = best
    return outcome


def _kth_of_n(scores: npt.NDArray[np.float32], policy: ClassPolicy) -> float:
    """The greatest value that `confirm_frames` of any `window_frames` scores (n,) reach."""
    padded = np.concatenate([np.zeros(policy.window_frames - 1, np.float32), scores])
    windows = np.lib.stride_tricks.sliding_window_view(padded, policy.window_frames)
    return float(np.sort(windows, axis=1)[:, policy.window_frames - policy.confirm_frames].max())


def _owner(
    sources: Sequence[SourceTruth], label: str, places: Sequence[tuple[int, float, float]], planar: bool
) -> int | None:
    """Which of the sources of this class (counted among them) the track is near for at least half of its frames."""
    grace = round(GRACE_S / _FRAME_S)
    for number, source in enumerate(source for source in sources if source.label == label):
        active = np.flatnonzero(source.active)
        if not len(active):
            continue
        near = 0
        for frame, azimuth_deg, elevation_deg in places:
            nearest = int(active[np.argmin(np.abs(active - frame))])
            if abs(nearest - frame) > grace:
                continue
            true_azimuth, true_elevation = float(source.azimuth_deg[nearest]), float(source.elevation_deg[nearest])
            error_deg = (
                abs(wrap_azimuth_deg(azimuth_deg - true_azimuth))
                if planar
                else arc_distance_deg(azimuth_deg, elevation_deg, true_azimuth, true_elevation)
            )
            near += error_deg <= MAX_ERROR_DEG
        if 2 * near >= len(places):
            return number
    return None


def least_threshold(false_alarms: Sequence[float], hours: float) -> float:
    """The lowest threshold at which a class gives no more than `FALSE_ALARMS_PER_HOUR`, within sensible limits.

    What it costs in recall has no say: fold 4 holds eight drones, and six of them come from one afternoon.
    """
    candidates = np.arange(_LOWEST, _HIGHEST, 0.01)
    rate = np.array([np.sum(np.asarray(false_alarms) >= t) for t in candidates]) / hours
    rare = candidates[rate <= FALSE_ALARMS_PER_HOUR]
    return round(float(rare.min()) if len(rare) else _HIGHEST, 2)


def thresholds(scenes: Sequence[Reached]) -> dict[str, float]:
    """Class → threshold, from what the tracks of all scenes reached."""
    hours = sum(scene.seconds for scene in scenes) / 3600.0
    return {
        label: least_threshold([score for scene in scenes for score in scene.false_alarms.get(label, [])], hours)
        for label in CLASSES
    }


def tuning_scenes(seed: int = 4711, *, minutes: int = 30) -> list[Recipe]:
    """The perimeter benchmark's kinds of scenes, from recordings of fold 4."""
    return list(
        perimeter_suite(
            seed, folds=TUNING_FOLDS, per_snr=8, per_distance=2, per_class=12, overlaps=24, minutes=minutes, per_fault=0
        )
    )


def tune(model: Path, *, minutes: int = 30, workers: int = 2) -> dict[str, tuple[float, float, float]]:
    """Tune a model and write its thresholds into its meta file; class → (threshold, recall, false alarms per hour).

    Raises `ModelError` where the model is not whole, `ConfigError` where there is no audio pack.
    """
    (system,) = onnx_systems([model])
    scenes = list(each(partial(reached, system), tuning_scenes(minutes=minutes), workers, print))
    chosen = thresholds(scenes)
    path = model.with_suffix(".meta.json")
    document = json.loads(path.read_text(encoding="utf-8"))
    document["thresholds"] = chosen
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return _figures(scenes, chosen)


def _figures(scenes: Sequence[Reached], chosen: Mapping[str, float]) -> dict[str, tuple[float, float, float]]:
    hours = sum(scene.seconds for scene in scenes) / 3600.0
    figures = {}
    for label, threshold in chosen.items():
        hits = [score >= threshold for scene in scenes for score in scene.hits.get(label, [])]
        false = sum(score >= threshold for scene in scenes for score in scene.false_alarms.get(label, []))
        figures[label] = (threshold, float(np.mean(hits)) if hits else 0.0, false / hours)
    return figures
