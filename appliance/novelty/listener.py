"""Beside the tracks: how strange is each of them on this site?

What the tagger takes a track for, of all the sounds it tells apart, is what it sounds like, also where it is none of them: a
bell that nobody taught it is a little of this and a little of that, and always the same. A sound is a track, or ten seconds of
one that goes on. Each moment is judged against the site's memory, which then learns the sound, unless it raised an alert.
What was told as strange is learned slowly, so that it is announced some times before it is familiar.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from appliance.dsp.steered import EARS
from appliance.novelty.memory import SiteMemory
from appliance.types import ANOMALY, Event, Float32Array, Track

_JUDGED_FRAMES = 20
"""A sound is as far away as in the nearest of so many frames in a row that it was heard; shorter ones are not told."""

_SOUND_FRAMES = 100
_STRANGE_AGAIN_S = 600.0
"""What stays strange is met once in so long: after some such times it is familiar, and its event ends."""
_NEAREST = 3


def sound_vector(sounds: Float32Array) -> Float32Array:
    """The tagger's probabilities (sounds,) → a vector (sounds,) whose distance to another tells how unlike they are.

    The probabilities are a product of what each ear says; the vector is the root of the geometric mean (Hellinger, 1909), so that
    what is hardly anything still counts.
    """
    mean = sounds ** np.float32(1.0 / len(EARS))
    vector: Float32Array = np.sqrt(mean / mean.sum())
    return vector


@dataclass(slots=True)
class _Sound:
    """What a track has sounded like since it was learned last."""

    said: Float32Array | None = None
    """The tagger's latest word …"""
    distance: float = 0.0
    """… how far away that is …"""
    score: float = 0.0
    """… how strange that makes the track …"""
    nearest: tuple[tuple[str, float], ...] = ()
    """… and what it is most like, with the probability."""
    lately: deque[float] = field(default_factory=lambda: deque(maxlen=_JUDGED_FRAMES))
    """Distance in the latest frames that it was heard."""
    farthest: float | None = None
    """How far away it was at its strangest; None while it is too short to tell."""
    vectors: list[tuple[float, Float32Array]] = field(default_factory=list)
    """All that it was, and how far away each is."""
    frames: int = 0
    alert: bool = False
    """It is what raised an alert."""
    strange: bool = False
    """It is what raised an anomaly."""
    met_s: float | None = None
    """When it was met last as something strange, in time heard."""


class NoveltyListener:
    """Judges every track in every label frame, and learns the site. State: what each track sounded like, and the memory."""

    def __init__(self, memory: SiteMemory, sounds: Sequence[str], *, false_per_day: float = 1.0) -> None:
        """`memory` has a dimension for each of the tagger's `sounds`; so often a day the site itself may be taken for strange."""
        self.memory = memory
        self._names = tuple(sounds)
        self._false_per_day = false_per_day
        self._sounds: dict[int, _Sound] = {}

    def judge(self, tracks: Sequence[Track]) -> list[Track]:
        """The same tracks with their `strangeness` and what they are `nearest` to; none is strange while the site is being learned."""
        return [self._judged(track) for track in tracks]

    def learn(self, tracks: Sequence[Track], events: Sequence[Event], frame_s: float) -> None:
        """Learn from the frame that was judged last, `frame_s` long; `events` are those that are open."""
        self.memory.listen(frame_s)
        for event in events:
            if sound := self._sounds.get(event.track_id):
                sound.strange |= event.class_label == ANOMALY
                sound.alert |= event.severity == "alert" and event.class_label != ANOMALY
        here = {track.track_id for track in tracks if track.status != "deleted"}
        for track_id, sound in list(self._sounds.items()):
            if track_id not in here:
                self._learn(self._sounds.pop(track_id))
            elif sound.frames >= _SOUND_FRAMES:
                self._learn(sound)

    def _judged(self, track: Track) -> Track:
        if track.sounds is None:
            return track
        sound = self._sounds.setdefault(track.track_id, _Sound())
        if track.sounds is not sound.said:
            vector = sound_vector(track.sounds)
            sound.said, sound.distance = track.sounds, self.memory.distance(vector)
            sound.score = self._score(sound.distance)
            order = np.argsort(-vector, kind="stable")[:_NEAREST].tolist()
            sound.nearest = tuple((self._names[index], float(vector[index]) ** 2) for index in order)
            sound.vectors.append((sound.distance, vector))
        if track.updated:
            sound.frames += 1
            sound.lately.append(sound.distance)
            if len(sound.lately) == _JUDGED_FRAMES:
                sound.farthest = max(sound.farthest or 0.0, min(sound.lately))
        return replace(track, strangeness=sound.score, nearest=sound.nearest)

    def _score(self, distance: float) -> float:
        """One strange sound a day against as many of the site's own as are so far away: which of them it is."""
        return self._false_per_day / (self._false_per_day + self.memory.own_per_day(distance))

    def _learn(self, sound: _Sound) -> None:
        if sound.alert:
            pass
        elif not sound.strange:
            self.memory.learn([vector for _, vector in sound.vectors], sound.farthest)
        elif sound.met_s is None or self.memory.heard_s - sound.met_s >= _STRANGE_AGAIN_S:
            sound.met_s = self.memory.heard_s
            # The track was something else before, maybe; only what raised the event is met.
            strange = [vector for distance, vector in sound.vectors if self._score(distance) >= 0.5]
            self.memory.learn_strange(strange)
        sound.vectors, sound.frames, sound.farthest = [], 0, None
        sound.alert = sound.strange = False
