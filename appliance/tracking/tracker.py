"""The tracking loop: predict, detect, associate, update, begin, merge, delete. Time is the stream's."""

import itertools
from collections.abc import Sequence

import numpy as np

from appliance.angles import arc_deg
from appliance.config import MountSettings, TrackingSettings
from appliance.tracking.association import associate
from appliance.tracking.detections import SAME_SOURCE_DEG, Detection, detections, unnamed
from appliance.tracking.ground import Ground
from appliance.tracking.target import Target
from appliance.types import Arrival, SceneFrame, Track

_TOGETHER_S = 1.0
_SAME_PLACE_DEG = 20.0
"""An arrival nearer than this to what the network reports, or to a track, is no other sound: beams are wide."""
_IN_FREE_FIELD = MountSettings(ground="none")


class Tracker:
    """Gives identity to what the network's slots report. State: the living targets."""

    def __init__(
        self,
        settings: TrackingSettings,
        mount: MountSettings = _IN_FREE_FIELD,
        *,
        detection_activity: float,
        sigma_factor: float = 1.0,
    ) -> None:
        """`mount` says what ground flattens the elevations, and how the array hangs above it; without it nothing does.

        `detection_activity` is the model's, for settings that name none. `sigma_factor` is its correction of the sigmas that
        tracks state; what is tracked does not depend on it.
        """
        self._settings = settings
        self._ground = Ground(mount)
        self._sigma_factor = sigma_factor
        own = settings.detection_activity
        self._least_score = detection_activity if own is None else own
        self._ids = itertools.count(1)
        self._targets: list[Target] = []
        self._together_s: dict[tuple[int, int], float] = {}
        self._end_s = 0.0

    def update(self, scene: SceneFrame, arrivals: Sequence[Arrival] = ()) -> list[Track]:
        """All tracks after this label frame, oldest first; one that is given up comes exactly once, as deleted.

        Each of the `arrivals` keeps a track that the network does not report, or begins one. While any sounds, what the network
        reports elsewhere is in no right place.
        """
        elapsed_s, self._end_s = scene.end_s - self._end_s, scene.end_s
        for target in self._targets:
            target.clock_set(scene.clock_set_by_ns)
            target.predict(elapsed_s)
        arrived = [
            unnamed(arrival, len(scene.objects[0].class_probs))
            for arrival in arrivals
            if arrival.strength >= self._settings.arrival_strength and scene.objects
        ]
        found = _in_place(detections(scene, self._least_score, self._ground), arrived)
        pairs = associate(self._targets, found, self._settings.gate_deg)
        joined = {row: found[column] for row, column in pairs}
        taken = {column for _, column in pairs}
        new = [detection for column, detection in enumerate(found) if column not in taken]
        for each in arrived:
            self._arrive(each, found, joined, new)
        for row, target in enumerate(self._targets):
            if row in joined:
                target.hit(joined[row], elapsed_s, scene.utc_ns)
            else:
                target.miss(elapsed_s)
        self._targets += [Target(next(self._ids), detection, scene.utc_ns, self._settings) for detection in new]
        heirs = self._merge_twins(elapsed_s)
        gone = {target for target in self._targets if target in heirs or target.expired}
        tracks = [
            self._track(
                target, deleted=target in gone, absorbed_by=heirs.get(target), azimuth_valid=scene.azimuth_valid
            )
            for target in self._targets
        ]
        self._targets = [target for target in self._targets if target not in gone]
        return tracks

    def _arrive(
        self, arrived: Detection, found: Sequence[Detection], joined: dict[int, Detection], new: list[Detection]
    ) -> None:
        """Add what has arrived to what the nearest target is joined by or to what is new, unless the network has `found` it."""
        if _in_one_place(arrived, found):
            return
        arcs = [arc_deg(arrived.direction, target.filter.before(arrived.late_s)) for target in self._targets]
        nearest = int(np.argmin(arcs)) if arcs else None
        if nearest is None or arcs[nearest] >= _SAME_PLACE_DEG:
            new.append(arrived)
        elif nearest not in joined:
            joined[nearest] = arrived

    def _track(self, target: Target, *, deleted: bool, absorbed_by: int | None, azimuth_valid: bool) -> Track:
        gain = self._ground.elevation_gain(target.filter.direction)
        return target.track(
            deleted=deleted,
            absorbed_by=absorbed_by,
            sigma_factor=self._sigma_factor,
            elevation_gain=gain,
            azimuth_valid=azimuth_valid,
        )

    def _merge_twins(self, elapsed_s: float) -> dict[Target, int]:
        """The younger of each two tracks of one class that have stayed within `SAME_SOURCE_DEG` for a second → the older's id.

        Two sources that cross come closer than that too, but not for so long.
        """
        together_s, heirs = {}, dict[Target, int]()
        for older, younger in itertools.combinations(self._targets, 2):
            if older in heirs or younger in heirs or not _alike(older, younger):
                continue
            pair = (older.track_id, younger.track_id)
            together_s[pair] = self._together_s.get(pair, 0.0) + elapsed_s
            if together_s[pair] >= _TOGETHER_S:
                older.absorb(younger)
                heirs[younger] = older.track_id
        self._together_s = together_s
        return heirs


def _in_place(found: Sequence[Detection], arrived: Sequence[Detection]) -> list[Detection]:
    """What the network reports where something arrives, or all of it where nothing does.

    Of two sounds at once it tells a direction between them: 40° and more apart, on fold 4, two fifths of what it reports are more
    than 20° from either, and of what arrives less than one in a hundred.
    """
    there = [each for each in arrived if each.sounding]
    return [each for each in found if not there or _in_one_place(each, there)]


def _in_one_place(one: Detection, others: Sequence[Detection]) -> bool:
    """Whether it is where any of the others is."""
    return any(arc_deg(one.direction, each.direction) < _SAME_PLACE_DEG for each in others)


def _alike(a: Target, b: Target) -> bool:
    same_class = bool(a.class_probs.argmax() == b.class_probs.argmax()) or not (a.named and b.named)
    return same_class and arc_deg(a.filter.direction, b.filter.direction) < SAME_SOURCE_DEG
