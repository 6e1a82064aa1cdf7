"""The charts of the report: which figures go on which axes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from appliance.lab.judge.svg import COLOURS, Axis, Series

Report = Mapping[str, Any]

_PD = Axis("probability of detection", (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
_DET_SNR_DB = ("0", "5", "-5", "10")


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart and what stands below it."""

    title: str
    """What it shows."""
    caption: str
    """How to read it."""
    x: Axis
    """Abscissa."""
    y: Axis
    """Ordinate."""
    series: Sequence[Series]
    """What is drawn."""


def all_figures(report: Report) -> list[tuple[str, list[Figure]]]:
    """(heading, figures), those without data left out."""
    groups = [
        ("Drones found", [_pd_by_snr(report), *_pd_by_distance(report)]),
        ("Drones against false alarms", [_det(report), _det_of_first(report)]),
        ("Direction", [_direction(report), _sectors(report)]),
        ("Confidence", [_confidence(report, "tracks"), _confidence(report, "events")]),
    ]
    drawn = [(heading, [figure for figure in figures if figure is not None]) for heading, figures in groups]
    return [(heading, figures) for heading, figures in drawn if figures]


def timeline_figures(report: Report) -> list[Figure]:
    """One scene as each system heard it."""
    shown = report["timeline"]
    time = Axis("seconds", _round_ticks(shown["seconds"]))
    azimuth = Axis("azimuth, degrees", (-180, -90, 0, 90, 180))
    labels = sorted(
        {entry["label"] for entry in shown["truth"]}
        | {entry["label"] for heard in shown["systems"].values() for kind in heard.values() for entry in kind}
    )
    colours = {label: COLOURS[index % len(COLOURS)] for index, label in enumerate(labels)}
    truth = [
        Series(entry["label"], _broken(entry["points"]), colour=colours[entry["label"]], style="band")
        for entry in shown["truth"]
    ]
    return [
        Figure(
            name,
            "",
            time,
            azimuth,
            [
                *truth,
                *(
                    Series(track["label"], track["points"], colour=colours[track["label"]], style="dots")
                    for track in heard["tracks"]
                ),
                *(
                    Series(event["label"], [event["at"]], colour=colours[event["label"]], style="cross")
                    for event in heard["announced"]
                ),
            ],
        )
        for name, heard in shown["systems"].items()
    ]


def _pd_by_snr(report: Report) -> Figure | None:
    by_system = {name: figures["drone_pd_by_snr_db"] for name, figures in report["systems"].items()}
    return _pd_figure(
        "By SNR.",
        "Events of the right class, time and direction (20°), as an operator gets them; bars are 95 % intervals.",
        "SNR, dB (100 Hz – 7.5 kHz)",
        by_system,
    )


def _pd_by_distance(report: Report) -> list[Figure | None]:
    ambients = {ambient for figures in report["systems"].values() for ambient in figures["drone_pd_by_distance_m"]}
    return [
        _pd_figure(
            f"By distance, ambient {ambient} dB(A).",
            "Camera drones of 70–86 dB(A) at 1 m that hover or circle over grass, on a calm day; events as by SNR.",
            "distance, m",
            {name: figures["drone_pd_by_distance_m"].get(ambient, {}) for name, figures in report["systems"].items()},
            logarithmic=True,
        )
        for ambient in sorted(ambients, key=float)
    ]


def _pd_figure(
    title: str, caption: str, unit: str, by_system: Mapping[str, Mapping[str, Any]], *, logarithmic: bool = False
) -> Figure | None:
    ticks = sorted({float(condition) for estimates in by_system.values() for condition in estimates})
    if len(ticks) < 2:
        return None
    points = {
        name: [(float(condition), pd["value"]) for condition, pd in estimates.items()]
        for name, estimates in by_system.items()
    }
    series = [
        replace(line, intervals=[(pd["low"], pd["high"]) for pd in by_system[line.name].values()])
        for line in _lines(points, "line+dots")
    ]
    return Figure(title, caption, Axis(unit, ticks, logarithmic=logarithmic), _PD, series)


_RATE = Axis("false alarms per hour on hard negatives", (1.0, 3.0, 10.0, 30.0, 100.0, 300.0), logarithmic=True)
_MISS = Axis("probability of a miss", (0.01, 0.03, 0.1, 0.3, 1.0), logarithmic=True)


