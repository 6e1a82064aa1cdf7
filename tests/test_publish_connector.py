"""One connection, full jitter, and every refusal in one line. Against a real Mosquitto."""

import itertools
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from mqtt import Broker, Subscriber, wait_until
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from appliance.config import MqttSettings, UnitSettings
from appliance.errors import BrokerError
from appliance.publish.connector import Connector
from appliance.publish.packets import Outgoing
from appliance.publish.presence import last_will
from appliance.publish.topics import Topic, UnitTopics

UNIT = UnitSettings(site="north", node="mast-1")
TOPICS = UnitTopics(UNIT.site, UNIT.node)
STATUS = {"schema": "acoustic.status.v1", "site": "north", "node": "mast-1"}
ONLINE = Outgoing(
    TOPICS.status,
    json.dumps(STATUS | {"state": "online", "reasons": []}),
    (("schema", "acoustic.status.v1"),),
    retain=True,
)


def connector_to(port: int, jitter: Callable[[float, float], float] = lambda low, _high: low, **mqtt: Any) -> Connector:
    settings = MqttSettings(host="127.0.0.1", port=port, **{"will_delay_s": 0, "keepalive_s": 5} | mqtt)
    return Connector(settings, client_id="mast-1-test", will=last_will(UNIT, TOPICS), jitter=jitter)


def connect(connector: Connector) -> None:
    """Step until the broker has accepted; a refusal raises."""
    for _ in range(1000):
        connector.step(0.05)
        if connector.connected:
            return
    pytest.fail("not connected")


def failure(connector: Connector) -> str:
    """Step until something fails, and say what."""
    try:
        for _ in range(1000):
            connector.step(0.05)
    except BrokerError as error:
        return str(error)
    pytest.fail("nothing failed")


@pytest.fixture(params=["5.0", "3.1.1"])
def protocol(request: pytest.FixtureRequest) -> Literal["5.0", "3.1.1"]:
    chosen: Literal["5.0", "3.1.1"] = request.param
    return chosen


def test_what_is_published_arrives_and_is_acknowledged(broker: Broker, protocol: Literal["5.0", "3.1.1"]) -> None:
    connector = connector_to(broker.port, protocol=protocol)
    with Subscriber(broker.port, protocol=protocol) as subscriber:
        connect(connector)
        number = connector.publish(ONLINE)
        assert connector.flush(10)
        assert connector.acknowledged() == [number]
        assert connector.acknowledged() == []
        wait_until(subscriber.status, "status received")
        connector.close()
    assert subscriber.status() == json.loads(ONLINE.payload)


def test_mqtt_5_properties_travel_with_the_message(broker: Broker) -> None:
    connector = connector_to(broker.port)
    with Subscriber(broker.port) as subscriber:
        connect(connector)
        properties = (("schema", "acoustic.status.v1"), ("event_id", "01J0"))
        connector.publish(Outgoing(TOPICS.status, ONLINE.payload, properties, expiry_s=600))
        connector.flush(10)
        wait_until(subscriber.status, "status received")
        connector.close()
    (received,) = subscriber.on("status")
    assert received.content_type == "application/json"
    assert received.user_properties == dict(properties)
    assert received.expiry_s is not None
    assert 0 < received.expiry_s <= 600


def test_last_will_is_published_when_the_unit_vanishes(broker: Broker, protocol: Literal["5.0", "3.1.1"]) -> None:
    connector = connector_to(broker.port, protocol=protocol)
    with Subscriber(broker.port) as subscriber:
        connect(connector)
        connector.publish(ONLINE)
        connector.flush(10)
        connector.abandon()
        wait_until(lambda: (subscriber.status() or {}).get("state") == "offline", "last will")
    with Subscriber(broker.port, name="late") as late:
        wait_until(late.status, "retained status")
        assert late.on("status")[0].retained
        assert late.status() == STATUS | {"state": "offline", "reasons": ["connection lost"], "hearing": False}


def test_last_will_is_not_published_after_a_goodbye(broker: Broker) -> None:
    connector = connector_to(broker.port)
    with Subscriber(broker.port) as subscriber:
        connect(connector)
        connector.publish(ONLINE)
        connector.flush(10)
        connector.close()
        # A second unit's message comes after whatever the broker still had to say about the first.
        again = connector_to(broker.port)
        connect(again)
        marker = json.dumps(STATUS | {"state": "degraded", "reasons": ["marker"]})
        again.publish(Outgoing(TOPICS.status, marker, ONLINE.properties))
        again.flush(10)
        wait_until(lambda: (subscriber.status() or {}).get("reasons") == ["marker"], "marker")
        again.close()
    assert [message.payload["state"] for message in subscriber.on("status")] == ["online", "degraded"]


