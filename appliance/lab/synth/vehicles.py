"""What goes by on roads and rails, from physics, to widen what was recorded: mostly tyres, wheels and air; the engine is faint.

Tyres on a road are noise about 1 kHz that grows with speed, steeper above than below; air and body are noise below some
hundreds of hertz; the exhaust is a muffled pulse train whose lines the ear seldom tells apart. All of it comes and goes
as the vehicle does, with Doppler. A two-wheeler is its exhaust; a diesel knocks, and a lorry lets air off its brakes. Wheels on
rails are noise too, with joints to strike, curves to squeal in and motors that whine as a drone might.
"""

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.geometry import SPEED_OF_SOUND_M_S
from appliance.lab.synth.engines import synth_engine
from appliance.lab.synth.parts import (
    Samples,
    delayed,
    gain,
    lines,
    log_uniform,
    low_passed,
    peak_1,
    resonance,
    softened,
    strokes,
    unit,
    wander,
)

_ALONE_SHARE = 0.3
_LEAD_S = 0.5
"""Sound is on its way before it is heard: so much more is made."""


def synth_vehicle(rng: np.random.Generator, seconds: float) -> npt.NDArray[np.float32]:
    """A vehicle (n,), peak ±1: an engine alone, or one on the road that stands, goes by, comes or leaves."""
    if rng.random() < _ALONE_SHARE:
        return synth_engine(rng, seconds)
    samples = int((seconds + _LEAD_S) * SAMPLE_RATE_HZ)
    make = (_car, _car, _lorry, _lorry, _two_wheeler)[int(rng.integers(5))]
    speed_m_s = 0.0 if rng.random() < 0.15 else rng.uniform(4.0, 32.0)
    sound = make(rng, samples, speed_m_s)
    return peak_1(gone_by(rng, sound, speed_m_s)[int(_LEAD_S * SAMPLE_RATE_HZ) :])


def _car(rng: np.random.Generator, samples: int, speed_m_s: float) -> Samples:
    firing_hz = rng.uniform(22.0, 32.0) if speed_m_s == 0.0 else rng.uniform(35.0, 110.0)  # four cylinders
    exhaust = softened(rng, _exhaust(rng, samples, firing_hz, 4), 80.0, 600.0)
    return _on_the_road(rng, exhaust, speed_m_s, rng.uniform(-18.0, 3.0))


def _lorry(rng: np.random.Generator, samples: int, speed_m_s: float) -> Samples:
    """Or a bus: a diesel of four to eight cylinders."""
    cylinders = int(rng.choice((4, 6, 6, 8)))
    turns_hz = rng.uniform(8.0, 13.0) if speed_m_s == 0.0 else rng.uniform(13.0, 38.0)
    exhaust = _exhaust(rng, samples, turns_hz * cylinders / 2, cylinders)
    knock = unit(_knock(rng, samples, turns_hz * cylinders / 2))
    engine = unit(softened(rng, exhaust, 80.0, 500.0)) + gain(rng, -18.0, 0.0) * knock
    sound = _on_the_road(rng, engine, speed_m_s, rng.uniform(-8.0, 9.0))
    if rng.random() < 0.25:
        sound = sound + gain(rng, -10.0, 6.0) * sound.std() * _brakes(rng, samples)
    return sound


def _two_wheeler(rng: np.random.Generator, samples: int, speed_m_s: float) -> Samples:
    """A moped's two-stroke screams; a motorcycle's one to four cylinders are heard one by one, and gears change."""
    if rng.random() < 0.5:
        firing_hz, cylinders = rng.uniform(25.0, 45.0) if speed_m_s == 0.0 else rng.uniform(70.0, 150.0), 1
    else:
        cylinders = int(rng.choice((1, 2, 2, 4)))
        firing_hz = cylinders / 2 * (rng.uniform(17.0, 28.0) if speed_m_s == 0.0 else rng.uniform(40.0, 120.0))
    exhaust = softened(rng, _exhaust(rng, samples, firing_hz, cylinders), 250.0, 3000.0)
    return _on_the_road(rng, exhaust, 0.7 * speed_m_s, rng.uniform(0.0, 18.0))


