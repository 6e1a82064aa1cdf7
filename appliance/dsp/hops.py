"""Audio blocks of whatever length, cut into hops that know when they ended."""

from dataclasses import dataclass

import numpy as np

from appliance.dsp.stft import HOP_SAMPLES, SAMPLE_RATE_HZ
from appliance.types import AudioBlock, Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class Hop:
    """One hop of audio."""

    samples: Float32Array
    """(mics, samples)."""
    end_s: float
    """Seconds of the stream up to its end."""
    utc_ns: int
    """UTC of its end."""


class Hops:
    """Cuts; what fills no hop yet waits for more."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self._pending: Float32Array | None = None

    def push(self, block: AudioBlock) -> list[Hop]:
        """The hops that the block completes."""
        lead, waiting = 0, block.samples
        if self._pending is not None:
            lead, waiting = self._pending.shape[1], np.concatenate([self._pending, block.samples], axis=1)
        *parts, self._pending = np.split(waiting, np.arange(HOP_SAMPLES, waiting.shape[1] + 1, HOP_SAMPLES), axis=1)
        ends = [(number + 1) * HOP_SAMPLES - lead for number in range(len(parts))]
        return [
            Hop(part, (block.start_sample + end) / SAMPLE_RATE_HZ, block.utc_ns + end * 1_000_000_000 // SAMPLE_RATE_HZ)
            for part, end in zip(parts, ends, strict=True)
        ]
