"""`appliance watch`: the events of many units, live, as a command centre's first screen."""

import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.live import Live

from appliance.cli.watch_board import Board
from appliance.cli.watch_feed import Feed
from appliance.cli.watch_view import screen
from appliance.config import MqttSettings, UnitSettings
from appliance.errors import BrokerError, ConfigError
from appliance.validation import one_line

_STEP_S = 0.1
_REDRAW_S = 0.25
_PORTS = {False: 1883, True: 8883}


def watch(
    broker: Annotated[
        str, typer.Option(help="The broker; without a port 1883, or 8883 with TLS.", metavar="HOST:PORT")
    ],
    site: Annotated[str, typer.Option(help="Only units of this site.")] = "+",
    node: Annotated[str, typer.Option(help="Only units of this name.")] = "+",
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="No screen: every new event state and status as one JSON line.")
    ] = False,
    client_id: Annotated[
        str | None, typer.Option(help="Let the broker keep for this id what comes while nobody watches.")
    ] = None,
    username: Annotated[str | None, typer.Option(help="User name, where the broker wants one.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File (mode 0600) with the password.", metavar="FILE")
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Encrypt, and verify the broker's certificate.")] = False,
    ca_file: Annotated[
        Path | None, typer.Option(help="Certificate authority; empty: the system's.", metavar="FILE")
    ] = None,
    cert_file: Annotated[Path | None, typer.Option(help="Client certificate.", metavar="FILE")] = None,
    key_file: Annotated[Path | None, typer.Option(help="Client key, mode 0600.", metavar="FILE")] = None,
    protocol: Annotated[Literal["5.0", "3.1.1"], typer.Option(help="MQTT version.")] = "5.0",
) -> None:
    """Watch units at a broker: who is quiet, degraded, deaf or gone, and which events are open, alerts in red.

    Runs until Ctrl-C. An event state that comes twice is shown once. A broker that cannot be reached at the start ends
    it; one that goes away later is waited for.
    """
    settings = _settings(
        broker,
        tls=tls,
        protocol=protocol,
        username=username,
        password_file=password_file,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
    )
    board = Board()

    def take(topic: str, payload: bytes) -> None:
        news = board.take(topic, payload)
        if jsonl and news is not None:
            # ASCII, so that nothing from the network can steer the terminal.
            sys.stdout.write(json.dumps(news) + "\n")
            sys.stdout.flush()

    unit = f"acoustic/v1/{_level('site', site)}/{_level('node', node)}"
    screen_only = [] if jsonl else [f"{unit}/health", f"{unit}/tracks"]
    topics = [f"{unit}/status", f"{unit}/events/+", f"{unit}/alerts", *screen_only]
    feed = Feed(settings, topics, take, client_id=client_id)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        if jsonl:
            _follow(feed, stop)
        else:
            _show(feed, board, stop)
    finally:
        feed.close()


def _settings(broker: str, **given: Any) -> MqttSettings:
    host, separator, port = broker.rpartition(":")
    # An IPv6 address has colons of its own, and stands in brackets where a port follows.
    if not separator or broker.endswith("]") or (":" in host and not host.startswith("[")):
        host, port = broker, str(_PORTS[given["tls"]])
    if not port.isdecimal() or not host:
        raise ConfigError(f"--broker {broker}: not HOST:PORT; give for example broker.example:8883")
    try:
        return MqttSettings(host=host.strip("[]"), port=int(port), **given)
    except ValidationError as error:
        raise ConfigError(f"--broker {broker}: {one_line(error, MqttSettings)}") from None


def _level(option: str, name: str) -> str:
    """`name`, where a unit may be called so or it is `+`, any; what no unit is called would be waited for in vain."""
    if name == "+":
        return name
    try:
        UnitSettings(**{option: name})
    except ValidationError:
        raise ConfigError(
            f"--{option} {name!r:.80}: no unit is called so; give [unit] {option} of its site file, or leave it out for all"
        ) from None
    return name


def _follow(feed: Feed, stop: threading.Event) -> None:
    """Lines only; trouble goes to stderr, once as long as it lasts."""
    said, was_connected = "", False
    while not stop.is_set():
        trouble = _step(feed, fatal=not was_connected)
        was_connected = was_connected or feed.connected
        if trouble and trouble != said:
            sys.stderr.write(f"appliance: {trouble}; trying again\n")
        said = "" if feed.connected else trouble or said


def _show(feed: Feed, board: Board, stop: threading.Event) -> None:
    console = Console()
    trouble, was_connected, drawn_s = f"connecting to {feed.broker}", False, 0.0
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while not stop.is_set():
            trouble = _step(feed, fatal=not was_connected) or ("" if feed.connected else trouble)
            was_connected = was_connected or feed.connected
            if time.monotonic() - drawn_s >= _REDRAW_S:
                drawn_s = time.monotonic()
                live.update(screen(board, feed.broker, trouble, lines=console.height), refresh=console.is_terminal)


def _step(feed: Feed, *, fatal: bool) -> str:
    """What is wrong; empty where nothing is. Raises `BrokerError` where it is `fatal`."""
    try:
        feed.step(_STEP_S)
    except BrokerError as error:
        if fatal:
            raise
        return str(error)
    return ""
