"""The live view on a terminal."""

import dataclasses
import io
import re

from rich.console import Console
from test_daemon import moment
from test_live_tracks import CLASSES, track

from appliance.cli.live_view import LiveView
from appliance.config import SiteSettings
from appliance.types import Direction, Track


def shown(*tracks: Track) -> str:
    screen = Console(file=io.StringIO(), width=120)
    view = LiveView("fence", CLASSES, SiteSettings(), console=screen)
    view.frame(dataclasses.replace(moment(-50.0), tracks=tracks))
    with screen.capture() as captured:
        screen.print(view.render())
    return captured.get()


def test_elevation_is_shown_with_its_sign_and_with_both_where_nothing_tells_above_from_below() -> None:
    flat = Direction(40.0, 0.0, elevation_valid=False)
    high = dataclasses.replace(track(2), doa=flat, height_deg=32.4)
    lines = shown(track(1), high, dataclasses.replace(track(3), doa=flat))
    told = re.findall(r"^(\d) +drone +320° ± \d+° +(\S+) +90%", lines, re.M)
    assert told == [("1", "+10°"), ("2", "±32°"), ("3", "–")]
