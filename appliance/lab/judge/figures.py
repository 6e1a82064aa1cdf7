"""From judged scenes to the figures of one system, as JSON holds them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import groupby
from operator import add, attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.events import DEFAULT_POLICIES
from appliance.lab.hear import TARGET
from appliance.lab.judge.confidence_figures import event_confidence, track_confidence
from appliance.lab.judge.judged import WINDOW_S, DirectionErrors, JudgedScene
from appliance.lab.metrics.detection import (
    calibration,
    detection_curve,
    false_alarms_per_hour,
    pd_by,
    spread,
)
from appliance.lab.metrics.events import EventMatches
from appliance.lab.metrics.plain import plain
from appliance.lab.metrics.seld import seld_scores
from appliance.lab.pack import CLASSES

EMPTY_PARTS = ("target_free", "hard_negatives")
CLASS_PARTS = ("threats", "overlaps")
SCORE_RATES_PER_HOUR = (1.0, 10.0, 60.0)
_CURVE_POINTS = 60
_SECTOR_DEG = 45

Figures = dict[str, Any]


def system_figures(scenes: Sequence[JudgedScene]) -> Figures:
    """All figures of one system over the suite; a part that the suite lacks gives null or an empty object."""
    drones = [scene for scene in scenes if scene.drone_sounds]
    by_snr = _grouped((scene for scene in drones if scene.part == "drone_snr"), "snr_db")
    return {
        "drone_pd_by_snr_db": _pd(by_snr),
        "drone_pd_by_distance_m": {
            ambient: _pd(_grouped(at_level, "distance_m"))
            for ambient, at_level in _grouped(
                (scene for scene in drones if "distance_m" in scene.notes), "ambient_dba"
            ).items()
        },
        "drone_pd_by_manoeuvre": _pd(_grouped(drones, "manoeuvre")),
        "drone_pd_by_fault": _pd(_grouped((scene for scene in drones if "fault" in scene.notes), "fault")),
        "drone_scores": score_figures(by_snr, scenes),
        "false_alarms_per_hour": {part: false_alarm_figures(scenes, part) for part in EMPTY_PARTS},
        "false_alarms_by_weather": weather_figures(scenes),
        "seld": seld_figures([scene for scene in scenes if scene.part == "overlaps"]),
        "doa_median_error_deg": _median_errors(by_snr, tracked=True),
        "doa_median_error_by_manoeuvre_deg": _median_errors(_grouped(drones, "manoeuvre"), tracked=True),
        "doa_median_error_untracked_deg": _median_errors(by_snr, tracked=False),
        "azimuth_error_by_sector_deg": sector_errors([scene.tracked for scene in drones]),
        "sigma": sigma_figures([scene.tracked for scene in drones]),
        "sigma_by_part": {
            part: sigma_figures([scene.tracked for scene in group]) for part, group in _grouped(drones, "part").items()
        },
        "confidence": {"tracks": track_confidence(scenes), "events": event_confidence(scenes)},
        "si_sdri_db": None,
        "latency_s": _spread([pair.latency_s for scene in scenes for pair in scene.events.pairs]),
        "latency_by_class_s": {
            label: _spread([pair.latency_s for scene in scenes for pair in scene.events.only(label).pairs])
            for label in CLASSES
        },
        **class_figures([scene for scene in scenes if scene.part in CLASS_PARTS]),
        "tracks": track_figures(scenes),
    }


def _grouped(scenes: Iterable[JudgedScene], note: str) -> dict[str, list[JudgedScene]]:
    """Scenes by a note, ascending; numbers are written as short as they are."""
    chosen = [scene for scene in scenes if note in scene.notes]
    ordered = sorted(chosen, key=lambda scene: scene.notes[note])
    return {_name(value): list(group) for value, group in groupby(ordered, key=lambda scene: scene.notes[note])}


def _name(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _pd(groups: dict[str, list[JudgedScene]]) -> Figures:
    conditions = [name for name, scenes in groups.items() for _ in scenes]
    found = [bool(scene.events.only(TARGET).pairs) for scenes in groups.values() for scene in scenes]
    return {name: {**plain(pd), "of": len(groups[name])} for name, pd in pd_by(conditions, found).items()}


def score_figures(by_snr: dict[str, list[JudgedScene]], scenes: Sequence[JudgedScene]) -> Figures | None:
    """Pd against false alarms for every threshold of the drone score, hard negatives being what must not pass."""
    others = _joined(scene.drone_scores for scene in scenes if scene.part == "hard_negatives")
    if len(others) == 0 or not by_snr:
        return None
    hours = len(others) * WINDOW_S / 3600.0
    curves = {
        name: detection_curve([scene.drone_scores.max() for scene in group], others) for name, group in by_snr.items()
    }
    rates = {}
    for rate in SCORE_RATES_PER_HOUR:
        points = {name: curve.at_false_alarms_per_hour(rate, hours) for name, curve in curves.items()}
        rates[_name(rate)] = {name: plain(point.pd) for name, point in points.items()}
    shown = {}
    for name, curve in curves.items():
        kept = np.unique(np.linspace(0, len(curve.pd) - 1, _CURVE_POINTS).round().astype(int))
        shown[name] = [plain([curve.false_alarms[at] / hours, curve.pd[at]]) for at in kept]
    return {"trial_s": WINDOW_S, "hours": plain(hours), "pd_at_false_alarms_per_hour": rates, "curves": shown}


def false_alarm_figures(scenes: Sequence[JudgedScene], part: str) -> Figures | None:
    """Events of nothing per hour, in all and by class, with the 95 % Poisson interval."""
    chosen = [scene for scene in scenes if scene.part == part]
    if not chosen:
        return None
    hours = sum(scene.seconds for scene in chosen) / 3600.0
    counts = Counter(event.label for scene in chosen for event in scene.events.false_alarms)
    alerts = sum(n for label, n in counts.items() if label in CLASSES and DEFAULT_POLICIES[label].severity == "alert")
    rates = {"all": sum(counts.values()), "alerts": alerts, **{label: counts[label] for label in CLASSES}}
    return {
        "hours": plain(hours),
        **{name: {**plain(false_alarms_per_hour(n, hours)), "count": n} for name, n in rates.items()},
    }


def weather_figures(scenes: Sequence[JudgedScene]) -> Figures:
    """False alarms per hour of audio without targets or with hard negatives, in all and of drones, by weather."""
    figures = {}
    for weather, chosen in _grouped((scene for scene in scenes if scene.part in EMPTY_PARTS), "weather").items():
        hours = sum(scene.seconds for scene in chosen) / 3600.0
        labels = [event.label for scene in chosen for event in scene.events.false_alarms]
        counts = {"all": len(labels), TARGET: labels.count(TARGET)}
        rates = {name: {**plain(false_alarms_per_hour(n, hours)), "count": n} for name, n in counts.items()}
        figures[weather] = {"hours": plain(hours), **rates}
    return figures


def seld_figures(scenes: Sequence[JudgedScene]) -> Figures | None:
    """DCASE 2023 scores; None where nothing sounds."""
    if not any(scene.seld.tracks.any() for scene in scenes):
        return None
    scores = seld_scores(reduce(add, (scene.seld for scene in scenes)))
    return plain({name: getattr(scores, name) for name in ("er20", "f20", "f20_micro", "le_cd_deg", "lr_cd", "seld")})


def class_figures(scenes: Sequence[JudgedScene]) -> Figures:
    """Event F1 by class and its mean over classes that sound, and who was taken for whom."""
    matches = sum((scene.events for scene in scenes), EventMatches((), (), (), ()))
    confusion = sum((scene.confused.confusion() for scene in scenes), Counter[tuple[str | None, str | None]]())
    by_class = {}
    for label in CLASSES:
        own = matches.only(label)
        by_class[label] = {
            "f1": plain(own.f1),
            "found": len(own.pairs),
            "missed": len(own.missed),
            "repeated": len(own.repeats),
            "false": len(own.false_alarms),
        }
    f1 = [
        figures["f1"]
        for label, figures in by_class.items()
        if figures["found"] + figures["missed"] and figures["f1"] is not None
    ]
    named: dict[str, dict[str, int]] = {}
    for (true, found), n in sorted(confusion.items(), key=lambda item: (item[0][0] or "~", item[0][1] or "~")):
        named.setdefault(true or "nothing", {})[found or "missed"] = n
    return {"class_f1_macro": plain(np.mean(f1)) if f1 else None, "class_f1": by_class, "confusion": named}


def track_figures(scenes: Sequence[JudgedScene]) -> Figures:
    """Identity: switches and fragments over all sounds, and the share of their frames that were followed."""
    followed = [entry for scene in scenes for entry in scene.followed]
    frames = sum(entry.frames for entry in followed)
    return {
        "sounds": len(followed),
        "id_switches": sum(entry.id_switches for entry in followed),
        "fragments": sum(entry.fragments for entry in followed),
        "followed_share": plain(sum(entry.followed for entry in followed) / frames) if frames else None,
    }


def sigma_figures(errors: Sequence[DirectionErrors]) -> Figures | None:
    """Share of azimuth errors within one and two stated sigmas; honest ones give 0.683 and 0.954."""
    across = _joined(np.abs(entry.azimuth_error_deg) for entry in errors)
    stated = calibration(across, _joined(entry.sigma_deg for entry in errors))
    if stated is None:
        return None
    return plain({"within_1": stated.within_1_sigma, "within_2": stated.within_2_sigma, "count": stated.count})


def sector_errors(errors: Sequence[DirectionErrors]) -> Figures:
    """Median azimuth error by where the drone is: sectors of 45 degrees, named by their middle."""
    azimuth = _joined(entry.azimuth_deg for entry in errors)
    error = np.abs(_joined(entry.azimuth_error_deg for entry in errors))
    sector = np.round(azimuth / _SECTOR_DEG).astype(int) % (360 // _SECTOR_DEG)
    figures = {}
    for place in range(-180, 180, _SECTOR_DEG):
        inside = error[sector == place // _SECTOR_DEG % (360 // _SECTOR_DEG)]
        figures[str(place)] = plain(np.median(inside)) if len(inside) else None
    return figures


def _median_errors(by_snr: dict[str, list[JudgedScene]], *, tracked: bool) -> Figures:
    pick = attrgetter("tracked.error_deg" if tracked else "untracked.error_deg")
    figures = {}
    for name, scenes in by_snr.items():
        errors = _joined(pick(scene) for scene in scenes)
        figures[name] = plain(np.median(errors)) if len(errors) else None
    return figures


def _spread(values: Sequence[float]) -> Figures | None:
    known = spread(values)
    return None if known is None else plain({"median": known.median, "p90": known.p90, "count": known.count})


def _joined(parts: Iterable[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    return np.concatenate([np.zeros(0), *parts])
