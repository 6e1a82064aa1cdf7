"""From a class score to the probability that the class is right. Scores decide, this is only what is said of them."""

import math
from collections.abc import Mapping

Calibration = Mapping[str, tuple[float, float]]
"""Class → (slope, offset) of `confidence`, as `appliance lab tune` fits them; a class that is missing keeps its score."""

LEAST_SAID = 1.0 / 3.0
"""What is less likely right is not listed among the sounds of a label frame. F is greatest where the threshold is half of what F
then is (Lipton, Elkan & Naryanaswamy, *Optimal thresholding of classifiers to maximize F1 measure*, ECML PKDD 2014)."""

_EDGE = 1e-4


def confidence(score: float, calibration: tuple[float, float] | None) -> float:
    """A sigmoid of slope · logit(score) + offset (Platt 1999, on the logit); the score itself where there is no calibration."""
    if calibration is None:
        return score
    slope, offset = calibration
    held = min(max(score, _EDGE), 1.0 - _EDGE)
    return 1.0 / (1.0 + math.exp(-(slope * math.log(held / (1.0 - held)) + offset)))
