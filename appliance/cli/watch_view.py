"""The screen of `appliance watch`."""

import time
from datetime import datetime, timezone

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from appliance.cli.watch_board import Board, Shown, UnitStatus

_STYLES: dict[UnitStatus, str] = {
    "quiet": "green",
    "active": "bold green",
    "degraded": "yellow",
    "deaf": "bold yellow",
    "gone": "bold red",
    "unknown": "dim",
}
_URGENT: tuple[UnitStatus, ...] = ("gone", "deaf", "degraded")
_FRAME_LINES = 9
_UNIT_SHARE = 0.4


def screen(board: Board, broker: str, trouble: str, *, lines: int) -> RenderableType:
    """What is on the screen now. `trouble`: why the broker cannot be heard; empty where it can."""
    room = max(lines - _FRAME_LINES, 6)
    unit_rows = max(3, round(room * _UNIT_SHARE))
    return Group(
        _head(board, broker, trouble),
        _units(board, unit_rows, stale=bool(trouble)),
        _events(board, room - unit_rows),
    )


def _head(board: Board, broker: str, trouble: str) -> Text:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    head = Text.assemble((broker, "bold"), f"  {now}")
    if board.rejected:
        causes = ", ".join(f"{cause} {count}" for cause, count in sorted(board.rejected.items()))
        head.append(f"  rejected: {causes}", "yellow")
    if trouble:
        head.append(f"\n{trouble}; what stands below is old", "bold red")
    return head.append("\n")


def _units(board: Board, rows: int, *, stale: bool) -> Table:
    table = Table("unit", "status", "heard", "why", box=None, pad_edge=False, title="units", title_justify="left")
    units = board.units()
    # What needs somebody comes first.
    units.sort(key=lambda found: _URGENT.index(found[1]) if found[1] in _URGENT else len(_URGENT))
    for unit, status in units[:rows]:
        heard = f"{_span(time.monotonic() - unit.heard_s)} ago"
        table.add_row(
            Text(f"{unit.site}/{unit.node}"),
            Text("?" if stale else status, style=_STYLES[status]),
            heard,
            Text("; ".join(unit.reasons), overflow="ellipsis", no_wrap=True),
            style="dim" if stale else "",
        )
    if len(units) > rows:
        table.add_row(f"… and {len(units) - rows} more")
    return table


def _events(board: Board, rows: int) -> Table:
    table = Table("since", "unit", "what", "bearing", "sure", "", box=None, pad_edge=False)
    table.title, table.title_justify = "events", "left"
    found = board.open_events()
    for shown in found[:rows]:
        table.add_row(*_cells(shown), style="bold red" if shown.event.severity == "alert" else "")
    if len(found) > rows:
        table.add_row(f"… and {len(found) - rows} more")
    for shown in list(reversed(board.ended))[: max(0, rows - len(found))]:
        table.add_row(*_cells(shown), style="dim")
    return table


def _cells(shown: Shown) -> list[Text]:
    event = shown.event
    last = "ended" if event.state == "end" else event.severity
    bearing_deg, sigma_deg = shown.now_deg or (event.bearing_true_deg, event.bearing_sigma_deg)
    return [
        Text(f"{_span(time.monotonic() - shown.since_s)} ago"),
        Text(f"{event.site}/{event.node}"),
        Text(event.class_label.replace("_", " ")),
        Text(f"{round(bearing_deg) % 360:03d}° ± {max(1, round(sigma_deg))}°"),
        Text(f"{event.confidence:.0%}"),
        Text(last),
    ]


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
