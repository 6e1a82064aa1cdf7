"""From raw chunks to blocks: channel map, scale, 16 kHz, sample count and UTC, and the ledger of what was lost."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from appliance.audio.clock import SampleClock
from appliance.audio.inlet import Chunk
from appliance.audio.pcm import WIRE_FORMATS, decode
from appliance.audio.resample import Resampler
from appliance.audio.source import SAMPLE_RATE_HZ
from appliance.audio.spec import CaptureSpec
from appliance.types import AudioBlock, Float32Array


@dataclass(frozen=True, slots=True)
class GapLedger:
    """What was lost since the stream began. `start_sample` of a block = samples delivered before it + `lost_samples`."""

    gaps: int = 0
    """Times audio was lost or the stream reopened; the next block is marked `gap`."""
    lost_samples: int = 0
    """Samples per microphone at 16 kHz that never came."""
    dropped_frames: int = 0
    """Device frames dropped because the reader was slow; exact."""
    overruns: int = 0
    """Overruns inside driver or ALSA; what they cost is estimated from the clock."""
    reopenings: int = 0
    """Times the stream was opened anew; what that cost is estimated from the clock."""


class Timeline:
    """Puts the chunks of one capture in order. Knows nothing of threads; time is an argument.

    PortAudio says *that* it overran, not by how much, and its ADC time stamps follow UTC's steps on some ALSA versions.
    So frames lost in the driver are those that the monotonic clock says should have come by now and did not
    (good to a few milliseconds), and frames dropped by our own queue are counted to the sample. What is lost and nobody says
    so, the clock tells once it is half a second.
    """

    def __init__(self, spec: CaptureSpec) -> None:
        self._spec = spec
        self._clock = SampleClock()
        self._resampler = self._new_resampler()
        self._next_frame = 0  # of the device, lost frames included
        self._next_sample = 0  # at 16 kHz
        self._seen_dropped = 0
        self._seen_overruns = 0
        self._dropped_at_reopening = 0
        self._reopened = False
        self._gap = False
        self.ledger = GapLedger()

    def push(self, chunk: Chunk, utc_minus_monotonic_ns: int) -> Iterator[AudioBlock]:
        """Blocks that this chunk completes; before a gap, first what the resampler still held."""
        dropped = chunk.dropped_frames - self._seen_dropped + self._dropped_at_reopening
        overruns = chunk.overruns - self._seen_overruns
        uncertain = bool(overruns) or self._reopened or self._clock.is_behind
        if dropped or uncertain:
            yield from self._block(self._resampler.finish(), utc_minus_monotonic_ns)
            self._skip(self._lost_frames(chunk, dropped, uncertain=uncertain))
            self.ledger = replace(
                self.ledger,
                gaps=self.ledger.gaps + 1,
                dropped_frames=self.ledger.dropped_frames + dropped,
                overruns=self.ledger.overruns + overruns,
                reopenings=self.ledger.reopenings + self._reopened,
            )
            self._seen_dropped, self._seen_overruns = chunk.dropped_frames, chunk.overruns
            self._dropped_at_reopening, self._reopened = 0, False
        self._next_frame += chunk.frames
        self._clock.observe(self._next_frame / self._spec.sample_rate_hz, chunk.arrival_ns)
        wire = WIRE_FORMATS[self._spec.sample_format]
        frames = decode(chunk.data, self._spec.channels, wire.portaudio)
        microphones = np.ascontiguousarray(frames[:, self._spec.alsa_channels].T)
        yield from self._block(self._resampler.push(microphones), utc_minus_monotonic_ns)

    def reopened(self, dropped_frames: int) -> None:
        """The next chunk comes from a new inlet; the old one had dropped `dropped_frames` in all."""
        self._dropped_at_reopening += dropped_frames - self._seen_dropped
        self._seen_dropped = self._seen_overruns = 0
        self._reopened = True

    def _lost_frames(self, chunk: Chunk, dropped: int, *, uncertain: bool) -> int:
        """Device frames between the last chunk and this one."""
        now_s = self._clock.position_s(chunk.arrival_ns)
        if not uncertain or now_s is None:
            return dropped
        self._clock.restart()
        due = round(now_s * self._spec.sample_rate_hz) - chunk.frames
        return max(dropped, due - self._next_frame)

    def _skip(self, lost_frames: int) -> None:
        """Go on after a gap: a new resampler, and sample counts moved past what was lost."""
        self._next_frame += lost_frames
        resumed = max(self._next_sample, round(self._next_frame * SAMPLE_RATE_HZ / self._spec.sample_rate_hz))
        self.ledger = replace(self.ledger, lost_samples=self.ledger.lost_samples + resumed - self._next_sample)
        self._next_sample = resumed
        self._resampler = self._new_resampler()
        self._gap = True

    def _block(self, samples: Float32Array, utc_minus_monotonic_ns: int) -> Iterator[AudioBlock]:
        if samples.shape[1]:
            heard_ns = self._clock.monotonic_ns(self._next_sample / SAMPLE_RATE_HZ)
            yield AudioBlock(samples, SAMPLE_RATE_HZ, self._next_sample, heard_ns + utc_minus_monotonic_ns, self._gap)
            self._next_sample += samples.shape[1]
            self._gap = False

    def _new_resampler(self) -> Resampler:
        return Resampler(len(self._spec.alsa_channels), self._spec.sample_rate_hz)
