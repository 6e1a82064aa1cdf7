"""What became of clips, told to the event log by whoever writes them."""

import dataclasses
import logging
import threading
import time
from collections import deque
from pathlib import Path

from appliance.audio.excerpt import Excerpt
from appliance.errors import StoreError
from appliance.store.clips import ClipLog
from appliance.types import Clip

_LOG = logging.getLogger(__name__)

_MOST_WAITING = 256
_AGAIN_S = 5.0
# An event that is not there by then was lost with its log.
_FOR_S = 600.0


class Outcomes:
    """Waits for the event log, which may be locked, or not hold the event yet: that one may wait in memory itself."""

    def __init__(self, log_path: Path) -> None:
        self._log_path = log_path
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Clip, float]] = deque(maxlen=_MOST_WAITING)
        self._due_s = 0.0

    def add(self, clip: Clip) -> None:
        """Note one, in any thread; it costs nothing."""
        with self._lock:
            self._waiting.append((clip, time.monotonic()))
            self._due_s = 0.0

    def tell(self) -> None:
        """Write what waits; what the event log does not know yet is told again later."""
        with self._lock:
            if not self._waiting or time.monotonic() < self._due_s:
                return
            waiting = [*self._waiting]
            self._waiting.clear()
            self._due_s = time.monotonic() + _AGAIN_S
        kept: list[tuple[Clip, float]] = []
        try:
            with ClipLog(self._log_path) as log:
                while waiting:
                    clip, since_s = waiting[0]
                    if not log.settle(clip) and time.monotonic() - since_s < _FOR_S:
                        kept.append(waiting[0])
                    del waiting[0]
        except StoreError as error:
            _LOG.warning("clips: %s", error)
        with self._lock:
            self._waiting.extendleft(reversed([*kept, *waiting]))


def failed(clip: Clip, why: str) -> Clip:
    """What can be said of a clip that never comes."""
    return dataclasses.replace(clip, state="failed", reason=why)


def written(clip: Clip, excerpt: Excerpt) -> Clip:
    """What can be said of a clip whose file is in its place."""
    return dataclasses.replace(
        clip,
        state="written",
        start_utc_ns=excerpt.start_utc_ns,
        seconds=excerpt.seconds,
        size_bytes=len(excerpt.data),
        sha256=excerpt.sha256,
        gaps=excerpt.gaps,
    )
