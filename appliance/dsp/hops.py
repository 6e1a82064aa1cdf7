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
    index: int
    """Hops since the last reset."""
    utc_ns: int
    """UTC of its end."""


class Hops:
    """Cuts; what fills no hop yet waits for more."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self._pending: Float32Array | None = None
        self._count = 0

    def push(self, block: AudioBlock) -> list[Hop]:
        """The hops that the block completes."""
        lead, waiting = 0, block.samples
        if self._pending is not None:
            lead, waiting = self._pending.shape[1], np.concatenate([self._pending, block.samples], axis=1)
        *parts, self._pending = np.split(waiting, np.arange(HOP_SAMPLES, waiting.shape[1] + 1, HOP_SAMPLES), axis=1)
        first, self._count = self._count, self._count + len(parts)
        ends = [(number + 1) * HOP_SAMPLES - lead for number in range(len(parts))]
        return [
            Hop(part, first + number, block.utc_ns + end * 1_000_000_000 // SAMPLE_RATE_HZ)
            for number, (part, end) in enumerate(zip(parts, ends, strict=True))
        ]
