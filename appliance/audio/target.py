"""A drone that nobody flies: synthetic sound as the array would hear it, to prove that a unit still detects."""

import threading
from collections.abc import Iterator
from types import TracebackType

import numpy as np
import numpy.typing as npt

from appliance.angles import unit_vector
from appliance.audio.source import BLOCKS_PER_SECOND, SAMPLE_RATE_HZ
from appliance.geometry import SPEED_OF_SOUND_M_S, ArrayGeometry
from appliance.types import AudioBlock, Float32Array

_ROTORS = 4
_HIGHEST_HZ = 7000.0
_MOST_HARMONICS = 40
_FALL_DB = 2.5
_VORTEX_DB = -10.0
_PEAK = 0.05
_SELF_NOISE = 2e-4
_NS_PER_SAMPLE = 1_000_000_000 // SAMPLE_RATE_HZ


def drone(seconds: float, blade_hz: float, seed: int) -> npt.NDArray[np.float64]:
    """(n,) four rotors at the blade-passing frequency `blade_hz`, each a little off and wandering: harmonics and vortex noise."""
    random = np.random.default_rng(seed)
    n = round(seconds * SAMPLE_RATE_HZ)
    time_s = np.arange(n) / SAMPLE_RATE_HZ
    tones, beat = np.zeros(n), np.zeros(n)
    knots = np.linspace(0.0, seconds, 8 * max(1, round(seconds)))
    for _ in range(_ROTORS):
        wander = np.interp(time_s, knots, random.normal(0.0, 0.01, len(knots)))
        phase = 2.0 * np.pi * np.cumsum(blade_hz * (1.0 + random.normal(0.0, 0.02) + wander)) / SAMPLE_RATE_HZ
        for harmonic in range(1, min(_MOST_HARMONICS, int(_HIGHEST_HZ / blade_hz))):
            offset = random.uniform(0.0, 2.0 * np.pi)
            tones += 10.0 ** (-_FALL_DB * harmonic / 20.0) * np.cos(harmonic * phase + offset)
        beat += 1.0 + 0.5 * np.cos(phase)
    vortex = random.normal(0.0, 1.0, n) * beat
    sound = tones + vortex * 10.0 ** (_VORTEX_DB / 20.0) * tones.std() / vortex.std()
    scaled: npt.NDArray[np.float64] = _PEAK * sound / np.abs(sound).max()
    return scaled


def at_array(
    signal: npt.NDArray[np.float64], geometry: ArrayGeometry, azimuth_deg: float, elevation_deg: float, seed: int
) -> Float32Array:
    """(n,) from far away → (mics, n): a plane wave, each microphone earlier or later, with a little noise of its own."""
    advance_s = geometry.positions_m @ unit_vector(azimuth_deg, elevation_deg) / SPEED_OF_SOUND_M_S
    frequencies_hz = np.fft.rfftfreq(len(signal), 1.0 / SAMPLE_RATE_HZ)
    turned = np.fft.rfft(signal) * np.exp(2j * np.pi * frequencies_hz * advance_s[:, None])
    noise = np.random.default_rng(seed).normal(0.0, _SELF_NOISE, (geometry.mics, len(signal)))
    return np.asarray(np.fft.irfft(turned, len(signal)) + noise, np.float32)


class TargetSource:
    """Samples in memory as a source, handed over with pauses, so that whoever really listens goes first."""

    def __init__(self, samples: Float32Array, *, pause_s: float = 0.0) -> None:
        """`samples` is (mics, n) at 16 kHz."""
        self._samples = samples
        self._pause_s = pause_s
        self._closing = threading.Event()

    @property
    def sample_rate_hz(self) -> int:
        """Always 16000."""
        return SAMPLE_RATE_HZ

    @property
    def mics(self) -> int:
        """Number of microphones."""
        return len(self._samples)

    def blocks(self) -> Iterator[AudioBlock]:
        """Blocks of 100 ms that count their time from 1970."""
        step = SAMPLE_RATE_HZ // BLOCKS_PER_SECOND
        for start in range(0, self._samples.shape[1], step):
            if self._closing.wait(self._pause_s):
                return
            yield AudioBlock(self._samples[:, start : start + step], SAMPLE_RATE_HZ, start, start * _NS_PER_SAMPLE)

    def close(self) -> None:
        """End `blocks`."""
        self._closing.set()

    def __enter__(self) -> "TargetSource":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
