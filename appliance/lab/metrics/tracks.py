"""Identity of tracks: how well each sound is followed by one track, frame by frame.

Bernardin & Stiefelhagen, *Evaluating multiple object tracking performance: the CLEAR MOT metrics*, EURASIP JIVP 2008
(correspondence that is kept while it is valid, identity switches); Li, Huang & Nevatia, *Learning to associate:
HybridBoosted multi-target tracker for crowded scene*, CVPR 2009 (fragmentation).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment

from appliance.angles import arc_distance_deg
from appliance.lab.world.dcase_csv import SeldFrames, SeldRow

_FORBIDDEN = 1e6
_KEPT = -1e9
"""Outweighs all else: what was together stays together, however near another track has come."""


@dataclass(frozen=True, slots=True)
class Followed:
    """How one sound was followed."""

    class_index: int
    """Its class."""
    source_index: int
    """Its number in the truth."""
    frames: int
    """Label frames in which it sounds."""
    followed: int
    """Those of them in which a track followed it."""
    tracks: int
    """How many tracks followed it at some time."""
    id_switches: int
    """How often another track took over than the one that followed it last."""
    fragments: int
    """How often it was lost, while it sounded, and found again."""


def follow_tracks(
    reference: SeldFrames, tracks: SeldFrames, *, max_error_deg: float = 20.0, azimuth_only: bool = False
) -> tuple[Followed, ...]:
    """Judge the tracks of a scene, whose `source_index` is the track's number; one entry per sound, in its first order.

    A track follows a sound of its class within `max_error_deg`. The one that followed a sound last follows it on while it
    can; the others are associated anew (Hungarian). `azimuth_only` leaves elevation out, for planar arrays.
    """
    histories: dict[tuple[int, int], list[int | None]] = {}
    before: dict[tuple[int, int], int] = {}
    for frame in sorted(reference):
        rows = reference[frame]
        now = _correspondence(rows, tracks.get(frame, ()), before, max_error_deg, azimuth_only)
        for row in rows:
            histories.setdefault(row[:2], []).append(now.get(row[:2]))
        before = {sound: track for sound, track in before.items() if track not in now.values()} | now
    return tuple(_followed(*sound, history) for sound, history in histories.items())


def _correspondence(
    rows: Sequence[SeldRow],
    tracks: Sequence[SeldRow],
    before: dict[tuple[int, int], int],
    max_error_deg: float,
    azimuth_only: bool,
) -> dict[tuple[int, int], int]:
    """Which track follows which sound (class, source) in one frame."""
    cost = np.full((len(rows), len(tracks)), _FORBIDDEN)
    for place, row in enumerate(rows):
        for other, track in enumerate(tracks):
            elevations = (0.0, 0.0) if azimuth_only else (row.elevation_deg, track.elevation_deg)
            arc_deg = arc_distance_deg(row.azimuth_deg, elevations[0], track.azimuth_deg, elevations[1])
            if row.class_index == track.class_index and arc_deg <= max_error_deg:
                cost[place, other] = arc_deg + (_KEPT if before.get(row[:2]) == track.source_index else 0.0)
    pairs = zip(*linear_sum_assignment(cost), strict=True)
    return {rows[p][:2]: tracks[t].source_index for p, t in pairs if cost[p, t] < _FORBIDDEN}


def _followed(class_index: int, source_index: int, history: Sequence[int | None]) -> Followed:
    known = [track for track in history if track is not None]
    switches = sum(a != b for a, b in pairwise(known))
    runs = sum(track is not None and (i == 0 or history[i - 1] is None) for i, track in enumerate(history))
    return Followed(class_index, source_index, len(history), len(known), len(set(known)), switches, max(0, runs - 1))
