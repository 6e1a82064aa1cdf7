"""What synthetic sounds are put together from: speeds that wander, lines, resonances, corners. Signals are (n,) at 16 kHz."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve, lfilter

from appliance.dsp.stft import SAMPLE_RATE_HZ

_HIGHEST_HZ = 7500.0

Samples = npt.NDArray[np.float64]
"""(n,) at 16 kHz."""


def wander(rng: np.random.Generator, samples: int, depth: float, time_constant_s: float) -> npt.NDArray[np.float64]:
    """Ornstein–Uhlenbeck noise (samples,) of this standard deviation, drawn at 100 Hz and interpolated."""
    points = samples // 160 + 2
    keep = np.exp(-0.01 / time_constant_s)
    steps = rng.standard_normal(points)
    walk = lfilter([np.sqrt(1.0 - keep**2)], [1.0, -keep], steps, zi=[keep * rng.standard_normal()])[0]
    return depth * np.interp(np.arange(samples) / 160.0, np.arange(points), walk)


def harmonics(rng: np.random.Generator, cycles: Samples, levels_db: Iterable[float]) -> Samples:
    """Harmonics of a phase in cycles (n,) at these levels, the first one's first; each is asked for before its phase is drawn."""
    sound = np.zeros(len(cycles))
    for order, level_db in enumerate(levels_db, 1):
        sound += 10.0 ** (level_db / 20.0) * np.cos(2.0 * np.pi * (order * cycles + rng.random()))
    return sound


def audible_orders(cycles: Samples, most: int) -> range:
    """Of the harmonics of a phase in cycles (n,), so many at most: what is above half the sampling rate at any moment would
    fold back and glide the other way.
    """
    fastest_hz = SAMPLE_RATE_HZ * float(np.diff(cycles).max())
    return range(1, int(min(most, _HIGHEST_HZ / fastest_hz)) + 1)


def lines(rng: np.random.Generator, cycles: Samples, slope_db: float, most: int) -> Samples:
    """Harmonics of a phase in cycles (n,), so many at most, each some decibels below the one before, more or less."""
    orders = audible_orders(cycles, most)
    return harmonics(rng, cycles, (-slope_db * order + rng.normal(0.0, 3.0) for order in orders))


def resonance(signal: Samples, hz: float, quality: float) -> Samples:
    """A signal (n,) through a body that rings at a frequency."""
    angle = 2.0 * np.pi * hz / SAMPLE_RATE_HZ
    radius = np.exp(-angle / (2.0 * quality))
    rung: Samples = lfilter([1.0, -1.0], [1.0, -2.0 * radius * np.cos(angle), radius**2], signal)
    return rung


def ring(rng: np.random.Generator, decay_s: float) -> Samples:
    """Noise (n,) that dies away, its energy 1: what many surfaces at once return of a click."""
    time_s = np.arange(int(4.0 * decay_s * SAMPLE_RATE_HZ) + 2) / SAMPLE_RATE_HZ
    noise = rng.standard_normal(len(time_s)) * np.exp(-time_s / decay_s)
    return np.asarray(noise / np.sqrt(np.square(noise).sum()))


def in_a_room(rng: np.random.Generator, sound: Samples, low_s: float, high_s: float) -> Samples:
    """With what surfaces around return of it, which dies away within a time between these."""
    room = ring(rng, log_uniform(rng, low_s, high_s)) * gain(rng, -15.0, 0.0)
    return np.asarray(sound + fftconvolve(sound, room)[: len(sound)])


def softened(rng: np.random.Generator, sound: Samples, low_hz: float, high_hz: float) -> Samples:
    """Above some corner it falls by 6 dB an octave, as what is far away or behind a cowling does."""
    return low_passed(log_uniform(rng, low_hz, high_hz), sound)


def low_passed(corner_hz: float, sound: Samples) -> Samples:
    """Above a corner it falls by 6 dB an octave."""
    keep = np.exp(-2.0 * np.pi * corner_hz / SAMPLE_RATE_HZ)
    return np.asarray(lfilter([1.0 - keep], [1.0, -keep], sound))


def strokes(rng: np.random.Generator, cycles: Samples, scatter: float) -> Samples:
    """A blow (n,) each time that a phase in cycles (n,) is whole, each of strength 1, more or less."""
    blows = np.zeros(len(cycles))
    blows[np.flatnonzero(np.diff(np.floor(cycles), prepend=0.0))] = 1.0
    return np.asarray(blows * rng.normal(1.0, scatter, len(cycles)))


def delayed(signal: Samples, later: Samples) -> Samples:
    """A signal (n,) so many samples later at each moment (n,): whole ones or not, and they may change."""
    time = np.arange(len(signal))
    return np.interp(time - later, time, signal, left=0.0)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between two, each octave as likely as any other."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def gain(rng: np.random.Generator, low_db: float, high_db: float) -> float:
    """An amplitude somewhere between two levels."""
    return float(10.0 ** (rng.uniform(low_db, high_db) / 20.0))


def unit(signal: Samples) -> Samples:
    """With an RMS of 1."""
    scaled: Samples = signal / (signal.std() + 1e-9)
    return scaled


def peak_1(signal: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Scaled to fill ±1."""
    return np.asarray(signal / (np.abs(signal).max() + 1e-9), np.float32)
