"""What flies is heard from above, what stands on the ground is not: how high a track is says something of what it is."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from appliance.angles import either_side_deg, mount_rotation
from appliance.config import MountSettings
from appliance.types import Track

FLYING = frozenset({"drone"})
"""Helicopters and aeroplanes are heard from so far away that they are often low."""
_ELEVATIONS_DEG = (10.0, 20.0, 30.0, 65.0, 75.0)
_LOG_ODDS = np.log([0.5, 1.0, 3.0, 3.0, 1.0])
"""What stands on the ground is below 5° for a mast and up to 20° on a slope or in a window; a drone at 50 m and a hundred away is at 27°. But one
that is far or lands is low, so the odds of a drone are no less than half of what it sounds like. What seems to come from right above reaches all
microphones at once, as gusts and faults of electronics do, and says nothing. On fold 4 and 3.2 h of false alarms, over rates of .5 to 16 an hour,
.65 of the drones are found, .57 without odds, .64 with a third below 5°, .63 with 2 above 30°."""
_IN_THE_GROUND_DEG = -5.0


class Aloft:
    """Weighs the classes of tracks by how high they are. No state."""

    def __init__(self, classes: Sequence[str], mount: MountSettings) -> None:
        self._flying = np.array([label in FLYING for label in classes])
        self._rotation = mount_rotation(mount.heading_true_deg, mount.pitch_deg, mount.roll_deg)

    def weigh(self, tracks: Sequence[Track]) -> list[Track]:
        """The same tracks with what flies the likelier, the higher it is; as they were where nothing tells."""
        return [track if track.height_deg is None else self._weighed(track, track.height_deg) for track in tracks]

    def _weighed(self, track: Track, height_deg: float) -> Track:
        odds = np.exp(np.interp(self._elevations_deg(track, height_deg), _ELEVATIONS_DEG, _LOG_ODDS).mean())
        weighed = np.where(self._flying, odds, 1.0) * track.class_probs
        # What is missing to 1 is other sounds, which stay as they are beside the rest.
        grown = 1.0 + weighed.sum() - track.class_probs.sum()
        return replace(track, class_probs=(weighed / grown).astype(np.float32))

    def _elevations_deg(self, track: Track, height_deg: float) -> list[float]:
        """Above the horizon. A planar array has two, as far above its plane as below; in the ground is none, but where it hangs
        aslant both may be above.
        """
        above, below = either_side_deg(track.doa.azimuth_deg, height_deg, self._rotation)
        if track.doa.elevation_valid:
            return [above]
        return [each for each in (above, below) if each >= _IN_THE_GROUND_DEG] or [max(above, below)]
