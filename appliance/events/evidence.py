"""K of N: for each class of one track, in which of the latest frames it was heard well enough."""

from collections import deque
from collections.abc import Sequence

import numpy as np

from appliance.config import ClassPolicy
from appliance.types import Float32Array, Track


class Evidence:
    """What one track has shown so far. Only frames with a detection count; a coasting track proves nothing."""

    def __init__(self, policies: Sequence[ClassPolicy]) -> None:
        self._policies = policies
        self._windows = [deque[int | None](maxlen=policy.window_frames) for policy in policies]
        self._peak: Float32Array = np.zeros(len(policies), np.float32)

    def clock_set(self, by_ns: int) -> None:
        """UTC was set: what was heard before is dated anew."""
        for window in self._windows:
            dated = [None if utc_ns is None else utc_ns + by_ns for utc_ns in window]
            window.clear()
            window.extend(dated)

    def push(self, track: Track, now_utc_ns: int) -> None:
        """Take in the next frame."""
        if track.updated:
            self._peak = np.maximum(self._peak, track.class_probs)
        for policy, window, probability in zip(self._policies, self._windows, track.class_probs, strict=True):
            window.append(now_utc_ns if track.updated and probability >= policy.threshold else None)

    def confirmed(self) -> list[int]:
        """Indices of the classes that have their K of N."""
        return [
            index for index in range(len(self._policies)) if self._count(index) >= self._policies[index].confirm_frames
        ]

    def first_utc_ns(self, class_index: int) -> int:
        """UTC of the earliest evidence for a confirmed class that is still in its window."""
        return next(utc_ns for utc_ns in self._windows[class_index] if utc_ns is not None)

    def best_guess(self) -> tuple[int, str]:
        """Class that came nearest to its threshold, and what it lacked: `below_threshold` or `not_confirmed`."""
        ratios = [float(peak) / policy.threshold for peak, policy in zip(self._peak, self._policies, strict=True)]
        index = int(np.argmax(ratios))
        return index, "not_confirmed" if ratios[index] >= 1.0 else "below_threshold"

    def _count(self, index: int) -> int:
        return sum(utc_ns is not None for utc_ns in self._windows[index])
