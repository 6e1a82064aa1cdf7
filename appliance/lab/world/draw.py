"""What scenes are drawn from: recordings of some folds, and places as a recipe writes them down."""

import math
from collections.abc import Sequence
from copy import copy
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from appliance.lab.pack import CLASSES, DIFFUSE_CLASSES, SHORT_CLASSES, Clip, load_clips, training_clips
from appliance.lab.world.recipe import Position
from appliance.lab.world.trajectories import Trajectory

INTERVAL_S = 0.25
"""Between the positions of a recipe: nothing here turns faster."""
_BEDS = 2


class SceneDraw:
    """Draws recordings of some folds; every choice comes from `rng`, in the order of the calls."""

    def __init__(self, rng: np.random.Generator, folds: tuple[int, ...], *, to_learn: bool = False) -> None:
        """`to_learn`: without what a later fold is judged on. Raises `ConfigError` where there is no audio pack."""
        self.rng = rng
        self._by_label: dict[str, list[Clip]] = {}
        for clip in training_clips(folds) if to_learn else load_clips(folds):
            self._by_label.setdefault(clip.label, []).append(clip)
        self.labels = tuple(self._by_label)
        self.none_labels = [label for label in self._by_label if label not in CLASSES]

    def with_rng(self, rng: np.random.Generator) -> "SceneDraw":
        """The same recordings, chosen by another generator."""
        twin = copy(self)
        twin.rng = rng
        return twin

    def clips(self, label: str) -> list[Clip]:
        """All clips of a label, in manifest order."""
        return self._by_label[label]

    def in_turn(self, label: str) -> list[Clip]:
        """The same, the sources in turn and the models of each in turn: the first few are as varied as they can be."""
        sources: dict[str, dict[str, list[Clip]]] = {}
        for clip in self._by_label[label]:
            sources.setdefault(clip.group.partition(":")[0], {}).setdefault(clip.group, []).append(clip)
        return _in_turn([_in_turn(list(groups.values())) for groups in sources.values()])

    def any_of(self, label: str) -> Clip:
        """One clip of a label."""
        clips = self._by_label[label]
        return clips[self.rng.integers(len(clips))]

    def bed(self) -> tuple[str, ...]:
        """Two recordings of ambience or weather, as paths."""
        pool = [clip for label in DIFFUSE_CLASSES for clip in self._by_label.get(label, [])]
        return tuple(pool[self.rng.integers(len(pool))].path for _ in range(_BEDS))

    def rain(self) -> tuple[str, ...]:
        """Two recordings of rain."""
        return tuple(self.any_of("rain").path for _ in range(_BEDS))

    @staticmethod
    def seconds(label: str, clip: Clip, seconds: float) -> float:
        """How long it sounds at most: what is short is not looped."""
        return min(seconds, clip.seconds) if label in SHORT_CLASSES else seconds

    @staticmethod
    def fade_s(label: str) -> float:
        """Fade in and out: short sounds keep their attack."""
        return 0.02 if label in SHORT_CLASSES else 0.5


def _in_turn(queues: Sequence[Sequence[Clip]]) -> list[Clip]:
    return [clip for served in zip_longest(*queues) for clip in served if clip is not None]


def on_bearing(
    azimuth_deg: Sequence[float],
    elevation_deg: Sequence[float],
    distance_m: float,
    *,
    seconds: float,
    height_m: float,
) -> tuple[Position, ...]:
    """Positions at one distance from an array at `height_m`, through directions at equally spaced moments; not in the ground.

    Angles are those of the scene frame, which is the array's where it looks north.
    """
    count = 1 if len(azimuth_deg) == 1 else math.ceil(seconds / INTERVAL_S) + 1
    along = np.linspace(0.0, 1.0, count)
    moments = np.linspace(0.0, 1.0, len(azimuth_deg))
    azimuth = np.radians(np.interp(along, moments, np.unwrap(azimuth_deg, period=360.0)))
    elevation = np.radians(np.interp(along, moments, elevation_deg))
    level = np.cos(elevation)
    z_m = np.maximum(height_m + distance_m * np.sin(elevation), 0.05)
    return _positions(
        np.stack([distance_m * level * np.cos(azimuth), distance_m * level * np.sin(azimuth), z_m], axis=1)
    )


def flown(trajectory: Trajectory, height_m: float, *, seconds: float) -> tuple[Position, ...]:
    """A trajectory about an array at `height_m`, as positions of a recipe."""
    times_s = trajectory.start_s + INTERVAL_S * np.arange(math.ceil(seconds / INTERVAL_S) + 1)
    positions_m = trajectory.at(times_s).copy()
    positions_m[:, 2] = np.maximum(positions_m[:, 2] + height_m, 0.0)
    return _positions(positions_m)


def _positions(positions_m: npt.NDArray[np.float64]) -> tuple[Position, ...]:
    """To the millimetre."""
    return tuple((x, y, z) for x, y, z in np.round(positions_m, 3).tolist())
