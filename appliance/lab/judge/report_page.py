"""`report.json` as one HTML page that needs nothing else: tables, and charts as inline SVG."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from appliance.lab.judge.report_charts import Figure, all_figures, timeline_figures
from appliance.lab.judge.summary import summary_rows
from appliance.lab.judge.svg import chart, legend

Report = Mapping[str, Any]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d232b; max-width: 1180px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.6em; margin-bottom: 0; } h2 { font-size: 1.15em; margin: 2em 0 .4em; border-bottom: 1px solid #d8dde3; }
p, figcaption { color: #4b5563; max-width: 75ch; } figcaption b { color: #1d232b; }
.figures { display: flex; flex-wrap: wrap; gap: 1.5em; } figure { flex: 1 1 480px; max-width: 580px; margin: 0; }
svg { width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: #4b5563; }
svg .grid { stroke: #e5e9ee; } .legend { display: flex; flex-wrap: wrap; gap: .2em 1.2em; font-size: 13px; }
.legend i { display: inline-block; width: 12px; height: 8px; margin-right: .4em; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .2em .7em; border-bottom: 1px solid #e5e9ee; text-align: right; } th { font-weight: 600; }
th:first-child, td:first-child { text-align: left; } td.cell { min-width: 2.2em; text-align: center; border: 1px solid #fff; }
th.turned { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; padding: .4em .1em; }
.scroll { overflow-x: auto; }
"""


def page(report: Report) -> str:
    """The whole page."""
    suite = report["suite"]
    title = f"Perimeter benchmark: {suite['name']}"
    parts = ", ".join(f"{name} {part['scenes']} scenes" for name, part in suite["parts"].items())
    folds = ", ".join(str(fold) for fold in suite["folds"])
    facts = (
        f"{suite['hours']:.2f} hours from recordings of fold {folds}, seed {suite['seed']}, through "
        f"<code>pipeline.run</code> at commit <code>{escape(report['commit'])}</code>. {escape(parts)}."
    )
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            f"<h1>{escape(title)}</h1>",
            f"<p>{facts}</p>",
            *_sections(report),
            "</body>\n</html>\n",
        ]
    )


def _sections(report: Report) -> Iterator[str]:
    yield _table(["", *report["systems"]], [[title, *values.values()] for title, values in summary_rows(report)])
    for heading, figures in all_figures(report):
        yield f"<h2>{escape(heading)}</h2>" + _figures(figures)
    yield "<h2>False alarms per hour</h2>" + _false_alarms(report["systems"])
    yield from _manoeuvres(report["systems"])
    yield from _faults(report["systems"])
    yield from _separation(report["systems"])
    yield "<h2>Classes: F1 of events</h2>" + _class_table(report["systems"])
    yield "<h2>Classes: confidence of tracks</h2>" + _confidence_table(report["systems"])
    yield "<h2>Who is taken for whom</h2><p>Sounds in rows, announcements in columns, in threats and overlaps.</p>"
    yield from (_confusion(name, figures["confusion"]) for name, figures in report["systems"].items())
    shown = report["timeline"]
    yield f"<h2>One scene</h2><p>From {escape(shown['part'])}, on {escape(shown['array'])}: wide pale lines are the "
    yield "sounds, dots the confirmed tracks, crosses the announcements.</p>" + _figures(timeline_figures(report))
    yield "<h2>What was judged</h2>" + _provenance(report)


def _figures(figures: Sequence[Figure]) -> str:
    drawn = (
        f"<figure>{chart(figure.x, figure.y, figure.series)}{legend(figure.series)}"
        f"<figcaption><b>{escape(figure.title)}</b> {escape(figure.caption)}</figcaption></figure>"
        for figure in figures
    )
    return f'<div class="figures">{"".join(drawn)}</div>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{heads}</tr>{body}</table></div>'


def _false_alarms(systems: Mapping[str, Any]) -> str:
    rows = []
    parts = {part: rates for figures in systems.values() for part, rates in figures["false_alarms_per_hour"].items()}
    for part, rates in parts.items():
        for label in (name for name in rates or {} if name != "hours"):
            every = [figures["false_alarms_per_hour"][part][label] for figures in systems.values()]
            if label in ("all", "alerts") or any(entry["count"] for entry in every):
                rows.append([f"{part}: {label}", *(_rate(entry) for entry in every)])
    for weather in next(iter(systems.values()))["false_alarms_by_weather"]:
        for label in ("all", "drone"):
            every = [figures["false_alarms_by_weather"][weather][label] for figures in systems.values()]
            rows.append([f"{weather}: {label}", *(_rate(entry) for entry in every)])
    note = "<p>In brackets the exact 95 % Poisson interval. Classes that no system invented are left out.</p>"
    return note + _table(["", *systems], rows)


def _rate(entry: Mapping[str, float]) -> str:
    return f"{entry['value']:.1f} ({entry['low']:.1f}–{entry['high']:.1f})"


def _manoeuvres(systems: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        [
            manoeuvre,
            *(
                f"{_pd(figures['drone_pd_by_manoeuvre'][manoeuvre])}; "
                f"{_degrees(figures['doa_median_error_by_manoeuvre_deg'][manoeuvre])}"
                for figures in systems.values()
            ),
        ]
        for manoeuvre in next(iter(systems.values()))["drone_pd_by_manoeuvre"]
    ]
    if rows:
        note = "<p>Probability of detection over all SNR, and median error of direction of what was tracked.</p>"
        yield "<h2>Drones that hover, circle or pass</h2>" + note + _table(["", *systems], rows)


