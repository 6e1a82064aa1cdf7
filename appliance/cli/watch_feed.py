"""A subscription that comes back after each outage, run in its caller's thread."""

import contextlib
import random
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt import MQTTException
from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from appliance.config import MqttSettings
from appliance.errors import BrokerError
from appliance.publish.credentials import read_password, tls_context
from appliance.publish.packets import refusal

_CONNECT_TIMEOUT_S = 5.0
_SESSION_EXPIRY_S = 24 * 3600
_LONGEST_WAIT_S = 5.0


class Feed:
    """What the broker sends on some topics. `step` is called again and again; `close` at the end."""

    def __init__(
        self,
        mqtt: MqttSettings,
        filters: Sequence[str],
        take: Callable[[str, bytes], object],
        *,
        client_id: str | None = None,
    ) -> None:
        """Reads password and certificates, connects nowhere yet; raises `ConfigError`.

        With a `client_id` the broker keeps what is sent while this feed is away; without one, nothing. What `take` has
        not finished is not acknowledged, and comes again.
        """
        self._mqtt = mqtt
        self._filters = [(name, 1) for name in filters]
        self._take = take
        self._client_id = client_id
        self._password = read_password(mqtt)
        self._tls = tls_context(mqtt)
        self._client: Client | None = None
        self._refusal = ""
        self._arrived: list[MQTTMessage] = []
        self._due_s = 0.0
        self.connected = False
        """Subscribed, so that silence means something."""

    @property
    def broker(self) -> str:
        """Host and port, for messages."""
        return f"{self._mqtt.host}:{self._mqtt.port}"

    def step(self, timeout_s: float) -> None:
        """Connect where that is due, and take what comes within `timeout_s`.

        Raises `BrokerError` where that fails; the next step after a random wait tries again.
        """
        if self._client is None:
            wait_s = self._due_s - time.monotonic()
            if wait_s > 0.0:
                time.sleep(min(wait_s, timeout_s))
                return
        try:
            if self._client is None:
                self._client = self._connect()
            code = self._client.loop(timeout_s)
        except ssl.SSLError as error:
            raise self._lost(f"TLS failed ({error.reason}); check the CA file and the broker's certificate") from error
        except (OSError, ValueError, MQTTException) as error:
            raise self._lost(f"{getattr(error, 'strerror', None) or error}; check host and port") from error
        # Here and not in paho's callback, where an error of the taker would look like one of the network.
        arrived, self._arrived = self._arrived, []
        for message in arrived:
            # MQTT forbids a topic that is no text, a broker may not.
            with contextlib.suppress(UnicodeDecodeError):
                self._take(message.topic, bytes(message.payload))
            self._client.ack(message.mid, message.qos)
        if self._refusal:
            raise self._lost(self._refusal)
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise self._lost("connection lost")

    def close(self) -> None:
        """Say goodbye."""
        if self._client is not None:
            self._client.disconnect()
            self._client.loop(0.0)
        self._hang_up()

    def _connect(self) -> Client:
        mqtt5 = self._mqtt.protocol == "5.0"
        stays = self._client_id is not None
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id or f"watch-{random.getrandbits(64):016x}",
            clean_session=None if mqtt5 else not stays,
            protocol=MQTTProtocolVersion.MQTTv5 if mqtt5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = _CONNECT_TIMEOUT_S
        if self._mqtt.username is not None:
            client.username_pw_set(self._mqtt.username, self._password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        address = self._mqtt.host, self._mqtt.port, self._mqtt.keepalive_s
        if mqtt5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = _SESSION_EXPIRY_S if stays else 0
            client.connect(*address, clean_start=not stays, properties=properties)
        else:
            client.connect(*address)
        return client

    def _on_connect(
        self, client: Client, userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        del userdata, flags, properties
        if reason.is_failure:
            self._refusal = refusal(reason)
            return
        client.subscribe(self._filters)

    def _on_subscribe(
        self, client: Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        del client, userdata, mid, properties
        refused = [reason for reason in reasons if reason.is_failure]
        if refused:
            self._refusal = refusal(refused[0])
        else:
            self.connected = True

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        del client, userdata
        self._arrived.append(message)

    def _lost(self, what: str) -> BrokerError:
        self._hang_up()
        self._due_s = time.monotonic() + random.uniform(0.0, _LONGEST_WAIT_S)
        return BrokerError(f"MQTT broker {self.broker}: {what}")

    def _hang_up(self) -> None:
        if self._client is not None and (network := self._client.socket()) is not None:
            network.close()
        self._client, self._refusal, self.connected = None, "", False
