"""What is strange on this site, as a track that the policy follows like any other: one at a time, for the scene as a whole."""

from collections.abc import Sequence

import numpy as np

from appliance.angles import arc_distance_deg
from appliance.types import Direction, Strangeness, Track

_LEAST_SCORE = 0.25
_COAST_S = 3.0
_NAMED_LINGERS_S = 3.0
"""What had a name is within the latest windows of the site's listener for so long after its event."""
_NOWHERE = Direction(0.0, 0.0, elevation_valid=False)
_NO_TRACK = 0


class AnomalyTrack:
    """Turns strangeness into a track, unless something with a name is there at that moment."""

    def __init__(self, classes: int, same_place_deg: float) -> None:
        """`classes` of the policy, anomaly last."""
        self._classes = classes
        self._same_place_deg = same_place_deg
        self._named: list[tuple[Direction, float]] = []
        self._track: Track | None = None
        self._unheard_s = 0.0

    def follow(
        self, strange: Strangeness | None, named: Sequence[Direction], elapsed_s: float, now_utc_ns: int
    ) -> Track | None:
        """The track after this frame; `named` is where events of known classes are open. Once deleted it comes no more."""
        lingering = [(doa, left_s - elapsed_s) for doa, left_s in self._named if left_s > elapsed_s]
        self._named = lingering + [(doa, _NAMED_LINGERS_S) for doa in named]
        if strange is not None and strange.score >= _LEAST_SCORE and not self._has_name(strange):
            self._unheard_s = 0.0
            first_utc_ns = self._track.first_utc_ns if self._track else now_utc_ns
            self._track = self._heard(strange, first_utc_ns, now_utc_ns)
        elif self._track is not None:
            self._unheard_s += elapsed_s
            return self._unheard(self._track)
        return self._track

    def _has_name(self, strange: Strangeness) -> bool:
        reach_deg = max(self._same_place_deg, 2.0 * strange.sigma_deg)
        return any(
            strange.doa is None
            or arc_distance_deg(doa.azimuth_deg, doa.elevation_deg, strange.doa.azimuth_deg, strange.doa.elevation_deg)
            < reach_deg
            for doa, _ in self._named
        )

    def _heard(self, strange: Strangeness, first_utc_ns: int, now_utc_ns: int) -> Track:
        probs = np.zeros(self._classes, np.float32)
        probs[-1] = strange.score
        variance_deg2 = strange.sigma_deg**2
        return Track(
            track_id=_NO_TRACK,
            status="confirmed",
            doa=strange.doa or _NOWHERE,
            covariance_deg2=((variance_deg2, 0.0), (0.0, variance_deg2)),
            class_probs=probs,
            first_utc_ns=first_utc_ns,
            last_update_utc_ns=now_utc_ns,
            nearest=strange.nearest,
        )

    def _unheard(self, track: Track) -> Track:
        gone = self._unheard_s > _COAST_S
        self._track = None if gone else track
        return Track(
            track_id=track.track_id,
            status="deleted" if gone else "coasting",
            doa=track.doa,
            covariance_deg2=track.covariance_deg2,
            class_probs=np.zeros_like(track.class_probs),
            first_utc_ns=track.first_utc_ns,
            last_update_utc_ns=track.last_update_utc_ns,
            updated=False,
            nearest=track.nearest,
        )