def synth_train(rng: np.random.Generator, seconds: float) -> npt.NDArray[np.float32]:
    """A train or tram (n,), peak ±1, as it goes by."""
    samples = int((seconds + _LEAD_S) * SAMPLE_RATE_HZ)
    speed_m_s = rng.uniform(4.0, 35.0)
    wheels = unit(resonance(rng.standard_normal(samples), log_uniform(rng, 300.0, 2000.0), rng.uniform(0.4, 1.2)))
    corner_hz = log_uniform(rng, 40.0, 250.0)
    sound = wheels + gain(rng, -10.0, 10.0) * unit(low_passed(corner_hz, rng.standard_normal(samples)))
    if rng.random() < 0.5:
        sound = sound + gain(rng, -10.0, 8.0) * unit(_joints(rng, samples, speed_m_s))
    if rng.random() < 0.3:
        sound = sound + gain(rng, -15.0, 6.0) * unit(_squeal(rng, samples))
    if rng.random() < 0.4:  # what drives it
        turns = rng.uniform(60.0, 700.0) * np.cumsum(_throttle(rng, samples)) / SAMPLE_RATE_HZ
        sound = sound + gain(rng, -15.0, 3.0) * unit(lines(rng, turns, rng.uniform(1.0, 6.0), 6))
    if rng.random() < 0.25:
        sound = sound + gain(rng, -10.0, 6.0) * unit(
            softened(rng, _exhaust(rng, samples, rng.uniform(20.0, 90.0), 12), 80.0, 500.0)
        )
    # A long thing is at its loudest for a while.
    loud = np.interp(np.arange(samples), np.sort(rng.uniform(-0.5, 1.5, 4)) * samples, (0.1, 1.0, 1.0, 0.1))
    return peak_1((sound * loud)[int(_LEAD_S * SAMPLE_RATE_HZ) :])


def _joints(rng: np.random.Generator, samples: int, speed_m_s: float) -> Samples:
    """Two axles of a bogie strike each joint of the rails, one bogie after the other."""
    spacing_m = rng.choice((2.5, 12.0, 18.0)) * rng.uniform(0.9, 1.1)
    cycles = speed_m_s / spacing_m * np.arange(samples) / SAMPLE_RATE_HZ
    both = strokes(rng, cycles, 0.3) + strokes(rng, cycles + rng.uniform(0.1, 0.3), 0.3)
    return np.asarray(sum(resonance(both, log_uniform(rng, 80.0, 1500.0), rng.uniform(1.0, 5.0)) for _ in range(3)))


def _squeal(rng: np.random.Generator, samples: int) -> Samples:
    """A few tones of a wheel in a curve or of a brake, which swell and tremble."""
    tones = np.zeros(samples)
    for _ in range(int(rng.integers(1, 4))):
        hz = log_uniform(rng, 600.0, 5500.0) * (1.0 + wander(rng, samples, rng.uniform(0.001, 0.01), 0.3))
        swell = np.exp(wander(rng, samples, rng.uniform(0.3, 1.5), rng.uniform(0.1, 1.0)))
        tones = tones + swell * np.cos(2.0 * np.pi * np.cumsum(hz) / SAMPLE_RATE_HZ)
    return tones


def _exhaust(rng: np.random.Generator, samples: int, firing_hz: float, cylinders: int) -> Samples:
    """Blows of uneven cylinders, with the noise of the gas that each lets out, through a silencer's resonances."""
    cycles = firing_hz * np.cumsum(_throttle(rng, samples)) / SAMPLE_RATE_HZ
    uneven = 1.0 + rng.normal(0.0, rng.uniform(0.02, 0.35), cylinders)
    blows = strokes(rng, cycles, rng.uniform(0.03, 0.3)) * uneven[np.floor(cycles).astype(np.int64) % cylinders]
    pulses = lfilter([1.0], [1.0, -rng.uniform(0.6, 0.97)], blows)
    puffs = lfilter([1.0], [1.0, -rng.uniform(0.97, 0.997)], blows)
    gas = rng.standard_normal(samples) * (puffs / (puffs.std() + 1e-9) + rng.uniform(0.0, 1.0))
    exhaust = unit(pulses) + gain(rng, -15.0, 6.0) * unit(gas)
    for _ in range(int(rng.integers(1, 4))):
        exhaust = exhaust + gain(rng, -12.0, 3.0) * unit(resonance(exhaust, log_uniform(rng, 60.0, 900.0), 2.0))
    return exhaust


