"""Streaming conversion of any sample rate to 16 kHz (soxr, high quality, linear phase, delay compensated)."""

import numpy as np
import soxr

from appliance.audio.source import SAMPLE_RATE_HZ
from appliance.types import Float32Array


class Resampler:
    """One unbroken stretch of audio in, the same stretch at 16 kHz out. A gap needs a new one."""

    def __init__(self, mics: int, rate_hz: int) -> None:
        self._mics = mics
        # At 16 kHz samples pass unchanged to the bit.
        self._stream = (
            None if rate_hz == SAMPLE_RATE_HZ else soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, mics, dtype="float32")
        )

    def push(self, samples: Float32Array) -> Float32Array:
        """(mics, n) at the input rate → (mics, m) at 16 kHz; m may be 0 while the filter fills."""
        return samples if self._stream is None else self._resampled(samples, last=False)

    def finish(self) -> Float32Array:
        """(mics, m) what the filter still held; nothing may be pushed afterwards."""
        silence = np.zeros((self._mics, 0), np.float32)
        return silence if self._stream is None else self._resampled(silence, last=True)

    def _resampled(self, samples: Float32Array, *, last: bool) -> Float32Array:
        assert self._stream is not None
        # A copy, not `ascontiguousarray`: of a single frame that keeps strides which soxr refuses.
        interleaved = self._stream.resample_chunk(samples.T.copy(), last=last)
        return np.ascontiguousarray(interleaved.reshape(-1, self._mics).T, dtype=np.float32)
