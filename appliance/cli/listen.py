"""`appliance listen`: what the microphones hear, in a live view."""

import contextlib
import signal
from pathlib import Path
from typing import Annotated

import typer

from appliance.audio.open import open_capture
from appliance.audio.replay import ReplaySource
from appliance.audio.source import AudioSource
from appliance.cli.live_view import LiveView
from appliance.config import SiteSettings, load_site
from appliance.events import random_ulids
from appliance.pipeline import run
from appliance.stages import build_stages, load_array_and_model
from appliance.telemetry import clock_quality


def listen(
    file: Annotated[
        Path | None, typer.Argument(help="A recording to watch at its own pace, instead of the microphones.")
    ] = None,
    site: Annotated[Path | None, typer.Option(help="Site file: array, capture device, mount.", metavar="FILE")] = None,
    array: Annotated[
        str | None, typer.Option(help="Shipped array or array file, instead of the site's.", metavar="NAME|FILE")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Shipped model or .onnx file, instead of the site's.", metavar="NAME|FILE")
    ] = None,
) -> None:
    """Watch the microphones live: level of each, objects with class, bearing and confidence, events. Ctrl-C ends it.

    Nothing is logged or published. The sensor must not hold the device meanwhile (`systemctl stop appliance-sensor`).
    """
    settings = load_site(site) if site else SiteSettings()
    geometry, scene_model = load_array_and_model(settings, site, array=array, model=model)
    stages = build_stages(settings, geometry, scene_model, ulids=random_ulids(), clock=clock_quality, site_file=site)
    with contextlib.ExitStack() as stack:
        source: AudioSource
        duration_s = None
        if file is None:
            source = stack.enter_context(open_capture(settings.capture, geometry, site))
        else:
            recording = stack.enter_context(ReplaySource(file, geometry, realtime=True))
            if recording.shortcoming:
                typer.echo(recording.shortcoming, err=True)
            source, duration_s = recording, recording.duration_s
        # Ctrl-C ends the audio, so that the last picture stays and the device is given back.
        signal.signal(signal.SIGINT, lambda *_: source.close())
        title = f"{file.name if file else 'live'} on {geometry.name}"
        view = stack.enter_context(LiveView(title, scene_model.classes, settings, duration_s=duration_s))
        run(source, stages, [], [view])