def _det(report: Report) -> Figure | None:
    scored = {name: figures["drone_scores"] for name, figures in report["systems"].items() if figures["drone_scores"]}
    known = next((snr for snr in _DET_SNR_DB if any(snr in scores["curves"] for scores in scored.values())), None)
    if known is None:
        return None
    curves = {name: _misses(scores["curves"][known]) for name, scores in scored.items() if known in scores["curves"]}
    caption = "Every threshold of the drone score, before tracking; a trial is 12 s. At the bottom: none missed."
    return Figure(f"DET at {known} dB.", caption, _RATE, _MISS, _lines(curves, "line"))


def _det_of_first(report: Report) -> Figure | None:
    name, figures = next(iter(report["systems"].items()))
    if not figures["drone_scores"]:
        return None
    curves = {f"{snr} dB": _misses(curve) for snr, curve in figures["drone_scores"]["curves"].items()}
    return Figure(f"DET of {name} by SNR.", "", _RATE, _MISS, _lines(curves, "line"))


def _misses(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(rate, 1.0 - pd) for rate, pd in points if rate > 0.0]


def _direction(report: Report) -> Figure | None:
    found = {name: figures["doa_median_error_untracked_deg"] for name, figures in report["systems"].items()}
    bounds = report["crb_deg"]
    snrs = sorted({float(snr) for errors in found.values() for snr in errors})
    if len(snrs) < 2:
        return None
    series = _lines({name: _numbers(errors) for name, errors in found.items()}, "line+dots")
    series += [
        Series(f"bound, {array}", _numbers(bound), colour=grey, style="dashed")
        for (array, bound), grey in zip(bounds.items(), ("#111827", "#6b7280", "#9ca3af", "#d1d5db"), strict=False)
    ]
    y = Axis("error, degrees", (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0), logarithmic=True)
    caption = (
        "Median error of the output that is most a drone, each label frame in which one sounds, tracked or not; "
        "beside it the Cramér–Rao bound (1 sigma) of azimuth."
    )
    return Figure("By SNR.", caption, Axis("SNR, dB", snrs), y, series)


def _sectors(report: Report) -> Figure | None:
    found = {name: figures["azimuth_error_by_sector_deg"] for name, figures in report["systems"].items()}
    if all(error is None for errors in found.values() for error in errors.values()):
        return None
    series = _lines({name: _numbers(errors) for name, errors in found.items()}, "line+dots")
    x = Axis("azimuth of the drone, degrees", range(-180, 136, 45))
    y = Axis("error, degrees", (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0), logarithmic=True)
    return Figure("By angle.", "Median azimuth error of confirmed drone tracks, sectors of 45°.", x, y, series)


def _confidence(report: Report, what: str) -> Figure | None:
    said = {name: figures["confidence"][what] for name, figures in report["systems"].items()}
    bins = {name: found["bins"] for name, found in said.items() if found is not None}
    if not bins:
        return None
    series = _lines({name: [(a, right) for a, right, _ in own] for name, own in bins.items()}, "line+dots")
    honest = Series("honest", [(0.0, 0.0), (1.0, 1.0)], colour="#9ca3af", style="dashed")
    title, caption = {
        "tracks": ("Of tracks.", "Each label frame of each confirmed track: right where its class sounds within 20°."),
        "events": ("Of events.", "When first announced: right where it found a sound."),
    }[what]
    errors = ", ".join(f"{name} {found['ece']:.2f}" for name, found in said.items() if found is not None)
    shares = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    caption = f"{caption} Expected calibration error: {errors}."
    return Figure(title, caption, Axis("confidence", shares), Axis("share that is right", shares), [*series, honest])


def _lines(named: Mapping[str, Sequence[tuple[float, float]]], style: str) -> list[Series]:
    """A line for each name; the first is the thinnest and over all others, so that lines which coincide are seen."""
    return [
        Series(name, points, colour=COLOURS[index % len(COLOURS)], style=style, width=1.4 + 0.7 * min(index, 3))
        for index, (name, points) in enumerate(named.items())
    ]


def _numbers(values: Mapping[str, float | None]) -> list[tuple[float, float]]:
    return [(float(key), math.nan if value is None else value) for key, value in values.items()]


def _broken(points: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Points with a break wherever the sound pauses or its azimuth passes ±180."""
    out = [(points[0][0], points[0][1])] if points else []
    for (t0, a0), (t1, a1) in pairwise(points):
        if t1 - t0 > 0.15 or abs(a1 - a0) > 180.0:
            out.append((t1, math.nan))
        out.append((t1, a1))
    return out


def _round_ticks(seconds: float) -> list[float]:
    step = next((step for step in (1.0, 2.0, 5.0, 10.0) if seconds / step <= 12), 30.0)
    return [step * index for index in range(math.ceil(seconds / step) + 1)]
