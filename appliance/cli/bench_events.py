"""The events of a proof: their ids follow from the seed alone, so that nobody needs to be believed about them."""

import dataclasses
import random
import time
from collections.abc import Iterator

from appliance.events import seeded_ulids
from appliance.types import Event

SITE, NODE = "bench", "unit"

_CLASSES = {"drone": "alert", "gunshot": "alert", "siren": "detection", "dog": "detection", "speech": "detection"}
_OPEN_AT_ONCE = 3


def event_id(seed: int, index: int) -> str:
    """The id of event number `index` under `seed`; ids sort as the numbers do."""
    return seeded_ulids(f"{seed}/{index}".encode())(index * 1_000_000)


def new_event(seed: int, index: int) -> Event:
    """The first message of event number `index`, decided now."""
    draw = random.Random(f"{seed}/{index}")
    class_label = draw.choice(list(_CLASSES))
    now_utc_ns = time.time_ns()
    azimuth_deg = draw.uniform(-180.0, 180.0)
    return Event(
        event_id=event_id(seed, index),
        sequence=0,
        state="new",
        class_label=class_label,
        confidence=draw.uniform(0.5, 1.0),
        severity="alert" if _CLASSES[class_label] == "alert" else "detection",
        track_id=index + 1,
        onset_utc_ns=now_utc_ns,
        utc_ns=now_utc_ns,
        azimuth_deg=azimuth_deg,
        elevation_deg=0.0,
        elevation_valid=False,
        bearing_true_deg=-azimuth_deg % 360.0,
        bearing_sigma_deg=4.0,
        clock="synchronised",
        after_gap=False,
        site=SITE,
        node=NODE,
    )


def lifecycles(seed: int, first: int, last: int) -> Iterator[Event]:
    """Events `first` to `last` (exclusive), up to three open at a time: new, some updates, end, interleaved."""
    draw = random.Random(f"{seed}/{first}-{last}")
    open_events: list[Event] = []
    index = first
    while index < last or open_events:
        if index < last and len(open_events) < _OPEN_AT_ONCE and (not open_events or draw.random() < 0.4):
            open_events.append(new_event(seed, index))
            index += 1
            yield open_events[-1]
            continue
        chosen = draw.randrange(len(open_events))
        latest = open_events[chosen]
        ends = draw.random() < 0.4
        said = dataclasses.replace(
            latest, sequence=latest.sequence + 1, state="end" if ends else "update", utc_ns=time.time_ns()
        )
        if ends:
            del open_events[chosen]
        else:
            open_events[chosen] = said
        yield said


def single_events(seed: int, first: int, last: int) -> Iterator[Event]:
    """Events `first` to `last` (exclusive), each of one message, none an alert: as many messages as events."""
    for index in range(first, last):
        yield dataclasses.replace(new_event(seed, index), severity="detection")
