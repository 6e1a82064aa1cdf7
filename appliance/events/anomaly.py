"""What is strange on this site is an anomaly only where nothing with a name is heard, nor was just now."""

import math
from collections.abc import Sequence

from appliance.angles import arc_distance_deg
from appliance.types import Direction, Track

_LINGERS_S = 3.0
"""What had a name is in what the tagger hears of its neighbours, and of what follows it, for so long after its event."""


class NamedPlaces:
    """Where events of known classes are open, or were a short while ago. State: each with the time that it has left."""

    def __init__(self, same_place_deg: float) -> None:
        self._same_place_deg = same_place_deg
        self._places: list[tuple[Direction, float]] = []

    def update(self, named: Sequence[Direction], elapsed_s: float) -> None:
        """Take in where events are open after so much time."""
        lingering = [(doa, left_s - elapsed_s) for doa, left_s in self._places if left_s > elapsed_s]
        self._places = lingering + [(doa, _LINGERS_S) for doa in named]

    def strangeness(self, track: Track) -> float:
        """That of the track; 0 where it is in such a place."""
        reach_deg = max(self._same_place_deg, 2.0 * math.sqrt(track.covariance_deg2[0][0]))
        here = track.doa
        near = any(
            arc_distance_deg(doa.azimuth_deg, doa.elevation_deg, here.azimuth_deg, here.elevation_deg) < reach_deg
            for doa, _ in self._places
        )
        return 0.0 if near else track.strangeness
