"""What a system's tracks made of a scene whose truth is known: how far each came, how sure it was, where it pointed.

All that `lab.judge.tune` sets is set from this, so that each scene is rendered and heard once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from appliance.angles import arc_distance_deg, wrap_azimuth_deg
from appliance.config import ClassPolicy
from appliance.events import DEFAULT_POLICIES
from appliance.lab.hear import System, hear
from appliance.lab.judge.confirmation import confirmed_score
from appliance.lab.judge.judged import GRACE_S, MAX_ERROR_DEG, source_errors, track_pointing
from appliance.lab.world.recipe import Recipe
from appliance.lab.world.render import RenderedScene, SourceTruth, render
from appliance.pipeline import Moment
from appliance.types import Direction, Event

LEAST_CLAIM = 0.3
"""What a track shows below this is never said to anybody: the policies' release."""
_FRAME_S = 0.1
_SAID = 0.5
"""A track says that it is of a class in the frames in which it shows so much of the best that it shows."""


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """A track that came far enough to be announced as a class, at a low enough threshold."""

    label: str
    """The class."""
    right: bool
    """A source of the class is there."""
    scores: npt.NDArray[np.float32]
    """(n,) its class scores in the frames that brought a detection and reach `LEAST_CLAIM`."""


@dataclass(frozen=True, slots=True)
class Reached:
    """How far the tracks of one scene came, per class."""

    seconds: float
    """Length of the scene."""
    hits: dict[str, list[float]] = field(default_factory=dict)
    """Class → for each of its sources, the highest threshold at which it is announced; 0 where never."""
    false_alarms: dict[str, list[float]] = field(default_factory=dict)
    """Class → for each track that is no source of it, the highest threshold at which it is announced."""
    claims: list[Claim] = field(default_factory=list)
    """What the tracks said, right or wrong."""
    errors: list[tuple[float, float]] = field(default_factory=list)
    """(|error|, sigma) of azimuth in degrees, for each frame in which a source sounds and a track of its class points;
    sigma is what the tracker says when nothing corrects it."""
    height_errors_deg: list[float] = field(default_factory=list)
    """Of a planar array: how far off the height is of each track that was right, in each frame in which it said so."""


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where a track was in a label frame, and as what it was heard."""

    frame: int
    doa: Direction
    height_deg: float | None
    scores: npt.NDArray[np.float32]
    """(classes,), 0 where it was not heard."""


class _Tracks:
    """An observer that keeps every track's class scores and directions."""

    def __init__(self) -> None:
        self.places: dict[int, list[_Place]] = {}

    def frame(self, moment: Moment) -> None:
        """Keep what is heard in this frame; a coasting track shows nothing."""
        for track in moment.tracks:
            scores = track.class_probs if track.updated else np.zeros_like(track.class_probs)
            place = _Place(round(moment.scene.end_s / _FRAME_S) - 1, track.doa, track.height_deg, scores)
            self.places.setdefault(track.track_id, []).append(place)

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        """Events are of no interest here."""


def reached(system: System, recipe: Recipe, scene: RenderedScene | None = None) -> Reached:
    """Let a system hear a scene, rendered if it is not yet, and hold its tracks against the truth."""
    scene, geometry = render(recipe) if scene is None else scene, recipe.geometry()
    tracks = _Tracks()
    heard = hear(scene.samples, geometry, system, [tracks], ground=recipe.ground)
    _, model = system.stages(geometry)
    factor = model.doa_sigma_factor
    outcome = Reached(recipe.seconds)
    for source in scene.sources:
        errors = source_errors(source, track_pointing(heard.frames, source.label), geometry.is_planar)
        outcome.errors.extend((abs(off_deg), sigma_deg / factor) for _, off_deg, sigma_deg, _ in errors)
    for index, label in enumerate(model.classes):
        policy = DEFAULT_POLICIES.get(label, ClassPolicy())
        sources = [source for source in scene.sources if source.label == label]
        best = [0.0] * len(sources)
        for places in tracks.places.values():
            scores = np.array([place.scores[index] for place in places])
            score = confirmed_score(scores, policy.confirm_frames, policy.window_frames)
            if score <= 0.0:
                continue
            # A track goes on where one sound follows another; it is judged by where it was while it said so.
            said = [place for place in places if place.scores[index] >= _SAID * score]
            owner = _owner(sources, said, geometry.is_planar)
            if owner is not None:
                best[owner] = max(best[owner], score)
            else:
                outcome.false_alarms.setdefault(label, []).append(score)
            if score >= LEAST_CLAIM:
                outcome.claims.append(Claim(label, owner is not None, scores[scores >= LEAST_CLAIM]))
                if owner is not None and geometry.is_planar:
                    outcome.height_errors_deg.extend(_height_errors_deg(sources[owner], said))
        if best:
            outcome.hits[label] = best
    return outcome


def _owner(sources: Sequence[SourceTruth], places: Sequence[_Place], planar: bool) -> int | None:
    """Which of the sources the track is near for at least half of its frames."""
    grace = round(GRACE_S / _FRAME_S)
    for number, source in enumerate(sources):
        active = np.flatnonzero(source.active)
        if not len(active):
            continue
        near = 0
        for place in places:
            nearest = int(active[np.argmin(np.abs(active - place.frame))])
            if abs(nearest - place.frame) > grace:
                continue
            true_azimuth, true_elevation = float(source.azimuth_deg[nearest]), float(source.elevation_deg[nearest])
            error_deg = (
                abs(wrap_azimuth_deg(place.doa.azimuth_deg - true_azimuth))
                if planar
                else arc_distance_deg(place.doa.azimuth_deg, place.doa.elevation_deg, true_azimuth, true_elevation)
            )
            near += error_deg <= MAX_ERROR_DEG
        if 2 * near >= len(places):
            return number
    return None


def _height_errors_deg(source: SourceTruth, places: Sequence[_Place]) -> list[float]:
    """In the frames in which it sounds; above and below are alike."""
    return [
        abs(place.height_deg - abs(float(source.elevation_deg[place.frame])))
        for place in places
        if place.height_deg is not None and place.frame < len(source.active) and source.active[place.frame]
    ]
