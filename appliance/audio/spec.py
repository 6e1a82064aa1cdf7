"""What is captured: settings and array file boiled down to what a stream needs."""

from dataclasses import dataclass

from appliance.audio.pcm import SampleFormat
from appliance.audio.source import BLOCKS_PER_SECOND


@dataclass(frozen=True, slots=True)
class CaptureSpec:
    """Everything about one capture that does not change while it runs."""

    device: str
    """ALSA card id or PCM name."""
    channels: int
    """Channels to open."""
    sample_rate_hz: int
    """Rate of the device."""
    sample_format: SampleFormat
    """Format of the device."""
    alsa_channels: tuple[int, ...]
    """Channel of the device for each microphone."""
    queue_seconds: float = 5.0
    """Audio held between callback and reader."""

    @property
    def chunk_frames(self) -> int:
        """Frames per callback: 100 ms."""
        return self.sample_rate_hz // BLOCKS_PER_SECOND

    @property
    def queue_chunks(self) -> int:
        """Callbacks the queue holds."""
        return max(1, round(self.queue_seconds * BLOCKS_PER_SECOND))