def test_a_new_connection_inside_the_will_delay_is_no_outage(broker: Broker) -> None:
    connector = connector_to(broker.port, will_delay_s=2)
    with Subscriber(broker.port) as subscriber:
        connect(connector)
        connector.abandon()
        connect(connector)
        connector.publish(ONLINE)
        connector.flush(10)
        deadline_s = time.monotonic() + 3
        while time.monotonic() < deadline_s:
            connector.step(0.1)
        connector.close()
    assert [message.payload["state"] for message in subscriber.on("status")] == ["online"]


def test_never_more_in_flight_than_the_window(broker: Broker) -> None:
    connector = connector_to(broker.port)
    assert connector.room == 0
    connect(connector)
    window = connector.room
    assert 1 <= window <= 20
    broker.freeze()
    for sent in range(1, window + 1):
        connector.publish(ONLINE)
        assert connector.room == window - sent
    broker.stop()
    connector.abandon()


def test_a_link_that_dies_silently_is_noticed(broker: Broker) -> None:
    """Nothing closes the connection; that nothing is acknowledged is the only sign."""
    connector = connector_to(broker.port, keepalive_s=5)
    connect(connector)
    broker.freeze()
    connector.publish(ONLINE)
    assert "nothing acknowledged for 5 s" in failure(connector)
    assert not connector.connected


def test_it_comes_back_when_the_broker_does(broker: Broker) -> None:
    connector = connector_to(broker.port)
    connect(connector)
    broker.stop()
    assert failure(connector) == f"MQTT broker 127.0.0.1:{broker.port}: connection lost"
    assert "cannot be reached (Connection refused); check [mqtt] host and port" in failure(connector)
    broker.start()
    connect(connector)
    assert connector.connections == 2
    connector.close()


def test_waits_are_drawn_from_zero_to_a_bound_that_doubles_up_to_the_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    drawn: list[tuple[float, float]] = []

    def jitter(low: float, high: float) -> float:
        drawn.append((low, high))
        return 0.0

    connector = connector_to(port, jitter, reconnect_max_s=10.0)
    for _ in range(5):
        failure(connector)
    assert drawn == [(0.0, 2.0), (0.0, 4.0), (0.0, 8.0), (0.0, 10.0), (0.0, 10.0)]


def test_units_that_lose_the_broker_together_do_not_return_together() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = MqttSettings(host="127.0.0.1", port=port)
    units = [Connector(settings, client_id=f"unit-{n}", will=last_will(UNIT, TOPICS)) for n in range(200)]
    for unit in units:
        failure(unit)
    waits_s = sorted(unit.wait_s for unit in units)
    assert waits_s[-1] <= 2.0
    # 200 uniform draws leave no tenth of the window with more than 60 of them, but in one of 1e10 runs.
    assert max(sum(low <= wait < low + 0.2 for wait in waits_s) for low in [n / 5 for n in range(10)]) <= 60


def test_no_attempt_is_made_before_its_time() -> None:
    attempts = itertools.count()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.01)

        def accept_and_hang_up() -> None:
            while not done.is_set():
                try:
                    server.accept()[0].close()
                except TimeoutError:
                    continue
                next(attempts)

        done = threading.Event()
        thread = threading.Thread(target=accept_and_hang_up)
        thread.start()
        connector = connector_to(server.getsockname()[1], lambda _low, high: 1000 * high)
        failure(connector)
        for _ in range(20):
            connector.step(0.01)
        done.set()
        thread.join()
    assert next(attempts) == 1
    assert connector.wait_s > 1000


