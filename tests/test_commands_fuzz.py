"""Whatever the network sends is answered, or ignored with a counter; nothing of it ends or grows the publisher."""

import contextlib
import json
import re
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
from commander import UNIT, Commander
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mqtt import Broker, Subscriber, wait_until
from sqlite_utils import Database
from test_publish_connector import connector_to, failure
from test_publisher import Publisher
from ulid import ULID

from appliance import wire
from appliance.errors import WireError
from appliance.publish.packets import MAX_RECEIVED_BYTES
from appliance.publish.requests import read_request
from appliance.store import EventLog
from appliance.types import CommandName

NAMES = st.sampled_from(get_args(CommandName))
_KEYS = [
    "schema",
    "id",
    "by",
    "class",
    "from_deg",
    "to_deg",
    "duration_s",
    "mute_id",
    "threshold",
    "event_id",
    "process",
]
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(0, 400),
    st.sampled_from(["acoustic.command.v1", "drone", "sensor", "publisher", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "x", ""]),
    st.text(max_size=80),
    st.lists(st.integers(), max_size=3),
)
_VALID = st.fixed_dictionaries(
    {
        "schema": st.just("acoustic.command.v1"),
        "id": st.from_regex(r"[A-Za-z0-9_.:-]{1,64}", fullmatch=True),
        "by": st.just("eve"),
    }
)
# Commands that are nearly right: a right core, and keys that may or may not belong there.
COMMANDS = st.tuples(
    _VALID | st.just({}),
    st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=5),
    st.sets(st.sampled_from(_KEYS), max_size=1),
).map(lambda parts: {key: value for key, value in (parts[0] | parts[1]).items() if key not in parts[2]})
PAYLOADS = st.one_of(
    COMMANDS.map(lambda command: json.dumps(command).encode()),
    st.binary(max_size=200),
    st.sampled_from(
        [b"[" * 15_000, b'{"id":' * 2500, b"1" * 5000, b"NaN", b'{"id": "\\ud800"}', b"x" * (MAX_RECEIVED_BYTES + 1)]
    ),
)


@given(NAMES, COMMANDS)
def test_types_and_schema_take_and_refuse_the_same(name: CommandName, command: dict[str, object]) -> None:
    schema = wire.load_schema("command.v1")
    validator = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]})
    try:
        read_request(name, json.dumps(command).encode())
        taken = True
    except WireError:
        taken = False
    # The schema knows no keys that must differ and takes 1.0 for an integer; Python's "$" lets a line's end pass.
    schema_is_laxer = command.get("from_deg") == command.get("to_deg") is not None or any(
        (isinstance(value, float) and value.is_integer()) or (isinstance(value, str) and value.endswith("\n"))
        for value in command.values()
    )
    if taken or not schema_is_laxer:
        assert validator.is_valid(command) == taken


