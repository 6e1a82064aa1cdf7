"""Spectra back to samples: the inverse of `dsp.stft`, streamed."""

import numpy as np

from appliance.dsp.stft import HOP_SAMPLES, WINDOW_SAMPLES
from appliance.types import Complex64Array, Float32Array

LATENCY_SAMPLES = WINDOW_SAMPLES - HOP_SAMPLES
"""A sample is whole once every frame that holds it has been added: this much later than it was heard."""

_PARTS = -(-WINDOW_SAMPLES // HOP_SAMPLES)


def _dual_window() -> Float32Array:
    """The window that undoes the analysis window: w over the sum of w² of all frames that share a sample."""
    window = np.hanning(WINDOW_SAMPLES + 1)[:-1]
    padded = np.zeros(_PARTS * HOP_SAMPLES)
    padded[_PARTS * HOP_SAMPLES - WINDOW_SAMPLES :] = window**2
    total = padded.reshape(_PARTS, HOP_SAMPLES).sum(axis=0)
    shared = np.tile(total, _PARTS)[_PARTS * HOP_SAMPLES - WINDOW_SAMPLES :]
    dual: Float32Array = (window / shared).astype(np.float32)
    return dual


_DUAL_WINDOW = _dual_window()


class StreamingIstft:
    """Frames (frames, channels, bins) → samples (channels, n), by overlap-add with the dual window.

    Spectra of `dsp.stft` that nobody changed give their samples back, `LATENCY_SAMPLES` later: the first that come out
    are those of the silence that the transform puts before its first sample.
    """

    def __init__(self, channels: int) -> None:
        self._tail = np.zeros((channels, WINDOW_SAMPLES), np.float32)

    def push(self, frames: Complex64Array) -> Float32Array:
        """Add frames and get the samples (channels, frames · hop) that they complete."""
        pieces = np.fft.irfft(frames, WINDOW_SAMPLES, axis=-1).astype(np.float32) * _DUAL_WINDOW
        out = np.empty((self._tail.shape[0], len(frames) * HOP_SAMPLES), np.float32)
        for index, piece in enumerate(pieces):
            self._tail += piece
            out[:, index * HOP_SAMPLES : (index + 1) * HOP_SAMPLES] = self._tail[:, :HOP_SAMPLES]
            self._tail[:, :-HOP_SAMPLES] = self._tail[:, HOP_SAMPLES:]
            self._tail[:, -HOP_SAMPLES:] = 0.0
        return out
