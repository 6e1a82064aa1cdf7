"""Live capture, whatever the PortAudio binding: start, read, notice a dead stream, reopen it, give up in time."""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol

from appliance.audio.inlet import Inlet
from appliance.audio.source import SAMPLE_RATE_HZ
from appliance.audio.spec import CaptureSpec
from appliance.audio.timeline import GapLedger, Timeline
from appliance.errors import DeviceError
from appliance.types import AudioBlock

_LOG = logging.getLogger(__name__)

_POLL_S = 0.25
_BACKOFF_FIRST_S = 0.25
_BACKOFF_MOST_S = 5.0
_LOG_EVERY_S = 10.0
_GIVE_UP_S = 20.0
"""Below `WatchdogSec` of the service: what is killed ends no events and keeps no clips."""


class Stream(Protocol):
    """An open PortAudio stream whose callback pushes into an inlet."""

    def start(self) -> None:
        """Let the callbacks begin. Raises `DeviceError`."""

    @property
    def active(self) -> bool:
        """False once the stream has ended by itself, for instance because the device was pulled out."""

    def close(self) -> None:
        """Stop and give the device back."""


StreamOpener = Callable[[CaptureSpec, Inlet], Stream]
"""What a backend is: it resolves the device's name anew and opens it, without starting.

Raises `DeviceError` or `ConfigError`.
"""


class LiveSource:
    """A microphone array on an ALSA device. The device is opened at once, and listened to from `blocks` on.

    A stream that ends, or from which nothing comes for `stall_s`, is closed and reopened with growing, fully jittered
    waits; the next block is then marked as a gap. After `give_up_s` without audio, or when the driver has not let go
    of the old stream within `close_s`, `DeviceError` ends the run, so that whoever supervises the process sees it.
    """

    def __init__(
        self,
        spec: CaptureSpec,
        open_stream: StreamOpener,
        *,
        stall_s: float = 2.0,
        give_up_s: float = _GIVE_UP_S,
        close_s: float = 5.0,
    ) -> None:
        """Open the device. Raises `DeviceError` where it is missing, busy or refuses rate, channels or format."""
        self._spec = spec
        self._open_stream = open_stream
        self._stall_s = stall_s
        self._give_up_s = give_up_s
        self._close_s = close_s
        self._timeline = Timeline(spec)
        self._closing = threading.Event()
        self._stream_lock = threading.Lock()
        self._inlet = Inlet(spec.queue_chunks)
        self._stream: Stream | None = open_stream(spec, self._inlet)

    @property
    def sample_rate_hz(self) -> int:
        """Always 16000."""
        return SAMPLE_RATE_HZ

    @property
    def mics(self) -> int:
        """Number of microphones."""
        return len(self._spec.alsa_channels)

    @property
    def ledger(self) -> GapLedger:
        """What has been lost so far, up to the latest block."""
        return self._timeline.ledger

    def blocks(self) -> Iterator[AudioBlock]:
        """Audio from now until `close`; to be called once. Raises `DeviceError` when it has given up on the device."""
        try:
            yield from self._blocks()
        finally:
            with self._stream_lock:
                self._shut()

    def close(self) -> None:
        """Give the device back and end `blocks`."""
        self._closing.set()
        # Whoever holds the lock is inside `blocks`, perhaps in this very thread below a signal handler, and will shut.
        if self._stream_lock.acquire(blocking=False):
            try:
                self._shut()
            finally:
                self._stream_lock.release()

    def __enter__(self) -> "LiveSource":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _blocks(self) -> Iterator[AudioBlock]:
        with self._stream_lock:
            if self._stream is not None:
                self._stream.start()
        heard_ns, attempts, logged_s = time.monotonic_ns(), 0, -_LOG_EVERY_S
        while not self._closing.is_set():
            chunk = self._inlet.take(_POLL_S)
            if chunk is not None:
                heard_ns, attempts = chunk.arrival_ns, 0
                for block in self._timeline.push(chunk, time.time_ns() - time.monotonic_ns()):
                    if block.gap and time.monotonic() - logged_s > _LOG_EVERY_S:
                        logged_s = time.monotonic()
                        _LOG.warning("capture device %s: audio was lost: %s", self._spec.device, self.ledger)
                    yield block
            elif fault := self._fault(heard_ns):
                attempts += 1
                self._reopen(fault, attempts, heard_ns)

    def _fault(self, heard_ns: int) -> str:
        """Why the stream must be reopened; empty where it may just be between two callbacks."""
        with self._stream_lock:
            if self._closing.is_set():
                return ""
            if self._stream is None or not self._stream.active:
                return "the stream has ended"
        silent_s = (time.monotonic_ns() - max(heard_ns, self._inlet.last_arrival_ns)) * 1e-9
        return f"no audio for {silent_s:.1f} s" if silent_s > self._stall_s else ""

    def _reopen(self, fault: str, attempt: int, heard_ns: int) -> None:
        """One attempt at a fresh stream, after a jittered wait."""
        _LOG.warning("capture device %s: %s; reopening it (attempt %d)", self._spec.device, fault, attempt)
        with self._stream_lock:
            self._shut()
        silent_s = (time.monotonic_ns() - heard_ns) * 1e-9
        if silent_s > self._give_up_s:
            raise DeviceError(
                f'capture device "{self._spec.device}": {fault}, gave up after {silent_s:.0f} s; check cable and power'
            )
        ceiling_s = min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2.0 ** min(attempt, 16))
        if self._closing.wait(random.uniform(0.0, ceiling_s)):
            return
        self._timeline.reopened(self._inlet.dropped_frames)
        self._inlet = Inlet(self._spec.queue_chunks)
        try:
            with self._stream_lock:
                if not self._closing.is_set():
                    self._stream = self._open_stream(self._spec, self._inlet)
                    self._stream.start()
        except DeviceError as error:
            _LOG.warning("%s", error)

    def _shut(self) -> None:
        """Close the stream, if any; the caller holds the lock.

        A driver can hang in there for ever. That must end in an error, not in silence, so another thread does it.
        """
        stream, self._stream = self._stream, None
        if stream is None:
            return
        closer = threading.Thread(target=stream.close, name="capture-close", daemon=True)
        closer.start()
        closer.join(self._close_s)
        if closer.is_alive():
            raise DeviceError(
                f'capture device "{self._spec.device}": its driver does not let go; plug it out and in, then restart'
            )
