"""The bounded queue between PortAudio's callback and the reader."""

import queue
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chunk:
    """One callback's worth of audio, untouched."""

    data: bytes
    """Interleaved samples as PortAudio delivered them."""
    frames: int
    """Samples per channel."""
    arrival_ns: int
    """Monotonic clock when the callback began."""
    dropped_frames: int
    """Frames the inlet has dropped since it was made, all of them before this chunk."""
    overruns: int
    """Overruns PortAudio has reported since the inlet was made, the one directly before this chunk included."""


class Inlet:
    """What the callback writes to. It copies and counts, and never waits: a late callback loses audio in the driver.

    A stream that is reopened gets a new inlet, so that a callback of the old one cannot speak into the new one.
    """

    def __init__(self, capacity_chunks: int) -> None:
        self._queue: queue.Queue[Chunk] = queue.Queue(max(1, capacity_chunks))
        self.dropped_frames = 0
        """Frames that found the queue full; written by the callback alone."""
        self.overruns = 0
        """Overruns that PortAudio reported; written by the callback alone."""
        self.last_arrival_ns = time.monotonic_ns()
        """Monotonic clock of the latest callback, kept or dropped."""

    def push(self, data: bytes, frames: int, *, overrun: bool) -> None:
        """Called by the callback only. When the queue is full the new frames are dropped and counted."""
        now_ns = time.monotonic_ns()
        self.overruns += overrun
        try:
            self._queue.put_nowait(Chunk(data, frames, now_ns, self.dropped_frames, self.overruns))
        except queue.Full:
            self.dropped_frames += frames
        self.last_arrival_ns = now_ns

    def take(self, timeout_s: float) -> Chunk | None:
        """The oldest chunk; None where none came in time."""
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
