"""A tiny writer of charts as inline SVG: lines, points and intervals on two axes, nothing that has to be fetched."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8f5db7", "#b08900", "#4a4e69", "#d1495b", "#2a9d8f")

_WIDTH, _HEIGHT = 560, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 46


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: what it says and where its ticks are."""

    title: str
    """What is measured, with its unit."""
    ticks: Sequence[float]
    """Ascending; the first and the last are its ends."""
    labels: Sequence[str] | None = None
    """Text under each tick; the numbers themselves where not given."""
    logarithmic: bool = False
    """Equal ratios are equally long; all values must be positive."""

    def place(self, value: float) -> float:
        """0 at the first tick, 1 at the last, held within."""
        low, high = self._scaled(self.ticks[0]), self._scaled(self.ticks[-1])
        return min(1.0, max(0.0, (self._scaled(value) - low) / (high - low)))

    def text(self) -> Sequence[str]:
        """The label of each tick."""
        return self.labels if self.labels is not None else [f"{tick:g}" for tick in self.ticks]

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, self.ticks[0])) if self.logarithmic else value


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one name."""

    name: str
    """For the legend; empty: not in it."""
    points: Sequence[tuple[float, float]]
    """(x, y); a y of NaN breaks the line."""
    intervals: Sequence[tuple[float, float]] = ()
    """(low, high) of each point, where known."""
    colour: str = COLOURS[0]
    """As CSS."""
    style: str = "line"
    """line, dashed, dots, line+dots, band (a wide pale line under all else) or cross."""
    width: float = 1.8
    """Of a line."""


def chart(x: Axis, y: Axis, series: Sequence[Series], *, height: int = _HEIGHT) -> str:
    """An `<svg>` element; the first series is drawn last, over all others."""
    below = [entry for entry in series if entry.style == "band"]
    above = [entry for entry in series if entry.style != "band"]
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg">',
        *_axes(x, y, height),
        *(mark for entry in (*below, *above[::-1]) for mark in _marks(x, y, entry, height)),
        "</svg>",
    ]
    return "\n".join(parts)


def legend(series: Sequence[Series]) -> str:
    """HTML that says which colour is whose, for under the chart."""
    named = {entry.name: entry.colour for entry in series if entry.name}
    keys = (f'<span><i style="background:{colour}"></i>{escape(name)}</span>' for name, colour in named.items())
    return f'<div class="legend">{"".join(keys)}</div>'


def _axes(x: Axis, y: Axis, height: int) -> list[str]:
    bottom, right = height - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for tick, label in zip(x.ticks, x.text(), strict=True):
        at = _across(x, tick)
        parts.append(f'<line class="grid" x1="{at}" y1="{_TOP}" x2="{at}" y2="{bottom}"/>')
        parts.append(f'<text x="{at}" y="{bottom + 16}" text-anchor="middle">{escape(label)}</text>')
    for tick, label in zip(y.ticks, y.text(), strict=True):
        at = _up(y, tick, height)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{at}" x2="{right}" y2="{at}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4}" text-anchor="end">{escape(label)}</text>')
    middle = (_TOP + bottom) / 2
    parts.append(f'<text x="{(_LEFT + right) / 2}" y="{height - 8}" text-anchor="middle">{escape(x.title)}</text>')
    turned = f'transform="rotate(-90 14 {middle})"'
    parts.append(f'<text x="14" y="{middle}" text-anchor="middle" {turned}>{escape(y.title)}</text>')
    return parts


def _marks(x: Axis, y: Axis, series: Series, height: int) -> list[str]:
    places = [(_across(x, a), _up(y, b, height), b) for a, b in series.points]
    parts = []
    for (at, _, _), (low, high) in zip(places, series.intervals, strict=False):
        ends = f'y1="{_up(y, low, height)}" y2="{_up(y, high, height)}"'
        parts.append(f'<line x1="{at}" x2="{at}" {ends} stroke="{series.colour}" opacity="0.45"/>')
    if series.style in ("line", "dashed", "line+dots", "band"):
        extra = {"dashed": ' stroke-dasharray="5 4"', "band": ' stroke-opacity="0.25"'}.get(series.style, "")
        width = 9.0 if series.style == "band" else series.width
        for run in _runs(places):
            path = " ".join(f"{at},{up}" for at, up in run)
            parts.append(
                f'<polyline points="{path}" fill="none" stroke="{series.colour}" stroke-width="{width}"{extra}/>'
            )
    if series.style in ("dots", "line+dots"):
        radius = 1.8 if series.style == "dots" else 3
        parts += [
            f'<circle cx="{at}" cy="{up}" r="{radius}" fill="{series.colour}"/>'
            for at, up, value in places
            if not math.isnan(value)
        ]
    if series.style == "cross":
        parts += [
            f'<path d="M{at - 5} {up - 5}l10 10m0 -10l-10 10" stroke="{series.colour}" stroke-width="2"/>'
            for at, up, _ in places
        ]
    return parts


def _runs(places: Sequence[tuple[float, float, float]]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for at, up, value in places:
        if math.isnan(value):
            runs.append([])
        else:
            runs[-1].append((at, up))
    return [run for run in runs if run]


def _across(axis: Axis, value: float) -> float:
    return round(_LEFT + axis.place(value) * (_WIDTH - _LEFT - _RIGHT), 1)


def _up(axis: Axis, value: float, height: int) -> float:
    place = 0.0 if math.isnan(value) else axis.place(value)
    return round(height - _BOTTOM - place * (height - _BOTTOM - _TOP), 1)
