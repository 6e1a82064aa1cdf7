"""Streaming short-time Fourier transform: causal, with the left context kept between pushes."""

import numpy as np
import numpy.typing as npt

from appliance.types import Complex64Array, Float32Array

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 1024
"""64 ms: bins of 15.6 Hz tell the harmonics of a drone's rotors apart."""
HOP_SAMPLES = 320
"""20 ms: five hops make one label frame of 100 ms."""
BINS = WINDOW_SAMPLES // 2 + 1
HOPS_PER_LABEL = 5

WINDOW = np.hanning(WINDOW_SAMPLES + 1)[:-1].astype(np.float32)
"""(window,) periodic Hann."""


def bin_frequencies_hz() -> npt.NDArray[np.float64]:
    """(bins,) centre frequency of each STFT bin in Hz."""
    return np.arange(BINS, dtype=np.float64) * (SAMPLE_RATE_HZ / WINDOW_SAMPLES)


def stft(samples: Float32Array) -> Complex64Array:
    """Whole-signal transform that equals what `StreamingStft` gives: frame k ends with sample (k + 1)·hop.

    samples (..., n) → (frames, ..., bins); what does not fill a last hop is left out.
    """
    hops = samples.shape[-1] // HOP_SAMPLES
    if hops == 0:
        return np.empty((0, *samples.shape[:-1], BINS), np.complex64)
    context = np.zeros((*samples.shape[:-1], WINDOW_SAMPLES - HOP_SAMPLES), np.float32)
    return _transform(np.concatenate([context, samples[..., : hops * HOP_SAMPLES]], axis=-1))


def _transform(padded: Float32Array) -> Complex64Array:
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES, axis=-1)[..., ::HOP_SAMPLES, :]
    spectrum = np.fft.rfft(windows * WINDOW, axis=-1).astype(np.complex64)
    return np.moveaxis(spectrum, -2, 0)


class StreamingStft:
    """Frames of whatever number of samples comes in; begins with silence before the first sample."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self.reset()

    def reset(self) -> None:
        """Forget everything heard so far."""
        self._pending = np.zeros((self._channels, WINDOW_SAMPLES - HOP_SAMPLES), np.float32)

    def push(self, samples: Float32Array) -> Complex64Array:
        """Add samples (channels, n) and get the frames (frames, channels, bins) that they complete."""
        self._pending = np.concatenate([self._pending, samples.astype(np.float32, copy=False)], axis=1)
        hops = (self._pending.shape[1] - (WINDOW_SAMPLES - HOP_SAMPLES)) // HOP_SAMPLES
        if hops == 0:
            return np.empty((0, self._channels, BINS), np.complex64)
        used = WINDOW_SAMPLES - HOP_SAMPLES + hops * HOP_SAMPLES
        frames = _transform(self._pending[:, :used])
        self._pending = self._pending[:, hops * HOP_SAMPLES :]
        return frames
