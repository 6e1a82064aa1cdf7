"""Whoever gives commands: asks over MQTT 5 as the README says, and waits for the answer."""

import json
from typing import Any

from mqtt import Received, Subscriber, wait_until
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from ulid import ULID

UNIT = "acoustic/v1/north/mast-1"


class Commander:
    """Commands to the unit north/mast-1 through a subscriber's connection."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber

    def send(
        self,
        name: str,
        payload: bytes,
        *,
        response_topic: str | None = f"{UNIT}/answers/desk",
        correlation: bytes | None = None,
        expiry_s: int | None = 60,
        retain: bool = False,
        topic: str | None = None,
    ) -> None:
        """Send whatever is given; what is None is left out."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if response_topic is not None:
            properties.ResponseTopic = response_topic
        if correlation is not None:
            properties.CorrelationData = correlation
        if expiry_s is not None:
            properties.MessageExpiryInterval = expiry_s
        self._subscriber.client.publish(
            topic or f"{UNIT}/cmd/{name}", payload, qos=1, retain=retain, properties=properties
        )

    def answers(self, correlation: bytes) -> list[Received]:
        """The answers that carry this correlation data."""
        return [answer for answer in self._subscriber.on("answers", "desk") if answer.correlation == correlation]

    def ask(self, name: str, **arguments: object) -> dict[str, Any]:
        """The answer to a command; `id` may be given, for a repeat."""
        correlation = str(ULID()).encode()
        message = {"schema": "acoustic.command.v1", "id": str(ULID()), "by": "alice", **arguments}
        self.send(name, json.dumps(message).encode(), correlation=correlation)
        wait_until(lambda: self.answers(correlation), f"{name} is answered")
        (answer,) = self.answers(correlation)
        return answer.payload
