"""The one connection to the broker. It runs in its caller's thread: time passes only inside `step`.

paho keeps nothing across connections: each attempt has a fresh client, and what was not acknowledged comes again
from the outbox. Its own reconnecting has no jitter and its queue is lost with the process, so neither is used.
"""

import logging
import random
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paho.mqtt import MQTTException
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from appliance.config import MqttSettings
from appliance.errors import BrokerError
from appliance.publish.credentials import read_password, tls_context
from appliance.publish.packets import (
    PACKET_TOO_LARGE,
    Incoming,
    Outgoing,
    connect_properties,
    incoming,
    packet_bytes,
    publish_properties,
    refusal,
    subscription,
    will_properties,
)

_LOG = logging.getLogger(__name__)

# What paho lets through where the network fails or the other side is no MQTT broker.
_FOREIGN = (OSError, ValueError, LookupError, TypeError, AssertionError, struct.error, MQTTException)

_CONNECT_TIMEOUT_S = 10.0
_MAX_IN_FLIGHT = 20
# A connection that lasts less than this counts as a failure: two units that evict each other must slow down.
_STABLE_S = 10.0
_MAX_RECEIVED = 64
# Whoever asks chooses the topic of the answer, so the topics of which a refusal was told must not grow for ever.
_MAX_TOLD = 64


@dataclass(frozen=True, slots=True)
class _Sent:
    """What the broker has not acknowledged yet."""

    topic: str
    at_s: float
    must_arrive: bool


