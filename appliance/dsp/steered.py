"""What would have been heard lately from any direction: levels in fine bands, listened to after the fact.

A beam is the power that comes from there by `dsp.directional_power`, summed over each band. Without ambience and wind what is
left of them scatters about zero; below a share of all that the microphones hear, a beam says nothing.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from appliance.dsp.directional_power import DirectionalPower, Weighted, power_towards
from appliance.dsp.features import band_sum
from appliance.dsp.stft import bin_frequencies_hz
from appliance.geometry import ArrayGeometry
from appliance.types import FeatureFrame, Float32Array

_FIRST_BIN, _FIRST_WIDE_BIN, _END_BIN = 3, 45, 487
_WIDE_BANDS = 46
BEAM_BAND_EDGES = np.concatenate(
    [
        np.arange(_FIRST_BIN, _FIRST_WIDE_BIN),
        np.round(np.geomspace(_FIRST_WIDE_BIN, _END_BIN, _WIDE_BANDS + 1)).astype(np.int64),
    ]
)
"""(bands + 1,) first bin of each band: single bins up to 690 Hz, then a twentieth wider each, up to 7.6 kHz."""
BEAM_BANDS = len(BEAM_BAND_EDGES) - 1
BEAM_BAND_BINS = np.diff(BEAM_BAND_EDGES).astype(np.float32)
"""(bands,) bins in each."""
LEVEL_RANGE = 4.0
FLOOR_BELOW_PEAK = 1e-10
LEAST_OF_ALL = 0.03
"""As much of all power comes from any direction at least."""
_AIMS_KEPT = 32


def beam_band_frequencies_hz() -> Float32Array:
    """(bands,) centre frequency of each band in Hz."""
    sums = np.add.reduceat(bin_frequencies_hz()[: BEAM_BAND_EDGES[-1]], BEAM_BAND_EDGES[:-1])
    return (sums / BEAM_BAND_BINS).astype(np.float32)


def beam_band_sum(values: Float32Array) -> Float32Array:
    """(..., bins) → (..., bands): sum over the bins of each band."""
    return band_sum(values, BEAM_BAND_EDGES)


def relative_levels(powers: Float32Array) -> Float32Array:
    """Band powers (..., hops, bands) → log10 of the mean per bin, relative to the mean over all, in bels within ±4."""
    mean = powers / BEAM_BAND_BINS
    peak = mean.max(axis=(-2, -1), keepdims=True)
    levels = np.log10(np.maximum(mean, FLOOR_BELOW_PEAK * peak) + np.float32(1e-20))
    levels = levels - levels.mean(axis=(-2, -1), keepdims=True)
    clipped: Float32Array = np.clip(levels, -LEVEL_RANGE, LEVEL_RANGE).astype(np.float32)
    return clipped


class BeamHistory:
    """What an array heard last, for beams to any direction: the hops of the last push and so many before them."""

    def __init__(self, geometry: ArrayGeometry, before: int) -> None:
        self._power, self._before = DirectionalPower(geometry, _END_BIN), before
        # An aim costs more than listening with it, and a track is mostly where it was: whole degrees are kept.
        self._aim = lru_cache(_AIMS_KEPT)(self._power.aim)
        self.reset()

    def reset(self) -> None:
        """Forget what was heard, after a gap in the audio."""
        self._pushes: list[tuple[Weighted, Float32Array]] = []

    def push(self, frames: Sequence[FeatureFrame]) -> None:
        """Hear these hops."""
        spectra = np.stack([frame.spectrum[:, :_END_BIN] for frame in frames])
        everything = beam_band_sum((spectra.real**2 + spectra.imag**2).mean(axis=1))
        self._pushes.append((self._power.weighted(spectra), everything))
        while len(self._pushes) > 1 and sum(len(each) for _, each in self._pushes[1:-1]) >= self._before:
            del self._pushes[0]

    def powers(self, azimuth_deg: float, elevation_deg: float, before: int = 0) -> Float32Array:
        """(hops, bands) power from a direction in the hops of the last push, and in so many before them if there are as many."""
        aim = self._aim(round(azimuth_deg), round(elevation_deg))
        wanted = before + len(self._pushes[-1][1])
        parts: list[Float32Array] = []
        for heard, everything in reversed(self._pushes):
            parts.append(np.maximum(beam_band_sum(power_towards(aim, heard)), LEAST_OF_ALL * everything))
            if sum(map(len, parts)) >= wanted:
                break
        return np.concatenate(parts[::-1])[-wanted:]
