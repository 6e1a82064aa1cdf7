"""Explosions and fireworks from physics, to widen the few recorded ones.

A blast is a shock and a longer suction after it (Friedlander 1946), softer the farther away; what comes back from all around
decays behind it. Fireworks are several, with crackle after them.
"""

import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve, lfilter

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.lab.synth_parts import Samples, gain, log_uniform, peak_1, softened, unit


def synth_explosion(rng: np.random.Generator, seconds: float) -> npt.NDArray[np.float32]:
    """One blast or some (n,), peak ±1, as heard some way off."""
    samples = int(seconds * SAMPLE_RATE_HZ)
    fireworks = rng.random() < 0.5
    sound = np.zeros(samples)
    positive_s = log_uniform(rng, 0.0005, 0.008)
    echo = _tail(rng)
    later = rng.integers(0, int(0.6 * samples), int(rng.integers(0, 13)) if fireworks else 0)
    for at in (int(0.02 * SAMPLE_RATE_HZ), *later.tolist()):
        blast = _blast(rng, positive_s * rng.uniform(0.7, 1.4)) * gain(rng, -12.0, 0.0)
        heard = fftconvolve(blast, echo)[: samples - at]
        sound[at : at + len(heard)] += heard
    if fireworks and rng.random() < 0.5:
        sound += _crackle(rng, samples) * sound.std() * rng.uniform(0.2, 1.5)
    sound = softened(rng, sound, 400.0, 7000.0)  # by air and obstacles
    if rng.random() < 0.6:
        sound = softened(rng, sound, 400.0, 7000.0)
    if rng.random() < 0.3:  # louder than the microphone bears
        sound = np.tanh(peak_1(sound) * gain(rng, 6.0, 30.0))
    return peak_1(sound)


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
    returned = np.zeros(samples)
    returned[rng.integers(1, samples, int(rng.integers(0, 5)))] = rng.uniform(0.1, 0.6)
    tail += fftconvolve(returned, _ring(rng, log_uniform(rng, 0.001, 0.02)))[:samples]
    tail[0] += 1.0
    return tail


def _crackle(rng: np.random.Generator, samples: int) -> Samples:
    """Many small blows (n,) that begin at some moment and die away."""
    blows = (rng.random(samples) < rng.uniform(5.0, 80.0) / SAMPLE_RATE_HZ) * rng.lognormal(0.0, 0.7, samples)
    since_s = np.arange(samples) / SAMPLE_RATE_HZ - rng.uniform(0.0, 0.4) * samples / SAMPLE_RATE_HZ
    blows *= (since_s > 0.0) * np.exp(-np.maximum(since_s, 0.0) / rng.uniform(0.3, 2.0))
    return unit(fftconvolve(blows, _ring(rng, log_uniform(rng, 0.002, 0.08)))[:samples])


def _ring(rng: np.random.Generator, decay_s: float) -> Samples:
    """Noise that dies away, its energy 1: what many surfaces at once return of a click."""
    time_s = np.arange(int(4.0 * decay_s * SAMPLE_RATE_HZ) + 2) / SAMPLE_RATE_HZ
    ring = rng.standard_normal(len(time_s)) * np.exp(-time_s / decay_s)
    return np.asarray(ring / np.sqrt(np.square(ring).sum()))
