"""Writes events: what is said of a track when it begins, changes and ends."""

import dataclasses
from collections.abc import Callable

from appliance.config import MountSettings, UnitSettings
from appliance.events.confidence import Calibration, confidence
from appliance.events.pose import Pose
from appliance.events.ulids import UlidFactory
from appliance.types import ANOMALY, ClockQuality, Event, EventState, Severity, Track


class Announcer:
    """Knows the unit: its name, how it hangs, how good its clock is, and what a score is worth."""

    def __init__(
        self,
        unit: UnitSettings,
        mount: MountSettings,
        ulids: UlidFactory,
        clock: Callable[[], ClockQuality],
        calibration: Calibration,
    ) -> None:
        self._unit = unit
        self._pose = Pose(mount)
        self._ulids = ulids
        self._clock = clock
        self._calibration = calibration

    def new(
        self,
        track: Track,
        class_label: str,
        severity: Severity,
        *,
        score: float,
        onset_utc_ns: int,
        now_utc_ns: int,
        after_gap: bool,
    ) -> Event:
        """The first message of an event."""
        bearing_deg, elevation_deg, sigma_deg = self._pose.bearing_elevation_sigma_deg(track)
        return Event(
            event_id=self._ulids(now_utc_ns),
            sequence=0,
            state="new",
            class_label=class_label,
            confidence=self._confidence(class_label, score),
            severity=severity,
            track_id=track.track_id,
            onset_utc_ns=onset_utc_ns,
            utc_ns=now_utc_ns,
            azimuth_deg=track.doa.azimuth_deg,
            elevation_deg=elevation_deg,
            elevation_valid=track.doa.elevation_valid,
            bearing_true_deg=bearing_deg,
            bearing_sigma_deg=sigma_deg,
            clock=self._clock(),
            after_gap=after_gap,
            site=self._unit.site,
            node=self._unit.node,
            nearest=_nearest(class_label, track),
            height_deg=self._pose.height_deg(track),
        )

    def next(self, latest: Event, state: EventState, track: Track, *, score: float, now_utc_ns: int) -> Event:
        """The message that follows `latest`."""
        bearing_deg, elevation_deg, sigma_deg = self._pose.bearing_elevation_sigma_deg(track)
        return dataclasses.replace(
            latest,
            sequence=latest.sequence + 1,
            state=state,
            confidence=self._confidence(latest.class_label, score),
            track_id=track.track_id,
            utc_ns=now_utc_ns,
            azimuth_deg=track.doa.azimuth_deg,
            elevation_deg=elevation_deg,
            bearing_true_deg=bearing_deg,
            bearing_sigma_deg=sigma_deg,
            clock=self._clock(),
            nearest=_nearest(latest.class_label, track),
            height_deg=self._pose.height_deg(track),
        )

    def _confidence(self, class_label: str, score: float) -> float:
        return confidence(score, self._calibration.get(class_label))

    def bearing_true_deg(self, track: Track) -> float:
        """Where the track is, clockwise from true north."""
        return self._pose.bearing_elevation_sigma_deg(track)[0]


def _nearest(class_label: str, track: Track) -> tuple[tuple[str, float], ...]:
    return track.nearest if class_label == ANOMALY else ()
