"""One event from its first message to its last: new, updates, end."""

from typing import Literal

from appliance.angles import wrap_azimuth_deg
from appliance.config import ClassPolicy
from appliance.types import Event, Track

_HEARTBEAT_S = 10.0
_MOVED_DEG = 5.0
_SCORE_STEP = 0.15
_SILENCE_S = 0.5

Verdict = Literal["continue", "update", "end"]


class OpenEvent:
    """An event that has been announced and not ended. It keeps its class for life."""

    def __init__(self, class_index: int, policy: ClassPolicy, announced: Event, score: float) -> None:
        self.class_index = class_index
        self.latest = announced
        """What was announced last."""
        self.peak_score = score
        """Highest score so far; the end is as sure as that, as what is left of the sound then says nothing."""
        self._announced_score = score
        self._policy = policy
        self._quiet_s = 0.0
        self._silent_s = 0.0
        self._heard_again = False
        self._since_announced_s = 0.0

    def announced(self, event: Event, score: float) -> None:
        """Note that `event` went out, at this score."""
        self.latest, self._announced_score = event, score
        self._since_announced_s, self._heard_again = 0.0, False

    def follow(self, track: Track, bearing_true_deg: float, elapsed_s: float) -> Verdict:
        """What the frame makes of the event. Time is passed in, so that steps of UTC do not end or flood events."""
        score = float(track.class_probs[self.class_index])
        self.peak_score = max(self.peak_score, score)
        self._since_announced_s += elapsed_s
        released = self.released(track)
        self._quiet_s = self._quiet_s + elapsed_s if released else 0.0
        if self._quiet_s > 0.0 and self._quiet_s >= self._policy.release_s:
            return "end"
        if not track.updated:
            self._silent_s += elapsed_s
            return "continue"
        self._heard_again = self._heard_again or self._silent_s >= _SILENCE_S
        self._silent_s = 0.0
        moved_deg = abs(wrap_azimuth_deg(bearing_true_deg - self.latest.bearing_true_deg))
        material = (
            self._heard_again
            or moved_deg >= _MOVED_DEG
            or abs(score - self._announced_score) >= _SCORE_STEP
            or self._since_announced_s >= _HEARTBEAT_S
        )
        # What no longer supports the event may end it soon, but is nothing to tell an operator as the event's state.
        due = not released and self._since_announced_s >= self._policy.update_s
        return "update" if material and due else "continue"

    def released(self, track: Track) -> bool:
        """True where the frame alone no longer supports the event."""
        return float(track.class_probs[self.class_index]) < self._policy.release
