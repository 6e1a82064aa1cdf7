"""When a track becomes an event that a person should know of, and when that event ends."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from appliance.angles import arc_distance_deg
from appliance.config import ClassPolicy, MountSettings, UnitSettings
from appliance.events.announce import Announcer
from appliance.events.anomaly import NamedPlaces
from appliance.events.confidence import Calibration
from appliance.events.evidence import Evidence
from appliance.events.lifecycle import OpenEvent
from appliance.events.policies import at_threshold
from appliance.events.ulids import UlidFactory
from appliance.types import ANOMALY, ClockQuality, Direction, Event, SceneFrame, Track

SAME_PLACE_DEG = 20.0
"""Two sounds of one class nearer than this are one matter to an operator."""
_SAME_HEIGHT_DEG = 45.0
"""Elevations tell less: of one drone's, that which the network reports and that which its power tells have been 30° apart."""
_AFTER_GAP_S = 5.0


@dataclass(slots=True)
class _Case:
    """What the policy knows of one track."""

    track: Track
    heard: Track
    """The latest that brought a detection, and supports the event where one is open."""
    evidence: Evidence
    event: OpenEvent | None = None
    had_event: bool = False
    obstacle: tuple[int, str] | None = None


@dataclass(frozen=True, slots=True)
class _Cooldown:
    """Where an event of a class has ended a short while ago."""

    class_index: int
    doa: Direction
    until_s: float


