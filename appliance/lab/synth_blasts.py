"""Explosions and fireworks from physics, to widen the few recorded ones.

A blast is a shock and a longer suction after it (Friedlander 1946), softer the farther away; what comes back from all around
decays behind it. Fireworks are several, with crackle after them.
"""

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.lab.synth_parts import Samples, gain, log_uniform, peak_1, softened, unit


def synth_explosion(rng: np.random.Generator, seconds: float) -> npt.NDArray[np.float32]:
    """One blast or some (n,), peak ±1, as heard some way off."""
    samples = int(seconds * SAMPLE_RATE_HZ)
    fireworks = rng.random() < 0.5
    sound = np.zeros(samples)
    positive_s = log_uniform(rng, 0.0005, 0.008)
    echo = _tail(rng)
    later = rng.integers(0, samples // 2, int(rng.integers(0, 7)) if fireworks else 0)
    for at in (int(0.02 * SAMPLE_RATE_HZ), *later.tolist()):
        blast = _blast(rng, positive_s * rng.uniform(0.7, 1.4)) * rng.uniform(0.4, 1.0)
        heard = np.convolve(blast, echo)[: samples - at]
        sound[at : at + len(heard)] += heard
    if fireworks and rng.random() < 0.5:
        sound += _crackle(rng, samples) * sound.std() * rng.uniform(0.2, 1.5)
    return peak_1(softened(rng, softened(rng, sound, 400.0, 7000.0), 400.0, 7000.0))  # by air and obstacles


def _blast(rng: np.random.Generator, positive_s: float) -> Samples:
    time = np.arange(int(8.0 * positive_s * SAMPLE_RATE_HZ) + 2) / (positive_s * SAMPLE_RATE_HZ)
    wave: Samples = (1.0 - time) * np.exp(-rng.uniform(0.8, 2.0) * time)
    return wave


def _tail(rng: np.random.Generator) -> Samples:
    """Direct sound, some reflections, and a diffuse rest that decays and darkens."""
    decay_s = log_uniform(rng, 0.1, 1.5)
    samples = int(3.0 * decay_s * SAMPLE_RATE_HZ)
    time_s = np.arange(samples) / SAMPLE_RATE_HZ
    diffuse = lfilter([1.0], [1.0, -rng.uniform(0.3, 0.95)], rng.standard_normal(samples))
    diffuse *= np.exp(-3.0 * time_s / decay_s) * (1.0 - np.exp(-time_s / rng.uniform(0.005, 0.1)))
    tail = diffuse / (np.sqrt(np.square(diffuse).sum()) + 1e-9) * gain(rng, -15.0, 6.0)
    for _ in range(int(rng.integers(0, 5))):
        tail[int(rng.integers(1, samples))] += rng.uniform(-0.6, 0.6)
    tail[0] += 1.0
    return tail


def _crackle(rng: np.random.Generator, samples: int) -> Samples:
    clicks = (rng.random(samples) < rng.uniform(5.0, 80.0) / SAMPLE_RATE_HZ) * rng.normal(0.0, 1.0, samples)
    begun = np.arange(samples) > rng.uniform(0.0, 0.5) * samples
    heard = lfilter([1.0, -1.0], [1.0, -rng.uniform(0.5, 0.95)], clicks * begun)
    return unit(heard)
