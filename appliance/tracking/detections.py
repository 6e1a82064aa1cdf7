"""From the network's slots to detections: weak slots fall away, and slots that report the same thing become one."""

from dataclasses import dataclass

import numpy as np

from appliance.angles import arc_deg, unit_vector
from appliance.tracking.ground import Ground
from appliance.tracking.sphere import Vector
from appliance.types import Arrival, Direction, Float32Array, SceneFrame, SceneObject

SAME_SOURCE_DEG = 12.0
"""Two reports of one class nearer than this are one source: about twice the scatter of a first-order direction."""

_SIGMA_FLOOR_DEG = 1.0
_ARRIVAL_SIGMA_DEG = 5.0
_LATE_S = 0.15
"""What the network tells of a direction is how it was so long before the middle of its label frame: it looks back on its window
and on some memory."""
_ARRIVAL_LATE_S = 0.55
"""Power tells where a sound was on average over more than a second. On fold 4 tracks that turn by 10°/s or more are off by 2.1° so,
by median, and by 3.0° where these too are taken for `_LATE_S` late."""
_UNREPORTED = 0.01
"""Of any class, while the network does not report what power tells of: it is mostly none of them. With an equal share for each,
as if the network had no opinion, most of what was named so on fold 4 was no event (4 of 15; with this 4 of 6)."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One sounding object in one label frame."""

    direction: Vector
    """(3,) unit vector in the array frame; horizontal where the array is planar."""
    sigma_deg: float
    """1-sigma scatter of the direction."""
    scores: Float32Array
    """(classes,) activity times class probability."""
    elevation_valid: bool
    """False where the array cannot tell elevation."""
    slots: tuple[int, ...] = ()
    """The network's slots that report it, strongest first."""
    sounding: bool = True
    """False where what tells of it is over already."""
    late_s: float = _LATE_S
    """The direction is that of so long ago."""
    named: bool = True
    """False where its power alone tells of it: its scores tell no class from another."""


def detections(scene: SceneFrame, least_score: float, ground: Ground) -> list[Detection]:
    """The objects whose best class scores at least `least_score`, strongest first, each source once.

    Their elevations are what they were before `ground` flattened them.
    """
    found: list[Detection] = []
    candidates = [_detection(slot, ground) for slot in scene.objects]
    for candidate in sorted(candidates, key=lambda d: -float(d.scores.max())):
        if candidate.scores.max() < least_score:
            break
        twin = next((i for i, other in enumerate(found) if _same_source(candidate, other)), None)
        if twin is None:
            found.append(candidate)
        else:
            found[twin] = _merged(found[twin], candidate)
    return found


def unnamed(arrival: Arrival, classes: int) -> Detection:
    """Something that comes from there, hardly any of so many classes. Power tells elevations that no ground has flattened."""
    scores = np.full(classes, _UNREPORTED, np.float32)
    doa = arrival.doa
    return Detection(
        _pointing(doa),
        _ARRIVAL_SIGMA_DEG,
        scores,
        doa.elevation_valid,
        sounding=arrival.sounding,
        late_s=_ARRIVAL_LATE_S,
        named=False,
    )


def _pointing(doa: Direction) -> Vector:
    return unit_vector(doa.azimuth_deg, doa.elevation_deg if doa.elevation_valid else 0.0)


def _detection(slot: SceneObject, ground: Ground) -> Detection:
    doa = slot.doa
    direction = _pointing(doa)
    direction = ground.raised(direction) if doa.elevation_valid else direction
    scores = (slot.activity * slot.class_probs).astype(np.float32)
    return Detection(direction, max(slot.doa_sigma_deg, _SIGMA_FLOOR_DEG), scores, doa.elevation_valid, (slot.slot,))


def _same_source(a: Detection, b: Detection) -> bool:
    return bool(a.scores.argmax() == b.scores.argmax()) and arc_deg(a.direction, b.direction) < SAME_SOURCE_DEG


def _merged(strong: Detection, weak: Detection) -> Detection:
    """One detection from two. Slots err alike, so the sigma does not shrink as it would for independent reports."""
    total = strong.scores.max() * strong.direction + weak.scores.max() * weak.direction
    scores = np.maximum(strong.scores, weak.scores)
    sigma_deg = min(strong.sigma_deg, weak.sigma_deg)
    slots = strong.slots + weak.slots
    return Detection(total / np.linalg.norm(total), sigma_deg, scores, strong.elevation_valid, slots)