def _degrees(error_deg: float | None) -> str:
    return "–" if error_deg is None else f"{error_deg:.1f}°"


def _faults(systems: Mapping[str, Any]) -> Iterator[str]:
    faults = list(next(iter(systems.values()))["drone_pd_by_fault"])
    if not faults:
        return
    rows = [[fault, *(_pd(figures["drone_pd_by_fault"][fault]) for figures in systems.values())] for fault in faults]
    note = "<p>Probability of detecting the same drones, 10 dB over the ambience, with each fault and with none.</p>"
    yield "<h2>Drones heard with a fault</h2>" + note + _table(["", *systems], rows)


def _pd(entry: Mapping[str, Any]) -> str:
    return f"{entry['value']:.2f} ({entry['low']:.2f}–{entry['high']:.2f}) of {entry['of']}"


def _separation(systems: Mapping[str, Any]) -> Iterator[str]:
    judged = {name: figures["si_sdri_db"] for name, figures in systems.items() if figures["si_sdri_db"] is not None}
    if not judged:
        return
    first = next(iter(judged.values()))
    rows = [
        [title.format(key), *(_recovered(figures[part][key]) for figures in judged.values())]
        for part, title in (("by_snr_db", "{} dB"), ("by_objects", "objects at once: {}"))
        for key in first[part]
    ]
    note = (
        f"<p>SI-SDR improvement of the stems ({escape(first['method'])}) over W in dB, of the objects that were tracked "
        "(with ideal masks and direction: what the method can reach), against their direct sound alone and against their image, "
        "reflections too; and CA-SDRi of whole scenes, in which a sound that "
        "is lost, invented or misnamed counts 0 dB.</p>"
    )
    yield "<h2>Sounds recovered</h2>" + note + _table(["", *judged], rows)


def _recovered(entry: Mapping[str, Any]) -> str:
    keys = ("tracked", "ideal", "tracked_image", "ideal_image", "ca_sdri_db")
    tracked, ideal, image, ideal_image, class_aware = (
        "–" if entry[key] is None else f"{entry[key]:+.1f}" for key in keys
    )
    heard = f"{entry['tracked_objects']} of {entry['of']}"
    return f"direct {tracked} ({ideal}), image {image} ({ideal_image}), {heard}; CA {class_aware}"


def _class_table(systems: Mapping[str, Any]) -> str:
    labels = list(next(iter(systems.values()))["class_f1"])
    rows = [[label, *(_f1(figures["class_f1"][label]) for figures in systems.values())] for label in labels]
    note = "<p>Found + missed sounds, and announcements of none, in threats and overlaps.</p>"
    return note + _table(["", *systems], rows)


def _f1(entry: Mapping[str, Any]) -> str:
    f1 = "–" if entry["f1"] is None else f"{entry['f1']:.2f}"
    return f"{f1} ({entry['found']} + {entry['missed']}, {entry['false']})"


def _confidence_table(systems: Mapping[str, Any]) -> str:
    told = {name: (figures["confidence"]["tracks"] or {}).get("by_class", {}) for name, figures in systems.items()}
    labels = list(next(iter(systems.values()))["class_f1"])
    rows = [[label, *(_ece(found.get(label)) for found in told.values())] for label in labels]
    note = "<p>Expected calibration error (mean confidence, share right, label frames), over all parts.</p>"
    return note + _table(["", *systems], rows)


def _ece(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "–"
    return f"{entry['ece']:.2f} ({entry['confidence']:.2f}, {entry['right']:.2f}, {entry['count']})"


def _confusion(name: str, confusion: Mapping[str, Mapping[str, int]]) -> str:
    if not confusion:
        return f"<p><b>{escape(name)}</b>: nothing sounded and nothing was announced.</p>"
    columns = sorted({found for row in confusion.values() for found in row}, key=lambda c: (c == "missed", c))
    heads = "".join(f'<th class="turned">{escape(column)}</th>' for column in columns)
    body = []
    for true in sorted(confusion, key=lambda t: (t == "nothing", t)):
        total = sum(confusion[true].values())
        cells = []
        for column in columns:
            count = confusion[true].get(column, 0)
            hue = "58,125,68" if column == true else "200,85,61"
            cells.append(f'<td class="cell" style="background:rgba({hue},{count / total:.2f})">{count or ""}</td>')
        body.append(f"<tr><td>{escape(true)}</td>{''.join(cells)}</tr>")
    return f'<h3>{escape(name)}</h3><div class="scroll"><table><tr><th></th>{heads}</tr>{"".join(body)}</table></div>'


def _provenance(report: Report) -> str:
    rows = [
        [name, facts["file"], facts["sha256"][:16] + "…", ", ".join(f"{k} {v}" for k, v in facts["training"].items())]
        for name, facts in {**report["models"], **report["baselines"]["checkpoints"]}.items()
    ]
    facts = report["baselines"]
    thresholds = ", ".join(f"{name} at {value['drone']:g} for a drone" for name, value in facts["thresholds"].items())
    folds = ", ".join(str(fold) for fold in facts["folds"])
    text = (
        f"Baselines: {thresholds}; set to {facts['false_alarms_per_hour']:g} false drones per hour on "
        f"{facts['hours']:.2f} hours of fold {folds}. Bound: {report['crb_assumes']}."
    )
    missing = "".join(f"<li>{escape(entry)}</li>" for entry in report["missing"])
    return (
        _table(["system", "file", "sha256", "training"], rows)
        + f"<p>{escape(text)}</p>"
        + (f"<p>Missing:</p><ul>{missing}</ul>" if missing else "")
    )
