"""`appliance run`: the sensor process."""

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from appliance.config import load_site
from appliance.daemon import run_sensor


def run(
    site: Annotated[Path, typer.Option(help="Site file (TOML).", metavar="FILE")],
) -> None:
    """Run the sensor: capture the array of the site file, and log events until SIGTERM or Ctrl-C.

    Refuses to start without a model (exit status 78). A device that goes away is waited for and reopened; meanwhile
    the unit says `degraded`.
    """
    settings = load_site(site)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run_sensor(settings, stop, site_file=site)
