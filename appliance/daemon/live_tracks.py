"""Live bearings: several times a second, where each confirmed track is now. Never stored, never waited for."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from appliance import wire
from appliance.config import LiveTrackSettings, SiteSettings
from appliance.events.pose import Pose
from appliance.pipeline import Moment
from appliance.store.live import LiveSender
from appliance.telemetry import clock_quality
from appliance.types import ANOMALY, ClockQuality, Event, Track

_FRAMES_PER_S = 10
_ROUNDING = 1e-9
_MOST_TRACKS = 32
# After the last track: one of these will arrive, and a screen is cleared.
_GOODBYES = 3
_CLOCK_LOOK_S = 10.0


class LiveTracks:
    """Observes the pipeline and sends; whether anybody listens is nothing to it."""

    def __init__(
        self,
        settings: SiteSettings,
        classes: Sequence[str],
        sender: LiveSender,
        *,
        clock: Callable[[], ClockQuality] = clock_quality,
    ) -> None:
        self._settings: LiveTrackSettings = settings.live_tracks
        self._unit = settings.unit
        self._pose = Pose(settings.mount)
        self._classes = tuple(classes)
        self._sender = sender
        self._clock = clock
        self._quality: ClockQuality = "unsynchronised"
        self._quality_due_s = 0.0
        self._events: dict[int, Event] = {}
        self._credit = 1.0
        self._goodbyes = -1

    def frame(self, moment: Moment) -> None:
        """Send where it is time to."""
        for event in moment.events:
            # By the event: another track may have gone on with it.
            self._events = {track: known for track, known in self._events.items() if known.event_id != event.event_id}
            if event.state != "end":
                self._events[event.track_id] = event
        per_frame = self._settings.rate_hz / _FRAMES_PER_S
        self._credit = min(1.0 + per_frame, self._credit + per_frame)
        if not self._settings.enabled or self._credit < 1.0 - _ROUNDING:
            return
        tracks = [track for track in moment.tracks if self._is_told(track)]
        self._goodbyes = _GOODBYES if tracks else max(-1, self._goodbyes - 1)
        if self._goodbyes >= 0:
            self._credit -= 1.0
            self._sender.send(self._message(tracks, moment.scene.utc_ns).encode())

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        """Nothing is tracked any more."""
        del events, stream_s
        if self._settings.enabled:
            self._sender.send(self._message([], time.time_ns()).encode())

    def _is_told(self, track: Track) -> bool:
        """What is likelier nothing that has a name is followed, but shown to nobody, unless it is an event."""
        confirmed = track.status in ("confirmed", "coasting")
        return confirmed and (track.is_named or track.track_id in self._events)

    def _message(self, tracks: Sequence[Track], utc_ns: int) -> str:
        told = sorted((self._told(track) for track in tracks), key=lambda track: -track["confidence"])
        message = {
            "schema": wire.TRACKS_SCHEMA,
            "site": self._unit.site,
            "node": self._unit.node,
            "time": wire.utc_text(utc_ns),
            "clock": self._clock_quality(),
            "tracks": told[:_MOST_TRACKS],
        }
        return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def _told(self, track: Track) -> dict[str, Any]:
        bearing_deg, elevation_deg, sigma_deg = self._pose.bearing_elevation_sigma_deg(track)
        event, index = self._events.get(track.track_id), int(np.argmax(track.class_probs))
        label, confidence = self._classes[index], float(track.class_probs[index])
        if event is not None and event.class_label == ANOMALY:
            label, confidence = ANOMALY, track.strangeness
        height_deg = self._pose.height_deg(track)
        return {
            "track_id": track.track_id,
            "state": track.status,
            "class": label,
            "confidence": round(confidence, 3),
            # 359.96 is north, not 360.
            "bearing_true_deg": round(bearing_deg, 1) % 360.0,
            "bearing_sigma_deg": round(sigma_deg, 1),
            "elevation_deg": round(elevation_deg, 1),
            "elevation_valid": track.doa.elevation_valid,
            **({} if height_deg is None else {"height_deg": round(height_deg, 1)}),
            "event_id": event.event_id if event else None,
        }

    def _clock_quality(self) -> ClockQuality:
        if time.monotonic() >= self._quality_due_s:
            self._quality, self._quality_due_s = self._clock(), time.monotonic() + _CLOCK_LOOK_S
        return self._quality