@given(
    NAMES, st.binary() | st.recursive(st.none() | st.integers(), st.lists).map(lambda value: json.dumps(value).encode())
)
def test_no_payload_raises_anything_but_wire_error(name: CommandName, payload: bytes) -> None:
    with pytest.raises(WireError) as caught:
        read_request(name, payload)
    assert len(str(caught.value)) <= 300


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Unit:
    """A publisher whose counters can be read."""

    def __init__(self, directory: Path, broker: Broker) -> None:
        self.port = free_port()
        allow = ", ".join(f'"{name}"' for name in get_args(CommandName) if name != "restart")
        self.publisher = Publisher(
            directory,
            broker.port,
            "[commands]",
            f"allow = [{allow}]",
            "per_minute = 600",
            "[metrics]",
            f"port = {self.port}",
        )
        self.publisher.start()

    def counted(self) -> dict[str, float]:
        """Cause, or "accepted" → how many commands."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            return {}
        rejected = re.findall(r'^acoustic_commands_rejected_total\{cause="(\w+)"\} (\S+)$', text, re.M)
        accepted = re.findall(r"^acoustic_commands_total (\S+)$", text, re.M)
        return {cause: float(count) for cause, count in [*rejected, *(("accepted", count) for count in accepted)]}

    def rss_kib(self) -> int:
        assert self.publisher._process is not None
        status = Path(f"/proc/{self.publisher._process.pid}/status").read_text()
        return int(re.findall(r"^VmRSS:\s+(\d+)", status, re.M)[0])


@pytest.fixture
def unit(tmp_path: Path, broker: Broker, event_log: EventLog) -> Iterator[Unit]:
    del event_log
    unit = Unit(tmp_path, broker)
    yield unit
    unit.publisher.clean()


def test_each_message_is_answered_or_counted_and_none_is_fatal(tmp_path: Path, broker: Broker, unit: Unit) -> None:
    sent = 0
    with Subscriber(broker.port) as subscriber:
        commander = Commander(subscriber)
        wait_until(subscriber.status, "connected")

        @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(
            payload=PAYLOADS,
            name=NAMES | st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="/+#$"), min_size=1),
            response_topic=st.sampled_from([f"{UNIT}/answers/desk"] * 5 + [f"{UNIT}/status", "elsewhere", None]),
            correlation=st.none() | st.binary(max_size=2000),
            expiry_s=st.sampled_from([60, 60, None]),
            retain=st.sampled_from([False] * 9 + [True]),
        )
        def send(
            payload: bytes,
            name: str,
            response_topic: str | None,
            correlation: bytes | None,
            expiry_s: int | None,
            retain: bool,
        ) -> None:
            nonlocal sent
            commander.send(
                name, payload, response_topic=response_topic, correlation=correlation, expiry_s=expiry_s, retain=retain
            )
            sent += 1

        for number in range(60):
            commander.send("mute", b"x" * 15_000, correlation=str(number).encode())
        wait_until(lambda: sum(unit.counted().values()) == 60, "warm")
        before_kib, sent = unit.rss_kib(), 60
        send()
        wait_until(lambda: sum(unit.counted().values()) == sent, "each was counted")
        answer = commander.ask("clip", event_id=str(ULID()))
        assert answer["error"] == "not_found"
        # Each of the 300 brought up to 16 KiB; were they kept, it would be megabytes.
        assert unit.rss_kib() - before_kib < 8 * 1024
    counted = unit.counted()
    assert {"malformed", "no_expiry", "response_topic", "no_response_topic", "unknown_command"} <= set(counted)
    with closing(Database(tmp_path / "events.db", execute_plugins=False)) as db:
        assert all(row["answer"] is not None or row["name"] == "selftest" for row in db["commands"].rows)
    assert unit.publisher.stop() == 0


# Bodies of packets: noise, and messages on the topic "a" whose properties are noise.
_BODIES = st.binary(max_size=40) | st.binary(max_size=20).map(lambda noise: b"\x00\x01a" + bytes([len(noise)]) + noise)


@given(st.lists(_BODIES, min_size=1, max_size=4), st.sampled_from([0x30, 0x32, 0x3D, 0x40, 0x90, 0xE0, 0x20]))
@settings(max_examples=150, deadline=None, database=None)
def test_a_broker_that_sends_nonsense_is_a_lost_connection_and_no_crash(packets: list[bytes], kind: int) -> None:
    """Also where the nonsense is a well-framed packet that paho cannot read."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak() -> None:
            connection, _ = server.accept()
            # The other side may hang up at the first nonsense.
            with connection, contextlib.suppress(OSError):
                connection.recv(4096)
                connection.sendall(b"\x20\x03\x00\x00\x00")
                for packet in packets:
                    connection.sendall(bytes([kind, len(packet)]) + packet)

        speaker = threading.Thread(target=speak)
        speaker.start()
        connector = connector_to(server.getsockname()[1])
        try:
            assert "MQTT broker 127.0.0.1:" in failure(connector)
        finally:
            connector.abandon()
            speaker.join()
