"""What a message says besides its payload, as MQTT 5 properties; MQTT 3.1.1 has none."""

from dataclasses import dataclass

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from appliance.publish.topics import Topic

# For how long the broker keeps the session of a unit that is away.
_SESSION_EXPIRY_S = 24 * 3600

_REMEDIES = {
    "Unsupported protocol version": 'set [mqtt] protocol = "3.1.1"',
    "Bad user name or password": "check [mqtt] username and password_file",
    "Not authorized": "check [mqtt] username and password_file, and the broker's access list",
    "Client identifier not valid": "check the broker's access list",
    "Session taken over": "another unit uses this client id; give each unit its own node name and machine id",
}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish at QoS 1."""

    topic: Topic
    """Where to."""
    payload: str
    """JSON."""
    properties: tuple[tuple[str, str], ...] = ()
    """User properties (MQTT 5 only)."""
    retain: bool = False
    """Kept by the broker for whoever subscribes later."""
    expiry_s: int | None = None
    """The broker does not deliver it later than this (MQTT 5 only)."""


def connect_properties() -> Properties:
    """Of CONNECT: the session outlives the connection."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = _SESSION_EXPIRY_S
    return properties


def publish_properties(message: Outgoing) -> Properties:
    """Of PUBLISH."""
    return _message_properties(PacketTypes.PUBLISH, message)


def will_properties(will: Outgoing, delay_s: int) -> Properties:
    """Of the last will, which the broker holds back for `delay_s` after the connection is lost."""
    properties = _message_properties(PacketTypes.WILLMESSAGE, will)
    properties.WillDelayInterval = delay_s
    return properties


def refusal(reason: ReasonCode) -> str:
    """What a broker's reason code means for whoever has to mend it."""
    name = reason.getName()
    return f"refused: {name}; {_REMEDIES.get(name, 'see the log of the broker')}"


def _message_properties(packet_type: int, message: Outgoing) -> Properties:
    properties = Properties(packet_type)  # type: ignore[no-untyped-call]
    properties.ContentType = "application/json"
    properties.PayloadFormatIndicator = 1
    if message.properties:
        properties.UserProperty = list(message.properties)
    if message.expiry_s is not None:
        properties.MessageExpiryInterval = message.expiry_s
    return properties
