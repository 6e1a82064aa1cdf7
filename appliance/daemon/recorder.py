"""Audio clips of events: the last seconds are kept in memory, and what an event asks for is written in another thread.

Nothing here makes the pipeline wait for the disk. A clip is whole or not there; one that was promised and does not come
is said to have failed.
"""

import dataclasses
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

import soundfile

from appliance.audio.excerpt import AudioRing, encode, end_sample, suffix_for
from appliance.audio.source import SAMPLE_RATE_HZ
from appliance.config import ClipSettings
from appliance.daemon.outcomes import Outcomes, failed, written
from appliance.store.clips import clips_folder, write_whole
from appliance.types import AudioBlock, Clip, Event

_LOG = logging.getLogger(__name__)

_POLL_S = 0.5
# Audio that never comes must not keep a clip from being written.
_LATE_S = 2.0
_FAREWELL_S = 8.0
_SLOW_S = 10.0
# Of all clips that are recorded and wait; the first is taken however large it is.
_MOST_BYTES = 128 * 1024 * 1024
_BYTES_PER_SAMPLE = 4
_NEARLY_FULL = "the disk is nearly full"


@dataclasses.dataclass(slots=True)
class _Recording:
    """A clip on its way; guarded by the recorder's lock until it is whole."""

    clip: Clip
    blocks: list[AudioBlock]
    until_sample: int
    due_s: float
    size_bytes: int


