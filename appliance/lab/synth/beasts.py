"""Cattle, sheep, goats and other beasts of the field from physics, to widen the recorded ones: a cow in the fog must not be a drone.

A voice is a train of glottal pulses whose pitch rises and falls over a call, roughened as it is pressed, through the few
resonances of a throat that opens and closes. A bleat trembles.
"""

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.lab.synth.parts import Samples, gain, in_a_room, log_uniform, peak_1, resonance, unit, wander


def synth_beast(rng: np.random.Generator, seconds: float) -> npt.NDArray[np.float32]:
    """Some calls of one animal (n,), peak ±1."""
    sound = np.zeros(int(seconds * SAMPLE_RATE_HZ))
    pitch_hz, throat = log_uniform(rng, 60.0, 700.0), _throat(rng)
    at_s = rng.uniform(0.0, 0.5)
    while at_s < seconds:
        call = _call(rng, pitch_hz * rng.uniform(0.9, 1.1), throat, log_uniform(rng, 0.25, 2.2)) * gain(rng, -6.0, 0.0)
        first = int(at_s * SAMPLE_RATE_HZ)
        call = call[: len(sound) - first]
        sound[first : first + len(call)] += call
        at_s += len(call) / SAMPLE_RATE_HZ + log_uniform(rng, 0.05, 2.0)
    return peak_1(in_a_room(rng, sound, 0.02, 0.3))


def _throat(rng: np.random.Generator) -> list[tuple[float, float]]:
    """(hertz, quality) of its resonances: the longer it is the lower they are, and about evenly apart."""
    first_hz = log_uniform(rng, 250.0, 900.0)
    return [(first_hz * (2 * order + 1) * rng.uniform(0.85, 1.15), rng.uniform(3.0, 12.0)) for order in range(4)]


def _call(rng: np.random.Generator, pitch_hz: float, throat: list[tuple[float, float]], seconds: float) -> Samples:
    samples = int(seconds * SAMPLE_RATE_HZ)
    along = np.linspace(0.0, 1.0, samples)
    contour = 1.0 + rng.uniform(-0.15, 0.35) * np.sin(np.pi * along) + rng.uniform(-0.2, 0.1) * along
    tremble_hz, trembling = rng.uniform(5.0, 16.0), rng.uniform(0.0, 0.08) * (rng.random() < 0.4)
    tremor = np.sin(2.0 * np.pi * tremble_hz * seconds * along)
    hz = pitch_hz * contour * (1.0 + trembling * tremor + wander(rng, samples, rng.uniform(0.002, 0.03), 0.02))
    cycles = np.cumsum(np.maximum(hz, 20.0)) / SAMPLE_RATE_HZ
    # A glottis closes faster than it opens; an octave below sounds where it is pressed.
    pressed = 1.0 + rng.uniform(0.0, 0.7) * (rng.random() < 0.3) * np.cos(np.pi * np.floor(cycles))
    opening = rng.uniform(0.3, 0.8)
    glottis = (
        np.maximum(0.0, np.sin(np.pi * np.minimum(cycles % 1.0 / opening, 1.0))) ** rng.uniform(1.0, 3.0) * pressed
    )
    source = unit(np.diff(glottis, prepend=0.0)) + gain(rng, -30.0, -8.0) * rng.standard_normal(samples)
    voice = 0.1 * unit(source)
    for hz_of, quality in throat:
        if hz_of < 7000.0:
            voice = voice + gain(rng, -12.0, 0.0) * unit(resonance(source, hz_of, quality))
    swell = np.sin(np.pi * along ** rng.uniform(0.5, 2.0)) ** rng.uniform(0.3, 1.5) * (1.0 + 6.0 * trembling * tremor)
    return np.asarray(lfilter([0.02], [1.0, -0.98], np.maximum(swell, 0.0)) * unit(voice))
