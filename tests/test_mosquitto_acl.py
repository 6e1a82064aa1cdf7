"""The shipped broker ACL, against a real Mosquitto: a unit can neither speak nor listen as another."""

import queue
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mqtt import PATIENCE_S, Broker
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

EXAMPLE = Path(__file__).resolve().parent.parent / "deploy" / "mosquitto-acl.example"


class MqttUser:
    """One logged-in client that keeps what it receives."""

    def __init__(self, port: int, name: str) -> None:
        self.received: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._reasons: queue.Queue[str] = queue.Queue()
        self.client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"{name}-client", protocol=MQTTProtocolVersion.MQTTv5
        )
        self.client.username_pw_set(name, f"{name}-password")
        self.client.on_connect = lambda *arguments: self._reasons.put(str(arguments[3]))
        self.client.on_subscribe = lambda *arguments: self._reasons.put(str(arguments[3][0]))
        self.client.on_publish = lambda *arguments: self._reasons.put(str(arguments[3]))
        self.client.on_message = lambda _client, _data, message: self.received.put(
            (message.topic, bytes(message.payload))
        )
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self._reasons.get(timeout=PATIENCE_S) == "Success"

    def subscribe(self, topic: str) -> str:
        self.client.subscribe(topic, qos=1)
        return self._reasons.get(timeout=PATIENCE_S)

    def publish(self, topic: str, payload: bytes = b"x") -> str:
        """The broker's answer: `Success` (or that nobody listens), or `Not authorized`."""
        self.client.publish(topic, payload, qos=1)
        return self._reasons.get(timeout=PATIENCE_S)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        # It holds what holds it, and would be found unclosed whenever Python next looks for such.
        del self.client


@pytest.fixture
def guarded_broker(tmp_path: Path) -> Iterator[int]:
    """Port of a Mosquitto that runs with the shipped ACL and three users."""
    passwords = tmp_path / "passwd"
    passwords.touch(mode=0o600)
    for name in ("gate", "roof", "command-centre", "wall"):
        subprocess.run(["mosquitto_passwd", "-b", passwords, name, f"{name}-password"], check=True)
    acl = tmp_path / "acl"
    acl.write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    acl.chmod(0o600)
    # With an unlimited queue Mosquitto 2.0.11 hangs up on whoever was refused, instead of saying so.
    queue_limit = "max_queued_messages 1000"
    settings = ("allow_anonymous false", f"password_file {passwords}", f"acl_file {acl}", queue_limit)
    broker = Broker(tmp_path, settings=settings)
    broker.start()
    try:
        yield broker.port
    finally:
        broker.stop()


@pytest.fixture
def gate(guarded_broker: int) -> Iterator[MqttUser]:
    user = MqttUser(guarded_broker, "gate")
    yield user
    user.close()


@pytest.fixture
def roof(guarded_broker: int) -> Iterator[MqttUser]:
    user = MqttUser(guarded_broker, "roof")
    yield user
    user.close()


@pytest.fixture
def centre(guarded_broker: int) -> Iterator[MqttUser]:
    user = MqttUser(guarded_broker, "command-centre")
    yield user
    user.close()


def test_a_unit_cannot_speak_as_another(gate: MqttUser, centre: MqttUser) -> None:
    centre.subscribe("acoustic/v1/#")
    for topic in (
        "north/roof/status",
        "north/roof/tracks",
        "north/roof/events/1",
        "south/gate/alerts",
        "north/gatehouse/alerts",
    ):
        assert gate.publish(f"acoustic/v1/{topic}", b"forged") == "Not authorized"
    assert gate.publish("elsewhere", b"forged") == "Not authorized"
    assert gate.publish("acoustic/v1/north/gate/alerts", b"real") == "Success"
    assert centre.received.get(timeout=PATIENCE_S) == ("acoustic/v1/north/gate/alerts", b"real")
    assert centre.received.empty()


def test_a_unit_cannot_read_another(gate: MqttUser, roof: MqttUser, centre: MqttUser) -> None:
    for topic in ("acoustic/v1/#", "acoustic/v1/north/roof/#", "acoustic/v1/north/gate/cmd/#"):
        gate.subscribe(topic)
    roof.publish("acoustic/v1/north/roof/events/1", b"private")
    centre.publish("acoustic/v1/north/roof/cmd/selftest", b"for roof")
    # The broker works in order: what it wanted to pass on of the above would lie before this.
    centre.publish("acoustic/v1/north/gate/cmd/selftest", b"for gate")
    assert gate.received.get(timeout=PATIENCE_S) == ("acoustic/v1/north/gate/cmd/selftest", b"for gate")
    assert {gate.received.get(timeout=PATIENCE_S) for _ in range(gate.received.qsize())} <= {
        ("acoustic/v1/north/gate/cmd/selftest", b"for gate")
    }


def test_the_command_centre_reads_all_and_commands_but_speaks_for_nobody(
    gate: MqttUser, roof: MqttUser, centre: MqttUser
) -> None:
    centre.subscribe("acoustic/v1/#")
    gate.publish("acoustic/v1/north/gate/events/1", b"1")
    roof.publish("acoustic/v1/north/roof/events/2", b"2")
    assert centre.received.get(timeout=PATIENCE_S) == ("acoustic/v1/north/gate/events/1", b"1")
    assert centre.received.get(timeout=PATIENCE_S) == ("acoustic/v1/north/roof/events/2", b"2")
    assert centre.publish("acoustic/v1/north/gate/events/3", b"forged") == "Not authorized"


def test_a_unit_commands_no_other_and_the_wall_commands_nobody(
    guarded_broker: int, gate: MqttUser, roof: MqttUser, centre: MqttUser
) -> None:
    wall = MqttUser(guarded_broker, "wall")
    try:
        roof.subscribe("acoustic/v1/north/roof/cmd/+")
        assert gate.publish("acoustic/v1/north/roof/cmd/mute", b"forged") == "Not authorized"
        assert wall.publish("acoustic/v1/north/roof/cmd/mute", b"forged") == "Not authorized"
        wall.subscribe("acoustic/v1/#")
        assert centre.publish("acoustic/v1/north/roof/cmd/mute", b"real") == "Success"
        assert roof.publish("acoustic/v1/north/roof/answers/desk", b"done") == "Success"
        assert roof.received.get(timeout=PATIENCE_S) == ("acoustic/v1/north/roof/cmd/mute", b"real")
        heard = [wall.received.get(timeout=PATIENCE_S) for _ in range(2)]
        assert heard == [("acoustic/v1/north/roof/cmd/mute", b"real"), ("acoustic/v1/north/roof/answers/desk", b"done")]
        assert roof.received.empty()
    finally:
        wall.close()
