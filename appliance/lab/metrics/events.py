"""Events against the truth: which sounds were found, missed, repeated or invented; how late, and how far off.

Event-based counting after Mesaros, Heittola & Virtanen, *Metrics for polyphonic sound event detection*, Applied Sciences
6(6), 2016, with direction as a further condition and a looser one in time: an operator must be told of the right sound
at the right place while it matters, not of its onset to the frame.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from appliance.angles import arc_distance_deg, azimuth_elevation_deg, unit_vector, wrap_azimuth_deg
from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.lab.world.render import SourceTruth
from appliance.lab.world.sensors import LABEL_SAMPLES
from appliance.types import Event

Floats = npt.NDArray[np.float64]

FRAME_S = LABEL_SAMPLES / SAMPLE_RATE_HZ
"""Length of a label frame."""
_FORBIDDEN = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Directions at ascending moments, at least one."""

    time_s: Floats
    """(n,) seconds into the scene."""
    azimuth_deg: Floats
    """(n,) counter-clockwise from the front."""
    elevation_deg: Floats
    """(n,) above the horizon."""

    def at(self, time_s: Floats) -> list[tuple[float, float]]:
        """(azimuth, elevation) at each of the times (m,): along the chord between moments, held before and after them."""
        vectors = [unit_vector(a, e) for a, e in zip(self.azimuth_deg, self.elevation_deg, strict=True)]
        between = [np.interp(time_s, self.time_s, axis) for axis in np.array(vectors).T]
        return [azimuth_elevation_deg(vector) for vector in np.array(between).T]


@dataclass(frozen=True, slots=True, eq=False)
class TrueEvent:
    """A sound as it really was."""

    label: str
    """Its class."""
    start_s: float
    """Onset, seconds into the scene."""
    end_s: float
    """Its end."""
    path: Path
    """Where it was."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundEvent:
    """An event as it was announced."""

    label: str
    """Its class."""
    start_s: float
    """When it claims that the sound began, seconds into the scene."""
    end_s: float
    """When it was ended."""
    confirmed_s: float
    """When it was first announced."""
    path: Path
    """Where it said that the sound was, and when it said so."""
    sigma_deg: Floats
    """(n,) 1-sigma uncertainty of the azimuth that it stated at the moments of its path."""
    confidence: float
    """Of its class, when it was first announced."""


@dataclass(frozen=True, slots=True, eq=False)
class EventPair:
    """A sound and the event that found it, compared at the m moments of the event's path that fall on the sound."""

    true: TrueEvent
    """The sound."""
    found: FoundEvent
    """The event."""
    error_deg: Floats
    """(m,) arc between them; of azimuths alone for a planar array."""
    azimuth_error_deg: Floats
    """(m,) found minus true, [-180, 180)."""
    sigma_deg: Floats
    """(m,) what the event thought of its azimuth's error."""

    @property
    def latency_s(self) -> float:
        """From the onset of the sound to the announcement."""
        return self.found.confirmed_s - self.true.start_s


