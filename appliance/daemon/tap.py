"""Lets others listen to the audio on its way into the pipeline."""

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Protocol

from appliance.audio.source import AudioSource
from appliance.types import AudioBlock


class Listener(Protocol):
    """Hears each block before the pipeline does. It must be quick, and may keep the block but not change it."""

    def audio(self, block: AudioBlock) -> None:
        """The next block."""


class TappedSource:
    """A source, and who listens along. What goes on from here may be `mended`."""

    def __init__(
        self,
        source: AudioSource,
        listeners: Sequence[Listener],
        mended: Callable[[AudioBlock], AudioBlock] = lambda block: block,
    ) -> None:
        self._source = source
        self._listeners = listeners
        self._mended = mended

    @property
    def sample_rate_hz(self) -> int:
        """Always 16000."""
        return self._source.sample_rate_hz

    @property
    def mics(self) -> int:
        """Number of microphones."""
        return self._source.mics

    def blocks(self) -> Iterator[AudioBlock]:
        """The audio of the source."""
        for block in self._source.blocks():
            for listener in self._listeners:
                listener.audio(block)
            yield self._mended(block)

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def __enter__(self) -> "TappedSource":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
