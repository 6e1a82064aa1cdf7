"""Power tools from physics: what cuts, drills and hammers, to widen the recorded ones.

A chainsaw or trimmer is one two-stroke cylinder that fires once a turn, races and labours; a mower one four-stroke at a steady
speed, with the rush of its blade; a grinder or circular saw a universal motor with lines of its shaft and of its gear's teeth
that sag under load; a hammer some tens of blows a second, which ring the steel, thump the ground and let air off.
"""

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.lab.synth.parts import (
    Samples,
    gain,
    lines,
    log_uniform,
    peak_1,
    resonance,
    softened,
    strokes,
    unit,
    wander,
)


def synth_tool(rng: np.random.Generator, seconds: float) -> npt.NDArray[np.float32]:
    """A power tool at work (n,), peak ±1."""
    make = (_two_stroke, _two_stroke, _mower, _universal_motor, _hammer, _hammer)[int(rng.integers(6))]
    return peak_1(softened(rng, make(rng, int(seconds * SAMPLE_RATE_HZ)), 250.0, 4000.0))


def _two_stroke(rng: np.random.Generator, samples: int) -> Samples:
    idle_hz = rng.uniform(35.0, 60.0)
    full_hz = idle_hz * rng.uniform(2.0, 4.5)
    throttle = _pulled(rng, samples)
    firing_hz = (idle_hz + (full_hz - idle_hz) * throttle) * (1.0 + wander(rng, samples, rng.uniform(0.005, 0.05), 0.1))
    cycles = np.cumsum(firing_hz) / SAMPLE_RATE_HZ
    blows = strokes(rng, cycles, rng.uniform(0.02, 0.3))
    exhaust = lfilter([1.0, -0.9], [1.0, -rng.uniform(0.3, 0.95)], blows)
    for _ in range(int(rng.integers(1, 4))):
        exhaust = unit(exhaust) + gain(rng, -12.0, 3.0) * unit(resonance(blows, log_uniform(rng, 120.0, 3000.0), 2.0))
    chain = unit(rng.standard_normal(samples)) * (0.2 + throttle)
    chain = lfilter([1.0, -rng.uniform(0.0, 0.8)], [1.0], chain)
    return (unit(exhaust) + gain(rng, -25.0, 0.0) * unit(chain)) * (0.3 + 0.7 * throttle)


def _mower(rng: np.random.Generator, samples: int) -> Samples:
    turns_hz = rng.uniform(42.0, 62.0) * (1.0 + wander(rng, samples, rng.uniform(0.003, 0.03), rng.uniform(0.2, 2.0)))
    turns = np.cumsum(turns_hz) / SAMPLE_RATE_HZ
    blows = strokes(rng, 0.5 * turns, rng.uniform(0.02, 0.2))  # a four-stroke fires every second turn
    exhaust = unit(lfilter([1.0, -0.9], [1.0, -rng.uniform(0.6, 0.97)], blows))
    for _ in range(int(rng.integers(1, 4))):
        exhaust = exhaust + gain(rng, -12.0, 3.0) * unit(resonance(blows, log_uniform(rng, 80.0, 1500.0), 3.0))
    blade = unit(lines(rng, 2.0 * turns, rng.uniform(1.0, 5.0), 12))
    rush = unit(resonance(rng.standard_normal(samples), log_uniform(rng, 200.0, 2000.0), 0.5))
    rush = rush * (1.0 + rng.uniform(0.0, 0.6) * np.cos(4.0 * np.pi * turns))
    return unit(exhaust) + gain(rng, -20.0, 0.0) * blade + gain(rng, -15.0, 6.0) * unit(rush)


def _universal_motor(rng: np.random.Generator, samples: int) -> Samples:
    shaft_hz = rng.uniform(80.0, 500.0)
    speed = 1.0 - rng.uniform(0.0, 0.35) * _pulled(rng, samples) + wander(rng, samples, 0.01, 0.2)
    turns = shaft_hz * np.cumsum(speed) / SAMPLE_RATE_HZ
    teeth = int(rng.choice((4, 5, 7, 9, 12)))
    motor = lines(rng, turns, rng.uniform(0.5, 3.0), 24)
    gear = lines(rng, teeth * turns, rng.uniform(1.0, 6.0), 8)
    cut = resonance(rng.standard_normal(samples), log_uniform(rng, 400.0, 5000.0), rng.uniform(0.5, 2.0))
    cut = unit(cut) * (0.1 + _pulled(rng, samples)) * (1.0 + rng.uniform(0.0, 0.8) * np.cos(2.0 * np.pi * turns))
    return unit(motor) + gain(rng, -15.0, 5.0) * unit(gear) + gain(rng, -20.0, 6.0) * unit(cut)


def _hammer(rng: np.random.Generator, samples: int) -> Samples:
    cycles = (
        rng.uniform(9.0, 55.0) * np.cumsum(1.0 + wander(rng, samples, rng.uniform(0.005, 0.05), 0.5)) / SAMPLE_RATE_HZ
    )
    since = cycles % 1.0
    blow = rng.standard_normal(samples) * np.exp(-since * rng.uniform(4.0, 25.0))
    rung = sum(
        gain(rng, -15.0, 5.0) * unit(resonance(blow, log_uniform(rng, 120.0, 4000.0), rng.uniform(2.0, 12.0)))
        for _ in range(int(rng.integers(2, 5)))
    )
    thump = gain(rng, -20.0, 12.0) * unit(resonance(blow, log_uniform(rng, 45.0, 180.0), rng.uniform(1.0, 4.0)))
    hiss = unit(lfilter([1.0, -0.9], [1.0], rng.standard_normal(samples)))  # of the compressed air
    hiss = hiss * (1.0 + rng.uniform(0.0, 1.0) * np.cos(2.0 * np.pi * cycles))
    return (unit(blow) + rung + thump + gain(rng, -25.0, 3.0) * hiss) * (0.1 + 0.9 * _pulled(rng, samples))


def _pulled(rng: np.random.Generator, samples: int) -> Samples:
    """How far a trigger is pulled (n,), 0..1, now and then another way, not at once."""
    changes = int(rng.integers(1, 7))
    at = np.concatenate([[0.0], np.sort(rng.uniform(0.0, samples, changes - 1))])
    held = rng.choice((0.0, 1.0, 1.0, rng.random()), changes)
    wanted = held[np.searchsorted(at, np.arange(samples), side="right") - 1]
    slow = np.exp(-1.0 / (SAMPLE_RATE_HZ * rng.uniform(0.03, 0.3)))
    return np.asarray(lfilter([1.0 - slow], [1.0, -slow], wanted, zi=[slow * wanted[0]])[0])
