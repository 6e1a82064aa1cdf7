"""Footsteps from physics: heel and toe strike a ground that knocks, rings or crunches.

A walker's steps come at an even pace, left and right unlike each other (Cook, "Modeling Bill's Gait", AES 22nd Conf. 2002:
loose ground is many small collisions within the press of a foot).
"""

import numpy as np
import numpy.typing as npt
from scipy.signal import butter, fftconvolve, sosfilt

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.lab.synth.parts import Samples, gain, in_a_room, log_uniform, peak_1, resonance, ring, softened, unit

_STRIKE = SAMPLE_RATE_HZ // 2


def synth_footsteps(rng: np.random.Generator, seconds: float) -> npt.NDArray[np.float32]:
    """Somebody who walks or runs (n,), peak ±1, on one ground."""
    samples = int(seconds * SAMPLE_RATE_HZ)
    pace_s, uneven_s = 1.0 / rng.uniform(1.3, 3.2), rng.uniform(0.005, 0.04)
    toe_after_s, knocks_db, crunches_db = _gait(rng, pace_s)
    feet = [_Foot(rng), _Foot(rng)] if rng.random() < 0.7 else [_Foot(rng)]
    sound, at_s, count = np.zeros(samples), rng.uniform(0.02, 0.02 + 0.5 * pace_s), 0
    while at_s < seconds:
        foot = feet[count % len(feet)]
        step = np.zeros(_STRIKE + SAMPLE_RATE_HZ // 2)
        for late_s, loud in ((0.0, 1.0), (toe_after_s * rng.normal(1.0, 0.1), gain(rng, -12.0, 3.0))):
            strike = foot.knock(rng) * 10.0 ** (knocks_db / 20.0) + foot.crunch(rng) * 10.0 ** (crunches_db / 20.0)
            at = int(max(0.0, late_s) * SAMPLE_RATE_HZ)
            step[at : at + len(strike)] += loud * strike[: len(step) - at]
        at = int(at_s * SAMPLE_RATE_HZ)
        sound[at : at + len(step)] += step[: samples - at] * gain(rng, -5.0, 0.0)
        at_s, count = at_s + pace_s + rng.normal(0.0, uneven_s), count + 1
    if rng.random() < 0.4:
        sound = in_a_room(rng, sound, 0.03, 0.6)
    if rng.random() < 0.4:
        sound = softened(rng, sound, 500.0, 7000.0)
    return peak_1(sound)


def _gait(rng: np.random.Generator, pace_s: float) -> tuple[float, float, float]:
    """How long after the heel the toe comes down, and how loud knocks and crunches are, in dB."""
    toe_after_s = rng.uniform(0.05, 0.4) * pace_s
    hard = rng.random() < 0.5
    weak_db = rng.uniform(-25.0, 3.0)
    return toe_after_s, 0.0 if hard else weak_db, weak_db if hard else 0.0


class _Foot:
    """A shoe on a ground: what one strike of it sounds like, each time a little otherwise."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._modes = [(log_uniform(rng, 60.0, 1500.0), rng.uniform(0.7, 6.0), gain(rng, -15.0, 0.0)) for _ in range(4)]
        self._click_s, self._click = log_uniform(rng, 0.0005, 0.008), gain(rng, -20.0, 3.0)
        self._press_s, self._grains_per_s = log_uniform(rng, 0.03, 0.15), log_uniform(rng, 100.0, 8000.0)
        self._grain_s = log_uniform(rng, 0.0003, 0.004)
        low_hz = log_uniform(rng, 100.0, 2500.0)
        band_hz = (low_hz, min(7800.0, low_hz * log_uniform(rng, 1.5, 20.0)))
        self._ground = butter(1, band_hz, "bandpass", fs=SAMPLE_RATE_HZ, output="sos")

    def knock(self, rng: np.random.Generator) -> Samples:
        """A body that is struck: (_STRIKE,), RMS 1."""
        blow = np.zeros(_STRIKE)
        click = ring(rng, self._click_s)[: len(blow)]
        blow[: len(click)] = click
        body = sum(level * unit(resonance(blow, hz, quality)) for hz, quality, level in self._modes)
        return unit(np.asarray(body + self._click * unit(blow)))

    def crunch(self, rng: np.random.Generator) -> Samples:
        """Loose ground under the press of a foot: (_STRIKE,), RMS 1."""
        time = np.arange(_STRIKE) / (self._press_s * SAMPLE_RATE_HZ)
        grains = (rng.random(_STRIKE) < self._grains_per_s / SAMPLE_RATE_HZ) * rng.lognormal(0.0, 1.0, _STRIKE)
        grains *= time * np.exp(1.0 - 2.0 * time) * rng.choice((-1.0, 1.0), _STRIKE)
        return unit(sosfilt(self._ground, fftconvolve(grains, ring(rng, self._grain_s))[:_STRIKE]))
