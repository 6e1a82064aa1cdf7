"""What every source of audio offers: an endless or finite run of blocks at 16 kHz, in microphone order."""

from collections.abc import Iterator
from types import TracebackType
from typing import Protocol

from appliance.types import AudioBlock

SAMPLE_RATE_HZ = 16000
"""Rate of every block, whatever the device or file runs at."""
BLOCKS_PER_SECOND = 10
"""Sources read 100 ms at a time. After resampling and beside gaps a block may have any size above zero."""


class AudioSource(Protocol):
    """A microphone array, live or recorded."""

    @property
    def sample_rate_hz(self) -> int:
        """Always 16000."""

    @property
    def mics(self) -> int:
        """Number of microphones: rows of every block."""

    def blocks(self) -> Iterator[AudioBlock]:
        """The audio in order, from now until the end of the file or `close`.

        Raises `DeviceError` or `RecordingError` after everything that could be heard has been delivered.
        """

    def close(self) -> None:
        """Give device or file back and end `blocks`; safe from another thread, from a signal handler, and twice."""

    def __enter__(self) -> "AudioSource":
        """The source itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
