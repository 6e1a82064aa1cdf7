"""One track while it lives: its filter, its class, and whether it is believed."""

import math
from collections import deque

import numpy as np

from appliance.angles import azimuth_elevation_deg
from appliance.config import TrackingSettings
from appliance.tracking.detections import Detection
from appliance.tracking.sphere import SphereFilter
from appliance.types import Direction, Float32Array, Track, TrackStatus

_HEARD_MEMORY_S = 0.5
_UNHEARD_MEMORY_S = 0.8
_LATE_SIGMA_S = 0.3
"""How much that differs from source to source, measured on fold 4: what moves is known less well."""
_BIAS_VARIANCE_DEG2 = 2.0**2
_UNKNOWN_AZIMUTH_DEG2, _UNKNOWN_ELEVATION_DEG2 = 180.0**2, 90.0**2


class Target:
    """Followed by the tracker alone; the outside sees a frozen `Track`.

    The class scores are averaged exponentially: quickly towards what is heard (memory 0.5 s), and slowly towards zero
    while nothing is (0.8 s), because sources pause more often than they stop.
    """

    def __init__(self, track_id: int, detection: Detection, utc_ns: int, settings: TrackingSettings) -> None:
        self.track_id = track_id
        self.filter = SphereFilter(detection.direction, detection.sigma_deg, settings.process_noise_deg_s)
        self.class_probs: Float32Array = detection.scores
        self.unheard_s = 0.0
        self.confirmed = settings.confirm_hits == 1
        self.updated = True
        self.sounding = detection.sounding
        self.slots = detection.slots
        self.named = detection.named
        self._settings = settings
        self._elevation_valid = detection.elevation_valid
        self._first_utc_ns = self.last_update_utc_ns = utc_ns
        self._hits: deque[bool] = deque([True], maxlen=settings.confirm_window_frames)

    @property
    def expired(self) -> bool:
        """True once it is given up: a tentative one unheard over its window, a confirmed one beyond `coast_s`."""
        if self.confirmed:
            return self.unheard_s > self._settings.coast_s
        return not any(self._hits) or self.unheard_s > self._settings.coast_s

    def clock_set(self, by_ns: int) -> None:
        """UTC was set: what happened before it did so by the clock of today."""
        self._first_utc_ns += by_ns
        self.last_update_utc_ns += by_ns

    def predict(self, elapsed_s: float) -> None:
        """Move on to the next frame."""
        self.filter.predict(elapsed_s)

    def hit(self, detection: Detection, elapsed_s: float, utc_ns: int) -> None:
        """Take in the detection that the frame brought. One that is unnamed says where, and nothing about what."""
        self.filter.update(detection.direction, detection.sigma_deg, late_s=detection.late_s)
        if detection.named and self.named:
            self._blend(detection.scores, elapsed_s, _HEARD_MEMORY_S)
        elif detection.named:
            self.class_probs, self.named = detection.scores, True
        self.unheard_s, self.updated, self.last_update_utc_ns = 0.0, True, utc_ns
        self.sounding = detection.sounding
        self.slots = detection.slots
        self._hits.append(True)
        self.confirmed = self.confirmed or sum(self._hits) >= self._settings.confirm_hits

    def miss(self, elapsed_s: float) -> None:
        """The frame brought no detection."""
        self._blend(np.zeros_like(self.class_probs), elapsed_s, _UNHEARD_MEMORY_S)
        self.unheard_s, self.updated, self.sounding = self.unheard_s + elapsed_s, False, False
        self.slots = ()
        self._hits.append(False)

    def absorb(self, younger: "Target") -> None:
        """The two have turned out to be one source; this one goes on."""
        self.class_probs = np.maximum(self.class_probs, younger.class_probs)
        self.confirmed, self.named = self.confirmed or younger.confirmed, self.named or younger.named
        self.slots, younger.slots = self.slots + younger.slots, ()
        if younger.unheard_s < self.unheard_s:
            self.filter, self.unheard_s = younger.filter, younger.unheard_s
            self.updated, self.last_update_utc_ns = younger.updated, younger.last_update_utc_ns
        self.sounding = self.sounding or younger.sounding

    def track(
        self,
        *,
        deleted: bool = False,
        absorbed_by: int | None = None,
        sigma_factor: float = 1.0,
        elevation_gain: float = 1.0,
        azimuth_valid: bool = True,
    ) -> Track:
        """What the outside sees of it now; `sigma_factor` corrects all of the sigma that it states, bias included, and
        errors of elevation are `elevation_gain` times as large as those across it.
        """
        status: TrackStatus = "confirmed" if self.updated else "coasting"
        if not self.confirmed:
            status = "tentative"
        azimuth_deg, elevation_deg = azimuth_elevation_deg(self.filter.direction)
        # Averaging takes scatter out of the direction, but not what encoder and reflections bend it by, nor how late it is.
        bias_deg2 = _BIAS_VARIANCE_DEG2 + (_LATE_SIGMA_S * self.filter.speed_deg_s) ** 2
        variance_deg2 = sigma_factor**2 * (self.filter.variance_deg2 + bias_deg2)
        elevation_deg2 = elevation_gain**2 * variance_deg2 if self._elevation_valid else _UNKNOWN_ELEVATION_DEG2
        return Track(
            track_id=self.track_id,
            status="deleted" if deleted else status,
            doa=Direction(azimuth_deg, elevation_deg if self._elevation_valid else 0.0, self._elevation_valid),
            covariance_deg2=((variance_deg2 if azimuth_valid else _UNKNOWN_AZIMUTH_DEG2, 0.0), (0.0, elevation_deg2)),
            class_probs=self.class_probs,
            first_utc_ns=self._first_utc_ns,
            last_update_utc_ns=self.last_update_utc_ns,
            updated=self.updated and not deleted,
            sounding=self.sounding and not deleted,
            absorbed_by=absorbed_by,
            slots=self.slots,
            height_deg=elevation_deg if self._elevation_valid else None,
        )

    def _blend(self, scores: Float32Array, elapsed_s: float, memory_s: float) -> None:
        keep = math.exp(-elapsed_s / memory_s)
        self.class_probs = (keep * self.class_probs + (1.0 - keep) * scores).astype(np.float32)
