"""Physically based drones, to widen the few recorded ones.

A rotor with B blades at n revolutions per second sounds at the blade-passing frequency B·n and its harmonics; blades that differ
add the other harmonics of the shaft. Its broadband vortex noise is modulated at B·n (Sinibaldi & Marino, Applied Acoustics 2013) and
has humps where the blades' edges shed. Motors whine at multiples of their pole pairs, gears at their teeth. The rotors of one
airframe turn at unlike rates and wander under the flight controller, which makes the beating heard of drones; what it flies makes
all of them race or sink together, and louder where they are faster. The ground returns some of it, later.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.lab.synth.parts import Samples, delayed, gain, log_uniform, peak_1, unit, wander

_HIGHEST_HZ = 7800.0


@dataclass(frozen=True, slots=True)
class Airframe:
    """A kind of drone; ranges are drawn from uniformly, the shaft's rate by octaves."""

    rotors: tuple[int, ...]
    blades: tuple[int, ...]
    shaft_hz: tuple[float, float]
    broadband_db: tuple[float, float]
    """Vortex noise against the harmonics."""
    slope_db: tuple[float, float]
    """Fall per harmonic of the blade-passing frequency."""
    whines: float
    """Share of them whose motors are heard."""


AIRFRAMES = {
    "fpv": Airframe((4,), (2, 3, 3), (120.0, 350.0), (-12.0, 6.0), (0.2, 2.0), 0.6),
    "camera": Airframe((4,), (2,), (60.0, 160.0), (-14.0, 8.0), (0.3, 2.5), 0.6),
    "heavy": Airframe((3, 4, 6, 8), (2, 3), (30.0, 85.0), (-12.0, 9.0), (0.4, 2.5), 0.4),
    "micro": Airframe((4,), (2, 4), (140.0, 450.0), (-18.0, 3.0), (0.05, 1.5), 0.6),
    "piston": Airframe((1,), (2, 3), (50.0, 120.0), (-15.0, 3.0), (0.1, 1.2), 0.0),
}


def synth_drone(rng: np.random.Generator, seconds: float, airframe: str | None = None) -> npt.NDArray[np.float32]:
    """A drone's sound some way off (n,), peak ±1: rotors, motors and vortex noise drawn from `rng`."""
    frame = AIRFRAMES[airframe or str(rng.choice(list(AIRFRAMES)))]
    samples = int(seconds * SAMPLE_RATE_HZ)
    blades, shaft_hz = int(rng.choice(frame.blades)), log_uniform(rng, *frame.shaft_hz)
    levels_db = _levels_db(rng, frame, blades)
    whines = _whines(rng, frame, shaft_hz)
    flown = _flown(rng, samples)
    apart, louder = rng.choice((0.01, 0.03, 0.08)), rng.uniform(0.0, 3.0)
    tones, whine, swell = np.zeros(samples), np.zeros(samples), np.zeros(samples)
    for _ in range(int(rng.choice(frame.rotors))):
        speed = rng.normal(1.0, apart) + flown + wander(rng, samples, rng.uniform(0.001, 0.02), rng.uniform(0.05, 0.5))
        turns = shaft_hz * np.cumsum(speed) / SAMPLE_RATE_HZ
        loud = gain(rng, -3.0, 3.0) * np.maximum(speed, 0.2) ** louder
        most = int(_HIGHEST_HZ / (shaft_hz * speed.max()))
        for order, level_db in enumerate(levels_db[:most], 1):
            if level_db > -60.0:
                tones += loud * 10.0 ** (level_db / 20.0) * np.cos(2.0 * np.pi * (order * turns + rng.random()))
        for multiple, level_db in whines:
            if multiple <= most:
                unsteady = np.exp(wander(rng, samples, rng.uniform(0.0, 0.8), 0.2))
                whine += loud * 10.0 ** (level_db / 20.0) * unsteady * np.cos(2.0 * np.pi * multiple * turns)
        swell += loud * (1.0 + rng.uniform(0.0, 0.9) * np.cos(2.0 * np.pi * (blades * turns + rng.random())))
    sound = unit(tones) + gain(rng, -25.0, 3.0) * unit(whine)
    noise = unit(_coloured(rng, samples) * swell)
    if rng.random() < 0.25:
        noise += gain(rng, -15.0, 6.0) * unit(_moving_hump(rng, flown))
    sound += gain(rng, *frame.broadband_db) * unit(noise)
    sound *= np.exp(wander(rng, samples, rng.uniform(0.0, 0.35), rng.uniform(0.05, 1.0)))
    if rng.random() < 0.4:
        later = np.abs(rng.uniform(3.0, 120.0) + wander(rng, samples, rng.uniform(5.0, 30.0), rng.uniform(1.0, 6.0)))
        sound += rng.uniform(0.2, 0.9) * delayed(sound, later)
    return peak_1(sound)


