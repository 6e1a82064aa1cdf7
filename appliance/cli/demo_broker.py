"""A broker on loopback for the length of the demo: Mosquitto where it is installed, else amqtt in a thread."""

import asyncio
import contextlib
import logging
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from appliance.errors import BrokerError

BrokerKind = Literal["mosquitto", "amqtt"]
_PATIENCE_S = 15.0
_SEARCH_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"


def installed_broker() -> BrokerKind:
    """Mosquitto where there is one: it speaks MQTT 5, amqtt 3.1.1 only."""
    return "mosquitto" if shutil.which("mosquitto", path=_SEARCH_PATH) else "amqtt"


@contextlib.contextmanager
def loopback_broker(kind: BrokerKind, folder: Path) -> Iterator[int]:
    """A running broker; gives its port on 127.0.0.1. Raises `BrokerError` where it does not start."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    with _mosquitto(port, folder) if kind == "mosquitto" else _amqtt(port):
        yield port


@contextlib.contextmanager
def _mosquitto(port: int, folder: Path) -> Iterator[None]:
    program = shutil.which("mosquitto", path=_SEARCH_PATH)
    if program is None:
        raise BrokerError("mosquitto: not installed; install it or use --broker amqtt")
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n", encoding="ascii")
    with subprocess.Popen(
        [program, "-c", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait_for(port, "mosquitto")
            yield
        finally:
            process.terminate()


@contextlib.contextmanager
def _amqtt(port: int) -> Iterator[None]:
    try:
        from amqtt.broker import Broker
    except ImportError:
        raise BrokerError(
            "no MQTT broker: install mosquitto, or the extra with pip install 'appliance[demo]'"
        ) from None
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    logging.getLogger("transitions").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    settings = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    thread = threading.Thread(target=loop.run_forever, name="amqtt", daemon=True)
    thread.start()

    async def start() -> Broker:
        broker = Broker(settings)
        await broker.start()
        return broker

    broker = asyncio.run_coroutine_threadsafe(start(), loop).result(_PATIENCE_S)
    try:
        _wait_for(port, "amqtt")
        yield
    finally:
        asyncio.run_coroutine_threadsafe(broker.shutdown(), loop).result(_PATIENCE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_PATIENCE_S)


def _wait_for(port: int, name: str) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        time.sleep(0.05)
    raise BrokerError(
        f"{name}: does not answer on port {port} after {_PATIENCE_S:.0f} s; try again, or the other --broker"
    )
