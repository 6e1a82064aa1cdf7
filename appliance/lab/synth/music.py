"""Music as it comes from a car, a garden or a stage: chords, a bass, a tune, drums. It has harmonics as a drone has, and is none.

Notes of a scale in equal temperament, in a steady beat, with the attacks and the decays of plucked, blown, bowed and sung tones.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.lab.synth.parts import Samples, gain, log_uniform, peak_1, resonance, softened, unit

_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 3, 5, 7, 10), (0, 2, 4, 7, 9))
"""Major, minor and two of five tones, in semitones."""


def synth_music(rng: np.random.Generator, seconds: float) -> npt.NDArray[np.float32]:
    """Some bars of a piece (n,), peak ±1."""
    samples, beat_s = int(seconds * SAMPLE_RATE_HZ), 60.0 / rng.uniform(60.0, 180.0)
    scale, key_hz = _SCALES[int(rng.integers(len(_SCALES)))], 55.0 * 2.0 ** (rng.integers(12) / 12.0)
    hz = np.array([key_hz * 2.0 ** (octave + step / 12.0) for octave in range(6) for step in scale])
    size = len(scale)
    parts = [_part(rng, samples, beat_s, hz[size : 4 * size], int(rng.choice((1, 1, 2))))]
    if rng.random() < 0.6:
        parts.append(_part(rng, samples, beat_s * rng.choice((1, 2, 4)), hz[size : 3 * size : 2], 3))
    if rng.random() < 0.6:
        parts.append(_part(rng, samples, beat_s, hz[:size], 1))
    if rng.random() < 0.6:
        parts.append(_drums(rng, samples, beat_s))
    piece = sum(gain(rng, -9.0, 0.0) * unit(part) for part in parts)
    return peak_1(softened(rng, np.asarray(piece), 800.0, 7000.0))


def _part(rng: np.random.Generator, samples: int, beat_s: float, hz: Samples, voices: int) -> Samples:
    """One instrument: its notes wander about the scale (notes,), so many at once."""
    instrument = _Instrument(rng)
    sound, at_s, place = np.zeros(samples), rng.uniform(-1.0, 0.0) * beat_s, int(rng.integers(len(hz)))
    while at_s * SAMPLE_RATE_HZ < samples:
        long_s = beat_s * float(rng.choice((0.25, 0.5, 0.5, 1.0, 1.0, 2.0)))
        place = int(np.clip(place + rng.integers(-3, 4), 0, len(hz) - 1))
        if rng.random() < 0.85:
            heard = np.arange(
                max(0, math.ceil(at_s * SAMPLE_RATE_HZ)), min(samples, int((at_s + 1.5 * long_s) * SAMPLE_RATE_HZ))
            )
            for voice in range(voices):
                note_hz = hz[min(place + 2 * voice, len(hz) - 1)]
                sound[heard] += rng.uniform(0.6, 1.0) * instrument.note(note_hz, heard / SAMPLE_RATE_HZ - at_s, long_s)
        at_s += long_s
    return sound


class _Instrument:
    """What a note sounds like: all of one part sound alike."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._levels = 10.0 ** ((-rng.uniform(1.0, 9.0) * np.arange(16) + rng.normal(0.0, 4.0, 16)) / 20.0)
        self._levels[1::2] *= rng.choice((1.0, 1.0, 0.2))  # closed pipes have odd harmonics
        self._phases = rng.random(16)
        self._attack_s = log_uniform(rng, 0.003, 0.15)
        self._decay_s = log_uniform(rng, 0.15, 2.0) if rng.random() < 0.6 else 1e9
        self._vibrato, self._vibrato_hz = rng.uniform(0.0, 0.012) * (rng.random() < 0.5), rng.uniform(4.0, 7.0)
        stiffness = 10.0 ** rng.uniform(-6.0, -3.3) * (rng.random() < 0.3)  # a stiff string's harmonics lie higher
        self._orders = np.arange(1, 17) * np.sqrt(1.0 + stiffness * np.arange(1, 17) ** 2)

    def note(self, hz: float, time_s: Samples, long_s: float) -> Samples:
        """(n,) of one that is let go after `long_s`."""
        swing = 2.0 * np.pi * self._vibrato_hz
        cycles = hz * (time_s + self._vibrato / swing * np.sin(swing * time_s))
        heard = self._orders * hz < 7500.0
        wave = np.cos(2.0 * np.pi * (np.outer(self._orders[heard], cycles) + self._phases[heard, None]))
        let_go = np.exp(-np.maximum(time_s - long_s, 0.0) / 0.05)
        swell = (1.0 - np.exp(-time_s / self._attack_s)) * np.exp(-time_s / self._decay_s) * let_go
        return np.asarray(self._levels[heard] @ wave * swell)


_PATTERNS = (
    (0.9, 0.1, 0.8, 0.1, 0.5, 0.1, 0.3, 0.1),
    (0.0, 0.1, 0.9, 0.1, 0.0, 0.1, 0.9, 0.2),
    (0.9,) * 8,
)
"""How likely bass drum, snare and cymbal are struck in each of eight eighths."""


def _drums(rng: np.random.Generator, samples: int, beat_s: float) -> Samples:
    """A bass drum, a snare and a cymbal in a pattern of eight."""
    since_s = np.arange(int(0.4 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    noise = rng.standard_normal(len(since_s))
    falling = rng.uniform(40.0, 80.0) * since_s + 3.0 * (1.0 - np.exp(-since_s / 0.03))
    bass = np.sin(2.0 * np.pi * falling) * np.exp(-since_s / rng.uniform(0.05, 0.2))
    snare = unit(resonance(noise, rng.uniform(150.0, 300.0), 2.0)) + unit(noise)
    snare = snare * np.exp(-since_s / rng.uniform(0.03, 0.12))
    cymbal = lfilter([1.0, -0.95], [1.0], noise) * np.exp(-since_s / rng.uniform(0.01, 0.15))
    sound, eighth = np.zeros(samples + len(since_s)), int(0.5 * beat_s * SAMPLE_RATE_HZ)
    for stroke, level, likely in zip((bass, snare, cymbal), (1.0, 0.7, 0.3), _PATTERNS, strict=True):
        pattern, loud = rng.random(8) < likely, level * gain(rng, -6.0, 3.0) / np.abs(stroke).max()
        for count, at in enumerate(range(0, samples, eighth)):
            if pattern[count % 8]:
                sound[at : at + len(since_s)] += loud * rng.uniform(0.7, 1.0) * stroke
    return sound[:samples]
