"""From the pressure at microphones to the samples of a converter, with all that is wrong with both."""

import numpy as np
import numpy.typing as npt
from scipy.fft import next_fast_len

from appliance.dsp.stft import HOP_SAMPLES, HOPS_PER_LABEL, SAMPLE_RATE_HZ
from appliance.errors import ConfigError
from appliance.lab.world.levels import Microphone
from appliance.lab.world.recipe import Sensors
from appliance.types import Float32Array

FloatArray = npt.NDArray[np.float64]

LABEL_SAMPLES = HOP_SAMPLES * HOPS_PER_LABEL
_MARGIN = 512


def microphone(sensors: Sensors) -> Microphone:
    """The capsule that the recipe speaks of."""
    return Microphone(sensors.full_scale_db_spl, sensors.self_noise_dba)


def true_positions_m(positions_m: FloatArray, sensors: Sensors) -> FloatArray:
    """Where the microphones of an array file (mics, 3) really are. Raises `ConfigError` as `check_sensors`."""
    check_sensors(sensors, len(positions_m))
    return positions_m + np.array(sensors.moved_mm) / 1000.0 if sensors.moved_mm else positions_m


def check_sensors(sensors: Sensors, mics: int) -> None:
    """Raises `ConfigError` where a fault speaks of a microphone that the array does not have."""
    for name in ("gain_db", "delay_us", "moved_mm"):
        given = len(getattr(sensors, name))
        if given not in (0, mics):
            raise ConfigError(
                f"recipe: sensors.{name}: {given} values for {mics} microphones; give one for each, or none"
            )
    named = [*sensors.dead, *sensors.inverted, *(mic for pair in sensors.swapped for mic in pair)]
    for mic in named:
        if not 0 <= mic < mics:
            raise ConfigError(f"recipe: sensors: microphone {mic} of {mics}; they count from 0 to {mics - 1}")


def sample(pressure_pa: FloatArray, sensors: Sensors) -> Float32Array:
    """Pressure (mics, n) in pascal, self-noise included → samples (mics, n), each a step of the converter."""
    check_sensors(sensors, len(pressure_pa))
    signal = microphone(sensors).digital(pressure_pa)
    if sensors.gain_db:
        signal = signal * 10.0 ** (np.array(sensors.gain_db)[:, None] / 20.0)
    if any(sensors.delay_us):
        signal = _delayed(signal, np.array(sensors.delay_us) * 1e-6)
    for mic in sensors.inverted:
        signal[mic] = -signal[mic]
    signal[list(sensors.dead)] = 0.0
    for one, other in sensors.swapped:
        signal[[one, other]] = signal[[other, one]]
    steps = 2.0 ** (sensors.bits - 1)
    samples = (np.clip(np.round(signal * steps), -steps, steps - 1.0) / steps).astype(np.float32)
    for start, stop in gap_samples(sensors, samples.shape[1]):
        samples[:, start:stop] = 0.0
    return samples


def gap_samples(sensors: Sensors, length: int) -> tuple[tuple[int, int], ...]:
    """(first, end) of each stretch of lost samples, in whole label frames, within `length`."""
    frame_s = LABEL_SAMPLES / SAMPLE_RATE_HZ
    frames = (
        (int(start_s / frame_s + 1e-9), int(np.ceil((start_s + s) / frame_s - 1e-9))) for start_s, s in sensors.gaps
    )
    spans = ((max(0, first * LABEL_SAMPLES), min(length, end * LABEL_SAMPLES)) for first, end in frames)
    return tuple((start, stop) for start, stop in sorted(spans) if start < stop)


def _delayed(signal: FloatArray, delay_s: FloatArray) -> FloatArray:
    """Signals (mics, n), each later by its delay (mics,), up to 32 ms."""
    length = signal.shape[1]
    size = next_fast_len(length + 2 * _MARGIN, real=True)
    padded = np.pad(signal, ((0, 0), (_MARGIN, size - length - _MARGIN)))
    frequencies = np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE_HZ)
    turned = np.fft.rfft(padded, axis=1) * np.exp(-2j * np.pi * frequencies * delay_s[:, None])
    later: FloatArray = np.fft.irfft(turned, n=size, axis=1)[:, _MARGIN : _MARGIN + length]
    return later
