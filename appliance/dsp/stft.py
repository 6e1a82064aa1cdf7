"""Streaming short-time Fourier transform: causal, with the left context kept between pushes."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.fft import rfft

from appliance.types import Complex64Array, Float32Array

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 1024
"""64 ms: bins of 15.6 Hz tell the harmonics of a drone's rotors apart."""
HOP_SAMPLES = 320
"""20 ms: five hops make one label frame of 100 ms."""
BINS = WINDOW_SAMPLES // 2 + 1
HOPS_PER_LABEL = 5


@cache
def hann(samples: int) -> Float32Array:
    """(samples,) periodic Hann window."""
    window: Float32Array = np.hanning(samples + 1)[:-1].astype(np.float32)
    return window


WINDOW = hann(WINDOW_SAMPLES)


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a transform looks at a signal: periodic Hann windows of so many samples, one every so many."""

    window_samples: int = WINDOW_SAMPLES
    hop_samples: int = HOP_SAMPLES

    @property
    def bins(self) -> int:
        """From 0 Hz to half the sample rate."""
        return self.window_samples // 2 + 1

    @property
    def context_samples(self) -> int:
        """What the first hop hears from before itself."""
        return self.window_samples - self.hop_samples

    @property
    def bin_hz(self) -> float:
        """From one bin to the next."""
        return SAMPLE_RATE_HZ / self.window_samples

    @property
    def hop_s(self) -> float:
        """From one frame to the next."""
        return self.hop_samples / SAMPLE_RATE_HZ


STANDARD = Resolution()
"""Of everything, unless something else is said."""


def bin_frequencies_hz(resolution: Resolution = STANDARD) -> npt.NDArray[np.float64]:
    """(bins,) centre frequency of each STFT bin in Hz."""
    return np.arange(resolution.bins, dtype=np.float64) * resolution.bin_hz


STANDARD_HZ = bin_frequencies_hz()
"""(bins,) of the standard transform."""


def stft(samples: Float32Array, resolution: Resolution = STANDARD) -> Complex64Array:
    """Whole-signal transform that equals what `StreamingStft` gives: frame k ends with sample (k + 1)·hop.

    samples (..., n) → (frames, ..., bins); what does not fill a last hop is left out.
    """
    hops = samples.shape[-1] // resolution.hop_samples
    if hops == 0:
        return np.empty((0, *samples.shape[:-1], resolution.bins), np.complex64)
    context = np.zeros((*samples.shape[:-1], resolution.context_samples), np.float32)
    heard = samples[..., : hops * resolution.hop_samples]
    return _transform(np.concatenate([context, heard], axis=-1), resolution)


def _transform(padded: Float32Array, resolution: Resolution) -> Complex64Array:
    size = resolution.window_samples
    windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=-1)[..., :: resolution.hop_samples, :]
    # SciPy's, which transforms several windows at once in single precision: NumPy's takes six times as long for sixteen microphones.
    spectrum = rfft(windows * hann(size), axis=-1).astype(np.complex64, copy=False)
    return np.moveaxis(spectrum, -2, 0)


class StreamingStft:
    """Frames of whatever number of samples comes in; begins with silence before the first sample."""

    def __init__(self, channels: int, resolution: Resolution = STANDARD) -> None:
        self._channels, self._resolution = channels, resolution
        self.reset()

    def reset(self) -> None:
        """Forget everything heard so far."""
        self._pending = np.zeros((self._channels, self._resolution.context_samples), np.float32)

    def push(self, samples: Float32Array) -> Complex64Array:
        """Add samples (channels, n) and get the frames (frames, channels, bins) that they complete."""
        hop, context = self._resolution.hop_samples, self._resolution.context_samples
        self._pending = np.concatenate([self._pending, samples.astype(np.float32, copy=False)], axis=1)
        hops = (self._pending.shape[1] - context) // hop
        if hops == 0:
            return np.empty((0, self._channels, self._resolution.bins), np.complex64)
        frames = _transform(self._pending[:, : context + hops * hop], self._resolution)
        self._pending = self._pending[:, hops * hop :]
        return frames