@dataclass(frozen=True, slots=True, eq=False)
class EventMatches:
    """All sounds and events of a scene, each in exactly one place; the matches of several scenes add up."""

    pairs: tuple[EventPair, ...]
    """Sounds that were found, each with one event."""
    missed: tuple[TrueEvent, ...]
    """Sounds that were not."""
    repeats: tuple[FoundEvent, ...]
    """Further events of sounds that were found: wrong in precision, but not invented."""
    false_alarms: tuple[FoundEvent, ...]
    """Events of nothing."""

    def __add__(self, other: "EventMatches") -> "EventMatches":
        return EventMatches(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(self)))

    def only(self, label: str) -> "EventMatches":
        """Those of one class: pairs and misses by the sound's, repeats and false alarms by the event's."""
        return EventMatches(
            tuple(pair for pair in self.pairs if pair.true.label == label),
            tuple(event for event in self.missed if event.label == label),
            tuple(event for event in self.repeats if event.label == label),
            tuple(event for event in self.false_alarms if event.label == label),
        )

    @property
    def precision(self) -> float | None:
        """Share of events that found a sound; None without events."""
        return _share(len(self.pairs), len(self.pairs) + len(self.repeats) + len(self.false_alarms))

    @property
    def recall(self) -> float | None:
        """Share of sounds that were found; None without sounds."""
        return _share(len(self.pairs), len(self.pairs) + len(self.missed))

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None without either."""
        wrong = len(self.missed) + len(self.repeats) + len(self.false_alarms)
        return _share(2 * len(self.pairs), 2 * len(self.pairs) + wrong)

    def confusion(self) -> Counter[tuple[str | None, str | None]]:
        """(class of the sound, class of the event) → how often; None for a sound missed and for an event of nothing."""
        counts: Counter[tuple[str | None, str | None]] = Counter()
        counts.update((pair.true.label, pair.found.label) for pair in self.pairs)
        counts.update((event.label, None) for event in self.missed)
        counts.update((None, event.label) for event in self.false_alarms)
        return counts


def match_events(
    true: Sequence[TrueEvent],
    found: Sequence[FoundEvent],
    *,
    grace_s: float = 1.0,
    max_error_deg: float = 20.0,
    azimuth_only: bool = False,
    any_class: bool = False,
) -> EventMatches:
    """Pair sounds with events one to one: as many pairs as can be, then the least total error.

    A pair has one class, overlaps in time (the sound lengthened by `grace_s` at both ends) and is no farther apart than
    `max_error_deg` in the median; `azimuth_only` is for planar arrays. With `any_class` classes need not agree, though
    those that do are preferred: for `EventMatches.confusion`.
    """
    cost = np.full((len(true), len(found)), _FORBIDDEN)
    candidates: dict[tuple[int, int], EventPair] = {}
    for row, sound in enumerate(true):
        for column, event in enumerate(found):
            same_class = sound.label == event.label
            if not (same_class or any_class) or not _overlap(sound, event, grace_s):
                continue
            pair = _compared(sound, event, grace_s, azimuth_only)
            median_deg = float(np.median(pair.error_deg))
            if median_deg <= max_error_deg:
                candidates[row, column] = pair
                cost[row, column] = median_deg + (0.0 if same_class else max_error_deg)
    chosen = [pair for pair in zip(*linear_sum_assignment(cost), strict=True) if pair in candidates]
    taken_true, taken_found = {row for row, _ in chosen}, {column for _, column in chosen}
    near = {column for _, column in candidates}
    rest = [column for column in range(len(found)) if column not in taken_found]
    return EventMatches(
        tuple(candidates[pair] for pair in chosen),
        tuple(sound for row, sound in enumerate(true) if row not in taken_true),
        tuple(found[column] for column in rest if column in near),
        tuple(found[column] for column in rest if column not in near),
    )


def true_events(
    sources: Iterable[SourceTruth], classes: Sequence[str], *, join_s: float = 2.0
) -> tuple[TrueEvent, ...]:
    """The sounds of a rendered scene; pauses shorter than `join_s` do not end one (steps, barks, the swell of a siren).

    Sources of another label than `classes` are no targets and left out.
    """
    events = []
    for source in sources:
        sounding = np.flatnonzero(source.active)
        if source.label not in classes or len(sounding) == 0:
            continue
        pauses = np.flatnonzero((np.diff(sounding) - 1) * FRAME_S >= join_s)
        for run in np.split(sounding, pauses + 1):
            path = Path(
                np.asarray((run + 0.5) * FRAME_S, np.float64), source.azimuth_deg[run], source.elevation_deg[run]
            )
            events.append(TrueEvent(source.label, float(run[0] * FRAME_S), float((run[-1] + 1) * FRAME_S), path))
    return tuple(events)


def found_events(sent: Iterable[tuple[float, Event]], *, start_utc_ns: int = 0) -> tuple[FoundEvent, ...]:
    """Events by their state changes (seconds into the scene at which it was sent, change), each in order of time.

    `start_utc_ns` is the UTC of the scene's first sample. The elevation of an array that has none is 0.
    """
    lives: dict[str, list[tuple[float, Event]]] = {}
    for sent_s, change in sent:
        lives.setdefault(change.event_id, []).append((sent_s, change))
    events = []
    for life in lives.values():
        (first_s, first), (last_s, _) = life[0], life[-1]
        path = Path(
            np.array([sent_s for sent_s, _ in life]),
            np.array([change.azimuth_deg for _, change in life]),
            np.array([change.elevation_deg for _, change in life]),
        )
        onset_s = (first.onset_utc_ns - start_utc_ns) / 1e9
        sigma_deg = np.array([change.bearing_sigma_deg for _, change in life])
        events.append(FoundEvent(first.class_label, onset_s, last_s, first_s, path, sigma_deg, first.confidence))
    return tuple(events)


def _overlap(true: TrueEvent, found: FoundEvent, grace_s: float) -> bool:
    return found.start_s <= true.end_s + grace_s and found.end_s >= true.start_s - grace_s


def _compared(true: TrueEvent, found: FoundEvent, grace_s: float, azimuth_only: bool) -> EventPair:
    time_s = found.path.time_s
    outside_s = np.maximum(true.start_s - time_s, time_s - true.end_s)
    # A short sound may be over before its event says anything: then the moment nearest to it counts.
    moments = np.flatnonzero(outside_s <= max(grace_s, float(outside_s.min())))
    azimuths, elevations = found.path.azimuth_deg[moments], found.path.elevation_deg[moments]
    where = true.path.at(time_s[moments])
    azimuth_error = np.array([wrap_azimuth_deg(a - b) for a, (b, _) in zip(azimuths, where, strict=True)])
    arc = [arc_distance_deg(a, e, *other) for a, e, other in zip(azimuths, elevations, where, strict=True)]
    error = np.abs(azimuth_error) if azimuth_only else np.array(arc)
    return EventPair(true, found, error, azimuth_error, found.sigma_deg[moments])


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
