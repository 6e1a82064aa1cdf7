"""Helicopters and aeroplanes from physics, to widen the few recorded ones.

A helicopter's main rotor beats ten to thirty times a second: lines at the blade-passing frequency, slaps where a blade meets
the vortex of the one before, and noise that swells with each. Its tail rotor turns four to seven times as fast. A propeller
has its lines at 50 to 130 Hz, and exhaust at half orders of the shaft; a jet is noise. What passes by glides (Doppler), and
what the ground returns of an aeroplane moves a comb through its noise.
"""

import numpy as np
import numpy.typing as npt

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.lab.synth.parts import Samples, delayed, gain, lines, peak_1, resonance, softened, strokes, unit, wander


def synth_helicopter(rng: np.random.Generator, seconds: float) -> npt.NDArray[np.float32]:
    """A helicopter (n,), peak ±1: main rotor, slaps, tail rotor or fan in a shroud, and at times a turbine's whine."""
    samples = int(seconds * SAMPLE_RATE_HZ)
    main_hz = rng.uniform(9.0, 30.0)
    speed = _passing(rng, samples, 0.06) * (1.0 + wander(rng, samples, rng.uniform(0.001, 0.01), 1.0))
    beats = main_hz * np.cumsum(speed) / SAMPLE_RATE_HZ
    rotor = unit(lines(rng, beats, rng.uniform(0.6, 3.0), 40))
    beat = (1.0 - (beats % 1.0)) ** rng.uniform(1.0, 12.0)
    slaps = strokes(rng, beats, 0.15)
    slap = unit(resonance(slaps, rng.uniform(80.0, 700.0), rng.uniform(0.6, 3.0)))
    tail_hz = main_hz * (rng.uniform(20.0, 40.0) if rng.random() < 0.25 else rng.uniform(3.0, 7.0))
    tail = unit(lines(rng, beats * tail_hz / main_hz, rng.uniform(0.8, 3.0), 30))
    wash = unit(_coloured(rng, samples) * (rng.uniform(0.05, 1.0) + beat))
    sound = rotor + gain(rng, -20.0, 6.0) * slap + gain(rng, -20.0, 3.0) * tail + gain(rng, -10.0, 8.0) * wash
    if rng.random() < 0.4:
        whine = np.cos(2.0 * np.pi * rng.uniform(1500.0, 6500.0) * np.cumsum(speed) / SAMPLE_RATE_HZ)
        sound = sound + gain(rng, -30.0, -8.0) * whine
    return peak_1(softened(rng, sound, 300.0, 5000.0))


def synth_airplane(rng: np.random.Generator, seconds: float) -> npt.NDArray[np.float32]:
    """A propeller aeroplane or a jet that passes (n,), peak ±1."""
    samples = int(seconds * SAMPLE_RATE_HZ)
    speed = _passing(rng, samples, 0.25)
    noise = unit(_moving_comb(rng, _coloured(rng, samples)))
    if rng.random() < 0.55:
        shaft_hz = rng.uniform(18.0, 46.0)
        turns = (
            shaft_hz * np.cumsum(speed * (1.0 + wander(rng, samples, rng.uniform(0.0005, 0.01), 1.0))) / SAMPLE_RATE_HZ
        )
        blades, cylinders = int(rng.choice((2, 3, 4, 6))), int(rng.choice((4, 4, 6, 8)))
        propeller = unit(lines(rng, blades * turns, rng.uniform(0.4, 2.5), 40))
        exhaust = unit(lines(rng, 0.5 * cylinders * turns, rng.uniform(0.5, 3.0), 30))
        sound = propeller + gain(rng, -20.0, 3.0) * exhaust + gain(rng, -15.0, 5.0) * noise
    else:
        fan_hz = rng.uniform(600.0, 3500.0)
        fan = lines(rng, fan_hz * np.cumsum(speed) / SAMPLE_RATE_HZ, rng.uniform(3.0, 10.0), 4)
        sound = noise + gain(rng, -35.0, -6.0) * unit(fan)
    return peak_1(softened(rng, sound, 120.0, 2500.0))


def _passing(rng: np.random.Generator, samples: int, fastest: float) -> Samples:
    """How much higher all frequencies are, (n,), of what flies by at up to so much of the speed of sound, at some distance."""
    along = np.linspace(-1.0, 1.0, samples) + rng.uniform(-1.5, 1.5)
    approaching: Samples = -along / np.hypot(along, rng.uniform(0.2, 5.0))
    return 1.0 / (1.0 - rng.uniform(0.0, fastest) * approaching)


def _coloured(rng: np.random.Generator, samples: int) -> Samples:
    """Noise that falls towards high frequencies, with a hump somewhere."""
    white = rng.standard_normal(samples)
    falling = softened(rng, white, 60.0, 1500.0)
    return unit(falling) + gain(rng, -15.0, 5.0) * unit(resonance(white, rng.uniform(80.0, 900.0), 0.7))


def _moving_comb(rng: np.random.Generator, noise: Samples) -> Samples:
    """With its own echo from the ground, whose delay changes as the source passes."""
    first, last = rng.uniform(2.0, 120.0, 2)
    return noise + rng.uniform(0.0, 0.8) * delayed(noise, np.linspace(first, last, len(noise)))
