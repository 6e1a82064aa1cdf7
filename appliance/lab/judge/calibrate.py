"""Thresholds of the baselines, from audio of fold 4 without drones; fold 5 is never looked at.

All get the rate that `lab tune` grants our own models. Detectors, which know one class, get the least threshold of their
score at which no more trials pass; trained networks get one per class from how far their tracks came, by `lab tune` itself.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from appliance.lab.baselines.detectors import DETECTORS, BaselineSystem
from appliance.lab.baselines.trained import TrainedBaseline
from appliance.lab.judge.judged import WINDOW_S, trial_scores
from appliance.lab.judge.reached import Reached, reached
from appliance.lab.judge.tune import FALSE_ALARMS_PER_HOUR, thresholds
from appliance.lab.world.recipe import Recipe
from appliance.lab.world.render import render


@dataclass(frozen=True, slots=True)
class QuietScene:
    """What the baselines made of a scene without drones."""

    trials: dict[str, list[float]]
    """Detector → score of each trial of `judged.WINDOW_S`."""
    reached: dict[str, Reached]
    """Trained baseline → how far its tracks came."""


def quiet_scene(trained: Sequence[TrainedBaseline], recipe: Recipe) -> QuietScene:
    """Let every baseline hear a scene without drones."""
    scene, geometry = render(recipe), recipe.geometry()
    trials = {name: trial_scores(BaselineSystem(name).scores(scene.samples, geometry)).tolist() for name in DETECTORS}
    return QuietScene(trials, {system.name: reached(system, recipe, scene) for system in trained})


def calibrated(
    trained: Sequence[TrainedBaseline], scenes: Iterable[QuietScene]
) -> tuple[TrainedBaseline | BaselineSystem, ...]:
    """All baselines at their thresholds."""
    scenes = list(scenes)
    return (
        *(
            replace(system, thresholds=thresholds([scene.reached[system.name] for scene in scenes]))
            for system in trained
        ),
        *(
            BaselineSystem(name, _least_threshold([score for scene in scenes for score in scene.trials[name]]))
            for name in DETECTORS
        ),
    )


def _least_threshold(scores: Sequence[float]) -> float:
    hours = len(scores) * WINDOW_S / 3600.0
    allowed = min(int(FALSE_ALARMS_PER_HOUR * hours), len(scores) - 1)
    highest_refused = float(np.sort(scores)[::-1][allowed])
    return math.nextafter(highest_refused, math.inf)
