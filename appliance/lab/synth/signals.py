"""Sirens, alarms and horns from what standards and makers say of them, to widen the recorded ones: a siren must not be a drone.

Wail and yelp sweep between 500 and 1800 Hz, slowly or several times a second; two tones alternate by ear (hi-lo); motor sirens
rise to 300 to 600 Hz and fall; alarms beep. Horns are one to three steady tones with many harmonics, and loudest between 1.8 and
3.55 kHz, where UNECE R28 wants them: there rings the disc or the trumpet.
"""

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter, sawtooth

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.lab.synth.parts import (
    Samples,
    audible_orders,
    gain,
    harmonics,
    in_a_room,
    log_uniform,
    peak_1,
    resonance,
    unit,
    wander,
)


def synth_siren(rng: np.random.Generator, seconds: float) -> npt.NDArray[np.float32]:
    """A siren or an alarm (n,), peak ±1."""
    time_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    kind = rng.choice(("sweep", "sweep", "two tones", "motor", "beeps"))
    loudness = np.ones_like(time_s)
    if kind == "two tones":
        low_hz = rng.uniform(350.0, 1000.0)
        second = ((time_s / rng.uniform(0.25, 1.2) + rng.random()) % 2.0) < 1.0
        hz = np.where(second, low_hz * rng.uniform(1.12, 1.6), low_hz)
    elif kind == "beeps":
        hz = np.full_like(time_s, rng.uniform(500.0, 3800.0))
        period_s = log_uniform(rng, 0.08, 1.6)
        loudness = ((time_s / period_s + rng.random()) % 1.0 < rng.uniform(0.3, 0.8)).astype(np.float64)
    else:
        motor = kind == "motor"
        low_hz = rng.uniform(120.0, 350.0) if motor else rng.uniform(350.0, 900.0)
        high_hz = low_hz * rng.uniform(1.4, 3.0)
        period_s = rng.uniform(3.0, 12.0) if motor else log_uniform(rng, 0.08, 6.0)
        phase = 2.0 * np.pi * (time_s / period_s + rng.random())
        rising = 0.5 + 0.5 * (np.sin(phase) if rng.random() < 0.4 else sawtooth(phase, rng.uniform(0.1, 0.9)))
        hz = low_hz * (high_hz / low_hz) ** rising
    sound = _tone(rng, hz) * lfilter([0.01], [1.0, -0.99], loudness)
    for _ in range(int(rng.choice((0, 0, 0, 1, 2)))):  # horns that are not alike
        sound = sound + rng.uniform(0.2, 1.0) * _tone(rng, hz * rng.choice((rng.uniform(1.005, 1.3), 1.25, 1.5, 2.0)))
    return peak_1(_among_houses(rng, sound))


def synth_horn(rng: np.random.Generator, seconds: float) -> npt.NDArray[np.float32]:
    """A vehicle's horn (n,), peak ±1: short or long, once or again."""
    time_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    base_hz = rng.uniform(180.0, 600.0)
    chord = (1.0, rng.uniform(1.15, 1.4), rng.uniform(1.4, 1.7))[: int(rng.choice((1, 2, 2, 3)))]
    tones = [rng.uniform(0.5, 1.0) * _tone(rng, np.full_like(time_s, base_hz * ratio), 0.5, 7.0) for ratio in chord]
    driven = unit(np.sum(tones, axis=0))
    sound = driven + gain(rng, -15.0, 5.0) * unit(resonance(driven, rng.uniform(1800.0, 3550.0), rng.uniform(0.7, 4.0)))
    blown = np.zeros_like(time_s)
    at_s = rng.uniform(0.0, 0.5)
    while at_s < seconds:
        long_s = log_uniform(rng, 0.12, 3.0)
        blown[(time_s >= at_s) & (time_s < at_s + long_s)] = 1.0
        at_s += long_s + rng.uniform(0.1, 1.0)
    return peak_1(_among_houses(rng, sound * lfilter([0.004], [1.0, -0.996], blown)))


def _among_houses(rng: np.random.Generator, sound: Samples) -> Samples:
    """At times so far away that what houses return of one tone sounds into the next."""
    return in_a_room(rng, sound, 0.05, 0.8) if rng.random() < 0.5 else sound


def _tone(rng: np.random.Generator, hz: Samples, least_db: float = 1.0, most_db: float = 14.0) -> Samples:
    """A tone of these frequencies (n,) with harmonics that fall by so many decibels each, odd ones stronger at times."""
    steady = 1.0 + wander(rng, len(hz), rng.uniform(0.0, 0.003), 0.5)
    cycles = np.cumsum(hz * steady) / SAMPLE_RATE_HZ
    slope_db, even_db = rng.uniform(least_db, most_db), rng.uniform(0.0, 20.0) * (rng.random() < 0.5)
    orders = audible_orders(cycles, 24)
    levels_db = (-slope_db * (order - 1) - even_db * (order % 2 == 0) + rng.normal(0.0, 4.0) for order in orders)
    return harmonics(rng, cycles, levels_db)
