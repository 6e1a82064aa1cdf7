"""Passes live tracks on: the newest, at QoS 0, or none."""

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Protocol

from appliance import wire
from appliance.publish.connector import Connector
from appliance.publish.packets import Outgoing
from appliance.publish.topics import UnitTopics

_LOG = logging.getLogger(__name__)

_LOOK_S = 1.0
_RETRY_S = 30.0
# A broker that is slow, or keeps messages for a client that is away, must not show an old bearing as a new one.
_EXPIRY_S = 2


class Receiver(Protocol):
    """`store.live.LiveReceiver`."""

    def latest(self) -> bytes | None:
        """What was sent last; None where nothing came."""

    @property
    def is_there(self) -> bool:
        """False where the sensor cannot reach it any more."""

    def close(self) -> None:
        """Close it."""


class LivePublisher:
    """Listens to the sensor while the unit runs. Without it everything else goes on."""

    def __init__(self, connector: Connector, topics: UnitTopics, listen: Callable[[], Receiver] | None) -> None:
        """`listen` opens the sensor's channel and may raise `OSError`; None: live tracks are off."""
        self._connector = connector
        self._topics = topics
        self._listen = listen
        self._receiver: Receiver | None = None
        self._look_due_s = 0.0
        self._step_s = time.monotonic()

    def step(self) -> None:
        """Pass on what is new. Raises `BrokerError` where the connection is lost."""
        if self._listen is None:
            return
        if time.monotonic() >= self._look_due_s:
            self._look(self._listen)
        late_s, self._step_s = time.monotonic() - self._step_s, time.monotonic()
        if self._receiver is None or (payload := self._receiver.latest()) is None:
            return
        # An attempt to connect took its time; meanwhile the channel was full, and kept the oldest.
        if late_s > _LOOK_S:
            return
        with contextlib.suppress(UnicodeDecodeError):
            self._connector.pass_on(
                Outgoing(self._topics.tracks, payload.decode(), (("schema", wire.TRACKS_SCHEMA),), expiry_s=_EXPIRY_S)
            )

    def close(self) -> None:
        """Stop listening."""
        if self._receiver is not None:
            self._receiver.close()
            self._receiver = None

    def _look(self, listen: Callable[[], Receiver]) -> None:
        self._look_due_s = time.monotonic() + _LOOK_S
        if self._receiver is not None and self._receiver.is_there:
            return
        self.close()
        try:
            self._receiver = listen()
        except OSError as error:
            self._look_due_s = time.monotonic() + _RETRY_S
            _LOG.warning("live tracks: %s; trying again", error)
