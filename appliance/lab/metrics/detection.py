"""Detection statistics: Pd and false-alarm rates with honest intervals, ROC, latency, calibration of sigma."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import special, stats

Floats = npt.NDArray[np.float64]
Condition = TypeVar("Condition", bound=Hashable)

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its confidence interval."""

    value: float
    """The point estimate."""
    low: float
    """Lower end."""
    high: float
    """Upper end; infinite where nothing bounds it."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a threshold buys."""

    threshold: float
    """A score at or above it is a detection; infinite where no threshold is good enough."""
    pd: Estimate
    """Probability of detection, Wilson interval."""
    false_alarms: int
    """How many of the other scores pass."""


@dataclass(frozen=True, slots=True, eq=False)
class DetectionCurve:
    """Pd against false alarms for every threshold that makes a difference, the strictest (infinite) first."""

    threshold: Floats
    """(points,) descending; a score at or above it is a detection."""
    detections: npt.NDArray[np.int64]
    """(points,) target scores that pass."""
    false_alarms: npt.NDArray[np.int64]
    """(points,) other scores that pass."""
    targets: int
    """Target scores in all."""
    others: int
    """Other scores in all."""

    @property
    def pd(self) -> Floats:
        """(points,) probability of detection: the ordinate of the ROC."""
        return self.detections / self.targets

    @property
    def pfa(self) -> Floats:
        """(points,) probability of false alarm: the abscissa. Raises `ValueError` where there was no other score."""
        if self.others == 0:
            raise ValueError("no score of anything but targets: a probability of false alarm is not defined")
        return self.false_alarms / self.others

    def at_pfa(self, pfa: float) -> OperatingPoint:
        """The greatest Pd at no more than this probability of false alarm; nothing is interpolated."""
        return self._at(pfa * self.others)

    def at_false_alarms_per_hour(self, rate: float, hours: float) -> OperatingPoint:
        """The greatest Pd at no more false alarms per hour than this, the other scores being events within `hours`."""
        return self._at(rate * hours)

    def _at(self, allowed: float) -> OperatingPoint:
        point = int(np.flatnonzero(self.false_alarms <= allowed * (1.0 + _ROUNDING))[-1])
        pd = wilson(int(self.detections[point]), self.targets)
        return OperatingPoint(float(self.threshold[point]), pd, int(self.false_alarms[point]))


def detection_curve(target_scores: npt.ArrayLike, other_scores: npt.ArrayLike) -> DetectionCurve:
    """The curve of scores (targets,) that should pass and scores (others,) that should not.

    For a target never heard give a score of −inf. Raises `ValueError` where there is no target, or a score is NaN or
    +inf, which no threshold could refuse.
    """
    targets, others = np.sort(np.asarray(target_scores, np.float64)), np.sort(np.asarray(other_scores, np.float64))
    if len(targets) == 0:
        raise ValueError("no target score: a probability of detection is not defined")
    if not (np.concatenate([targets, others]) < np.inf).all():
        raise ValueError("a score is NaN or +inf; give a target that was never heard −inf")
    scores = np.unique(np.concatenate([targets, others]))[::-1]
    threshold = np.concatenate([[np.inf], scores[np.isfinite(scores)]])
    detections, false_alarms = (len(s) - np.searchsorted(s, threshold, side="left") for s in (targets, others))
    return DetectionCurve(threshold, detections, false_alarms, len(targets), len(others))


def false_alarms_per_hour(count: int, hours: float, confidence: float = 0.95) -> Estimate:
    """Rate of `count` false alarms in `hours`, with the exact Poisson interval.

    Garwood, *Fiducial limits for the Poisson distribution*, Biometrika 28, 1936: half of the χ² quantiles with 2n and
    2n + 2 degrees of freedom. None heard in T hours still leaves 3.7 / T possible at 95 %. Raises `ValueError` where
    hours are not positive or the count is negative.
    """
    if hours <= 0.0 or count < 0:
        raise ValueError(f"{count} false alarms in {hours} hours: no rate is defined")
    tail = (1.0 - confidence) / 2.0
    low = float(stats.chi2.ppf(tail, 2 * count)) / 2.0 if count else 0.0
    high = float(stats.chi2.ppf(1.0 - tail, 2 * count + 2)) / 2.0
    return Estimate(count / hours, low / hours, high / hours)


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Estimate:
    """A probability with the score interval, right on average also near 0 and 1.

    Wilson, *Probable inference, the law of succession, and statistical inference*, JASA 22, 1927. Raises `ValueError`
    where there is no trial, or more successes than trials.
    """
    _refuse_impossible(successes, trials)
    z = float(special.ndtri((1.0 + confidence) / 2.0))
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1.0 + z**2 / trials)
    half = z * math.sqrt(share * (1.0 - share) / trials + z**2 / (4 * trials**2)) / (1.0 + z**2 / trials)
    # At 0 and 1 the interval ends there exactly; rounding must not leave the estimate outside.
    return Estimate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def pd_by(conditions: Sequence[Condition], detected: Sequence[bool]) -> dict[Condition, Estimate]:
    """Pd (Wilson) for each condition — an SNR, a distance, a class — in the order in which they first occur.

    `conditions` and `detected` have one entry per target. Raises `ValueError` where their lengths differ.
    """
    outcomes: dict[Condition, list[bool]] = {}
    for condition, outcome in zip(conditions, detected, strict=True):
        outcomes.setdefault(condition, []).append(bool(outcome))
    return {condition: wilson(sum(found), len(found)) for condition, found in outcomes.items()}


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution in two figures."""

    median: float
    """Half lie below it."""
    p90: float
    """Nine tenths lie below it; between two values it is interpolated linearly."""
    count: int
    """How many values."""


def spread(values: npt.ArrayLike) -> Spread | None:
    """Median and 90 % point of latencies (s) or errors (degrees), (n,); None of nothing."""
    known = np.asarray(values, np.float64)
    if len(known) == 0:
        return None
    return Spread(float(np.median(known)), float(np.quantile(known, 0.9)), len(known))


@dataclass(frozen=True, slots=True)
class Calibration:
    """How often the truth lies within the stated uncertainty. Honest sigmas of an angle give 0.683 and 0.954."""

    within_1_sigma: float
    """Share of errors no greater than sigma."""
    within_2_sigma: float
    """Share of errors no greater than two sigma."""
    count: int
    """How many errors."""


def calibration(error_deg: npt.ArrayLike, sigma_deg: npt.ArrayLike) -> Calibration | None:
    """Shares for errors (n,) of one angle, signed or not, with their stated sigmas (n,); None of nothing.

    Of an arc on the sphere, whose two components each have sigma, honest shares are 0.393 and 0.865 (Rayleigh) instead.
    """
    error, sigma = np.abs(np.asarray(error_deg, np.float64)), np.asarray(sigma_deg, np.float64)
    if len(error) == 0:
        return None
    return Calibration(float((error <= sigma).mean()), float((error <= 2.0 * sigma).mean()), len(error))


def _refuse_impossible(successes: int, trials: int) -> None:
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} of {trials}: no share is defined")
