"""What would have been heard lately from any direction: levels in fine bands from second-order statistics.

In first-order Ambisonics a plane wave from the unit vector u is the same on W and on the dipole u·V, V = [Y, Z, X], and what
comes from everywhere is uncorrelated on the two. So Re{W (u·V)*} summed over a band is the power from there without the ambience, which
leaves some scatter about zero. Below a share of what the cardioid (W + u·V) / 2 hears there it says nothing. Both are forms in
u of ten sums over the band, which are kept for each hop; listening in a direction costs two products.
"""

from collections.abc import Sequence

import numpy as np

from appliance.angles import unit_vector
from appliance.dsp.features import band_sum
from appliance.dsp.foa import foa_gains
from appliance.dsp.stft import bin_frequencies_hz
from appliance.types import Complex64Array, FeatureFrame, Float32Array

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
LEAST_OF_CARDIOID = 0.1
"""As much of a cardioid's power comes from its front at least; fold 4 likes .03 to .2 alike."""
_PAIRS = ((0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (2, 2), (3, 3), (1, 2), (1, 3), (2, 3))


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
    """The last so many hops of Ambisonics. Before as many were heard, the first stands for what came before it."""

    def __init__(self, hops: int) -> None:
        self._hops = hops
        self.reset()

    def reset(self) -> None:
        """Forget what was heard, after a gap in the audio."""
        self._moments = np.zeros((0, len(_PAIRS), BEAM_BANDS), np.float32)

    def push(self, frames: Sequence[FeatureFrame]) -> None:
        """Hear these hops."""
        moments = _moments(np.stack([frame.spectrum for frame in frames]))
        if not len(self._moments):
            self._moments = np.repeat(moments[:1], self._hops, axis=0)
        self._moments = np.concatenate([self._moments, moments])[-self._hops :]

    def powers(self, azimuth_deg: float, elevation_deg: float, latest: int | None = None) -> Float32Array:
        """(hops, bands) power from a direction, from the oldest hop to the latest.

        Of so many `latest` ones, where given; the first of them then stands for what came before.
        """
        towards = foa_gains(unit_vector(azimuth_deg, elevation_deg)[None])[:, 0]
        cardioid = [0.25 * towards[a] * towards[b] * (1.0 if a == b else 2.0) for a, b in _PAIRS]
        coming = [towards[b] if a == 0 < b else 0.0 for a, b in _PAIRS]
        weights = np.array([cardioid, coming], np.float32)
        around, front = np.einsum("kp,hpb->khb", weights, self._moments)
        powers: Float32Array = np.maximum(np.maximum(front, LEAST_OF_CARDIOID * around), 0.0)
        if latest is not None and latest < self._hops:
            powers[:-latest] = powers[-latest]
        return powers


def _moments(foa: Complex64Array) -> Float32Array:
    """Ambisonics (hops, 4, bins) [W, Y, Z, X] → (hops, pairs, bands): sums of Re{a·b*}."""
    re, im = foa.real, foa.imag
    return beam_band_sum(np.stack([re[:, a] * re[:, b] + im[:, a] * im[:, b] for a, b in _PAIRS], axis=1))
