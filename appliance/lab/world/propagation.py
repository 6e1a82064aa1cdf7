"""From a moving source to each microphone: time-varying delay, Doppler and 1/r, all from the retarded time.

Sound heard at time t left the source at τ with t = τ + |x(τ) − m|/c (Pierce, *Acoustics*, 1981). A microphone hears
s(τ)/r(τ): the source's signal at 1 m, read at τ. Doppler and the growing or shrinking delay are nothing more than that.
The convective amplification of a moving monopole, (1 − v/c·cos θ)⁻¹ and so below 0.8 dB at 30 m/s, is left out, as
source levels are not known that well.

Interpolation. The signal is read between samples by a Kaiser-windowed sinc of 65 taps, each tap a polynomial of degree
7 in the fraction of a sample (a Farrow structure: eight convolutions of the source serve all microphones and paths).
Its error is below −95 dB of the signal up to 7.2 kHz; above, it grows to the signal itself at 8 kHz. τ is solved by Newton to 1e-12 s
every 2 ms and joined by cubic Hermite polynomials with the exact slope 1/(1 + ṙ/c): below 10 ns at 50 m/s and 2 m.
What Doppler lifts over 8 kHz folds back, as only an approach can (30 m/s: the band above 7.3 kHz).
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.signal import oaconvolve

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.errors import ConfigError
from appliance.geometry import SPEED_OF_SOUND_M_S
from appliance.lab.world.trajectories import Trajectory

FloatArray = npt.NDArray[np.float64]

NEAREST_M = 0.3
"""Nearer than this a source is no point to a microphone."""

_HALF_TAPS = 32
_DEGREE = 7
_KAISER_BETA = 10.0
_BLOCK = 32
_BLOCKS_AT_ONCE = 512
_FASTEST_MACH = 0.5


def emission_times_s(
    trajectory: Trajectory,
    times_s: FloatArray,
    listeners_m: FloatArray,
    speed_of_sound_m_s: float = SPEED_OF_SOUND_M_S,
) -> FloatArray:
    """(listeners, times) when the sound left the source that listeners (listeners, 3) hear at times (times,), in s.

    Raises `ConfigError` where the source flies faster than half the speed of sound or through a listener.
    """
    emitted, _ = _retarded(trajectory, times_s, listeners_m, speed_of_sound_m_s)
    return emitted


def apparent_positions_m(
    trajectory: Trajectory,
    times_s: FloatArray,
    listener_m: npt.ArrayLike = (0.0, 0.0, 0.0),
    speed_of_sound_m_s: float = SPEED_OF_SOUND_M_S,
) -> FloatArray:
    """(times, 3) where the source was when it made the sound heard at `times_s`: the truth of direction and distance."""
    listeners = np.asarray(listener_m, np.float64).reshape(1, 3)
    return trajectory.at(emission_times_s(trajectory, times_s, listeners, speed_of_sound_m_s)[0])


def propagate(
    signal: FloatArray,
    trajectory: Trajectory,
    mics_m: FloatArray,
    *,
    samples: int | None = None,
    signal_start_s: float = 0.0,
    speed_of_sound_m_s: float = SPEED_OF_SOUND_M_S,
) -> FloatArray:
    """What microphones (mics, 3) hear of a source: (mics, samples) at 16 kHz from 0 s on, as long as `signal` if not told.

    `signal` (n,) is the source's pressure at 1 m; its first sample is emitted at `signal_start_s`, silence lies before
    and after. To have a source already heard at 0 s, start it (and its trajectory) earlier by its distance over c.
    Raises `ConfigError` where the source flies faster than half the speed of sound or through a microphone.
    """
    samples = len(signal) if samples is None else samples
    blocks = -(-samples // _BLOCK)
    knots_s = _BLOCK / SAMPLE_RATE_HZ * np.arange(blocks + 1, dtype=np.float64)
    emitted_s, slopes = _retarded(trajectory, knots_s, mics_m, speed_of_sound_m_s)
    branches = _branches(signal)
    last = branches.shape[1] - 1
    heard = np.zeros((len(mics_m), blocks * _BLOCK))
    basis = _hermite_basis()
    for mic, (emitted, slope) in enumerate(zip(emitted_s, slopes, strict=True)):
        step = slope * (_BLOCK / SAMPLE_RATE_HZ)
        corners = np.stack([emitted[:-1], step[:-1], emitted[1:], step[1:]], axis=1)
        for first in range(0, blocks, _BLOCKS_AT_ONCE):
            part = slice(first, min(first + _BLOCKS_AT_ONCE, blocks))
            emission_s = (corners[part] @ basis).reshape(-1)
            place = (emission_s - signal_start_s) * SAMPLE_RATE_HZ
            nearest = np.rint(place)
            fraction = place - nearest
            # Index 0 and the last one are past the reach of the signal: zero.
            index = np.clip(nearest + (_HALF_TAPS + 1), 0, last).astype(np.intp)
            value = branches[_DEGREE].take(index)
            for power in range(_DEGREE - 1, -1, -1):
                value *= fraction
                value += branches[power].take(index)
            span = slice(part.start * _BLOCK, part.stop * _BLOCK)
            distance_m = speed_of_sound_m_s * (np.arange(span.start, span.stop) / SAMPLE_RATE_HZ - emission_s)
            heard[mic, span] = value / distance_m
    return heard[:, :samples]


def _retarded(
    trajectory: Trajectory, times_s: FloatArray, listeners_m: FloatArray, speed_of_sound_m_s: float
) -> tuple[FloatArray, FloatArray]:
    """Emission times (listeners, times) and their slope dτ/dt, by Newton's method."""
    emitted = np.repeat(np.asarray(times_s, np.float64)[None], len(listeners_m), axis=0)
    for _ in range(60):
        position, velocity = trajectory.at_with_velocity(emitted)
        away = position - listeners_m[:, None, :]
        distance = np.linalg.norm(away, axis=2)
        mach = np.einsum("ltk,ltk->lt", away, velocity) / np.maximum(distance, 1e-9) / speed_of_sound_m_s
        late_s = emitted + distance / speed_of_sound_m_s - times_s
        emitted = emitted - late_s / (1.0 + np.clip(mach, -_FASTEST_MACH, _FASTEST_MACH))
        if np.abs(late_s).max(initial=0.0) < 1e-12 * (1.0 + np.abs(times_s).max(initial=0.0)):
            break
    fastest = float(np.linalg.norm(velocity, axis=2).max(initial=0.0))
    if fastest > _FASTEST_MACH * speed_of_sound_m_s:
        raise ConfigError(
            f"trajectory: {fastest:.0f} m/s: faster than half the speed of sound; spread its points in time"
        )
    nearest = float(distance.min(initial=np.inf))
    if nearest < NEAREST_M:
        raise ConfigError(
            f"trajectory: comes within {nearest:.2f} m of a microphone; keep the source {NEAREST_M} m away"
        )
    return emitted, 1.0 / (1.0 + mach)


