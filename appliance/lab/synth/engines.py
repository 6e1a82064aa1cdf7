"""Combustion engines from physics: what else has harmonics, so that harmonics alone are never a drone.

A four-stroke engine with C cylinders at n revolutions per second fires C·n/2 times a second; unequal cylinders put
lines at every half order.
"""

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.lab.synth.parts import gain, log_uniform, peak_1, resonance, unit, wander


def synth_engine(rng: np.random.Generator, seconds: float) -> npt.NDArray[np.float32]:
    """A combustion engine (n,), peak ±1: pulses at the firing rate through random resonances, with intake noise."""
    samples = int(seconds * SAMPLE_RATE_HZ)
    cylinders = int(rng.choice((1, 2, 3, 4, 4, 6, 8)))
    idle_hz = rng.uniform(9.0, 75.0) if cylinders > 1 else rng.uniform(12.0, 130.0)
    drift = 1.0 + wander(rng, samples, rng.uniform(0.003, 0.08), rng.uniform(0.2, 2.0))
    cycles = np.cumsum(0.5 * idle_hz * np.maximum(drift, 0.3)) / SAMPLE_RATE_HZ  # of two revolutions
    firing = np.floor(cycles * cylinders).astype(np.int64)
    fired = np.flatnonzero(np.diff(firing, prepend=firing[0]))
    strength = rng.normal(1.0, rng.uniform(0.02, 0.25), cylinders)[firing[fired] % cylinders]
    pulses = np.zeros(samples)
    pulses[fired] = strength * rng.normal(1.0, 0.06, len(fired))
    engine = lfilter([1.0], [1.0, -rng.uniform(0.6, 0.98)], pulses)
    envelope = lfilter([1.0], [1.0, -0.99], pulses)
    noise = rng.standard_normal(samples) * (envelope / (envelope.std() + 1e-9) + rng.uniform(0.1, 2.0))
    engine = unit(engine) + gain(rng, -20.0, 3.0) * unit(noise)
    for _ in range(int(rng.integers(1, 4))):  # exhaust and body
        body = unit(resonance(engine, log_uniform(rng, 60.0, 2500.0), log_uniform(rng, 0.5, 20.0)))
        engine = engine + rng.uniform(0.2, 1.0) * engine.std() * body
    return peak_1(engine)
