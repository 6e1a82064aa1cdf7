"""A site's memory: what it sounds like, as a bounded number of prototypes, and how rarely it sounded as strange as this.

Any vector per sound will do, as long as like sounds have like vectors. There is no training: a vector near a prototype
moves it, a vector near none becomes one (leader clustering, Hartigan 1975). Each counts how often it was met, and forgets by
half-life, so that seasons may change. Distance is that to the nearest familiar prototype (nearest-neighbour anomaly scores
are what DCASE Task 2 systems rest on), each dimension in units of its own spread on this site.

How far is too far comes from the site as well: distances that the site's own vectors had before they were learned. Their
upper tail is taken to be exponential (peaks over threshold, Pickands 1975), which says at which distance there is one in so
many.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from appliance.types import Float32Array

FloatArray = npt.NDArray[np.float64]

_TAIL_SHARE = 0.1
_LEAST_FOR_TAIL = 50
"""Distances needed before a tail is believed."""
_LEAST_SPREAD = 0.1
_NEIGHBOURS = 5
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class MemorySettings:
    """How a site is learned."""

    capacity: int = 512
    """Most prototypes held; beyond it the least met gives way."""
    radius: float = 0.5
    """A vector nearer to a prototype than this is the same sound, in root-mean-square units of spread per dimension."""
    learning_s: float = 4.0 * 3600.0
    """Nothing is novel before so much time has been heard; what is met in it is familiar at once, for a half-life at least."""
    familiar_after: float = 3.0
    """Later a sound is familiar once it was met so often."""
    half_life_s: float = 14.0 * 86400.0
    """A meeting counts half after this long."""
    distances: int = 5000
    """Latest distances kept for the tail; they begin halfway through the learning."""


class SiteMemory:
    """Learns vectors (dimensions,) one by one; time is an argument. State: see `arrays`."""

    def __init__(self, dimensions: int, settings: MemorySettings | None = None) -> None:
        self.settings = settings or MemorySettings()
        self.dimensions = dimensions
        self.reset()

    def reset(self) -> None:
        """Forget the site."""
        self._prototypes = np.zeros((0, self.dimensions))
        self._met = np.zeros(0)
        self._count = 0.0
        self._mean, self._square = np.zeros(self.dimensions), np.zeros(self.dimensions)
        self._distances = np.zeros(0)
        self._heard_s = 0.0
        self._latest_s: float | None = None

    @property
    def learned(self) -> bool:
        """True once the site is known well enough to call anything novel."""
        return self._heard_s >= self.settings.learning_s and len(self._distances) >= _LEAST_FOR_TAIL

    @property
    def heard_s(self) -> float:
        """Time learned from."""
        return self._heard_s

    @property
    def prototypes(self) -> int:
        """How many there are."""
        return len(self._prototypes)

    def distance(self, vector: Float32Array | FloatArray) -> float:
        """To the nearest familiar prototype, as a multiple of how far that one's own neighbours are; infinite before the first."""
        familiar = self._met >= self.settings.familiar_after
        if not familiar.any():
            self._checked(vector)
            return math.inf
        spread = self._spread()
        known = self._prototypes[familiar] / spread
        away = _rms_distances(self._checked(vector)[None] / spread, known)[0]
        # What the site makes in many ways (speech) is wide there, what it always makes alike (a pump) is narrow.
        neighbours = np.sort(_rms_distances(known, known), axis=1)[:, 1 : 1 + _NEIGHBOURS]
        crowd = neighbours.mean(axis=1) if len(known) > 1 else np.zeros(1)
        return float((away / np.maximum(crowd, self.settings.radius)).min())

    def novel_from(self, one_in: float) -> float:
        """The distance that one in so many of the site's own vectors reaches; infinite until the site is learned."""
        if not self.learned:
            return math.inf
        edge, excess = self._tail()
        return edge + excess * math.log(max(one_in * _TAIL_SHARE, 1.0))

    def share_beyond(self, distance: float) -> float:
        """Share of the site's own vectors that are at least so far, 0..1; 1 until the site is learned."""
        if not self.learned:
            return 1.0
        edge, excess = self._tail()
        if distance < edge:
            return float((self._distances >= distance).mean())
        return _TAIL_SHARE * math.exp(-(distance - edge) / excess) if excess > 0.0 else 0.0

    def learn(self, vector: Float32Array | FloatArray, time_s: float, lasted_s: float) -> float:
        """Meet a sound that ended at `time_s` and lasted `lasted_s`; its distance before it was learned.

        Raises `ValueError` where the vector has other dimensions or is not finite.
        """
        self._forget_until(time_s)
        wide, distance = self._checked(vector), self.distance(vector)
        # While little is known everything is far; what is far later tells what is rare.
        if math.isfinite(distance) and self._heard_s >= 0.5 * self.settings.learning_s:
            self._distances = np.append(self._distances, distance)[-self.settings.distances :]
        self._count += 1.0  # mean and sum of squares by Welford's update
        step = (wide - self._mean) / self._count
        self._mean = self._mean + step
        self._square += self._count * step * (wide - self._mean)
        self._heard_s += lasted_s
        nearest, away = self._nearest(wide)
        if away <= self.settings.radius:
            self._met[nearest] += 1.0
            self._prototypes[nearest] += (wide - self._prototypes[nearest]) / max(self._met[nearest], 1.0)
        else:
            self._add(wide)
        return distance

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Everything that it knows, by name; `from_arrays` takes it."""
        latest_s = math.nan if self._latest_s is None else self._latest_s
        return {
            "prototypes": self._prototypes.astype(np.float32),
            "met": self._met,
            "mean": self._mean,
            "square": self._square,
            "distances": self._distances.astype(np.float32),
            "scalars": np.array([self._count, self._heard_s, latest_s]),
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, npt.NDArray[np.generic]], dimensions: int, settings: MemorySettings | None = None
    ) -> "SiteMemory":
        """A memory that goes on where `arrays` was taken; raises `ValueError` where they are none of such vectors."""
        memory = cls(dimensions, settings)
        try:
            given = {name: np.asarray(arrays[name], np.float64) for name in memory.arrays()}
        except KeyError as error:
            raise ValueError(f"{error} is missing") from None
        count = len(given["met"])
        shapes = {"prototypes": (count, dimensions), "mean": (dimensions,), "square": (dimensions,), "scalars": (3,)}
        for name, shape in shapes.items():
            if given[name].shape != shape:
                raise ValueError(f"{name} has shape {given[name].shape}, not {shape}")
        memory._prototypes, memory._met = given["prototypes"], given["met"]
        memory._mean, memory._square = given["mean"], given["square"]
        memory._distances = given["distances"]
        memory._count, memory._heard_s, latest_s = given["scalars"].tolist()
        memory._latest_s = None if math.isnan(latest_s) else latest_s
        return memory

    def _tail(self) -> tuple[float, float]:
        """Where the tail of the distances begins, and how far beyond that they lie on average."""
        edge = float(np.quantile(self._distances, 1.0 - _TAIL_SHARE))
        beyond = self._distances[self._distances > edge]
        return edge, float((beyond - edge).mean()) if len(beyond) else 0.0

    def _checked(self, vector: Float32Array | FloatArray) -> FloatArray:
        wide = np.asarray(vector, np.float64)
        if wide.shape != (self.dimensions,) or not np.isfinite(wide).all():
            raise ValueError(f"a vector of {self.dimensions} finite numbers is needed, got shape {wide.shape}")
        return wide

    def _spread(self) -> FloatArray:
        """(dimensions,) unit of distance: each dimension's standard deviation on this site."""
        variance = self._square / max(self._count, 1.0)
        # A dimension that never stirred on this site must not drown the others when it does.
        return np.asarray(np.sqrt(variance + _LEAST_SPREAD**2 * variance.mean()) + _TINY)

    def _nearest(self, wide: FloatArray) -> tuple[int, float]:
        """Index of the nearest prototype, familiar or not, and how far it is in units of spread."""
        if not len(self._prototypes):
            return -1, math.inf
        away = np.sqrt((((self._prototypes - wide) / self._spread()) ** 2).mean(axis=1))
        best = int(away.argmin())
        return best, float(away[best])

    def _add(self, vector: FloatArray) -> None:
        weight = 2.0 * self.settings.familiar_after if self._heard_s < self.settings.learning_s else 1.0
        if len(self._met) >= self.settings.capacity:
            gone = int(self._met.argmin())
            self._prototypes, self._met = np.delete(self._prototypes, gone, axis=0), np.delete(self._met, gone)
        self._prototypes = np.concatenate([self._prototypes, vector[None]])
        self._met = np.append(self._met, weight)

    def _forget_until(self, time_s: float) -> None:
        # A clock that is set back must not make the past weigh more.
        elapsed_s = 0.0 if self._latest_s is None else max(0.0, time_s - self._latest_s)
        self._latest_s = time_s
        self._met *= 0.5 ** (elapsed_s / self.settings.half_life_s)


def _rms_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    """(n, dimensions), (m, dimensions) → (n, m), root mean square over dimensions."""
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2.0 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squared, 0.0) / a.shape[1]))
