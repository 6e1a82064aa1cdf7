"""`appliance publish`: the publisher process."""

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from appliance.config import load_site
from appliance.publisher import run_publisher


def publish(
    site: Annotated[Path, typer.Option(help="Site file (TOML).", metavar="FILE")],
) -> None:
    """Publish logged events over MQTT: drain the outbox, keep status and health current, wait out any outage.

    Runs until SIGTERM or Ctrl-C. What is not delivered then stays in the event log for the next start.
    """
    settings = load_site(site)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run_publisher(settings, stop)
