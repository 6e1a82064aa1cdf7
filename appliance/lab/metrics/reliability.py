"""Whether confidence is what it says: of all that is said with 0.8, eight in ten should be right."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """What was said with about one confidence."""

    confidence: float
    """Its mean."""
    right: float
    """Share that was right."""
    count: int
    """How often."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """A reliability diagram and its one figure."""

    ece: float
    """Expected calibration error: mean over all that was said of |confidence − share right| of its bin."""
    bins: tuple[Bin, ...]
    """Ascending, of equal width; those in which nothing was said are left out."""

    @property
    def count(self) -> int:
        """How much was said."""
        return sum(entry.count for entry in self.bins)

    @property
    def confidence(self) -> float:
        """Mean of all."""
        return sum(entry.confidence * entry.count for entry in self.bins) / self.count

    @property
    def right(self) -> float:
        """Share of all that was right."""
        return sum(entry.right * entry.count for entry in self.bins) / self.count


def reliability(confidence: npt.ArrayLike, right: npt.ArrayLike) -> Reliability | None:
    """Confidences (n,) within 0…1 and whether each was right (n,); None of nothing.

    Naeini, Cooper & Hauskrecht, *Obtaining well calibrated probabilities using Bayesian binning*, AAAI 2015, with
    `BINS` bins of equal width; Guo, Pleiss, Sun & Weinberger, *On calibration of modern neural networks*, ICML 2017.
    """
    said, true = np.asarray(confidence, np.float64), np.asarray(right, np.bool_)
    if len(said) == 0:
        return None
    place = np.clip((said * BINS).astype(int), 0, BINS - 1)
    inside = [place == at for at in np.unique(place)]
    bins = tuple(Bin(float(said[own].mean()), float(true[own].mean()), int(own.sum())) for own in inside)
    ece = sum(abs(entry.confidence - entry.right) * entry.count for entry in bins) / len(said)
    return Reliability(ece, bins)
