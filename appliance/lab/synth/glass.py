"""Breaking glass from physics: a blow, the pane giving way, and shards that ring as they part, fall and fall again.

A shard rings at modes that are no harmonics of each other, the smaller the higher; how long depends on how freely it hangs
(van den Doel, Kry and Pai, "FoleyAutomatic", SIGGRAPH 2001, sound such bodies the same way).
"""

import numpy as np
import numpy.typing as npt

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.lab.synth.parts import Samples, gain, in_a_room, log_uniform, peak_1, ring, softened, unit


def synth_glass(rng: np.random.Generator, seconds: float) -> npt.NDArray[np.float32]:
    """One breaking or two (n,), peak ±1."""
    samples = int(seconds * SAMPLE_RATE_HZ)
    lowest_hz, ringing_s = log_uniform(rng, 900.0, 4500.0), log_uniform(rng, 0.006, 0.07)
    sound = np.zeros(samples)
    for at_s in (0.02, *rng.uniform(0.3, 2.0, int(rng.random() < 0.3))):
        at = int(at_s * SAMPLE_RATE_HZ)
        if at < samples:
            sound[at:] += _breaking(rng, samples - at, lowest_hz, ringing_s)
    if rng.random() < 0.3:
        sound = in_a_room(rng, sound, 0.05, 0.4)
    if rng.random() < 0.3:
        sound = softened(rng, sound, 1500.0, 7500.0)
    return peak_1(sound)


def _breaking(rng: np.random.Generator, samples: int, lowest_hz: float, ringing_s: float) -> Samples:
    """From the blow on (samples,)."""
    sound = np.zeros(samples)
    _add(sound, 0, unit(ring(rng, log_uniform(rng, 0.003, 0.06))) * gain(rng, -6.0, 9.0))
    if rng.random() < 0.5:  # what held it, or was thrown
        hz, decay_s = log_uniform(rng, 80.0, 700.0), log_uniform(rng, 0.01, 0.06)
        _add(sound, 0, _rung(rng, hz, decay_s) * gain(rng, -6.0, 12.0))
    fall_s = log_uniform(rng, 0.08, 0.8)
    if rng.random() < 0.5:  # more shards than can be told apart
        splinters = np.diff(ring(rng, fall_s * rng.uniform(0.3, 1.0)))
        _add(sound, 0, unit(splinters) * gain(rng, -18.0, 6.0))
    landed_s = log_uniform(rng, 0.2, 1.2)
    for _ in range(int(log_uniform(rng, 8.0, 150.0))):
        late = landed_s + rng.normal(0.0, 0.15) if rng.random() < 0.3 else 0.0
        at = int(max(0.0, late + rng.exponential(fall_s)) * SAMPLE_RATE_HZ)
        shard = rng.lognormal(0.0, 0.8) * np.exp(-at / (3.0 * fall_s * SAMPLE_RATE_HZ))
        for _ in range(int(rng.integers(1, 5))):
            hz = min(7900.0, log_uniform(rng, lowest_hz, 9000.0))
            _add(sound, at, shard * rng.uniform(0.2, 1.0) * _rung(rng, hz, ringing_s * log_uniform(rng, 0.3, 3.0)))
        _add(sound, at, shard * rng.uniform(0.1, 2.0) * ring(rng, log_uniform(rng, 0.0005, 0.006)))
    return sound


def _rung(rng: np.random.Generator, hz: float, decay_s: float) -> Samples:
    time_s = np.arange(int(5.0 * decay_s * SAMPLE_RATE_HZ) + 2) / SAMPLE_RATE_HZ
    return np.asarray(np.exp(-time_s / decay_s) * np.sin(2.0 * np.pi * (hz * time_s + rng.random())))


def _add(sound: Samples, at: int, part: Samples) -> None:
    """A part from there on, as far as there is room."""
    if at < len(sound):
        sound[at : at + len(part)] += part[: len(sound) - at]