def _flown(rng: np.random.Generator, samples: int) -> Samples:
    """By how much the rotors are faster than they hover (n,): gusts, short manoeuvres, other speeds from some moment on."""
    time_s = np.arange(samples) / SAMPLE_RATE_HZ
    flown = wander(rng, samples, rng.uniform(0.0, 0.06), rng.uniform(0.2, 1.5))
    if rng.random() < 0.5:
        for _ in range(rng.poisson(1.5)):
            at_s, width_s = rng.uniform(0.0, time_s[-1]), rng.uniform(0.1, 0.8)
            flown += rng.normal(0.0, 0.15) * np.exp(-0.5 * ((time_s - at_s) / width_s) ** 2)
    if rng.random() < 0.3:
        at_s, width_s = rng.uniform(0.0, time_s[-1]), rng.uniform(0.05, 0.5)
        flown += rng.normal(0.0, 0.1) * np.tanh((time_s - at_s) / width_s)
    return np.asarray(np.clip(flown, -0.4, 0.5))


def _levels_db(rng: np.random.Generator, frame: Airframe, blades: int) -> Samples:
    """Of each harmonic of the shaft: those of the blades are strong, the others as strong as the blades differ."""
    order = np.arange(1, 101 * blades)
    passing = order / blades
    body_db = 6.0 * np.interp(passing, np.linspace(0.0, 100.0, 12), rng.standard_normal(12))
    of_blades = -rng.uniform(*frame.slope_db) * passing + rng.normal(0.0, 4.0, len(order))
    unlike_db = rng.uniform(-35.0, 0.0) if rng.random() < 0.7 else -100.0
    of_shaft = unlike_db - rng.uniform(0.2, 3.0) * passing + rng.normal(0.0, 5.0, len(order))
    return np.asarray(body_db + np.where(order % blades == 0, of_blades, of_shaft))


def _whines(rng: np.random.Generator, frame: Airframe, shaft_hz: float) -> list[tuple[float, float]]:
    """Lines of motors and gears: multiple of the shaft's rate, level in dB."""
    whines: list[tuple[float, float]] = []
    if rng.random() < frame.whines:
        pole_pairs = int(rng.choice((6, 7, 11, 12, 14)))
        orders = rng.choice((1, 2, 3, 4, 6, 12), int(rng.integers(1, 4)), replace=False)
        whines += [(float(pole_pairs * order), rng.uniform(-25.0, 3.0)) for order in orders]
        if rng.random() < 0.4:
            whines.append((rng.uniform(1000.0, 6500.0) / shaft_hz, rng.uniform(-22.0, 3.0)))
    return whines


def _coloured(rng: np.random.Generator, samples: int) -> Samples:
    """Noise (n,) that rises or falls with frequency, has some humps and dips, and little below some corner."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    hz = np.fft.rfftfreq(samples, 1.0 / SAMPLE_RATE_HZ)
    octaves = np.log2(np.maximum(hz, 30.0) / 1000.0)
    level_db = rng.uniform(-7.0, 3.0) * octaves
    for _ in range(int(rng.integers(0, 5))):
        level_db += rng.uniform(-6.0, 15.0) * np.exp(
            -0.5 * ((octaves - rng.uniform(-3.0, 3.0)) / rng.uniform(0.08, 0.9)) ** 2
        )
    level_db -= 10.0 * np.log10(1.0 + (rng.uniform(50.0, 600.0) / np.maximum(hz, 1.0)) ** 3)
    return np.asarray(np.fft.irfft(spectrum * 10.0 ** (level_db / 20.0), samples))


def _moving_hump(rng: np.random.Generator, flown: Samples) -> Samples:
    """Noise (n,) of brushes and gears about a frequency that follows the rotors."""
    phase = rng.uniform(1500.0, 6500.0) * np.cumsum(1.0 + flown) / SAMPLE_RATE_HZ
    slow = wander(rng, len(flown), 1.0, 0.005)
    return np.asarray(slow * np.cos(2.0 * np.pi * phase))
