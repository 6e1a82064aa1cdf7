"""Drains the outbox to the broker: delivered is what the broker has acknowledged, and nothing else."""

import math
import time
from collections.abc import Callable, Collection
from typing import Protocol

from appliance import wire
from appliance.publish.connector import Connector
from appliance.publish.packets import Outgoing
from appliance.publish.topics import UnitTopics
from appliance.types import MessageOutcome, OutboxMessage

# How long one step may look for what is not stale.
_TURN_S = 0.5


class Outbox(Protocol):
    """What the drain needs of `store.Outbox`."""

    def changed(self) -> bool:
        """True where something was committed since the last call."""

    def pending(self, limit: int, *, sent: Collection[int]) -> list[OutboxMessage]:
        """The next messages to send, without those already sent."""

    def settle(self, outbox_ids: Collection[int], outcome: MessageOutcome) -> None:
        """Record what became of messages."""

    def latest_id(self) -> int:
        """The highest key of a message that was ever given."""


class Drain:
    """Moves messages from the outbox to the broker, at most `Connector.room` at a time."""

    def __init__(
        self,
        outbox: Outbox,
        connector: Connector,
        topics: UnitTopics,
        alert_expiry_s: int,
        sensor_speaks: Callable[[], bool],
    ) -> None:
        """`sensor_speaks`: True where the sensor is alive, so that an event without an end goes on."""
        self._outbox = outbox
        self._connector = connector
        self._topics = topics
        self._alert_expiry_s = alert_expiry_s
        self._sensor_speaks = sensor_speaks
        self._in_flight: dict[int, int] = {}
        self._delivered: list[int] = []
        self._connection = 0
        self._waited_until = 0
        self._drained = False

    @property
    def drained(self) -> bool:
        """True where, at the last look, nothing waited and nothing was in flight."""
        return self._drained and not self._in_flight

    def begin(self) -> None:
        """On a new connection note what has waited: stale updates among it are left out, of what comes then none is.

        Raises `StoreError`; it is done at the next call then.
        """
        if not self._connector.connected or self._connector.connections == self._connection:
            return
        self._settle_acknowledged()
        self._in_flight.clear()
        self._waited_until = self._outbox.latest_id()
        self._drained = False
        self._connection = self._connector.connections

    def step(self, *, leave: int = 0) -> None:
        """Settle what was acknowledged, then send what there is room for; room for `leave` other messages stays free.

        Raises `StoreError` and `BrokerError`; whatever was not settled is sent again.
        """
        self._settle_acknowledged()
        if not self._connector.connected:
            self._in_flight.clear()
            return
        self.begin()
        if self._outbox.changed():
            self._drained = False
        # A few at a time and not for long: of half a million that waited, one transaction would keep the sensor from the
        # event log, the broker without a word, and systemd waiting until it ends this process.
        deadline_s = time.monotonic() + _TURN_S
        while not self._drained and (room := self._connector.room - leave) > 0 and time.monotonic() < deadline_s:
            messages = self._outbox.pending(room, sent=self._in_flight.values())
            self._drained = len(messages) < room
            stale = [each.outbox_id for each in messages if each.is_stale and each.outbox_id <= self._waited_until]
            if stale:
                self._outbox.settle(stale, "superseded")
            for message in messages:
                if message.outbox_id not in stale:
                    self._send(message)

    def _settle_acknowledged(self) -> None:
        for number in self._connector.acknowledged():
            if number in self._in_flight:
                self._delivered.append(self._in_flight.pop(number))
        if self._delivered:
            # Kept until this succeeds: the event log may be locked or its disk full for a while.
            self._outbox.settle(self._delivered, "delivered")
            self._delivered.clear()

    def _send(self, message: OutboxMessage) -> None:
        properties = (("schema", wire.EVENT_SCHEMA), ("event_id", message.event_id))
        # What was committed before the unit got its name, or another, can only go out under the one that it has now: the
        # broker lets it speak as nobody else, and who listens believes no payload that is not of its topic.
        payload = wire.under_name(message.payload, self._topics.site, self._topics.node)
        if message.kind == "events":
            outgoing = Outgoing(self._topics.event(message.event_id), payload, properties)
        else:
            left_s = math.ceil(self._alert_expiry_s - message.age_s)
            if left_s < 1 and message.is_open and self._sensor_speaks():
                # Late, and still to be acted on: what it warns of is there.
                left_s = self._alert_expiry_s
            if left_s < 1:
                # Too late to act on. The event itself still goes to `events`; only the alarm is withheld, and on record.
                self._outbox.settle([message.outbox_id], "expired")
                return
            outgoing = Outgoing(self._topics.alerts, payload, properties, expiry_s=left_s)
        self._in_flight[self._connector.publish(outgoing, must_arrive=True)] = message.outbox_id
