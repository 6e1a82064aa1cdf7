"""What a proof needs: Mosquitto that can be stopped, processes that can be killed, and a subscriber that keeps its session."""

import os
import pwd
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from appliance.cli.bench_events import NODE, SITE
from appliance.cli.bench_writer import DONE, Order
from appliance.errors import ApplianceError, BrokerError

PATIENCE_S = 60.0
# Nobody dials out from these ports, so that none is taken while the broker is away.
_PORTS = range(20_000, 32_000)
_SESSION_EXPIRY_S = 3600


def wait_until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for `condition`; raises `ApplianceError` that says what did not happen."""
    deadline_s = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise ApplianceError(f"bench: still not so after {patience_s:.0f} s: {what}; look into the logs with --dir")
        time.sleep(0.01)


class Mosquitto:
    """On loopback. Its sessions outlive a stop, as they are written to disk at SIGTERM and read at the start.

    It is never killed: Mosquitto saves from time to time only, and would lose what it had acknowledged since.
    """

    def __init__(self, folder: Path) -> None:
        """Writes the settings, starts nothing yet. Raises `BrokerError` where Mosquitto is not installed."""
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if program is None:
            raise BrokerError("mosquitto: not installed; install it (`apt install mosquitto`) and try again")
        folder.mkdir()
        self.port = _free_port()
        self._command = [program, "-c", str(folder / "mosquitto.conf")]
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            f"user {pwd.getpwuid(os.getuid()).pw_name}",
            "persistence true",
            f"persistence_location {folder}/",
            "max_queued_messages 0",
            f"log_dest file {folder}/mosquitto.log",
        ]
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it listens."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._listens, f"mosquitto listens on port {self.port}")

    def stop(self) -> None:
        """As `systemctl stop` does."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def _listens(self) -> bool:
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self) -> "Mosquitto":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Publisher:
    """`appliance publish`, the process of the field."""

    def __init__(self, folder: Path, port: int) -> None:
        """`port`: the broker's. The event log is `events.db` in `folder`."""
        self.db = folder / "events.db"
        self._site, self._log = folder / "site.toml", folder / "publisher.log"
        # The wait between two attempts is cut from a minute to a second: a proof has hundreds of them.
        self._site.write_text(
            f"schema = 1\n[unit]\nsite = {SITE!r}\nnode = {NODE!r}\n[store]\npath = {str(self.db)!r}\n[mqtt]\n"
            f"host = '127.0.0.1'\nport = {port}\nreconnect_max_s = 1.0\nalert_expiry_s = 86400\n",
            encoding="utf-8",
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start; it needs no broker for that."""
        program = "from appliance.cli.main import main; main()"
        with self._log.open("ab") as log:
            command = [sys.executable, "-c", program, "publish", "--site", str(self._site)]
            self._process = subprocess.Popen(command, stderr=log)

    def kill(self) -> None:
        """With SIGKILL. Raises `ApplianceError` where it had ended by itself."""
        _kill(self._process, "the publisher")

    def resident_mb(self) -> float:
        """Memory that it holds now."""
        if self._process is None:
            raise ApplianceError("bench: the publisher was not started")
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _end(self._process)


class Writer:
    """`bench_writer`, and what it acknowledged, over all its lives."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "writer.log"
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self.acknowledged: list[tuple[str, int, str, str]] = []
        """(event id, sequence, state, severity) in the order of their commits."""
        self.done = False
        """All that was ordered is committed."""

    def start(self, order: Order) -> None:
        """Start, and wait for nothing."""
        self.done = False
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "appliance.cli.bench_writer", order.to_json()]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self._reader = threading.Thread(target=self._read, args=(self._process,), name="writer's words", daemon=True)
        self._reader.start()

    def kill(self) -> None:
        """With SIGKILL; what it had said is in `acknowledged` then. Raises `ApplianceError` where it had ended by itself."""
        _kill(self._process, "the writer")
        if self._reader is not None:
            self._reader.join()

    def wait_done(self, patience_s: float = PATIENCE_S) -> None:
        """Until all is committed, as long as something is committed every `patience_s`."""
        while not self.done:
            before = len(self.acknowledged)
            wait_until(lambda: self.done or len(self.acknowledged) > before, "the writer commits", patience_s)  # noqa: B023 - called within the round

    def _read(self, process: "subprocess.Popen[str]") -> None:
        if process.stdout is None:
            return
        with process.stdout:
            self._note(process.stdout)

    def _note(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line == DONE + "\n":
                self.done = True
            elif line.endswith("\n"):  # the last words of a killed one may break off
                event_id, sequence, state, severity = line.split()
                self.acknowledged.append((event_id, int(sequence), state, severity))

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _end(self._process)
        if self._reader is not None:
            self._reader.join()


class Subscriber:
    """A command centre of one: QoS 1, a session that the broker keeps, back after each outage."""

    def __init__(self, port: int, receive: Callable[[str, bytes, int], None]) -> None:
        """`receive` is called with topic, payload and UTC nanoseconds, before the message is acknowledged."""
        self._receive = receive
        self._subscribed = threading.Event()
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id="bench-subscriber", protocol=MQTTProtocolVersion.MQTTv5
        )
        self.connections = 0
        """Counts up with each connection."""
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = _SESSION_EXPIRY_S
        self._client.connect("127.0.0.1", port, clean_start=False, properties=properties)

    def _on_connect(self, client: Client, *_: object) -> None:
        self.connections += 1
        client.subscribe("acoustic/v1/#", qos=1)

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        self._receive(message.topic, bytes(message.payload), time.time_ns())

    def __enter__(self) -> "Subscriber":
        self._client.loop_start()
        wait_until(self._subscribed.is_set, "the subscriber has subscribed")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def _free_port() -> int:
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise BrokerError("bench: no free port between 20000 and 32000 on loopback")


def _kill(process: "subprocess.Popen[bytes] | subprocess.Popen[str] | None", name: str) -> None:
    if process is None or process.poll() is not None:
        raise ApplianceError(f"bench: {name} had ended by itself; look into its log with --dir")
    process.kill()
    process.wait()


def _end(process: "subprocess.Popen[bytes] | subprocess.Popen[str] | None") -> None:
    if process is not None and process.poll() is None:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
