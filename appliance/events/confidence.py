"""From a class score to the probability that the class is right. Scores decide, this is only what is said of them."""

import math
from collections.abc import Mapping, Sequence

from appliance.types import Track

Calibration = Mapping[str, tuple[float, float]]
"""Class → (slope, offset) of `confidence`, as `appliance lab tune` fits them; a class that is missing keeps its score."""

_LEAST_LISTED = 0.2
"""On 120 scenes of fold 4 with two sounds at once the SELD error is least from .15 to .25, and F hardly differs from .15 to .33."""

_EDGE = 1e-4


def confidence(score: float, calibration: tuple[float, float] | None) -> float:
    """A sigmoid of slope · logit(score) + offset (Platt 1999, on the logit); the score itself where there is no calibration."""
    if calibration is None:
        return score
    slope, offset = calibration
    held = min(max(score, _EDGE), 1.0 - _EDGE)
    return 1.0 / (1.0 + math.exp(-(slope * math.log(held / (1.0 - held)) + offset)))


def likeliest(track: Track, classes: Sequence[str], calibration: Calibration) -> tuple[int, float]:
    """Index of a track's most probable class, and how probable it is that this one is right."""
    index = int(track.class_probs.argmax())
    return index, confidence(float(track.class_probs[index]), calibration.get(classes[index]))


def is_listed(track: Track, confidence_in_class: float) -> bool:
    """Whether a track is among the sounds of its label frame: confirmed, sounding in it, and of its class likely enough."""
    return track.status == "confirmed" and track.sounding and confidence_in_class >= _LEAST_LISTED