class Recorder:
    """Keeps the ring, and a thread that writes. `audio` and `begin` belong to the pipeline's thread."""

    def __init__(
        self, log_path: Path, settings: ClipSettings, *, mics: int, bits: int, has_room: Callable[[], bool]
    ) -> None:
        """`bits` per sample of the files, 16 or 24; `has_room`: False while the disk is too full for clips."""
        self._log_path = log_path
        self._settings = settings
        self._mics = mics
        self._bits = bits
        self._has_room = has_room
        self._ring = AudioRing(settings.before_s)
        self._heard_sample = 0
        self._lock = threading.Lock()
        self._recordings: list[_Recording] = []
        self._told: dict[str, Clip] = {}
        self._queue: deque[_Recording] = deque()
        self._held_bytes = 0
        self._outcomes = Outcomes(log_path)
        self._room = True
        self._failure = ""
        self._writing_since_s: float | None = None
        self._wake = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._work, name="clips", daemon=True)
        self.counts: Counter[str] = Counter()
        """written and failed → clips since the sensor started."""

    def __enter__(self) -> "Recorder":
        if self._settings.is_on:
            self._room = self._has_room()
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Write what there is of the open clips; what takes too long is settled at the next start."""
        if self._settings.is_on:
            with self._lock:
                for recording in self._recordings[:]:
                    self._complete(recording)
                self._stop = True
            self._wake.set()
            self._thread.join(_FAREWELL_S)

    @property
    def faults(self) -> list[str]:
        """Why clips are not kept, a sentence each; the same words while it lasts."""
        if not self._settings.is_on:
            return []
        if not self._thread.is_alive() and not self._stop:
            return ["no audio clips are kept: their thread has died; restart the sensor"]
        since_s = self._writing_since_s
        slow = since_s is not None and time.monotonic() - since_s > _SLOW_S
        causes = {
            f"no audio clips are kept: {_NEARLY_FULL}": not self._room,
            "audio clips wait: the disk does not take them": slow,
            f"the latest audio clip was not kept: {self._failure}": bool(self._failure),
        }
        return [text for text, holds in causes.items() if holds]

    def audio(self, block: AudioBlock) -> None:
        """Take in the next block."""
        if not self._settings.is_on:
            return
        with self._lock:
            self._ring.push(block)
            self._heard_sample = end_sample(block)
            for recording in self._recordings[:]:
                if block.start_sample < recording.until_sample:
                    recording.blocks.append(block)
                if self._heard_sample >= recording.until_sample:
                    self._complete(recording)

    def begin(self, event: Event) -> None:
        """Record a clip of the event: what was heard before, and what comes."""
        clip = Clip(f"{event.event_id}{suffix_for(self._mics)}", event.event_id, "recording")
        seconds = self._settings.before_s + self._settings.after_s
        size_bytes = round(seconds * SAMPLE_RATE_HZ) * self._mics * _BYTES_PER_SAMPLE
        with self._lock:
            self._told[event.event_id] = clip
            if not self._room:
                self._settled(failed(clip, _NEARLY_FULL))
            elif self._held_bytes and self._held_bytes + size_bytes > _MOST_BYTES:
                self._settled(failed(clip, "too many at once, or too slow a disk"))
            else:
                self._held_bytes += size_bytes
                until_sample = self._heard_sample + round(self._settings.after_s * SAMPLE_RATE_HZ)
                due_s = time.monotonic() + self._settings.after_s + _LATE_S
                recording = _Recording(clip, self._ring.blocks(), until_sample, due_s, size_bytes)
                self._recordings.append(recording)
                if self._heard_sample >= until_sample:
                    self._complete(recording)

    def told(self, event_id: str) -> Clip | None:
        """What can be said of the event's clip now; None where none was begun."""
        return self._told.get(event_id)

    def forget(self, event_id: str) -> None:
        """The event has said its last word; its clip is written all the same."""
        self._told.pop(event_id, None)

    def _complete(self, recording: _Recording) -> None:
        """Hand it to the thread; the caller holds the lock."""
        self._recordings.remove(recording)
        self._queue.append(recording)
        self._wake.set()

    def _settled(self, clip: Clip) -> None:
        """Say so to whoever asks from now on, and to the event log; the caller holds the lock."""
        self.counts[clip.state] += 1
        # A full disk is told while it lasts, and no longer.
        self._failure = "" if clip.reason == _NEARLY_FULL else clip.reason
        # One whose event has ended is not asked for any more.
        if clip.event_id in self._told:
            self._told[clip.event_id] = clip
        self._outcomes.add(clip)
        self._wake.set()

    def _work(self) -> None:
        """Until the recorder is closed and nothing is left: write, settle, and look after the disk."""
        while True:
            self._wake.wait(_POLL_S)
            self._wake.clear()
            self._room = self._has_room()
            with self._lock:
                for recording in [each for each in self._recordings if time.monotonic() > each.due_s]:
                    self._complete(recording)
                waiting, stop = list(self._queue), self._stop
                self._queue.clear()
            for recording in waiting:
                self._writing_since_s = time.monotonic()
                self._write(recording)
            self._writing_since_s = None
            self._outcomes.tell()
            if stop:
                return

    def _write(self, recording: _Recording) -> None:
        clip = recording.clip
        if not self._room:
            clip = failed(clip, _NEARLY_FULL)
        elif not recording.blocks:
            clip = failed(clip, "no audio came")
        else:
            try:
                clip = self._written(recording)
            except OSError as error:
                clip = failed(clip, f"{clips_folder(self._log_path)}: {error.strerror or error}")
            except (soundfile.LibsndfileError, ValueError, MemoryError) as error:
                clip = failed(clip, f"it cannot be encoded: {error}")
        if clip.reason:
            _LOG.error("clip %s: %s", clip.name, clip.reason)
        recording.blocks.clear()
        with self._lock:
            self._held_bytes -= recording.size_bytes
            self._settled(clip)

    def _written(self, recording: _Recording) -> Clip:
        clip = recording.clip
        excerpt = encode(recording.blocks, bits=self._bits, about={"event_id": clip.event_id})
        folder = clips_folder(self._log_path)
        folder.mkdir(mode=0o750, exist_ok=True)
        write_whole(folder / clip.name, excerpt.data)
        return written(clip, excerpt)


def bits_for(sample_format: str) -> int:
    """Bits per sample in which nothing of what was captured is lost: 16, or 24 where the device delivers more."""
    return 16 if sample_format == "S16_LE" else 24