def _throttle(rng: np.random.Generator, samples: int) -> Samples:
    """Revolutions (n,) about 1: they wander, at times rise all the while, and fall by a third where a gear is changed."""
    time = np.linspace(0.0, 1.0, samples)
    rising = rng.uniform(-0.1, 0.35) if rng.random() < 0.6 else 0.0
    revolutions = 1.0 + rising * (time - 0.5) + wander(rng, samples, rng.uniform(0.002, 0.04), rng.uniform(0.2, 2.0))
    if rng.random() < 0.25:
        revolutions = revolutions * np.interp(time, np.sort(rng.uniform(0.1, 0.9, 2)), (1.0, rng.uniform(0.6, 0.85)))
    return np.maximum(revolutions, 0.2)


def _knock(rng: np.random.Generator, samples: int, firing_hz: float) -> Samples:
    """Each firing rings the block, about 1 to 3 kHz."""
    cycles = firing_hz * np.cumsum(1.0 + wander(rng, samples, rng.uniform(0.005, 0.03), 0.5)) / SAMPLE_RATE_HZ
    blows = strokes(rng, cycles, rng.uniform(0.2, 0.6)) * np.exp(0.5 * rng.standard_normal(samples))
    rung = [resonance(blows, log_uniform(rng, 800.0, 3500.0), rng.uniform(1.5, 6.0)) for _ in range(3)]
    return np.asarray(sum(gain(rng, -8.0, 0.0) * unit(each) for each in rung))


def _on_the_road(rng: np.random.Generator, engine: Samples, speed_m_s: float, engine_db: float) -> Samples:
    """With tyres and air: at 14 m/s (50 km/h) the engine has so many decibels against them; noise grows as 30·lg of speed."""
    samples = len(engine)
    rolling_db = 30.0 * np.log10(max(speed_m_s, 1.0) / 14.0)
    tyres = unit(resonance(rng.standard_normal(samples), rng.uniform(600.0, 1400.0), rng.uniform(0.5, 1.6)))
    air = unit(low_passed(log_uniform(rng, 60.0, 400.0), rng.standard_normal(samples)))
    rolling = unit(tyres + gain(rng, -10.0, 12.0) * air)
    return np.asarray(unit(engine) * 10.0 ** ((engine_db - rolling_db) / 20.0) + rolling)


def _brakes(rng: np.random.Generator, samples: int) -> Samples:
    """Air that is let off, once."""
    time_s = np.arange(samples) / SAMPLE_RATE_HZ - rng.uniform(0.0, samples / SAMPLE_RATE_HZ)
    hiss = lfilter([1.0, -0.95], [1.0], rng.standard_normal(samples))
    return np.asarray(unit(hiss) * np.where(time_s > 0.0, np.exp(-time_s / log_uniform(rng, 0.05, 0.6)), 0.0))


def gone_by(rng: np.random.Generator, sound: Samples, speed_m_s: float) -> Samples:
    """As it is heard beside a straight road that it takes: nearest at some moment, or long before or after what is heard."""
    time_s = np.arange(len(sound)) / SAMPLE_RATE_HZ
    nearest_m = log_uniform(rng, 3.0, 60.0)
    nearest_s = rng.uniform(-0.4, 1.4) * time_s[-1]
    distance_m = np.hypot(nearest_m, speed_m_s * (time_s - nearest_s))
    later = (distance_m - distance_m.min()) / SPEED_OF_SOUND_M_S * SAMPLE_RATE_HZ
    return delayed(sound, later) * (distance_m.min() / distance_m)
