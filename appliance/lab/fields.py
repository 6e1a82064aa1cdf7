"""Arrays as the training scenes need them: nominal encoder, true (imperfect) microphones, and noise fields.

The network is trained on the *encoded* response E(f)·A(f, θ): E from the geometry the unit believes, A from microphones
that are a little elsewhere, of unequal gain and phase, one of them dead at times.
"""

import numpy as np
import numpy.typing as npt

from appliance.dsp.features import band_validity
from appliance.dsp.foa import FoaEncoder, steering
from appliance.dsp.stft import bin_frequencies_hz
from appliance.geometry import SPEED_OF_SOUND_M_S, ArrayGeometry, load_array, shipped_arrays
from appliance.types import Complex64Array, Float32Array


class EncodedArray:
    """One array with its faults, seen through its encoder.

    `validity` (2, bands); `diffuse_root`, `incoherent_root` (bins, 4, 4) colour white noise (…, bins, 4) into an
    isotropic field and into noise that is independent from microphone to microphone (wind, self-noise).
    """

    def __init__(self, rng: np.random.Generator, geometry: ArrayGeometry) -> None:
        encoder = FoaEncoder(geometry)
        self.planar = geometry.is_planar
        self.validity = band_validity(encoder)
        positions = geometry.positions_m + rng.normal(0.0, 7e-4, geometry.positions_m.shape)
        gain_db = rng.normal(0.0, 0.7, geometry.mics)
        delay_s = rng.normal(0.0, 3e-6, geometry.mics)
        gain = 10.0 ** (gain_db / 20.0) * np.exp(-2j * np.pi * bin_frequencies_hz()[:, None] * delay_s)
        if geometry.mics > 4 and rng.random() < 0.05:
            gain[:, rng.integers(geometry.mics)] = 0.0
        self._positions_m = positions
        self._encoder: Complex64Array = (encoder.matrix * gain[:, None, :]).astype(np.complex64)
        distance_m = np.linalg.norm(positions[:, None] - positions[None], axis=2)
        wavenumber = 2.0 * np.pi * bin_frequencies_hz() / SPEED_OF_SOUND_M_S
        coherence = np.sinc(wavenumber[:, None, None] * distance_m / np.pi)
        self.diffuse_root = _root(self._encoder @ coherence @ self._encoder.conj().transpose(0, 2, 1))
        self.incoherent_root = _root(self._encoder @ self._encoder.conj().transpose(0, 2, 1))

    @property
    def encoder(self) -> Complex64Array:
        """(bins, 4, mics) from the true microphones, gain and phase errors included, to Ambisonics."""
        return self._encoder

    @property
    def true_positions_m(self) -> npt.NDArray[np.float64]:
        """(mics, 3) where the microphones really are."""
        return self._positions_m

    def response(self, directions: npt.NDArray[np.float64]) -> Complex64Array:
        """Encoded response (directions, 4, bins) to plane waves from unit vectors (directions, 3)."""
        encoded: Complex64Array = np.matmul(self._encoder, steering(self._positions_m, directions))
        return np.ascontiguousarray(encoded.transpose(2, 1, 0))


def _root(covariance: npt.NDArray[np.complexfloating]) -> Complex64Array:
    """R (4, bins, 4) with R·Rᴴ = covariance (bins, 4, 4)."""
    power, vectors = np.linalg.eigh(covariance.astype(np.complex128))
    return np.ascontiguousarray(
        (vectors * np.sqrt(np.maximum(power, 0.0))[:, None, :]).astype(np.complex64).transpose(1, 0, 2)
    )


def draw_geometry(rng: np.random.Generator) -> ArrayGeometry:
    """A shipped array half of the time, else a random ring, square grid or solid of 4–16 microphones."""
    if rng.random() < 0.5:
        return load_array(str(rng.choice(shipped_arrays())))
    kind = rng.choice(["ring", "ring", "grid", "solid", "solid", "solid"])
    if kind == "grid":
        side, pitch_m = int(rng.integers(2, 5)), rng.uniform(0.02, 0.045)
        axis = (np.arange(side) - (side - 1) / 2) * pitch_m
        positions = np.array([(x, y, 0.0) for x in axis for y in axis])
    else:
        mics, radius_m = int(rng.integers(4, 9)), rng.uniform(0.025, 0.07)
        azimuth = 2 * np.pi * (np.arange(mics) + rng.random()) / mics
        positions = radius_m * np.stack([np.cos(azimuth), np.sin(azimuth), np.zeros(mics)], axis=1)
        if kind == "solid":
            height = np.where(np.arange(mics) % 2 == 0, 1.0, -1.0) * rng.uniform(0.4, 0.8)
            positions[:, :2] *= np.sqrt(1 - height**2)[:, None]
            positions[:, 2] = height * radius_m
    positions = positions - positions.mean(axis=0)
    return ArrayGeometry("random", positions, tuple(range(len(positions))))


def draw_array(rng: np.random.Generator) -> EncodedArray:
    """A random array with random faults."""
    return EncodedArray(rng, draw_geometry(rng))


def ambient_level(rng: np.random.Generator, spectrum: Complex64Array) -> Float32Array:
    """Smoothed magnitude (frames, bins) of a recorded bed: what a diffuse field of that sound has."""
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    smooth = power.copy()
    smooth[1:] += power[:-1]
    smooth[:-1] += power[1:]
    smooth[:, 1:] += power[:, :-1]
    smooth[:, :-1] += power[:, 1:]
    magnitude: Float32Array = np.sqrt(smooth / 5.0)
    return magnitude * np.float32(rng.uniform(0.9, 1.1))


def wind_level(rng: np.random.Generator, frames: int) -> Float32Array:
    """Magnitude (frames, bins) of wind turbulence at a microphone: a steep low-frequency spectrum that gusts.

    The corner moves up with the gust, as turbulence is carried past the microphone faster (Corcos 1964).
    """
    gust = np.interp(np.arange(frames), np.arange(0, frames + 40, 25), rng.normal(0, 1, len(range(0, frames + 40, 25))))
    speed = np.exp(0.35 * gust)[:, None]
    corner_hz = rng.uniform(15.0, 80.0) * speed
    slope = rng.uniform(0.8, 1.8)
    level = speed**2 / (1.0 + bin_frequencies_hz()[None] / corner_hz) ** (2 * slope)
    return level.astype(np.float32)
