"""A real Mosquitto on loopback, and a subscriber that holds every message against its schema."""

import functools
import json
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import jsonschema
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from appliance import wire

PATIENCE_S = 60.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait as long as a loaded machine may need; the limit only ends a test that has failed."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"still not so after {PATIENCE_S} s: {what}"
        time.sleep(0.02)


class Broker:
    """Mosquitto on a free port, with sessions that outlive its restarts."""

    def __init__(self, directory: Path, *, settings: tuple[str, ...] = ("allow_anonymous true",)) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self._file = directory / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            "user root",
            "persistence true",
            f"persistence_location {directory}/",
            "max_queued_messages 0",
            f"log_dest file {directory}/mosquitto.log",
            *settings,
        ]
        self._file.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it listens."""
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        assert program is not None, "mosquitto is not installed; run `make test`, which installs it"
        self._process = subprocess.Popen([program, "-c", str(self._file)])
        wait_until(self._listens, "the broker listens")

    def stop(self) -> None:
        """Stop as a restart does: sessions are written to disk first."""
        if self._process is not None:
            self.thaw()
            self._process.terminate()
            self._process.wait(timeout=PATIENCE_S)
            self._process = None

    def freeze(self) -> None:
        """Stop answering without closing anything, as a dead link does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"mosquitto did not start: {self._file.with_name('mosquitto.log')}"
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", self.port)) == 0


@dataclass(frozen=True)
class Received:
    """One message as a subscriber sees it."""

    topic: str
    payload: dict[str, Any]
    retained: bool
    content_type: str | None = None
    user_properties: dict[str, str] = field(default_factory=dict)
    expiry_s: int | None = None
    correlation: bytes | None = None


def check_contract(topic: str, payload: dict[str, Any]) -> None:
    """The message is of its schema, and AsyncAPI's document has it on that topic; raises where not."""
    channel = channel_of(topic)
    assert channel is not None, "no such channel in asyncapi.json"
    allowed = [message["payload"]["schema"]["$ref"] for message in channel["messages"].values()]
    name = payload["schema"].removeprefix("acoustic.")
    assert f"{name}.json" in [reference.partition("#")[0] for reference in allowed], f"{name} is not for this topic"
    validator(name).validate(payload)


@functools.cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    """Of a schema of the package, formats included."""
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return jsonschema.Draft202012Validator(wire.load_schema(name), format_checker=checker)


@functools.cache
def channel_of(topic: str) -> dict[str, Any] | None:
    """The channel of AsyncAPI's document that has this topic, its messages written out."""
    document = wire.load_schema("asyncapi")
    for channel in document["channels"].values():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", channel["address"]), topic):
            messages = document["components"]["messages"]
            named = {name: messages[each["$ref"].rpartition("/")[2]] for name, each in channel["messages"].items()}
            return {**channel, "messages": named}
    return None


class Subscriber:
    """Receives everything below `acoustic/`, over outages too, and refuses what breaks the contract."""

    def __init__(self, port: int, name: str = "operator", protocol: Literal["5.0", "3.1.1"] = "5.0") -> None:
        v5 = protocol == "5.0"
        self._messages: list[Received] = []
        self._faults: list[str] = []
        self._subscribed = threading.Event()
        self.client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=name,
            clean_session=None if v5 else False,
            protocol=MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311,
        )
        self.client.on_connect = lambda client, *_: client.subscribe("acoustic/#", qos=1)
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = lambda _client, _userdata, message: self._receive(message)
        if v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 3600
            self.client.connect("127.0.0.1", port, clean_start=False, properties=properties)
        else:
            self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        wait_until(self._subscribed.is_set, "subscribed")

    def __enter__(self) -> "Subscriber":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def on(self, *levels: str) -> list[Received]:
        """What came on topics whose levels after the unit begin so: `on("events")`, `on("status")`."""
        assert self._faults == []
        return [message for message in self._messages if tuple(message.topic.split("/")[4:])[: len(levels)] == levels]

    def status(self) -> dict[str, Any] | None:
        """The latest status."""
        said = self.on("status")
        return said[-1].payload if said else None

    def _receive(self, message: MQTTMessage) -> None:
        properties = message.properties
        received = Received(
            message.topic,
            {},
            message.retain,
            getattr(properties, "ContentType", None),
            dict(getattr(properties, "UserProperty", [])),
            getattr(properties, "MessageExpiryInterval", None),
            getattr(properties, "CorrelationData", None),
        )
        if message.topic.split("/")[4] == "cmd":
            return  # what tests send to a unit is often meant to be wrong
        try:
            payload = json.loads(message.payload)
            # A unit that speaks MQTT 3.1.1 has no properties; one that speaks 5 has them all.
            spoken5 = received.content_type is not None
            assert not spoken5 or received.user_properties.get("schema") == payload["schema"], "user property `schema`"
            check_contract(message.topic, payload)
        except (ValueError, KeyError, OSError, AssertionError, jsonschema.ValidationError) as error:
            self._faults.append(f"{message.topic}: {error}")
            return
        self._messages.append(replace(received, payload=payload))
