"""Explosions, fireworks and gunshots from physics, to widen the few recorded ones.

A blast is a shock and a longer suction after it (Friedlander 1946), softer the farther away; what comes back from all around
decays behind it. Fireworks are several, with crackle after them. A gun's blast is shorter than a charge's; a bullet faster than
sound brings a shock of its own, an N-wave, before it (Maher, IEEE SAFE 2007).
"""

import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve, lfilter

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.lab.synth.parts import Samples, gain, log_uniform, peak_1, ring, softened, unit


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


def synth_gunshot(rng: np.random.Generator, seconds: float) -> npt.NDArray[np.float32]:
    """One shot, some, or a burst (n,), peak ±1: near or far, with the bullet's crack or without, at times suppressed."""
    samples = int(seconds * SAMPLE_RATE_HZ)
    positive_s = log_uniform(rng, 0.0001, 0.001)
    # After the blast comes the gas that rushes out, and what the gun itself does.
    rush_s, rush = log_uniform(rng, 0.003, 0.06), gain(rng, -9.0, 12.0)
    suppressed = ring(rng, log_uniform(rng, 0.002, 0.02)) if rng.random() < 0.12 else None
    crack_before_s = log_uniform(rng, 0.0005, 0.4) if rng.random() < 0.35 else 0.0
    crack = _n_wave(log_uniform(rng, 0.0002, 0.0006)) * gain(rng, -12.0, 6.0)
    echo, steady, sound = _tail(rng), rng.uniform(0.0, 2.0), np.zeros(samples)
    for at in _fired_at(rng, samples):
        blast = _joined(_blast(rng, positive_s), rush * ring(rng, rush_s)) if suppressed is None else suppressed
        blast = blast * gain(rng, -steady, 0.0)
        after = int(crack_before_s * SAMPLE_RATE_HZ)
        shot = np.zeros(after + max(len(blast), len(crack)))
        shot[after : after + len(blast)] += blast
        if crack_before_s:
            shot[: len(crack)] += crack
        heard = fftconvolve(shot, echo)[: samples - at]
        sound[at : at + len(heard)] += heard
    if rng.random() < 0.5:  # by air and obstacles
        sound = softened(rng, sound, 600.0, 7500.0)
    if rng.random() < 0.5:  # louder than the microphone bears
        sound = np.tanh(peak_1(sound) * gain(rng, 6.0, 36.0))
    return peak_1(sound)


def _joined(one: Samples, other: Samples) -> Samples:
    """Both from the same moment on."""
    both = np.zeros(max(len(one), len(other)))
    both[: len(one)] += one
    both[: len(other)] += other
    return both


def _fired_at(rng: np.random.Generator, samples: int) -> list[int]:
    """Moments in samples, the first one soon: one shot, several aimed ones, or bursts of an automatic."""
    first, kind = 0.02, rng.random()
    if kind < 0.4:
        at_s = [first]
    elif kind < 0.6:
        at_s = (first + np.cumsum([0.0, *rng.uniform(0.15, 1.2, int(rng.integers(1, 6)))])).tolist()
    else:
        every_s, at_s, begins_s = 1.0 / log_uniform(rng, 6.0, 22.0), [], first
        for _ in range(int(rng.integers(1, 4))):
            count = int(rng.integers(2, 16))
            at_s += (begins_s + np.arange(count) * every_s * rng.normal(1.0, 0.01, count)).tolist()
            begins_s = at_s[-1] + rng.uniform(0.3, 1.5)
    return [int(at * SAMPLE_RATE_HZ) for at in at_s if at * SAMPLE_RATE_HZ < samples - 1]


def _n_wave(lasts_s: float) -> Samples:
    """A bullet's shock (n,): up at once, down in a straight line, up at once."""
    count = max(3, round(lasts_s * SAMPLE_RATE_HZ))
    return np.linspace(1.0, -1.0, count)


def _blast(rng: np.random.Generator, positive_s: float) -> Samples:
    time = np.arange(int(8.0 * positive_s * SAMPLE_RATE_HZ) + 2) / (positive_s * SAMPLE_RATE_HZ)
    wave: Samples = (1.0 - time) * np.exp(-rng.uniform(0.8, 2.0) * time)
    return wave


def _tail(rng: np.random.Generator) -> Samples:
    """Direct sound, some reflections, and a diffuse rest that decays and darkens."""
    decay_s = log_uniform(rng, 0.1, 1.5)
    samples = int(3.0 * decay_s * SAMPLE_RATE_HZ)
    time_s = np.arange(samples) / SAMPLE_RATE_HZ
    noise = rng.standard_normal(samples)
    bright = unit(noise) * gain(rng, -12.0, 6.0) * np.exp(-3.0 * time_s / (decay_s * rng.uniform(0.1, 0.7)))
    dark = unit(lfilter([1.0], [1.0, -rng.uniform(0.3, 0.98)], noise)) * np.exp(-3.0 * time_s / decay_s)
    diffuse = (bright + dark) * (1.0 - np.exp(-time_s / rng.uniform(0.002, 0.1)))
    tail = diffuse / (np.sqrt(np.square(diffuse).sum()) + 1e-9) * gain(rng, -15.0, 6.0)
    returned = np.zeros(samples)
    returned[rng.integers(1, samples, int(rng.integers(0, 5)))] = rng.uniform(0.1, 0.6)
    tail += fftconvolve(returned, ring(rng, log_uniform(rng, 0.001, 0.02)))[:samples]
    tail[0] += 1.0
    return tail


def _crackle(rng: np.random.Generator, samples: int) -> Samples:
    """Many small blows (n,) that begin at some moment and die away."""
    blows = (rng.random(samples) < rng.uniform(5.0, 80.0) / SAMPLE_RATE_HZ) * rng.lognormal(0.0, 0.7, samples)
    since_s = np.arange(samples) / SAMPLE_RATE_HZ - rng.uniform(0.0, 0.4) * samples / SAMPLE_RATE_HZ
    blows *= (since_s > 0.0) * np.exp(-np.maximum(since_s, 0.0) / rng.uniform(0.3, 2.0))
    return unit(fftconvolve(blows, ring(rng, log_uniform(rng, 0.002, 0.08)))[:samples])
