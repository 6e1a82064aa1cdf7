"""Sound as an array hears it from far away: the same signal, each microphone earlier or later."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from appliance.angles import unit_vector
from appliance.geometry import SPEED_OF_SOUND_M_S, ArrayGeometry

RATE_HZ = 16_000
FROM_20_DEG = 9.83
"""Elevation at which a plane wave must come for the ground of a site by default, grass, to have flattened it from 20°."""
Samples = npt.NDArray[np.float64]


def hum(seconds: float, amplitude: float = 0.02) -> Samples:
    """(n,) harmonics of 110 Hz below 900 Hz, as of a rotor."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tones: Samples = amplitude * np.sum([np.sin(2 * np.pi * 110.0 * k * time_s + k) for k in range(1, 9)], axis=0)
    return tones


def hiss(rng: np.random.Generator, seconds: float, low_hz: float) -> Samples:
    """(n,) noise of an octave from `low_hz` on."""
    spectrum = np.fft.rfft(rng.standard_normal(round(seconds * RATE_HZ)))
    hz = np.arange(len(spectrum)) / seconds
    spectrum[(hz < low_hz) | (hz > 2.0 * low_hz)] = 0.0
    return np.asarray(np.fft.irfft(spectrum))


def silence(seconds: float) -> Samples:
    """(n,) nothing."""
    return np.zeros(round(seconds * RATE_HZ))


def at_array(signal: Samples, geometry: ArrayGeometry, azimuth_deg: float, elevation_deg: float = 0.0) -> Samples:
    """(mics, n) microphone signals of a plane wave, with a little noise of the microphones' own."""
    advance_s = geometry.positions_m @ unit_vector(azimuth_deg, elevation_deg) / SPEED_OF_SOUND_M_S
    frequencies_hz = np.fft.rfftfreq(len(signal), 1.0 / RATE_HZ)
    turned = np.fft.rfft(signal) * np.exp(2j * np.pi * frequencies_hz * advance_s[:, None])
    noise = np.random.default_rng(0).normal(0.0, 5e-4, (geometry.mics, len(signal)))
    return np.fft.irfft(turned, len(signal)) + noise


def write_flac(path: Path, samples: Samples) -> Path:
    """Microphones (mics, n) as a FLAC file in microphone order."""
    soundfile.write(path, samples.T, RATE_HZ)
    return path
