"""Between the pipeline and an event log that may fail for a while."""

import logging
import time
from collections import deque
from collections.abc import Sequence

from appliance.errors import StoreError
from appliance.pipeline import EventSink, Moment
from appliance.types import Event

_LOG = logging.getLogger(__name__)

_RETRY_S = 5.0


class PatientSink:
    """Keeps events in memory while the event log fails (full disk, locked file), and commits them in order after.

    It is an observer too: each label frame is an occasion to try again. Only a process that ends meanwhile loses
    events, so `fault` must be told.
    """

    def __init__(self, log: EventSink) -> None:
        self._log = log
        self._waiting: deque[Event] = deque()
        self._retry_s = 0.0
        self.fault = ""
        """Why events wait; empty where none does."""

    def append(self, event: Event) -> None:
        """Commit the event, now or later."""
        self._waiting.append(event)
        self._try()

    def frame(self, moment: Moment) -> None:
        """Try again what waits."""
        del moment
        self._try()

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        """The last occasion; raises `StoreError` where events are lost."""
        del events, stream_s
        self._commit()

    def _try(self) -> None:
        if not self._waiting or time.monotonic() < self._retry_s:
            return
        try:
            self._commit()
        except StoreError as error:
            self._retry_s = time.monotonic() + _RETRY_S
            # No count in it: a changed sentence would be published anew.
            self.fault = f"events wait in memory: {error}"
            _LOG.error("events wait in memory: %s", error)

    def _commit(self) -> None:
        while self._waiting:
            self._log.append(self._waiting[0])
            self._waiting.popleft()
        self.fault, self._retry_s = "", 0.0