def _branches(signal: FloatArray) -> FloatArray:
    """(degree + 1, n + 2·reach) the signal through each power's filter; sample i of the signal is column i + reach."""
    padded = np.pad(np.asarray(signal, np.float64), 1)
    branches = np.ascontiguousarray(oaconvolve(padded[None], _farrow_taps(), axes=1))
    # Beyond the signal is silence, not the rounding noise of the FFT.
    branches[:, [0, -1]] = 0.0
    return branches


@lru_cache(maxsize=1)
def _farrow_taps() -> FloatArray:
    """(degree + 1, taps) for a convolution: value at i + μ is Σ_p μ^p Σ_k taps[p, k]·x[i + half − k], |μ| ≤ ½."""
    fractions = 0.5 * np.cos(np.pi * (np.arange(64) + 0.5) / 64)
    offsets = np.arange(-_HALF_TAPS, _HALF_TAPS + 1)
    away = fractions[:, None] + offsets[None]
    window = np.i0(_KAISER_BETA * np.sqrt(1.0 - (away / (_HALF_TAPS + 0.5)) ** 2)) / np.i0(_KAISER_BETA)
    powers = np.polynomial.chebyshev.chebfit(2.0 * fractions, np.sinc(away) * window, _DEGREE)
    taps = np.stack([np.polynomial.chebyshev.cheb2poly(column) for column in powers.T], axis=1)
    return taps * 2.0 ** np.arange(_DEGREE + 1)[:, None]


@lru_cache(maxsize=1)
def _hermite_basis() -> FloatArray:
    """(4, block) weights of value and scaled slope at the start, value and scaled slope at the end of a block."""
    t = np.arange(_BLOCK) / _BLOCK
    return np.stack([(1 + 2 * t) * (1 - t) ** 2, t * (1 - t) ** 2, t**2 * (3 - 2 * t), t**2 * (t - 1)])