class EventPolicy:
    """Confirmation K of N, hysteresis, cooldown and lifecycle, per class. State: cases, cooldowns and how far the stream is."""

    def __init__(
        self,
        classes: Sequence[str],
        policies: Mapping[str, ClassPolicy],
        *,
        unit: UnitSettings,
        mount: MountSettings,
        ulids: UlidFactory,
        clock: Callable[[], ClockQuality],
        calibration: Calibration | None = None,
        anomalies: bool = False,
    ) -> None:
        """`classes` are the model's, `policies` has an entry for each (see `policies_for`); `clock` tells the quality of UTC.

        With `anomalies` tracks that are strange on the site raise events too, of a class that comes after the model's.

        Everything is decided by the tracks' own scores; `calibration` only words them as `confidence`.
        """
        self.rejected: Counter[tuple[str, str]] = Counter()
        """(class, cause) → tracks that never became an event: below_threshold, not_confirmed, cooldown or duplicate."""
        self._classes = (*classes, ANOMALY) if anomalies else tuple(classes)
        self._named = NamedPlaces(SAME_PLACE_DEG) if anomalies else None
        self._policies = [policies[name] for name in self._classes]
        self._site_policies = tuple(self._policies)
        self._announcer = Announcer(unit, mount, ulids, clock, calibration or {})
        self._cases: dict[int, _Case] = {}
        self._cooldowns: list[_Cooldown] = []
        self._now_s = 0.0
        self._gap_until_s = 0.0

    @property
    def open_events(self) -> list[Event]:
        """Latest state of each event that has not ended, oldest track first."""
        return [case.event.latest for case in self._cases.values() if case.event is not None]

    def set_thresholds(self, thresholds: Mapping[str, float]) -> None:
        """Put these in place of what the policies came with; a class that is not named has its own again.

        Evidence that was gathered counts on; an open event ends as it began.
        """
        # In place: the evidence of each track looks at this list.
        self._policies[:] = [
            at_threshold(policy, thresholds[name]) if name in thresholds else policy
            for name, policy in zip(self._classes, self._site_policies, strict=True)
        ]

    def decide(self, tracks: Iterable[Track], scene: SceneFrame) -> list[Event]:
        """State changes that the frame brings; what changes and ends comes before what begins.

        `tracks` is all that the tracker returned for `scene`, which says when this is and whether audio was lost before it.
        """
        elapsed_s, now_utc_ns = self._advance(scene.end_s), scene.utc_ns
        if self._named is not None:
            tracks = self._with_strangeness(self._named, tracks, elapsed_s)
        if scene.clock_set_by_ns:
            self._date_anew(scene.clock_set_by_ns)
        if scene.after_gap:
            self._gap_until_s = scene.end_s + _AFTER_GAP_S
        changes: list[Event] = []
        for track in tracks:
            case = self._cases.setdefault(track.track_id, _Case(track, track, Evidence(self._policies)))
            case.track = track
            if track.updated and not (case.event is not None and case.event.released(track)):
                case.heard = track
            case.evidence.push(track, now_utc_ns)
            heir = self._cases.get(track.absorbed_by) if track.absorbed_by is not None else None
            if case.event is not None and heir is not None and _outranks(case.event, heir.event):
                changes += self._hand_over(case, heir, case.event, now_utc_ns)
            elif case.event is not None:
                changes += self._follow(case, case.event, elapsed_s, now_utc_ns)
            if track.status == "deleted":
                self._dismiss(self._cases.pop(track.track_id))
        # Only now, so that an event may begin where another has just ended.
        for case in self._cases.values():
            if case.event is None and case.track.updated:
                changes += self._begin(case, now_utc_ns)
        return changes

    def finish(self, now_utc_ns: int) -> list[Event]:
        """End what is open, as no more audio comes; the policy then knows of no track."""
        ends = [self._end(case, case.event, now_utc_ns) for case in self._cases.values() if case.event is not None]
        for case in self._cases.values():
            self._dismiss(case)
        self._cases, self._cooldowns = {}, []
        return ends

    def _with_strangeness(self, named: NamedPlaces, tracks: Iterable[Track], elapsed_s: float) -> list[Track]:
        """The tracks with a score more, of the class that the model does not know."""
        named.update(
            [case.track.doa for case in self._cases.values() if case.event is not None and not _is_anomaly(case.event)],
            elapsed_s,
        )
        return [
            replace(track, class_probs=np.append(track.class_probs, np.float32(named.strangeness(track))))
            for track in tracks
        ]

    def _advance(self, end_s: float) -> float:
        """Seconds since the frame before."""
        elapsed_s, self._now_s = end_s - self._now_s, end_s
        self._cooldowns = [cooldown for cooldown in self._cooldowns if cooldown.until_s > end_s]
        return elapsed_s

    def _date_anew(self, by_ns: int) -> None:
        """UTC was set: an event that is open began by the clock of today, as its next message says."""
        for case in self._cases.values():
            case.evidence.clock_set(by_ns)
            if case.event is not None:
                latest = case.event.latest
                case.event.latest = replace(latest, onset_utc_ns=latest.onset_utc_ns + by_ns)

    def _follow(self, case: _Case, event: OpenEvent, elapsed_s: float, now_utc_ns: int) -> list[Event]:
        verdict = event.follow(case.track, self._announcer.bearing_true_deg(case.track), elapsed_s)
        if verdict == "end" or self._has_turned(case, event) or case.track.status == "deleted":
            return [self._end(case, event, now_utc_ns)]
        return [self._update(case, event, now_utc_ns)] if verdict == "update" else []

    def _update(self, case: _Case, event: OpenEvent, now_utc_ns: int) -> Event:
        score = float(case.track.class_probs[event.class_index])
        update = self._announcer.next(event.latest, "update", case.track, score=score, now_utc_ns=now_utc_ns)
        event.announced(update, score)
        return update

    def _hand_over(self, case: _Case, heir: _Case, event: OpenEvent, now_utc_ns: int) -> list[Event]:
        """Two tracks were one source: the one that is left goes on with the event, for nothing has ended."""
        ends = [] if heir.event is None else [self._end(heir, heir.event, now_utc_ns)]
        heir.event, heir.had_event, case.event = event, True, None
        return [*ends, self._update(heir, event, now_utc_ns)]

    def _has_turned(self, case: _Case, event: OpenEvent) -> bool:
        """True where the track has become another class.

        A bark over a drone must not end the drone's alert early, and an engine that is still there hides no drone.
        """
        confirmed, alert = self._confirmed(case), _is_alert(event)
        alerts = [index for index in confirmed if self._policies[index].severity == "alert"]
        rivals = [index for index in (alerts if alert else confirmed) if index != event.class_index]
        gives_way = _is_anomaly(event) or event.released(case.track)
        return bool(rivals) and (gives_way or (not alert and confirmed[0] in alerts))

    def _begin(self, case: _Case, now_utc_ns: int) -> list[Event]:
        index = self._may_begin(case)
        if index is None:
            return []
        policy, score = self._policies[index], float(case.track.class_probs[index])
        new = self._announcer.new(
            case.track,
            self._classes[index],
            policy.severity,
            score=score,
            onset_utc_ns=case.evidence.first_utc_ns(index) if case.had_event else case.track.first_utc_ns,
            now_utc_ns=now_utc_ns,
            after_gap=self._now_s < self._gap_until_s,
        )
        case.event, case.had_event = OpenEvent(index, policy, new, score), True
        return [new]

    def _may_begin(self, case: _Case) -> int | None:
        """The confirmed class that passes its threshold by most; where another event stands in its way, the next that is an alert."""
        for rank, index in enumerate(self._confirmed(case)):
            obstacle = self._obstacle(index, case.track.doa)
            if not obstacle and (rank == 0 or self._policies[index].severity == "alert"):
                return index
            if rank == 0:
                case.obstacle = index, obstacle
        return None

    def _confirmed(self, case: _Case) -> list[int]:
        """The classes that the track's evidence confirms, first what passes its threshold by most."""

        def passed_by(index: int) -> float:
            # Not the score alone: thresholds differ, and operators change them.
            return float(case.track.class_probs[index]) / self._policies[index].threshold

        return sorted(case.evidence.confirmed(), key=passed_by, reverse=True)

    def _obstacle(self, class_index: int, doa: Direction) -> str:
        """Why no event of the class may begin there; empty where one may."""
        if any(cooldown.class_index == class_index and _near(cooldown.doa, doa) for cooldown in self._cooldowns):
            return "cooldown"
        for case in self._cases.values():
            if case.event is not None and case.event.class_index == class_index and _near(case.track.doa, doa):
                return "duplicate"
        return ""

    def _end(self, case: _Case, event: OpenEvent, now_utc_ns: int) -> Event:
        """The end says where the sound was last heard, not where its track coasted to, or was led by what sounded after it."""
        case.event = None
        cooldown_s = self._policies[event.class_index].cooldown_s
        self._cooldowns.append(_Cooldown(event.class_index, case.heard.doa, self._now_s + cooldown_s))
        return self._announcer.next(event.latest, "end", case.heard, score=event.peak_score, now_utc_ns=now_utc_ns)

    def _dismiss(self, case: _Case) -> None:
        """Count why a track that is gone was never announced."""
        if not case.had_event:
            index, cause = case.obstacle or case.evidence.best_guess()
            self.rejected[self._classes[index], cause] += 1


def _is_anomaly(event: OpenEvent) -> bool:
    return event.latest.class_label == ANOMALY


def _is_alert(event: OpenEvent) -> bool:
    """An anomaly is whatever it turns out to be."""
    return event.latest.severity == "alert" and not _is_anomaly(event)


def _outranks(event: OpenEvent, other: OpenEvent | None) -> bool:
    return other is None or (_is_alert(event) and not _is_alert(other))


def _near(a: Direction, b: Direction) -> bool:
    level_deg = 0.5 * (a.elevation_deg + b.elevation_deg)
    across_deg = arc_distance_deg(a.azimuth_deg, level_deg, b.azimuth_deg, level_deg)
    return across_deg < SAME_PLACE_DEG and abs(a.elevation_deg - b.elevation_deg) < _SAME_HEIGHT_DEG
