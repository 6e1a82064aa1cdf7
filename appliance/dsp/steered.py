"""What is heard from any direction: levels in bands, as several ears hear them, pointed after the fact.

A beam is the power that comes from there by `dsp.directional_power`, summed over each band. Without ambience and wind what is
left of them scatters about zero; below a share of all that the microphones hear, a beam says nothing. Beams are wide, so of what sounds
elsewhere at the same time each hears some too; how much is known, and goes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from appliance.dsp.directional_power import Aim, DirectionalPower, Weighted, power_towards
from appliance.dsp.features import band_sum
from appliance.dsp.stft import STANDARD, Resolution, StreamingStft, bin_frequencies_hz
from appliance.geometry import ArrayGeometry
from appliance.types import Float32Array

LEVEL_RANGE = 4.0
FLOOR_BELOW_PEAK = 1e-10
LEAST_OF_ALL = 0.03
"""As much of all power comes from any direction at least."""
_LEAST_APART = 0.3
"""Of a bin in which two beams hear so nearly the same, nothing is told apart."""
_AIMS_KEPT = 32
_COARSE_HZ, _COARSE = 3.90625, 1.0 / 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Ear:
    """One way to hear a beam: by which transform, in which bands, how much at once."""

    resolution: Resolution
    edges: npt.NDArray[np.int64]
    """(bands + 1,) first bin of each band, and the one after the last."""
    hops: int
    """So many are heard at once."""

    @property
    def bands(self) -> int:
        """How many."""
        return len(self.edges) - 1

    @property
    def bins_in_band(self) -> Float32Array:
        """(bands,) how many bins each holds."""
        return np.diff(self.edges).astype(np.float32)

    def bin_frequencies_hz(self) -> npt.NDArray[np.float64]:
        """(bins,) of all bins up to the last that is heard."""
        return bin_frequencies_hz(self.resolution)[: self.edges[-1]]

    def band_frequencies_hz(self) -> Float32Array:
        """(bands,) centre frequency of each band in Hz."""
        return self.band_sum(self.bin_frequencies_hz().astype(np.float32)) / self.bins_in_band

    def band_sum(self, values: Float32Array) -> Float32Array:
        """(..., bins) → (..., bands): sum over the bins of each band."""
        return band_sum(values, self.edges)

    def hops_in(self, seconds: float) -> int:
        """Number of hops that are so long, to the nearest."""
        return round(seconds / self.resolution.hop_s)

    def relative_levels(self, powers: Float32Array) -> Float32Array:
        """Band powers (..., hops, bands) → log10 of the mean per bin, relative to the mean over all, in bels within ±4."""
        mean = powers / self.bins_in_band
        peak = mean.max(axis=(-2, -1), keepdims=True)
        levels = np.log10(np.maximum(mean, FLOOR_BELOW_PEAK * peak) + np.float32(1e-20))
        levels = levels - levels.mean(axis=(-2, -1), keepdims=True)
        clipped: Float32Array = np.clip(levels, -LEVEL_RANGE, LEVEL_RANGE).astype(np.float32)
        return clipped


def _edges(single: range, last: int, wide: int) -> npt.NDArray[np.int64]:
    """Single bins, then so many bands, each wider than the one before by the same factor."""
    return np.concatenate([single, np.round(np.geomspace(single.stop, last, wide + 1)).astype(np.int64)])


EARS: Mapping[str, Ear] = {
    # Bins of 15.6 Hz up to 690 Hz, then bands a twentieth wider each, up to 7.6 kHz.
    "middle": Ear(STANDARD, _edges(range(3, 45), 487, 46), 128),
    # Bins of 3.9 Hz from 39 Hz to 2 kHz: rotors and engines are lines there, and a faint line stands out of noise.
    "long": Ear(Resolution(4096, 1600), np.arange(10, 523), 26),
    # 16 ms every 5 ms in wide bands: blows, blades that slap, the beginnings of things.
    "short": Ear(Resolution(256, 80), _edges(range(1, 9), 122, 17), 512),
}
"""All hear 2.6 s at once. No window can be short and fine in frequency; what one smears, another one hears."""


Bearing = tuple[float, float | None]
"""Azimuth and elevation in degrees; any elevation where that is None."""


class BeamHistory:
    """What an array heard last, for beams to any direction: what came last and so much before it."""

    def __init__(self, geometry: ArrayGeometry, before_s: float) -> None:
        self._ears = {name: _EarHistory(ear, geometry, before_s) for name, ear in EARS.items()}

    def reset(self) -> None:
        """Forget what was heard, after a gap in the audio."""
        for ear in self._ears.values():
            ear.reset()

    def push(self, samples: Float32Array) -> None:
        """Hear microphone samples (mics, n): a label frame or several."""
        for ear in self._ears.values():
            ear.push(samples)

    def powers(
        self, towards: Bearing, *, before: bool = False, beside: Sequence[Bearing] = ()
    ) -> dict[str, Float32Array]:
        """By ear the power (hops, bands) from a direction, in what came last, and `before` that as far as it is kept.

        Without what the beam hears of the loudest of the sounds that are `beside` it, in directions that are not near.
        """
        return {name: ear.powers(towards, before=before, beside=beside) for name, ear in self._ears.items()}


def _coarse(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Frequencies rounded to 4 Hz or a sixtieth, whichever is more: within that a form hardly differs, and an aim costs less."""
    low = _COARSE_HZ * np.round(hz / _COARSE_HZ)
    high = np.exp(np.round(np.log(np.maximum(hz, _COARSE_HZ)) / _COARSE) * _COARSE)
    return np.where(hz < _COARSE_HZ / _COARSE, low, high)


