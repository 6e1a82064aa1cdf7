"""The truth of the demonstration recording, and what a run made of it."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from appliance.angles import wrap_azimuth_deg
from appliance.errors import RecordingError
from appliance.types import Event

NEAR_DEG = 15.0
_GRACE_S = 2.0

SentEvent = tuple[float, Event]
"""(seconds into the recording at which it was sent, event)."""


@dataclass(frozen=True, slots=True)
class TrueObject:
    """What really sounded."""

    label: str
    start_s: float
    end_s: float
    path: tuple[tuple[float, float, float], ...]
    """(seconds, azimuth, elevation) while it sounded."""

    def azimuth_deg(self, at_s: float) -> float:
        """Azimuth at this moment, or at the nearest one at which it sounded."""
        times_s, azimuths_deg, _ = np.array(self.path).T
        return float(np.interp(at_s, times_s, np.unwrap(azimuths_deg, period=360.0)))


@dataclass(frozen=True, slots=True)
class Finding:
    """How one true object fared."""

    truth: TrueObject
    events: int
    """Events of its class in its time; one is right."""
    latency_s: float | None
    """From its onset to the first event, or None where it was missed."""
    bearing_error_deg: float | None
    """Median over the states of the first event."""

    @property
    def passed(self) -> bool:
        """Heard, as one event, and where it was."""
        return self.events == 1 and self.bearing_error_deg is not None and self.bearing_error_deg <= NEAR_DEG


def read_truth(path: Path) -> tuple[str, list[TrueObject]]:
    """Array name and objects of a truth file."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        objects = [
            TrueObject(entry["class"], entry["start_s"], entry["end_s"], tuple(map(tuple, entry["path"])))
            for entry in raw["objects"]
        ]
        return str(raw["array"]), objects
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{path}: not a truth file ({error}); install the appliance again") from error


def findings(truths: list[TrueObject], sent: list[SentEvent]) -> list[Finding]:
    """Match events with truth by class and time."""
    result = []
    for truth in truths:
        lives: dict[str, list[SentEvent]] = {}
        for sent_s, event in sent:
            if event.class_label == truth.label:
                lives.setdefault(event.event_id, []).append((sent_s, event))
        mine = [
            life for life in lives.values() if life[0][0] <= truth.end_s + _GRACE_S and life[-1][0] >= truth.start_s
        ]
        if not mine:
            result.append(Finding(truth, 0, None, None))
            continue
        errors = [abs(wrap_azimuth_deg(event.azimuth_deg - truth.azimuth_deg(sent_s))) for sent_s, event in mine[0]]
        result.append(Finding(truth, len(mine), mine[0][0][0] - truth.start_s, float(np.median(errors))))
    return result


def false_events(truths: list[TrueObject], sent: list[SentEvent]) -> list[SentEvent]:
    """New events of a class that did not sound at the time."""
    return [
        (sent_s, event)
        for sent_s, event in sent
        if event.state == "new"
        and not any(
            truth.label == event.class_label and truth.start_s <= sent_s <= truth.end_s + _GRACE_S for truth in truths
        )
    ]
