"""What a message says besides its payload, as MQTT 5 properties; MQTT 3.1.1 has none."""

from dataclasses import dataclass

from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from appliance.publish.topics import Topic

# Nobody has more to say to a unit; a broker of MQTT 5 keeps what is longer to itself.
MAX_RECEIVED_BYTES = 16 * 1024
_MAX_TO_RECEIVE = 20
# For how long the broker keeps the session of a unit that is away.
_SESSION_EXPIRY_S = 24 * 3600

_REMEDIES = {
    "Unsupported protocol version": 'set [mqtt] protocol = "3.1.1"',
    "Bad user name or password": "check [mqtt] username and password_file",
    "Not authorized": "check the broker's access list",
    "Client identifier not valid": "check the broker's access list",
    "Packet too large": "raise what the broker takes (Mosquitto: max_packet_size)",
    "Session taken over": "another unit uses this client id; give each unit its own node name and machine id",
}

PACKET_TOO_LARGE = ReasonCode(PacketTypes.DISCONNECT, "Packet too large")
# The first byte, four for the length, two before the topic, two of the packet's number.
_MOST_HEADER_BYTES = 9


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish."""

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
    correlation: bytes | None = None
    """Correlation data of what this answers (MQTT 5 only)."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message that was received."""

    topic: str
    """Where it was sent to; empty where that is no text."""
    payload: bytes
    """Whatever somebody wrote."""
    retained: bool
    """It was not sent now, but kept by the broker."""
    response_topic: str | None
    """Where an answer is awaited."""
    correlation: bytes | None
    """What the asker wants to know the answer by."""
    expiry_s: int | None
    """Seconds that were left of it; None where it was to be kept for ever."""


def connect_properties(*, stays: bool) -> Properties:
    """Of CONNECT: what may come in is bounded; the session of who `stays` outlives the connection."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = _SESSION_EXPIRY_S if stays else 0
    properties.MaximumPacketSize = 2 * MAX_RECEIVED_BYTES
    properties.ReceiveMaximum = _MAX_TO_RECEIVE
    return properties


def publish_properties(message: Outgoing) -> Properties:
    """Of PUBLISH."""
    return _message_properties(PacketTypes.PUBLISH, message)


def packet_bytes(message: Outgoing) -> int:
    """How long it is as an MQTT 5 packet, at most three bytes too many."""
    properties: bytes = publish_properties(message).pack()  # type: ignore[no-untyped-call]
    return _MOST_HEADER_BYTES + len(str(message.topic).encode()) + len(properties) + len(message.payload.encode())


def will_properties(will: Outgoing, delay_s: int) -> Properties:
    """Of the last will, which the broker holds back for `delay_s` after the connection is lost."""
    properties = _message_properties(PacketTypes.WILLMESSAGE, will)
    properties.WillDelayInterval = delay_s
    return properties


def incoming(message: MQTTMessage) -> Incoming:
    """What paho received, with nothing of paho's left."""
    properties = message.properties
    try:
        topic = message.topic
    except UnicodeDecodeError:
        topic = ""
    return Incoming(
        topic,
        bytes(message.payload),
        message.retain,
        getattr(properties, "ResponseTopic", None),
        getattr(properties, "CorrelationData", None),
        getattr(properties, "MessageExpiryInterval", None),
    )


def subscription() -> SubscribeOptions:
    """Options of SUBSCRIBE: what the broker has kept is not wanted."""
    return SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)


def refusal(reason: ReasonCode) -> str:
    """What a broker's reason code means for whoever has to mend it."""
    name = reason.getName()
    remedy = _REMEDIES.get(name, "see the log of the broker")
    # Of whom it has let in, a broker no longer doubts the password.
    if name == "Not authorized" and reason.packetType == PacketTypes.CONNACK:
        remedy = "check [mqtt] username and password_file, and the broker's access list"
    return f"refused: {name}; {remedy}"


def _message_properties(packet_type: int, message: Outgoing) -> Properties:
    properties = Properties(packet_type)  # type: ignore[no-untyped-call]
    properties.ContentType = "application/json"
    properties.PayloadFormatIndicator = 1
    if message.properties:
        properties.UserProperty = list(message.properties)
    if message.expiry_s is not None:
        properties.MessageExpiryInterval = message.expiry_s
    if message.correlation is not None:
        properties.CorrelationData = message.correlation
    return properties
