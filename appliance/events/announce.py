"""Writes events: what is said of a track when it begins, changes and ends."""

import dataclasses
from collections.abc import Callable

from appliance.config import MountSettings, UnitSettings
from appliance.events.pose import Pose
from appliance.events.ulids import UlidFactory
from appliance.types import ClockQuality, Event, EventState, Severity, Track


class Announcer:
    """Knows the unit: its name, how it hangs, and how good its clock is."""

    def __init__(
        self, unit: UnitSettings, mount: MountSettings, ulids: UlidFactory, clock: Callable[[], ClockQuality]
    ) -> None:
        self._unit = unit
        self._pose = Pose(mount)
        self._ulids = ulids
        self._clock = clock

    def new(
        self,
        track: Track,
        class_label: str,
        severity: Severity,
        *,
        confidence: float,
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
            confidence=confidence,
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
        )

    def next(self, latest: Event, state: EventState, track: Track, *, confidence: float, now_utc_ns: int) -> Event:
        """The message that follows `latest`."""
        bearing_deg, elevation_deg, sigma_deg = self._pose.bearing_elevation_sigma_deg(track)
        return dataclasses.replace(
            latest,
            sequence=latest.sequence + 1,
            state=state,
            confidence=confidence,
            utc_ns=now_utc_ns,
            azimuth_deg=track.doa.azimuth_deg,
            elevation_deg=elevation_deg,
            bearing_true_deg=bearing_deg,
            bearing_sigma_deg=sigma_deg,
            clock=self._clock(),
        )

    def bearing_true_deg(self, track: Track) -> float:
        """Where the track is, clockwise from true north."""
        return self._pose.bearing_elevation_sigma_deg(track)[0]
