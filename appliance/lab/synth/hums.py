"""Machines that hum, blow and wash, from physics: steady ones stand near many sites, and blades in air are not always a drone's.

Mains and constant speeds give lines that hardly wander. A blower (vacuum cleaner, leaf blower, fan, heat pump) has a motor's
lines, its blades' in air, and the noise of the air through a duct, which shifts as it is moved. A washing machine tumbles
about once a second, one way and the other, or spins up.
"""

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.lab.synth.parts import (
    Samples,
    gain,
    harmonics,
    lines,
    log_uniform,
    peak_1,
    resonance,
    softened,
    unit,
    wander,
)

_MAINS_HZ = (50.0, 60.0)


def synth_hum(rng: np.random.Generator, seconds: float) -> npt.NDArray[np.float32]:
    """A machine that stands and runs (n,), peak ±1."""
    make = (_steady, _blower, _blower, _washer)[int(rng.integers(4))]
    return peak_1(make(rng, int(seconds * SAMPLE_RATE_HZ)))


def _steady(rng: np.random.Generator, samples: int) -> Samples:
    """Transformer, pump or generator: lines at multiples of the mains or of a constant speed, and hiss."""
    base_hz = float(rng.choice((*_MAINS_HZ, 100.0, 120.0, rng.uniform(15.0, 400.0))))
    cycles = base_hz * np.cumsum(1.0 + wander(rng, samples, 5e-4, 2.0)) / SAMPLE_RATE_HZ
    slope_db = rng.uniform(0.5, 6.0)
    orders = range(int(min(40, 7000.0 / base_hz)))
    hum = harmonics(rng, cycles, (-slope_db * order + rng.normal(0.0, 8.0) for order in orders))
    hiss = lfilter([1.0], [1.0, -rng.uniform(0.0, 0.95)], rng.standard_normal(samples))
    return unit(hum) + gain(rng, -25.0, 5.0) * unit(hiss)


def _blower(rng: np.random.Generator, samples: int) -> Samples:
    """A universal motor races and sags as the duct is blocked; one on the mains turns a little slower than the mains."""
    time_s = np.arange(samples) / SAMPLE_RATE_HZ
    racing = rng.random() < 0.6
    shaft_hz = log_uniform(rng, 120.0, 650.0) if racing else float(rng.choice(_MAINS_HZ)) / rng.choice((1, 2, 3)) * 0.96
    strokes_s = log_uniform(rng, 0.5, 4.0)
    moved = np.sin(
        2.0 * np.pi * (np.cumsum(1.0 + wander(rng, samples, 0.3, 1.0)) / SAMPLE_RATE_HZ / strokes_s + rng.random())
    )
    moved = moved * (rng.random() < 0.6)
    speed = 1.0 + (rng.uniform(0.0, 0.08) * moved if racing else 0.0) + wander(rng, samples, 0.002, 0.5)
    if racing and rng.random() < 0.2:  # it has just been switched on
        speed = speed * (1.0 - 0.9 * np.exp(-time_s / rng.uniform(0.2, 1.0)))
    turns = shaft_hz * np.cumsum(speed) / SAMPLE_RATE_HZ
    blades = int(rng.choice((3, 5, 6, 7, 9, 11, 13)))
    motor = unit(lines(rng, turns, rng.uniform(0.5, 4.0), 30))
    fan = unit(lines(rng, blades * turns, rng.uniform(1.0, 8.0), 6))
    brushes = 1.0 + rng.uniform(0.0, 0.5) * np.cos(4.0 * np.pi * float(rng.choice(_MAINS_HZ)) * time_s)
    air = rng.standard_normal(samples)
    blown = unit(softened(rng, air, 200.0, 6000.0))
    for _ in range(int(rng.integers(1, 5))):
        hz = log_uniform(rng, 150.0, 5000.0)
        near, far = (unit(resonance(air, hz * each, rng.uniform(0.8, 8.0))) for each in (1.0, rng.uniform(0.7, 1.4)))
        blown = blown + gain(rng, -12.0, 5.0) * ((1.0 + moved) * near + (1.0 - moved) * far)
    loud = 1.0 + rng.uniform(0.0, 0.4) * moved
    return (gain(rng, -12.0, 3.0) * motor * brushes + gain(rng, -25.0, 3.0) * fan + unit(blown)) * loud


def _washer(rng: np.random.Generator, samples: int) -> Samples:
    """A drum with water and cloth in it, or spinning, and the motor that drives it by a belt."""
    tumbling = rng.random() < 0.6
    if tumbling:
        drum_hz = rng.uniform(0.6, 1.1) * np.ones(samples)
        tumbles = np.cumsum(drum_hz) / SAMPLE_RATE_HZ + rng.random()
        running = ((tumbles / rng.uniform(4.0, 14.0)) % 1.0 < rng.uniform(0.6, 1.0)).astype(np.float64)
    else:
        drum_hz = rng.uniform(6.0, 22.0) * np.linspace(rng.uniform(0.5, 1.0), 1.0, samples)
        tumbles, running = np.cumsum(drum_hz) / SAMPLE_RATE_HZ, np.ones(samples)
    ratio = rng.uniform(9.0, 16.0) * (rng.choice((6, 12, 24)) if tumbling else 1.0)
    motor = unit(lines(rng, ratio * tumbles, rng.uniform(0.5, 4.0), 30))
    falls = (0.5 + 0.5 * np.cos(2.0 * np.pi * tumbles * rng.choice((1, 2, 3)))) ** rng.uniform(1.0, 6.0)
    slosh = softened(rng, rng.standard_normal(samples), 150.0, 3000.0)
    rumble = resonance(rng.standard_normal(samples), rng.uniform(25.0, 120.0), rng.uniform(1.0, 8.0))
    running = lfilter([0.001], [1.0, -0.999], running)
    turning = gain(rng, -15.0, 5.0) * motor + unit(slosh * (0.1 + falls)) + gain(rng, -15.0, 6.0) * unit(rumble)
    return turning * (0.05 + running)