class _EarHistory:
    """What one ear heard last."""

    def __init__(self, ear: Ear, geometry: ArrayGeometry, before_s: float) -> None:
        self._ear, self._before = ear, ear.hops_in(before_s)
        self._stft = StreamingStft(geometry.mics, ear.resolution)
        self._power = DirectionalPower(geometry, _coarse(ear.bin_frequencies_hz()))
        # An aim costs more than listening with it, and a track is mostly where it was: whole degrees are kept.
        self._aim = lru_cache(_AIMS_KEPT)(self._power.aim)
        self.reset()

    def reset(self) -> None:
        self._stft.reset()
        self._pushes: list[_Push] = []

    def push(self, samples: Float32Array) -> None:
        spectra = self._stft.push(samples)[..., : self._ear.edges[-1]]
        everything = self._ear.band_sum((spectra.real**2 + spectra.imag**2).mean(axis=1))
        self._pushes.append(_Push(self._power.weighted(spectra), everything))
        while len(self._pushes) > 1 and sum(len(each.everything) for each in self._pushes[1:-1]) >= self._before:
            del self._pushes[0]

    def powers(self, towards: Bearing, *, before: bool, beside: Sequence[Bearing]) -> Float32Array:
        aim, others = self._towards(towards), [self._towards(each) for each in beside]
        wanted = len(self._pushes[-1].everything) + (self._before if before else 0)
        parts: list[Float32Array] = []
        for push in reversed(self._pushes):
            power = _apart(aim, others, push) if others else push.power(aim)
            parts.append(np.maximum(self._ear.band_sum(power), LEAST_OF_ALL * push.everything))
            if sum(map(len, parts)) >= wanted:
                break
        return np.concatenate(parts[::-1])[-wanted:]

    def _towards(self, bearing: Bearing) -> Aim:
        azimuth_deg, elevation_deg = bearing
        return self._aim(round(azimuth_deg), None if elevation_deg is None else round(elevation_deg))


@dataclass(frozen=True, slots=True, eq=False)
class _Push:
    """What was heard at once."""

    heard: Weighted
    everything: Float32Array
    """(hops, bands): power of all that the microphones hear."""
    powers: dict[Aim, Float32Array] = field(default_factory=dict)
    """(hops, bins) by each aim that was taken at it: every other one wants them too."""

    def power(self, aim: Aim) -> Float32Array:
        """(hops, bins) from there."""
        if aim not in self.powers:
            self.powers[aim] = power_towards(aim, self.heard)
        return self.powers[aim]


def _apart(aim: Aim, others: Sequence[Aim], push: _Push) -> Float32Array:
    """(hops, bins) what a beam hears without the loudest of the others: two sounds, and two beams that hear some of both."""
    loudest = max(others, key=lambda other: float(push.power(other).sum()))
    power, leak = push.power(aim), _leak(aim, loudest)
    apart = 1.0 - leak * _leak(loudest, aim)
    own = (power - leak * push.power(loudest)) / np.maximum(apart, _LEAST_APART)
    told: Float32Array = np.where(apart > _LEAST_APART, own, power)
    return told


def _leak(aim: Aim, other: Aim) -> Float32Array:
    """(bins,) how much of the power of a sound where the other one points is heard."""
    share: Float32Array = power_towards(aim, other.wave).sum(axis=0)
    return share
