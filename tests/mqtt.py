"""A real Mosquitto on loopback, and a subscriber that holds every message against its schema."""

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
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


class Subscriber:
    """Receives everything below `acoustic/`, over outages too, and refuses what breaks the contract."""

    def __init__(self, port: int, name: str = "operator", protocol: Literal["5.0", "3.1.1"] = "5.0") -> None:
        self._messages: list[Received] = []
        self._faults: list[str] = []
        self._subscribed = threading.Event()
        v5 = protocol == "5.0"
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=name,
            clean_session=None if v5 else False,
            protocol=MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311,
        )
        self._client.on_connect = lambda client, *_: client.subscribe("acoustic/#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _client, _userdata, message: self._receive(message)
        if v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 3600
            self._client.connect("127.0.0.1", port, clean_start=False, properties=properties)
        else:
            self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        wait_until(self._subscribed.is_set, "subscribed")

    def __enter__(self) -> "Subscriber":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def on(self, *levels: str) -> list[Received]:
        """What came on topics whose levels after the unit begin so: `on("events")`, `on("status")`."""
        assert self._faults == []
        return [message for message in self._messages if tuple(message.topic.split("/")[4:])[: len(levels)] == levels]

    def status(self) -> dict[str, Any] | None:
        """The latest status."""
        said = self.on("status")
        return said[-1].payload if said else None

    def _receive(self, message: MQTTMessage) -> None:
        try:
            payload = json.loads(message.payload)
            name = payload["schema"].removeprefix("acoustic.")
            checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
            jsonschema.Draft202012Validator(wire.load_schema(name), format_checker=checker).validate(payload)
        except (ValueError, KeyError, OSError, jsonschema.ValidationError) as error:
            self._faults.append(f"{message.topic}: {error}")
            return
        properties = message.properties
        self._messages.append(
            Received(
                message.topic,
                payload,
                message.retain,
                getattr(properties, "ContentType", None),
                dict(getattr(properties, "UserProperty", [])),
                getattr(properties, "MessageExpiryInterval", None),
            )
        )
