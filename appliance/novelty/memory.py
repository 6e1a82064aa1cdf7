"""A site's memory: what it sounds like, as a bounded number of prototypes, and how rarely it sounded as strange as this.

Any vector per sound will do, as long as like sounds have like vectors. There is no training: a vector near a prototype
moves it, a vector near none becomes one (leader clustering, Hartigan 1975). Each counts in how many sounds it was met, and
forgets by half-life, so that seasons may change; time is what was heard, for clocks are set. Distance is that to the nearest familiar prototype (nearest-neighbour anomaly
scores are what DCASE Task 2 systems rest on), each dimension in units of its own spread on this site. Dividing it by how far that
prototype's own neighbours are (Wilkinghoff et al. 2025, arXiv 2509.10951) helped the network's embedding, and costs here.

How far is too far comes from the site as well: distances that the site's own sounds had before they were learned (`tail`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from appliance.novelty.tail import LEAST_FOR_TAIL, FloatArray, share_beyond
from appliance.types import Float32Array

_LEAST_SPREAD = 0.1
_ALIKE = 0.3
_TINY = 1e-9
_DAY_S = 86400.0


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
    half_life_s: float = 14.0 * _DAY_S
    """A meeting counts half once so much more has been heard."""
    distances: int = 5000
    """Latest distances kept for the tail; they begin halfway through the learning."""


class SiteMemory:
    """Learns sounds, each as one or more vectors (dimensions,). State: see `arrays`."""

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
        self._heard_s, self._sounds = 0.0, 0.0

    @property
    def learned(self) -> bool:
        """True once the site is known well enough to call anything novel."""
        return self._heard_s >= self.settings.learning_s and not self.sounds_missing

    @property
    def heard_s(self) -> float:
        """Time that it listened."""
        return self._heard_s

    @property
    def sounds_missing(self) -> int:
        """So many more sounds have to be met, after half of the learning, before the site is known, however long it listens."""
        return max(0, LEAST_FOR_TAIL - len(self._distances))

    @property
    def prototypes(self) -> int:
        """How many there are."""
        return len(self._prototypes)

    def listen(self, seconds: float) -> None:
        """So much more of the site was heard, whatever there was to hear; what was met before counts the less."""
        self._heard_s += seconds
        self._met *= 0.5 ** (seconds / self.settings.half_life_s)

    def distance(self, vector: Float32Array | FloatArray) -> float:
        """To the nearest familiar prototype; infinite before the first."""
        return float(self._away(self._checked(vector))[self._familiar()].min(initial=math.inf))

    def own_per_day(self, distance: float) -> float:
        """How many of the site's own sounds a day are to be expected at least so far away; infinite until the site is learned."""
        if not self.learned:
            return math.inf
        return self._sounds / self._heard_s * _DAY_S * share_beyond(distance, self._distances)

    def learn(self, vectors: Sequence[Float32Array | FloatArray], distance: float | None) -> None:
        """Meet a sound of the site, in all that it sounded like.

        `distance` is how far away it was, as that is told of a sound (`listener`), before it was learned; None where it was too
        short to tell. Raises `ValueError` where a vector has other dimensions or is not finite.
        """
        wide = [self._checked(vector) for vector in vectors]
        if distance is not None:
            self._sounds += 1.0
            # While little is known everything is far; what is far later tells what is rare.
            if math.isfinite(distance) and self._heard_s >= 0.5 * self.settings.learning_s:
                self._distances = np.append(self._distances, distance)[-self.settings.distances :]
        for vector in wide:
            self._count += 1.0  # mean and sum of squares by Welford's update
            step = (vector - self._mean) / self._count
            self._mean = self._mean + step
            self._square += self._count * step * (vector - self._mean)
        self._meet(wide, lambda _: self.settings.radius)

    def learn_strange(self, vectors: Sequence[Float32Array | FloatArray]) -> None:
        """Meet a sound that was told as strange, once, in all that it sounded like.

        It says nothing of how far the site's own sounds lie, nor in what units.
        """
        wide = [self._checked(vector) for vector in vectors]
        # Where the site never stirs, units are small and no two strange sounds alike: alike are those that are much
        # nearer to each other than to anything familiar.
        self._meet(wide, lambda vector: max(self.settings.radius, _ALIKE * self.distance(vector)))

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Everything that it knows, by name; `from_arrays` takes it."""
        return {
            "prototypes": self._prototypes.astype(np.float32),
            "met": self._met,
            "mean": self._mean,
            "square": self._square,
            "distances": self._distances.astype(np.float32),
            "scalars": np.array([self._count, self._heard_s, self._sounds]),
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
        memory._count, memory._heard_s, memory._sounds = given["scalars"].tolist()
        return memory

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

    def _familiar(self) -> npt.NDArray[np.bool_]:
        """(prototypes,) those met often enough; half a meeting may be forgotten."""
        return self._met >= self.settings.familiar_after - 0.5

    def _away(self, wide: FloatArray) -> FloatArray:
        """(prototypes,) distance of each, root mean square in units of spread."""
        return np.asarray(np.sqrt((((self._prototypes - wide) / self._spread()) ** 2).mean(axis=1)))

    def _meet(self, vectors: Sequence[FloatArray], reach: Callable[[FloatArray], float]) -> None:
        """A vector belongs to the nearest prototype within its reach, or becomes one; each of them is met once."""
        met: set[int] = set()
        for vector in vectors:
            away = self._away(vector)
            if away.min(initial=math.inf) > reach(vector):
                met.add(self._add(vector))
            elif (nearest := int(away.argmin())) not in met:
                met.add(nearest)
                self._met[nearest] += 1.0
                self._prototypes[nearest] += (vector - self._prototypes[nearest]) / max(self._met[nearest], 1.0)

    def _add(self, vector: FloatArray) -> int:
        """Its index; where there is no room it takes that of the least met."""
        weight = 2.0 * self.settings.familiar_after if self._heard_s < self.settings.learning_s else 1.0
        if len(self._met) >= self.settings.capacity:
            index = int(self._met.argmin())
            self._prototypes[index], self._met[index] = vector, weight
            return index
        self._prototypes = np.concatenate([self._prototypes, vector[None]])
        self._met = np.append(self._met, weight)
        return len(self._met) - 1
