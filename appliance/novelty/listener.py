"""Beside the tracker: how strange is what the scene as a whole sounds like, on this site?

What it hears is kept as one vector per window: the mean of the model's scene embedding, or of band levels where a model was
exported without one. Each is judged against the site's memory; what was said to be something (a named event) is not
learned, and what stays strange is learned but slowly, so that it is announced before it is forgotten as normal.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np

from appliance.dsp.features import BANDS, FEATURE_NAMES
from appliance.novelty.direction import WindowDirection
from appliance.novelty.memory import SiteMemory
from appliance.novelty.vectors import level_vector
from appliance.types import FeatureFrame, Float32Array, SceneFrame, Strangeness

WINDOW_FRAMES = 20
"""Label frames (100 ms each) in a window …"""
WINDOW_S = 2.0
"""… which so lasts this long."""
LEVEL_DIMENSIONS = 2 * BANDS

_JUDGED_EVERY = 5
_WINDOWS_PER_DAY = 86400.0 / WINDOW_S
_WAIT_WINDOWS = 3
"""A window waits so many others before it is learned: a named event that it began is confirmed by then."""
_STRANGE_MEETING_S = 600.0
"""A sound that stays strange is met once in so long: after some such times it is familiar, and its event ends."""
_LATELY, _STRANGE_FROM = 10, 0.5
"""An anomaly is remembered by what was at least so strange among so many latest judgements, five seconds."""
_NEAREST = 3
_LEVEL = FEATURE_NAMES.index("level")


class NoveltyListener:
    """Judges every label frame, and learns the site from those that raised no event. State: see `reset`, and the memory."""

    def __init__(
        self, memory: SiteMemory, classes: Sequence[str], *, embedded: bool, false_per_day: float = 1.0
    ) -> None:
        """`embedded`: vectors are scene embeddings (the model gives them), else band levels. `memory` has their dimensions."""
        self.memory = memory
        self._classes = tuple(classes)
        self._embedded = embedded
        self._false_per_day = false_per_day
        self._direction = WindowDirection(WINDOW_FRAMES)
        self._parts: deque[Float32Array] = deque(maxlen=WINDOW_FRAMES)
        self._probs: deque[Float32Array] = deque(maxlen=WINDOW_FRAMES)
        self._waiting: deque[tuple[Float32Array, float]] = deque()
        self._lately: deque[tuple[float, Float32Array]] = deque(maxlen=_LATELY)
        self._strange_s = 0.0
        self._frames_until_learned = WINDOW_FRAMES
        self._judged_in = 0
        self._latest: Strangeness | None = None

    def reset(self) -> None:
        """Forget what was heard lately, after a gap; what the site sounds like stays."""
        self._direction.reset()
        self._parts.clear()
        self._probs.clear()
        self._lately.clear()
        self._frames_until_learned, self._judged_in, self._latest = WINDOW_FRAMES, 0, None

    def judge(self, hops: Sequence[FeatureFrame], scene: SceneFrame) -> Strangeness | None:
        """How strange the latest two seconds are; None before there are so many, and while the site is being learned."""
        if scene.after_gap:
            self.reset()
        self._direction.push(hops, scene)
        self._parts.append(self._part(hops, scene))
        strongest = max(scene.objects, key=lambda slot: slot.activity, default=None)
        self._probs.append(np.zeros(len(self._classes), np.float32) if strongest is None else strongest.class_probs)
        if len(self._parts) < WINDOW_FRAMES or not self.memory.learned:
            return None
        self._judged_in = (self._judged_in - 1) % _JUDGED_EVERY
        if self._latest is None or self._judged_in == 0:
            self._latest = self._judged()
        return self._latest

    def learn(self, scene: SceneFrame, *, named: bool, strange: bool) -> None:
        """Learn from the frame that was judged last, unless an event of a known class is open (`named`).

        While an anomaly is open (`strange`), what is heard is met once at its beginning and then rarely.
        """
        if named:
            # What it has been hearing is what raised the event.
            self._waiting.clear()
            self._frames_until_learned = WINDOW_FRAMES
            return
        if strange:
            self._strange_s -= 0.1
        else:
            self._strange_s = 0.0
        self._frames_until_learned -= 1
        if self._frames_until_learned > 0 or len(self._parts) < WINDOW_FRAMES:
            return
        self._frames_until_learned = WINDOW_FRAMES
        if strange and self._strange_s > 0.0:
            return
        if strange:
            self._waiting.clear()
            self._strange_s = _STRANGE_MEETING_S
            # A sound may be over when its event begins: this moment says nothing of it.
            strange_vectors = [vector for score, vector in self._lately if score >= _STRANGE_FROM]
            self.memory.learn_strange(strange_vectors, scene.utc_ns * 1e-9)
            return
        self._waiting.append((self._vector(), scene.utc_ns * 1e-9))
        if len(self._waiting) > _WAIT_WINDOWS:
            vector, time_s = self._waiting.popleft()
            self.memory.learn(vector, time_s, WINDOW_S)

    def _part(self, hops: Sequence[FeatureFrame], scene: SceneFrame) -> Float32Array:
        if not self._embedded:
            return np.stack([hop.values[_LEVEL] for hop in hops])
        assert scene.embedding is not None
        return scene.embedding

    def _vector(self) -> Float32Array:
        if self._embedded:
            return np.asarray(np.mean(self._parts, axis=0), np.float32)
        return level_vector(np.concatenate(self._parts))

    def _judged(self) -> Strangeness:
        vector = self._vector()
        distance = self.memory.distance(vector)
        own_per_day = _WINDOWS_PER_DAY * self.memory.share_beyond(distance)
        probs = np.mean(self._probs, axis=0)
        order = np.argsort(-probs, kind="stable")[:_NEAREST]
        direction, sigma_deg = self._direction.direction()
        # One strange sound against as many of the site's own as are borne: which of them it is.
        score = self._false_per_day / (self._false_per_day + own_per_day)
        self._lately.append((score, vector))
        return Strangeness(
            score=score,
            doa=direction,
            sigma_deg=sigma_deg,
            nearest=tuple((self._classes[index], float(probs[index])) for index in order.tolist()),
        )
