"""What scores and sigmas are worth, from claims that were right or wrong: fitted on fold 4 by `lab.judge.tune`.

A claim is one matter however long it lasts, so each weighs one, spread over its frames: false ones are short and true ones
long, and an event carries one confidence.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from appliance.events.confidence import confidence
from appliance.lab.judge.reached import Claim

Floats = npt.NDArray[np.float64]

LEAST_CLAIMS = 40
"""Fewer say too little to correct anything by."""
_OFFSET_SIGMA = 0.7
"""How far the classes' offsets are expected to differ, in logits: a class of few claims keeps near to the common offset."""
_SLOPES = (0.2, 5.0)
_ONE_SIGMA = 0.683
_BINS = 10


def fit_calibration(claims: Sequence[Claim]) -> dict[str, tuple[float, float]]:
    """Class → (slope, offset) of `events.confidence`; empty where there are too few claims, or all are right or wrong.

    One slope for all and an offset per class, by penalised maximum likelihood (Platt 1999 with a Gaussian prior). On fold 4,
    five-fold by scene, this had less log loss than a temperature, one offset for all, or none.
    """
    if len(claims) < LEAST_CLAIMS or len({claim.right for claim in claims}) < 2:
        return {}
    labels = sorted({claim.label for claim in claims})
    score, right, weight = _frames(claims)
    held = np.clip(score, 1e-4, 1.0 - 1e-4)
    logit = np.log(held / (1.0 - held))
    place = np.concatenate([np.full(len(claim.scores), labels.index(claim.label)) for claim in claims])

    def loss(parameters: Floats) -> tuple[float, Floats]:
        slope, common, own = parameters[0], parameters[1], parameters[2:]
        z = slope * logit + common + own[place]
        wrong = weight * (1.0 / (1.0 + np.exp(-z)) - right)
        value = (weight * (np.logaddexp(0.0, z) - right * z)).sum() + 0.5 * (own**2).sum() / _OFFSET_SIGMA**2
        by_class = np.bincount(place, wrong, len(labels)) + own / _OFFSET_SIGMA**2
        return float(value), np.concatenate([[(wrong * logit).sum(), wrong.sum()], by_class])

    start = np.concatenate([[1.0], np.zeros(1 + len(labels))])
    bounds = [_SLOPES, *[(None, None)] * (1 + len(labels))]
    slope, common, *own = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x.tolist()
    return {label: (round(slope, 3), round(common + offset, 3)) for label, offset in zip(labels, own, strict=True)}


def held_out_calibration_error(scenes: Sequence[Sequence[Claim]]) -> tuple[float, float]:
    """ECE of the claims of these scenes before and after, each half of the scenes calibrated by the other half."""
    halves = [[claim for scene in scenes[first::2] for claim in scene] for first in (0, 1)]
    claims = [*halves[0], *halves[1]]
    if not claims:
        return 0.0, 0.0
    after = [_said(own, fit_calibration(other)) for own, other in (halves, halves[::-1])]
    return calibration_error(claims, _said(claims, {})), calibration_error(claims, np.concatenate(after))


def calibration_error(claims: Sequence[Claim], said: Floats) -> float:
    """ECE of the confidence said in every frame: mean over ten bins of |mean confidence - share that was right|.

    Each bin weighs what lies in it.
    """
    _, right, weight = _frames(claims)
    place = np.minimum((said * _BINS).astype(int), _BINS - 1)
    gaps = np.abs(np.bincount(place, weight * (said - right), _BINS))
    return float(gaps.sum() / weight.sum())


def fit_sigma_factor(errors: Sequence[tuple[float, float]]) -> float:
    """What (|error|, sigma) pairs must have their sigma multiplied by for 68 % of errors to lie within it; 1 without any."""
    if not errors:
        return 1.0
    error, sigma = np.array(errors).T
    return round(max(float(np.quantile(error / sigma, _ONE_SIGMA)), 0.05), 3)


def _said(claims: Sequence[Claim], calibration: Mapping[str, tuple[float, float]]) -> Floats:
    """What would be said in every frame of the claims."""
    return np.array(
        [confidence(float(score), calibration.get(claim.label)) for claim in claims for score in claim.scores]
    )


def _frames(claims: Sequence[Claim]) -> tuple[Floats, Floats, Floats]:
    """Score, right (0 or 1) and weight of every frame of the claims."""
    score = np.concatenate([claim.scores for claim in claims]).astype(np.float64)
    right = np.concatenate([np.full(len(claim.scores), float(claim.right)) for claim in claims])
    weight = np.concatenate([np.full(len(claim.scores), 1.0 / len(claim.scores)) for claim in claims])
    return score, right, weight