class Connector:
    """Connects, keeps the connection, and comes back with full jitter: one attempt in flight, ever."""

    def __init__(
        self,
        mqtt: MqttSettings,
        *,
        client_id: str,
        will: Outgoing | None,
        subscribe: str | None = None,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Reads password and certificates, connects nowhere yet; raises `ConfigError`.

        Who has no last `will` is a visitor, for whom the broker keeps no session either.
        `subscribe` is a filter of topics to listen to on each connection (MQTT 5 only).
        """
        self._mqtt = mqtt
        self._mqtt5 = mqtt.protocol == "5.0"
        self._client_id = client_id
        self._will = will
        self._subscribe = subscribe if self._mqtt5 else None
        self._jitter = jitter
        self._password = read_password(mqtt)
        self._tls = tls_context(mqtt)
        self._client: Client | None = None
        self._failures = 0
        self._next_attempt_s = 0.0
        self._connected_s = 0.0
        self._refusal: str | None = None
        self._window = _MAX_IN_FLIGHT
        self._max_packet_bytes: int | None = None
        self._sent: dict[int, _Sent] = {}
        self._told_refused: set[str] = set()
        self._acknowledged: list[int] = []
        self._received: deque[Incoming] = deque()
        self.overflowed = 0
        """Messages that were dropped because nobody fetched those before them."""
        self.connected = False
        """The broker has accepted this unit."""
        self.connections = 0
        """Counts up with each connection; what was in flight on an earlier one is not any more."""

    @property
    def broker(self) -> str:
        """Host and port, for messages."""
        return f"{self._mqtt.host}:{self._mqtt.port}"

    @property
    def room(self) -> int:
        """How many messages may be published now, until the broker has acknowledged some."""
        return self._window - len(self._sent) if self.connected else 0

    @property
    def wait_s(self) -> float:
        """Seconds until the next attempt to connect."""
        return max(0.0, self._next_attempt_s - time.monotonic())

    def step(self, timeout_s: float) -> None:
        """Attempt to connect where that is due; else read and write, waiting up to `timeout_s` for the broker.

        Raises `BrokerError` where an attempt fails or the connection is lost; the next attempt is scheduled then.
        """
        if self._client is None:
            if self.wait_s > timeout_s:
                time.sleep(timeout_s)
                return
            time.sleep(self.wait_s)
            self._client = self._attempt()
        try:
            code = self._client.loop(timeout_s)
        except _FOREIGN as error:
            raise self._lost(f"connection lost: {error}") from error
        if self._refusal is not None:
            raise self._lost(self._refusal)
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise self._lost("connection lost" if self.connected else self._no_answer())
        if self._sent and time.monotonic() - min(sent.at_s for sent in self._sent.values()) > self._mqtt.keepalive_s:
            raise self._lost(f"nothing acknowledged for {self._mqtt.keepalive_s} s")

    def publish(self, message: Outgoing, *, must_arrive: bool = False) -> int:
        """Send, and return the number by which `acknowledged` will name the message on this connection.

        Where the broker refuses what `must_arrive`, the connection is given up, and the caller sends it again on the
        next; anything else that it refuses, or says that it would, is told in the log and dropped: 0, in the latter case. Raises `BrokerError` where there is no
        connection.
        """
        if self._client is None or not self.connected:
            raise BrokerError(f"{self.broker}: not connected")
        if not must_arrive and self._is_too_large(message):
            self._tell_refused(str(message.topic), refusal(PACKET_TOO_LARGE))
            return 0
        number = self._send(self._client, message, qos=1)
        self._sent[number] = _Sent(str(message.topic), time.monotonic(), must_arrive)
        return number

    def pass_on(self, message: Outgoing) -> bool:
        """Send at QoS 0, now or never; False where the network has not yet taken what was sent before, or is gone.

        Nothing waits here: what is only worth something now must not fill the memory, nor hold up an alert.
        Raises `BrokerError` where the connection breaks.
        """
        if self._client is None or not self.connected or self._client.want_write() or self._is_too_large(message):
            return False
        self._send(self._client, message, qos=0)
        return True

    def acknowledged(self) -> list[int]:
        """Numbers of the messages that the broker has taken over since the last call, also where it is gone since."""
        taken, self._acknowledged = self._acknowledged, []
        return taken

    def awaits(self, number: int) -> bool:
        """True where the broker has neither taken over nor refused what `publish` gave this number on this connection."""
        return number in self._sent

    def received(self) -> list[Incoming]:
        """What was received since the last call; never more than a few dozen."""
        received = list(self._received)
        self._received.clear()
        return received

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was published is acknowledged or refused; False where it is not, in time."""
        deadline_s = time.monotonic() + timeout_s
        while self._sent and self.connected and (left_s := deadline_s - time.monotonic()) > 0:
            self.step(left_s)
        return not self._sent

    def close(self) -> None:
        """Say goodbye, so that the broker does not publish the last will."""
        if self._client is not None:
            self._client.disconnect()
        self.abandon()

    def abandon(self) -> None:
        """Hang up without a word, so that the broker publishes the last will should the unit not come back."""
        if self._client is not None and (network := self._client.socket()) is not None:
            network.close()
        self._client = None
        self._refusal = None
        self._sent.clear()
        self.connected = False

    def _send(self, client: Client, message: Outgoing, *, qos: int) -> int:
        try:
            info: MQTTMessageInfo = client.publish(
                str(message.topic),
                message.payload.encode(),
                qos=qos,
                retain=message.retain,
                properties=publish_properties(message) if self._mqtt5 else None,
            )
        except _FOREIGN as error:
            raise self._lost(f"connection lost: {error}") from error
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise self._lost("connection lost")
        return info.mid

    def _is_too_large(self, message: Outgoing) -> bool:
        """True where the broker would hang up on it, and on each connection again; MQTT 5 brokers say what they take."""
        return self._max_packet_bytes is not None and packet_bytes(message) > self._max_packet_bytes

    def _tell_refused(self, topic: str, why: str) -> None:
        # Alerts matter more than whatever this is: the connection is kept.
        if topic not in self._told_refused and len(self._told_refused) < _MAX_TOLD:
            _LOG.warning("MQTT broker %s: %s: %s", self.broker, topic, why)
            self._told_refused.add(topic)

    def _attempt(self) -> Client:
        client = self._new_client()
        try:
            if self._mqtt5:
                client.connect(
                    self._mqtt.host,
                    self._mqtt.port,
                    self._mqtt.keepalive_s,
                    clean_start=self._will is None,
                    properties=connect_properties(stays=self._will is not None),
                )
            else:
                client.connect(self._mqtt.host, self._mqtt.port, self._mqtt.keepalive_s)
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", None) or error.reason or str(error)
            # A unit without a battery-backed clock may believe any date until the network has told it.
            clock = "the unit's clock (`timedatectl`), " if "expired" in reason or "not yet valid" in reason else ""
            remedy = f"check {clock}[mqtt] ca_file and the broker's certificate"
            raise self._lost(f"TLS failed ({reason}); {remedy}") from error
        except _FOREIGN as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise self._lost(f"cannot be reached ({reason}); check [mqtt] host and port, and the network") from error
        return client

    def _new_client(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if self._mqtt5 else self._will is None,
            protocol=MQTTProtocolVersion.MQTTv5 if self._mqtt5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.max_inflight_messages = 0  # `room` is the only limit, so that paho never queues
        if self._mqtt.username is not None:
            client.username_pw_set(self._mqtt.username, self._password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        if self._will is not None:
            client.will_set(
                str(self._will.topic),
                self._will.payload.encode(),
                qos=1,
                retain=self._will.retain,
                properties=will_properties(self._will, self._mqtt.will_delay_s) if self._mqtt5 else None,
            )
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        return client

    def _on_connect(
        self, client: Client, userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        del userdata, flags
        if reason.is_failure:
            self._refusal = refusal(reason)
            return
        self.connected = True
        self.connections += 1
        self._connected_s = time.monotonic()
        self._window = min(_MAX_IN_FLIGHT, getattr(properties, "ReceiveMaximum", _MAX_IN_FLIGHT))
        self._max_packet_bytes = getattr(properties, "MaximumPacketSize", None)

        if self._subscribe is not None:
            client.subscribe(self._subscribe, options=subscription())

    def _on_subscribe(
        self, client: Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        del client, userdata, mid, properties
        for reason in reasons:
            if reason.is_failure:
                # Alerts matter more than commands: the connection is kept.
                _LOG.warning("MQTT broker %s: %s: %s", self.broker, self._subscribe, refusal(reason))

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        del client, userdata
        if len(self._received) < _MAX_RECEIVED:
            self._received.append(incoming(message))
        else:
            self.overflowed += 1

    def _on_disconnect(
        self, client: Client, userdata: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        del client, userdata, properties
        if flags.is_disconnect_packet_from_server:
            self._refusal = refusal(reason)

    def _on_publish(
        self, client: Client, userdata: Any, mid: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        del client, userdata, properties
        # What goes out at QoS 0 ends here too; nobody has acknowledged that.
        if (sent := self._sent.get(mid)) is None:
            return
        if not reason.is_failure:
            self._acknowledged.append(mid)
            self._told_refused.discard(sent.topic)
        elif sent.must_arrive:
            # Kept pending: the broker's access list can be mended, a message that is marked sent cannot.
            self._refusal = self._refusal or f"{sent.topic}: {refusal(reason)}"
            return
        else:
            self._tell_refused(sent.topic, refusal(reason))
        del self._sent[mid]

    def _no_answer(self) -> str:
        # An older broker hangs up on a greeting of MQTT 5 that it cannot read, without saying why.
        hint = ', or set [mqtt] protocol = "3.1.1"' if self._mqtt5 else ""
        return f"no MQTT {self._mqtt.protocol} broker answers there; check [mqtt] port and tls{hint}"

    def _lost(self, what: str) -> BrokerError:
        """Drop the connection and schedule the next attempt: full jitter, exponentially wider up to the limit."""
        if self.connected and time.monotonic() - self._connected_s > _STABLE_S:
            self._failures = 0
        self._failures += 1
        self.abandon()
        widest_s = min(self._mqtt.reconnect_max_s, 2.0 ** min(self._failures, 30))
        self._next_attempt_s = time.monotonic() + self._jitter(0.0, widest_s)
        return BrokerError(f"MQTT broker {self.broker}: {what}")