@contextmanager
def server_that_answers(answer: bytes) -> Iterator[int]:
    """A TCP server, by its port, that answers whatever one peer says, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer = server.accept()[0]
            with peer:
                peer.recv(1024)
                peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\xff\xff\xff\xff\xff", b"\x20\x03\x00", b"\x20\x01\x00", b"\x00" * 64],
)
def test_something_that_is_no_broker_is_an_error_and_no_crash(answer: bytes) -> None:
    with server_that_answers(answer) as port:
        assert f"MQTT broker 127.0.0.1:{port}: " in failure(connector_to(port))


def test_a_broker_that_hangs_up_on_mqtt_5_leads_to_the_other_version() -> None:
    with server_that_answers(b"") as port:
        assert (
            'no MQTT 5.0 broker answers there; check [mqtt] port and tls, or set [mqtt] protocol = "3.1.1"'
            in failure(connector_to(port))
        )
    with server_that_answers(b"") as port:
        assert failure(connector_to(port, protocol="3.1.1")).endswith("check [mqtt] port and tls")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Broker]:
    """A broker that wants a password, and lets `unit` write below its own topics only."""
    directory = tmp_path / "guarded"
    directory.mkdir()
    passwords, access = directory / "passwords", directory / "access"
    passwords.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(passwords), "unit", "geheim"], check=True)
    access.write_text("user unit\ntopic write acoustic/v1/north/mast-1/#\n")
    # With an unlimited queue Mosquitto 2.0.11 hangs up on whoever was refused, instead of saying so.
    queue_limit = "max_queued_messages 1000"
    settings = ("allow_anonymous false", f"password_file {passwords}", f"acl_file {access}", queue_limit)
    broker = Broker(directory, settings=settings)
    broker.start()
    yield broker
    broker.stop()


def password_file(tmp_path: Path, password: str) -> Path:
    path = tmp_path / "password"
    path.write_text(password)
    path.chmod(0o600)
    return path


def test_a_wrong_password_is_refused_with_the_remedy(
    guarded: Broker, tmp_path: Path, protocol: Literal["5.0", "3.1.1"]
) -> None:
    path = password_file(tmp_path, "falsch")
    connector = connector_to(guarded.port, username="unit", password_file=path, protocol=protocol)
    said = failure(connector)
    assert "refused: Not authorized; check [mqtt] username and password_file" in said
    assert "falsch" not in said


def test_the_right_password_connects(guarded: Broker, tmp_path: Path) -> None:
    connector = connector_to(guarded.port, username="unit", password_file=password_file(tmp_path, "geheim\n"))
    connect(connector)
    connector.publish(ONLINE)
    assert connector.flush(10)
    connector.close()


def test_an_event_that_the_access_list_refuses_is_not_acknowledged(guarded: Broker, tmp_path: Path) -> None:
    connector = connector_to(guarded.port, username="unit", password_file=password_file(tmp_path, "geheim"))
    connect(connector)
    connector.publish(Outgoing(UnitTopics("north", "other").alerts, "{}"), must_arrive=True)
    assert "acoustic/v1/north/other/alerts: refused: Not authorized; check the broker's access list" in failure(
        connector
    )
    assert connector.acknowledged() == []


def test_anything_else_that_is_refused_costs_a_line_and_not_the_connection(
    guarded: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Home Assistant's topics, say: they must not delay what follows, on this connection or the next."""
    connector = connector_to(guarded.port, username="unit", password_file=password_file(tmp_path, "geheim"))
    for connection in (1, 2):
        connect(connector)
        room = connector.room
        numbers = [connector.publish(Outgoing(Topic(f"homeassistant/{name}"), "{}")) for name in "aab"]
        alert = connector.publish(Outgoing(TOPICS.alerts, "{}"), must_arrive=True)
        assert connector.flush(10)
        assert connector.acknowledged() == [alert]
        assert not any(map(connector.awaits, numbers))
        assert (connector.connections, connector.room) == (connection, room)
        connector.close()
    assert caplog.messages == [
        f"MQTT broker 127.0.0.1:{guarded.port}: homeassistant/{name}: refused: Not authorized; check the broker's access list"
        for name in "ab"
    ]


def test_two_units_with_one_client_id_slow_down_rather_than_evict_each_other_for_ever(broker: Broker) -> None:
    drawn: list[float] = []

    def jitter(_low: float, high: float) -> float:
        drawn.append(high)
        return 0.0

    first, second = connector_to(broker.port, jitter), connector_to(broker.port)
    connect(first)
    for _ in range(3):
        connect(second)
        failure(first)
        connect(first)
        failure(second)
    assert drawn == [2.0, 4.0, 8.0]
    first.close()


def test_a_broker_that_says_why_it_hangs_up_is_quoted_with_the_remedy() -> None:
    connack, session_taken_over = b"\x20\x03\x00\x00\x00", b"\xe0\x02\x8e\x00"
    with server_that_answers(connack + session_taken_over) as port:
        assert "refused: Session taken over; another unit uses this client id" in failure(connector_to(port))


@pytest.mark.parametrize("stays", [True, False])
def test_the_broker_keeps_the_session_of_a_unit_and_none_of_a_visitor(
    broker: Broker, protocol: Literal["5.0", "3.1.1"], stays: bool
) -> None:
    settings = MqttSettings(host="127.0.0.1", port=broker.port, protocol=protocol)
    connector = Connector(settings, client_id="someone", will=last_will(UNIT, TOPICS) if stays else None)
    connect(connector)
    connector.close()
    kept: list[bool] = []
    v5 = protocol == "5.0"
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id="someone",
        clean_session=None if v5 else False,
        protocol=MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311,
    )
    client.on_connect = lambda _client, _data, flags, *_: kept.append(flags.session_present)
    client.connect("127.0.0.1", broker.port, clean_start=False if v5 else MQTT_CLEAN_START_FIRST_ONLY)
    while not kept:
        client.loop(0.1)
    client.disconnect()
    assert kept == [stays]


def test_publishing_without_a_connection_is_an_error() -> None:
    with pytest.raises(BrokerError, match="not connected"):
        connector_to(1).publish(ONLINE)
