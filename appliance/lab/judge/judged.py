"""One scene judged: what one system heard, held against the truth. Everything the report counts comes from here."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.angles import arc_distance_deg, wrap_azimuth_deg
from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.lab.hear import TARGET, HeardFrame, HeardScene
from appliance.lab.judge.confirmation import confirmed_score
from appliance.lab.metrics.claims import Claims, track_claims
from appliance.lab.metrics.events import EventMatches, found_events, match_events, true_events
from appliance.lab.metrics.seld import SeldCounts, count_seld
from appliance.lab.metrics.tracks import Followed, follow_tracks
from appliance.lab.pack import CLASSES
from appliance.lab.world.dcase_csv import SeldRow, frames_of_sources
from appliance.lab.world.recipe import Recipe
from appliance.lab.world.render import SourceTruth
from appliance.lab.world.sensors import LABEL_SAMPLES

Floats = npt.NDArray[np.float64]

WINDOW_S = 12.0
"""A score-level trial: the length of the drone scenes, and what longer audio is cut into."""
CONFIRM_FRAMES, CONFIRM_OF = 8, 15
"""A trial's score is reached in 8 of 15 label frames, as the policy of a drone asks."""
MAX_ERROR_DEG = 20.0
GRACE_S = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class DirectionErrors:
    """Errors of direction, one per label frame in which a drone sounds and the system points somewhere."""

    error_deg: Floats
    """(n,) arc; of azimuth alone for planar arrays."""
    azimuth_error_deg: Floats
    """(n,) found minus true."""
    sigma_deg: Floats
    """(n,) what the system states of the azimuth's; NaN where it states nothing."""
    azimuth_deg: Floats
    """(n,) where the drone really is."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgedScene:
    """Counts and errors of one system in one scene."""

    part: str
    """Part of the suite."""
    notes: dict[str, Any]
    """What the recipe says of itself: SNR, distance, ambient level, fault."""
    seconds: float
    """Length."""
    events: EventMatches
    """Sounds and announcements, paired by class, time and place."""
    confused: EventMatches
    """The same, paired whatever their class."""
    followed: tuple[Followed, ...]
    """How the tracks followed each sound."""
    seld: SeldCounts
    """DCASE counts of what is listed of each frame."""
    tracked: DirectionErrors
    """Of the nearest confirmed drone track."""
    untracked: DirectionErrors
    """Of the output slot that is most a drone, tracked or not."""
    claims: Claims
    """What its confirmed tracks claimed in each label frame."""
    drone_sounds: bool
    """A drone sounds in it."""
    drone_scores: Floats
    """(trials,) drone score of each `WINDOW_S`; -inf where nothing was heard for long enough."""


def judge_scene(recipe: Recipe, sources: Sequence[SourceTruth], heard: HeardScene) -> JudgedScene:
    """Hold what a system heard against the truth."""
    planar = recipe.geometry().is_planar
    true, found = true_events(sources, CLASSES), found_events(heard.events)
    reference, tracks = frames_of_sources(sources, CLASSES), track_rows(heard.frames)
    match = partial(match_events, true, found, grace_s=GRACE_S, max_error_deg=MAX_ERROR_DEG, azimuth_only=planar)
    return JudgedScene(
        part=str(recipe.notes.get("part", "")),
        notes=dict(recipe.notes),
        seconds=recipe.seconds,
        events=match(),
        confused=match(any_class=True),
        followed=follow_tracks(reference, tracks, azimuth_only=planar),
        seld=count_seld(reference, track_rows(heard.listed), len(CLASSES), azimuth_only=planar),
        tracked=_errors(sources, track_pointing(heard.frames), planar),
        untracked=_errors(sources, _best_slots(heard), planar),
        claims=track_claims(sources, heard.frames, max_error_deg=MAX_ERROR_DEG, azimuth_only=planar),
        drone_sounds=any(event.label == TARGET for event in true),
        drone_scores=trial_scores(heard.target_score),
    )


def trial_scores(frame_scores: Floats) -> Floats:
    """Scores of label frames (n,) → of trials (⌈n / trial⌉,): the most that 8 frames of any 15 within it reach."""
    length = round(WINDOW_S * SAMPLE_RATE_HZ / LABEL_SAMPLES)
    trials = [frame_scores[at : at + length] for at in range(0, max(len(frame_scores), 1), length)]
    return np.array([confirmed_score(trial, CONFIRM_FRAMES, CONFIRM_OF) for trial in trials])


def track_rows(frames: Sequence[HeardFrame]) -> dict[int, list[SeldRow]]:
    """Tracks by frame, as the judges of SELD and of tracks take them; a track's number is its source index."""
    rows: dict[int, list[SeldRow]] = {}
    for heard in frames:
        if heard.label in CLASSES:
            row = SeldRow(CLASSES.index(heard.label), heard.track_id, heard.azimuth_deg, heard.elevation_deg)
            rows.setdefault(heard.frame, []).append(row)
    return rows


Pointing = dict[int, list[tuple[float, float, float]]]
"""Label frame → (azimuth, elevation, sigma) of each candidate."""


def track_pointing(frames: Sequence[HeardFrame], label: str = TARGET) -> Pointing:
    """Where the confirmed tracks of a class point."""
    pointing: Pointing = {}
    for heard in frames:
        if heard.label == label:
            # A degree on the sphere is more of an azimuth the higher the source.
            sigma_deg = heard.sigma_deg / max(math.cos(math.radians(heard.elevation_deg)), 1e-3)
            pointing.setdefault(heard.frame, []).append((heard.azimuth_deg, heard.elevation_deg, sigma_deg))
    return pointing


def _best_slots(heard: HeardScene) -> Pointing:
    return {
        frame: [(azimuth, elevation, np.nan)]
        for frame, (azimuth, elevation) in enumerate(heard.target_direction_deg)
        if np.isfinite(azimuth)
    }


def _errors(sources: Sequence[SourceTruth], pointing: Pointing, planar: bool) -> DirectionErrors:
    rows = [row for source in sources if source.label == TARGET for row in source_errors(source, pointing, planar)]
    return DirectionErrors(*np.array(rows, np.float64).reshape(-1, 4).T)


def source_errors(source: SourceTruth, pointing: Pointing, planar: bool) -> Iterator[tuple[float, float, float, float]]:
    """A row of `DirectionErrors` for each frame in which the source sounds and anything points: of what is nearest to it."""
    for frame in np.flatnonzero(source.active).tolist():
        azimuth_deg, elevation_deg = float(source.azimuth_deg[frame]), float(source.elevation_deg[frame])
        candidates = []
        for azimuth, elevation, sigma_deg in pointing.get(frame, []):
            off_deg = wrap_azimuth_deg(azimuth - azimuth_deg)
            arc_deg = abs(off_deg) if planar else arc_distance_deg(azimuth, elevation, azimuth_deg, elevation_deg)
            candidates.append((arc_deg, off_deg, sigma_deg, azimuth_deg))
        if candidates:
            yield min(candidates)
