"""Thresholds of the baselines, from target-free audio and hard negatives of fold 4; fold 5 is never looked at."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from appliance.lab.baselines import DETECTORS, BaselineSystem
from appliance.lab.judged import WINDOW_S, trial_scores
from appliance.lab.recipe import Recipe
from appliance.lab.render import render

FALSE_ALARMS_PER_HOUR = 10.0
"""What the thresholds allow on fold 4, counting trials of `judged.WINDOW_S`."""


def quiet_scores(recipe: Recipe) -> dict[str, list[float]]:
    """Each baseline's trial scores in a scene without drones."""
    samples, geometry = render(recipe).samples, recipe.geometry()
    return {name: trial_scores(BaselineSystem(name).scores(samples, geometry)).tolist() for name in DETECTORS}


def calibrated(scenes: Iterable[dict[str, list[float]]]) -> Sequence[BaselineSystem]:
    """The baselines at the least threshold that no more trials than `FALSE_ALARMS_PER_HOUR` reach."""
    scenes = list(scenes)
    return tuple(BaselineSystem(name, _threshold([score for s in scenes for score in s[name]])) for name in DETECTORS)


def _threshold(scores: Sequence[float]) -> float:
    hours = len(scores) * WINDOW_S / 3600.0
    allowed = min(int(FALSE_ALARMS_PER_HOUR * hours), len(scores) - 1)
    highest_refused = float(np.sort(scores)[::-1][allowed])
    return math.nextafter(highest_refused, math.inf)
