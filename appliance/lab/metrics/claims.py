"""What confirmed tracks claim, frame by frame: a class, a place and a confidence, and whether a sound of it is there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from appliance.angles import arc_distance_deg, wrap_azimuth_deg
from appliance.lab.hear import HeardFrame
from appliance.lab.world.render import SourceTruth

_LAST_FRAMES = 5
"""A track's score is averaged over half a second, so it may speak of what has just paused."""


@dataclass(frozen=True, slots=True, eq=False)
class Claims:
    """n claims."""

    label: npt.NDArray[np.str_]
    """(n,) class."""
    confidence: npt.NDArray[np.float64]
    """(n,) within 0…1."""
    right: npt.NDArray[np.bool_]
    """(n,) a sound of that class is there."""


def track_claims(
    sources: Sequence[SourceTruth], frames: Sequence[HeardFrame], *, max_error_deg: float, azimuth_only: bool
) -> Claims:
    """Each frame of each confirmed track, held against the truth; `azimuth_only` is for planar arrays."""
    right = [any(_is_there(source, heard, max_error_deg, azimuth_only) for source in sources) for heard in frames]
    return Claims(
        np.array([heard.label for heard in frames], np.str_),
        np.array([heard.confidence for heard in frames], np.float64),
        np.array(right, np.bool_),
    )


def _is_there(source: SourceTruth, heard: HeardFrame, max_error_deg: float, azimuth_only: bool) -> bool:
    if source.label != heard.label:
        return False
    sounding = np.flatnonzero(source.active[: heard.frame + 1])
    if not len(sounding) or heard.frame - sounding[-1] > _LAST_FRAMES:
        return False
    azimuth_deg, elevation_deg = float(source.azimuth_deg[sounding[-1]]), float(source.elevation_deg[sounding[-1]])
    if azimuth_only:
        return abs(wrap_azimuth_deg(heard.azimuth_deg - azimuth_deg)) <= max_error_deg
    return arc_distance_deg(heard.azimuth_deg, heard.elevation_deg, azimuth_deg, elevation_deg) <= max_error_deg
