"""The figures that a reader looks for first, one line each, as text."""

from collections.abc import Mapping
from typing import Any

_AMBIENT_DBA = "45"


def summary_rows(report: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """One line per figure: its name, and system → what it scored."""
    systems: Mapping[str, Any] = report["systems"]
    first = next(iter(systems.values()))
    snrs = list(first["drone_pd_by_snr_db"])
    distances = list(first["drone_pd_by_distance_m"].get(_AMBIENT_DBA, {}))
    shown: list[tuple[str, tuple[str, ...], str]] = [
        *((f"drone Pd at {snr} dB", ("drone_pd_by_snr_db", snr, "value"), ".2f") for snr in reversed(snrs)),
        *(
            (f"… by score, {rate} false alarms/h, {snr} dB", _score_path(rate, snr), ".2f")
            for rate in ("10",)
            for snr in ("10", "0", "-10")
            if snr in snrs
        ),
        *(
            (
                f"drone Pd at {distance} m, ambient {_AMBIENT_DBA} dB(A)",
                ("drone_pd_by_distance_m", _AMBIENT_DBA, distance, "value"),
                ".2f",
            )
            for distance in distances
        ),
        ("false alarms/h, target-free", ("false_alarms_per_hour", "target_free", "all", "value"), ".1f"),
        ("… of them drone", ("false_alarms_per_hour", "target_free", "drone", "value"), ".1f"),
        ("false alarms/h, hard negatives", ("false_alarms_per_hour", "hard_negatives", "all", "value"), ".1f"),
        ("… of them drone", ("false_alarms_per_hour", "hard_negatives", "drone", "value"), ".1f"),
        ("drone DoA error at 0 dB, median", ("doa_median_error_deg", "0"), ".1f°"),
        ("bearing within 1σ (honest: .68)", ("sigma", "within_1"), ".2f"),
        ("… of one drone, no fault", ("sigma_by_part", "drone_snr", "within_1"), ".2f"),
        ("… of one drone, part with faults", ("sigma_by_part", "faults", "within_1"), ".2f"),
        ("… two sounds at once", ("sigma_by_part", "overlaps", "within_1"), ".2f"),
        ("bearing within 2σ (honest: .95)", ("sigma", "within_2"), ".2f"),
        ("class F1 (events, macro)", ("class_f1_macro",), ".2f"),
        ("ER20", ("seld", "er20"), ".2f"),
        ("F20", ("seld", "f20"), ".2f"),
        ("LE_CD", ("seld", "le_cd_deg"), ".1f°"),
        ("LR_CD", ("seld", "lr_cd"), ".2f"),
        ("SELD error", ("seld", "seld"), ".2f"),
        ("ECE of track confidence", ("confidence", "tracks", "ece"), ".2f"),
        ("latency, median", ("latency_s", "median"), ".1f s"),
        ("… of drones", ("latency_by_class_s", "drone", "median"), ".1f s"),
        *(
            (f"SI-SDRi of tracked objects at {snr} dB, {what}", ("si_sdri_db", "by_snr_db", snr, key), ".1f dB")
            for what, key in (("direct sound", "tracked"), ("image", "tracked_image"))
            for snr in ("0", "-5", "-10")
        ),
        ("identity switches", ("tracks", "id_switches"), ".0f"),
        ("fragments of tracks", ("tracks", "fragments"), ".0f"),
    ]
    return [
        (title, {name: _shown(figures, path, form) for name, figures in systems.items()}) for title, path, form in shown
    ]


def _score_path(rate: str, snr: str) -> tuple[str, ...]:
    return ("drone_scores", "pd_at_false_alarms_per_hour", rate, snr, "value")


def _shown(figures: Any, path: tuple[str, ...], form: str) -> str:
    for key in path:
        figures = figures.get(key) if figures is not None else None
    if figures is None:
        return "–"
    number, unit = form.rstrip("° sdB"), form[len(form.rstrip("° sdB")) :]
    return f"{figures:{number}}{unit}"
