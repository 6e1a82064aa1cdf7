"""The live terminal view: level of each microphone, objects with class, bearing and confidence, events."""

from collections import deque
from collections.abc import Sequence

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from appliance import wire
from appliance.config import SiteSettings
from appliance.events.pose import Pose
from appliance.pipeline import Moment
from appliance.types import Event, Track

_LOUDEST_DBFS, _FAINTEST_DBFS = 0.0, -90.0
_BAR_CELLS = 30
_EVENT_LINES = 8
_REDRAWS_PER_S = 5


class LiveView:
    """An observer of the pipeline that draws; use it as a context manager around `pipeline.run`.

    Where the output is no terminal it draws once, at the end.
    """

    def __init__(
        self,
        title: str,
        classes: Sequence[str],
        settings: SiteSettings,
        *,
        duration_s: float | None = None,
        console: Console | None = None,
    ) -> None:
        """`duration_s`: length of the recording, for progress; None for a live source."""
        self._title = title
        self._classes = tuple(classes)
        self._pose = Pose(settings.mount)
        self._duration_s = duration_s
        self._moment: Moment | None = None
        self._events: dict[str, tuple[float, Event]] = {}
        self._ended: deque[tuple[float, Event]] = deque(maxlen=_EVENT_LINES)
        self._live = Live(get_renderable=self.render, console=console or Console(), refresh_per_second=_REDRAWS_PER_S)

    def __enter__(self) -> "LiveView":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def frame(self, moment: Moment) -> None:
        """Show this label frame from the next redraw on."""
        self._note(moment.events, moment.stream_s)
        self._moment = moment

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        """Show what ended with the audio."""
        self._note(events, stream_s)

    def render(self) -> RenderableType:
        """What is on the screen now."""
        moment = self._moment
        if moment is None:
            return Text(f"{self._title}: waiting for audio …")
        return Group(self._head(moment), _levels(moment), self._objects(moment.tracks), self._event_table())

    def _note(self, events: Sequence[Event], stream_s: float) -> None:
        # Replaced, not changed: the redraw runs in another thread.
        open_events = dict(self._events)
        ended = self._ended.copy()
        for event in events:
            begun_s, _ = open_events.get(event.event_id, (stream_s, event))
            open_events[event.event_id] = begun_s, event
            if event.state == "end":
                ended.append(open_events.pop(event.event_id))
        self._events, self._ended = open_events, ended

    def _head(self, moment: Moment) -> Text:
        position = _clock(moment.stream_s)
        if self._duration_s:
            position += f" of {_clock(self._duration_s)} ({min(1.0, moment.stream_s / self._duration_s):.0%})"
        return Text.assemble((self._title, "bold"), f"  {position}  {moment.step_s * 1e3:.1f} ms per 100 ms\n")

    def _objects(self, tracks: Sequence[Track]) -> Table:
        table = Table(
            "track", "class", "bearing", "elevation", "confidence", box=None, pad_edge=False, title_justify="left"
        )
        table.title = "objects"
        for track in tracks:
            if track.status not in ("confirmed", "coasting"):
                continue
            best = int(np.argmax(track.class_probs))
            bearing_deg, elevation_deg, sigma_deg = self._pose.bearing_elevation_sigma_deg(track)
            elevation = f"{elevation_deg:+.0f}°" if track.doa.elevation_valid else "–"
            if (height_deg := self._pose.height_deg(track)) is not None:
                elevation = f"±{height_deg:.0f}°"
            table.add_row(
                str(track.track_id),
                Text(self._classes[best].replace("_", " ") if track.is_named else "unnamed"),
                f"{round(bearing_deg) % 360:03d}° ± {sigma_deg:.0f}°",
                elevation,
                f"{track.class_probs[best]:.0%}",
                style="" if track.sounding else "dim",
            )
        return table

    def _event_table(self) -> Table:
        table = Table("since", "state", "what", box=None, pad_edge=False, title="events", title_justify="left")
        latest = [*self._ended, *self._events.values()][-_EVENT_LINES:]
        for begun_s, event in latest:
            style = "dim" if event.state == "end" else "bold red" if event.severity == "alert" else ""
            table.add_row(_clock(begun_s), event.state, Text(wire.event_text(event)), style=style)
        return table


def _levels(moment: Moment) -> Table:
    table = Table("microphone", "level", "dBFS", box=None, pad_edge=False)
    for mic, level_dbfs in enumerate(moment.levels_dbfs):
        share = (level_dbfs - _FAINTEST_DBFS) / (_LOUDEST_DBFS - _FAINTEST_DBFS)
        filled = round(_BAR_CELLS * min(max(share, 0.0), 1.0))
        bar = f"[green]{'█' * filled}[/][dim]{'·' * (_BAR_CELLS - filled)}[/]"
        table.add_row(str(mic + 1), bar, f"{level_dbfs:.1f}" + ("" if mic in moment.mics else "  not used"))
    return table


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60.0)
    return f"{int(minutes):d}:{rest:04.1f}"
