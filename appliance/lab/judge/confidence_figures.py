"""Whether a system's confidence is what it says: of its tracks and of its events."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from appliance.lab.judge.judged import JudgedScene
from appliance.lab.metrics.events import EventMatches
from appliance.lab.metrics.plain import plain
from appliance.lab.metrics.reliability import Reliability, reliability
from appliance.lab.pack import CLASSES


def track_confidence(scenes: Sequence[JudgedScene]) -> dict[str, Any] | None:
    """Confidence of confirmed tracks, frame by frame, against the share of them that was right; None of nothing."""
    labels = np.concatenate([np.zeros(0, np.str_), *(scene.claims.label for scene in scenes)])
    said = np.concatenate([np.zeros(0), *(scene.claims.confidence for scene in scenes)])
    right = np.concatenate([np.zeros(0, np.bool_), *(scene.claims.right for scene in scenes)])
    by_class = {label: reliability(said[labels == label], right[labels == label]) for label in CLASSES}
    told = {label: found for label, found in by_class.items() if found is not None}
    every = reliability(said, right)
    if every is None:
        return None
    return {**_reliability(every), "by_class": {label: _in_short(found) for label, found in told.items()}}


def event_confidence(scenes: Sequence[JudgedScene]) -> dict[str, Any] | None:
    """The same of events when they are first announced; one more of a sound that was found is right."""
    matches = sum((scene.events for scene in scenes), EventMatches((), (), (), ()))
    right = [*(pair.found for pair in matches.pairs), *matches.repeats]
    said = [event.confidence for event in (*right, *matches.false_alarms)]
    every = reliability(said, np.arange(len(said)) < len(right))
    return None if every is None else _reliability(every)


def _reliability(found: Reliability) -> dict[str, Any]:
    bins = [plain([entry.confidence, entry.right, entry.count]) for entry in found.bins]
    return {**_in_short(found), "bins": bins}


def _in_short(found: Reliability) -> dict[str, Any]:
    return plain({"ece": found.ece, "confidence": found.confidence, "right": found.right, "count": found.count})
