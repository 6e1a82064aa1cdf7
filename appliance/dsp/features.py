"""Band features of first-order Ambisonics: what the network hears. The one module for the unit and for training.

Bands are single bins below 500 Hz, where a drone's rotor harmonics live, and ERB-like above (Glasberg & Moore 1990).
Intensity and its normalisation follow Merimaa & Pulkki's directional audio coding: I = Re{W*·[X, Y, Z]} over the mean
of pressure and velocity energy, so that each component is within ±1 and a single plane wave gives its unit vector.
The last feature, harmonicity, has as many fundamentals as there are bands and shares nothing else with them.
"""

from itertools import groupby

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from appliance.dsp.foa import FoaEncoder
from appliance.dsp.harmonics import Harmonicity
from appliance.dsp.hops import Hops
from appliance.dsp.stft import HOP_SAMPLES, SAMPLE_RATE_HZ, StreamingStft, bin_frequencies_hz
from appliance.dsp.working import WorkingMicrophones
from appliance.geometry import ArrayGeometry
from appliance.types import AudioBlock, Complex64Array, FeatureFrame, Float32Array

FEATURE_NAMES = (
    "level",
    "intensity_x",
    "intensity_y",
    "intensity_z",
    "diffuseness",
    "validity_xy",
    "validity_z",
    "harmonicity",
)
FEATURES = len(FEATURE_NAMES)
INTENSITY = slice(1, 4)
"""Where the intensity's x, y and z stand among the features."""

_FIRST_BIN = 3
_FIRST_ERB_HZ = 500.0
_LAST_HZ = 7600.0
_ERB_BANDS = 27
_LEVEL_MEMORY_S = 3.0
LEVEL_RANGE = 3.0
_ENERGY_FLOOR = 1e-12


def _erb_number(frequency_hz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return 21.4 * np.log10(1.0 + 0.00437 * np.asarray(frequency_hz, np.float64))


def _band_edges() -> npt.NDArray[np.int64]:
    """(bands + 1,) first bin of each band, and the end of the last one."""
    frequencies = bin_frequencies_hz()
    first_erb_bin = int(np.searchsorted(frequencies, _FIRST_ERB_HZ))
    scale = np.linspace(_erb_number(frequencies[first_erb_bin]), _erb_number(_LAST_HZ), _ERB_BANDS + 1)
    above = np.round((10.0 ** (scale / 21.4) - 1.0) / 0.00437 / frequencies[1]).astype(np.int64)
    return np.concatenate([np.arange(_FIRST_BIN, first_erb_bin), above])


BAND_EDGES = _band_edges()
BANDS = len(BAND_EDGES) - 1
_LEVEL_DECAY = float(np.exp(-HOP_SAMPLES / SAMPLE_RATE_HZ / _LEVEL_MEMORY_S))


def band_sum(values: Float32Array, edges: npt.NDArray[np.int64] = BAND_EDGES) -> Float32Array:
    """(..., bins) → (..., bands): sum over the bins of each band; `edges` as `BAND_EDGES`."""
    return np.add.reduceat(values[..., : edges[-1]], edges[:-1], axis=-1).astype(np.float32, copy=False)


def band_validity(encoder: FoaEncoder) -> Float32Array:
    """(2, bands) mean validity of the horizontal and vertical dipoles in each band."""
    mean = band_sum(encoder.validity.T) / np.diff(BAND_EDGES)
    return mean.astype(np.float32)


class SlowLevel:
    """Takes the slowly varying overall level out, so that microphone gain does not matter.

    The mean log-energy over the bands is averaged with a memory of 3 s. The average is divided by its own weight, so
    it is unbiased from the first hop on. State: `_mean` and `_weight`.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the level."""
        self._mean, self._weight = 0.0, 0.0

    def push(self, log10_energy: Float32Array) -> Float32Array:
        """(frames, bands) log10 energy → the same relative to the slow level, in bels, held within ±3."""
        overall = log10_energy.mean(axis=1, dtype=np.float64)
        blend = [1.0 - _LEVEL_DECAY], [1.0, -_LEVEL_DECAY]
        mean, _ = lfilter(*blend, overall, zi=[_LEVEL_DECAY * self._mean])
        weight, _ = lfilter(*blend, np.ones_like(overall), zi=[_LEVEL_DECAY * self._weight])
        self._mean, self._weight = float(mean[-1]), float(weight[-1])
        relative = log10_energy - (mean / weight)[:, None].astype(np.float32)
        clipped: Float32Array = np.clip(relative, -LEVEL_RANGE, LEVEL_RANGE)
        return clipped


def band_features(
    foa: Complex64Array, validity: Float32Array, slow_level: SlowLevel, harmonicity: Harmonicity
) -> Float32Array:
    """Ambisonics (frames, 4, bins) and `band_validity` (2, bands) → features (frames, features, bands)."""
    w, y, z, x = (foa[:, channel] for channel in range(4))
    power = (foa.real**2 + foa.imag**2).astype(np.float32, copy=False)
    pressure = power[:, 0]
    energy = 0.5 * band_sum(power.sum(axis=1)) + _ENERGY_FLOOR
    conjugate = w.conj()
    values = np.empty((len(foa), FEATURES, BANDS), np.float32)
    values[:, 0] = slow_level.push(np.log10(band_sum(pressure) + _ENERGY_FLOOR))
    for feature, dipole in zip((1, 2, 3), (x, y, z), strict=True):
        values[:, feature] = band_sum((conjugate * dipole).real) / energy
    values[:, 4] = 1.0 - np.sqrt((values[:, 1:4] ** 2).sum(axis=1))
    values[:, 5:7] = validity
    values[:, 7] = harmonicity.push(w)
    return values


class FeatureExtractor:
    """Audio blocks → feature frames: STFT, Ambisonics, band features, streamed. It hears with the microphones that work."""

    def __init__(self, geometry: ArrayGeometry) -> None:
        self._geometry, self._working = geometry, WorkingMicrophones(geometry)
        self._listen_with(tuple(range(geometry.mics)))
        self._stft, self._hops = StreamingStft(geometry.mics), Hops()
        self._slow_level = SlowLevel()
        self._harmonicity = Harmonicity(BANDS)
        self.reset()

    def reset(self) -> None:
        """Forget what was heard, after a gap in the audio."""
        self._stft.reset()
        self._slow_level.reset()
        self._harmonicity.reset()
        self._hops.reset()

    def push(self, block: AudioBlock) -> list[FeatureFrame]:
        """The hops that the block completes, each with its features, samples and UTC of its end."""
        spectrum, hops = self._stft.push(block.samples), self._hops.push(block)
        frames: list[FeatureFrame] = []
        # Hop by hop, so that it does not matter how blocks are cut; hardly ever is there more than one group.
        for mics, group in groupby(hops, lambda hop: self._working.push(hop.samples)):
            if mics != self._mics:
                self._listen_with(mics)
            heard = list(group)
            own = spectrum[len(frames) : len(frames) + len(heard), list(mics)]
            values = band_features(self.encoder.encode(own), self._validity, self._slow_level, self._harmonicity)
            frames += [
                FeatureFrame(value, hop.samples, mics, hop.end_s, hop.utc_ns)
                for value, hop in zip(values, heard, strict=True)
            ]
        return frames

    def _listen_with(self, mics: tuple[int, ...]) -> None:
        self._mics = mics
        self.encoder = FoaEncoder(self._geometry.part(mics))
        self._validity = band_validity(self.encoder)
