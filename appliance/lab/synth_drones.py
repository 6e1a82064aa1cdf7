"""Physically based drones, to widen the few recorded ones.

A rotor with B blades at n revolutions per second sounds at the blade-passing frequency B·n and its harmonics, weakly at
the shaft rate; its broadband vortex noise is modulated at B·n (Sinibaldi & Marino, Applied Acoustics 2013). Motors of
one airframe differ by a few per cent and wander under the flight controller, which makes the beating heard of drones.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.lab.synth_parts import peak_1, wander


@dataclass(frozen=True, slots=True)
class Airframe:
    """A kind of drone; ranges are drawn from uniformly."""

    rotors: tuple[int, ...]
    blades: tuple[int, ...]
    shaft_hz: tuple[float, float]
    broadband_db: tuple[float, float]
    """Vortex noise against the harmonics."""
    slope_db: tuple[float, float]
    """Fall per harmonic of the blade-passing frequency."""


AIRFRAMES = {
    "fpv": Airframe((4,), (3,), (150.0, 330.0), (-12.0, 3.0), (0.5, 2.0)),
    "camera": Airframe((4,), (2,), (70.0, 150.0), (-15.0, 3.0), (0.7, 2.5)),
    "heavy": Airframe((4, 6, 8), (2, 3), (35.0, 80.0), (-12.0, 5.0), (0.7, 2.5)),
    "micro": Airframe((4,), (2, 4), (220.0, 450.0), (-15.0, 0.0), (0.5, 2.5)),
    "piston": Airframe((1,), (2,), (55.0, 120.0), (-15.0, 0.0), (0.4, 1.5)),
}


def synth_drone(rng: np.random.Generator, seconds: float, airframe: str | None = None) -> npt.NDArray[np.float32]:
    """A drone's sound at its source (n,), peak ±1: harmonics, beating, vortex noise and motor whine drawn from `rng`."""
    frame = AIRFRAMES[airframe or str(rng.choice(list(AIRFRAMES)))]
    samples = int(seconds * SAMPLE_RATE_HZ)
    blades = int(rng.choice(frame.blades))
    shaft_hz = rng.uniform(*frame.shaft_hz)
    slope_db = rng.uniform(*frame.slope_db)
    collective = wander(rng, samples, rng.uniform(0.0, 0.06), rng.uniform(0.3, 1.5))
    drone = np.zeros(samples, np.float32)
    envelope = np.zeros(samples, np.float32)
    colour_db = rng.normal(0.0, 4.0, size=64)
    for _ in range(int(rng.choice(frame.rotors))):
        own = rng.normal(1.0, 0.025) + wander(rng, samples, rng.uniform(0.002, 0.02), rng.uniform(0.05, 0.4))
        phase = (2.0 * np.pi * np.cumsum(shaft_hz * (own + collective)) / SAMPLE_RATE_HZ).astype(np.float32)
        phase += np.float32(rng.uniform(0.0, 2.0 * np.pi))
        highest = int(min(40, 7000.0 / (shaft_hz * blades * 1.2)))
        for harmonic in range(1, highest + 1):
            level_db = -slope_db * harmonic + colour_db[harmonic]
            drone += np.float32(10.0 ** (level_db / 20.0)) * np.cos(
                harmonic * blades * phase + np.float32(rng.uniform(0, 2 * np.pi))
            )
        for harmonic in range(1, 4):
            drone += np.float32(10.0 ** (rng.uniform(-30.0, -8.0) / 20.0)) * np.cos(harmonic * phase)
        envelope += 1.0 + np.float32(rng.uniform(0.1, 0.8)) * np.cos(blades * phase)
        if rng.random() < 0.5:  # electrical whine of a brushless motor: pole pairs times the shaft rate, six steps
            pole_pairs = int(rng.choice((6, 7, 11, 12)))
            if shaft_hz * pole_pairs * 6 < 7000.0:
                drone += np.float32(10.0 ** (rng.uniform(-25.0, -5.0) / 20.0)) * np.cos(6 * pole_pairs * phase)
    vortex = lfilter([1.0], [1.0, -rng.uniform(0.0, 0.9)], rng.standard_normal(samples)).astype(np.float32)
    vortex = lfilter([1.0, -0.95], [1.0], vortex).astype(np.float32) * envelope
    gain = 10.0 ** (rng.uniform(*frame.broadband_db) / 20.0) * np.std(drone) / (np.std(vortex) + 1e-9)
    drone += np.float32(gain) * vortex
    return peak_1(drone)
