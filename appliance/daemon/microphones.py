"""Watches the microphones themselves: one that is stuck, weak, clipped, doubled, in another's place or no microphone of the
array is named.

One of wrong polarity is turned round and one that hears something else is left out, so that hearing goes on. An exchange is
not undone: more than one may explain what is heard, and with the wrong one undone bearings would be mirrored, which is worse than none.
"""

import dataclasses
import itertools
import threading
import time
from collections import Counter, deque

import numpy as np
import numpy.typing as npt

from appliance.audio.wiring import Fault, WiringCheck
from appliance.dsp.working import AUDIBLE_DBFS, ONE_VALUE, is_weak, swing_dbfs
from appliance.geometry import ArrayGeometry
from appliance.types import AudioBlock, Float32Array

_SECOND_BLOCKS = 10
# What lasts shorter is weather, a bird on the windscreen, a hand.
_FAULTY_S = 10
_WEAK_S = 60
_CLIPPED_FROM = 0.999
_CLIPPED_SHARE = 0.01
_OFFSET = 0.1
_SILENT = 1e-6
_WIRING_EVERY_S = 30.0
_WIRING_LOOKS = 10
# A right array is explained best by itself, to within 0.02, in echoing rooms too; sound along an axis of symmetry tells
# nothing of some faults.
_WIRING_GAIN = 0.05
_WIRING_OFTEN = 4
_WIRING_CURED_GAIN = 0.02
# A right one has .66 and more.
_STRANGE_AGREEMENT, _CURED_AGREEMENT = 0.15, 0.3
_LEFT_OUT = np.float32(1e-5)
"""One value, which the front end leaves out; digital silence would be told as another fault."""


class MicrophoneWatch:
    """Hears along. A fault is named once it has lasted, and taken back once it has not been there for as long."""

    def __init__(self, geometry: ArrayGeometry) -> None:
        self._mics = geometry.mics
        self._wiring = WiringCheck(geometry)
        self._second: list[AudioBlock] = []
        self._lasted_s: Counter[str] = Counter()
        self._named: set[str] = set()
        self._stuck = 0
        self._gains: deque[npt.NDArray[np.float64]] = deque(maxlen=_WIRING_LOOKS)
        self._wrong: Fault | None = None
        self._agreements: deque[npt.NDArray[np.float64]] = deque(maxlen=_WIRING_LOOKS)
        self._strange: tuple[int, ...] = ()
        self._wiring_due_s = time.monotonic()
        self._latest: Float32Array | None = None
        self._lock = threading.Lock()

    @property
    def faults(self) -> list[str]:
        """A sentence for each, the same words while it lasts."""
        with self._lock:
            named, wrong, strange = sorted(self._named), self._wrong, self._strange
        named += [
            f"microphone {mic + 1} hears something else than the others and is left out; check [capture] channels, its cable and its windscreen"
            for mic in strange
        ]
        if wrong is None or strange:
            return named
        return [*named, f"{wrong}; until that is mended it is turned round here" if wrong.inverted else str(wrong)]

    @property
    def deaf(self) -> bool:
        """True where not one microphone gives anything but one value."""
        with self._lock:
            return self._stuck == self._mics

    def audio(self, block: AudioBlock) -> None:
        """Take in the next block; once a second it is weighed."""
        self._second.append(block)
        if len(self._second) >= _SECOND_BLOCKS:
            samples = np.concatenate([each.samples for each in self._second], axis=1)
            unbroken = not any(each.gap for each in self._second[1:])
            self._second.clear()
            seen = self._weigh(samples)
            with self._lock:
                # Across a gap no wiring explains what is heard.
                self._latest = samples if unbroken else None
                self._note(seen)

    def mended(self, block: AudioBlock) -> AudioBlock:
        """The block as right microphones would have given it, as far as that can be told."""
        with self._lock:
            strange = self._strange
            inverted = self._wrong.inverted if self._wrong and not strange else ()
        if not inverted and not strange:
            return block
        samples = block.samples.copy()
        samples[list(inverted)] *= -1.0
        samples[list(strange)] = _LEFT_OUT
        return dataclasses.replace(block, samples=samples)

    def look_at_wiring(self) -> None:
        """Compare the latest second with the array; for another thread, as it takes a while for many microphones."""
        if time.monotonic() < self._wiring_due_s:
            return
        with self._lock:
            samples, self._latest = self._latest, None
            sound = samples is not None and not self._named
        # A fault of another kind would look like one of these.
        if samples is None or not sound or not self._is_audible(samples):
            return
        self._wiring_due_s = time.monotonic() + _WIRING_EVERY_S
        self._agreements.append(self._wiring.agreement(samples))
        strange = self._strangers(np.stack(self._agreements))
        with self._lock:
            self._strange = strange
        gains = self._wiring.gains(samples)
        # Where every wiring explains it alike, it came from all sides at once.
        if np.abs(gains).max() > _WIRING_GAIN:
            self._gains.append(gains)
            wrong = self._verdict(np.stack(self._gains))
            with self._lock:
                self._wrong = wrong

    def _verdict(self, gains: npt.NDArray[np.float64]) -> Fault | None:
        """What the latest looks say, (looks, faults); it stands until they speak against it."""
        mean = gains.mean(axis=0)
        best = int(mean.argmax())
        sure = len(gains) == _WIRING_LOOKS and mean[best] > _WIRING_GAIN
        if sure and int((gains[:, best] > _WIRING_GAIN).sum()) >= _WIRING_OFTEN:
            return self._wiring.faults[best]
        return self._wrong if mean[best] > _WIRING_CURED_GAIN else None

    def _strangers(self, agreements: npt.NDArray[np.float64]) -> tuple[int, ...]:
        """Who fitted the others in none of the latest looks (looks, mics), and who did so before and does not on the whole now."""
        unlike = (np.abs(agreements) < _STRANGE_AGREEMENT).all(axis=0) & (len(agreements) == _WIRING_LOOKS)
        told = np.isfinite(agreements)
        mean = np.where(told, agreements, 0.0).sum(axis=0) / np.maximum(told.sum(axis=0), 1)
        still = [mic for mic in self._strange if mean[mic] <= _CURED_AGREEMENT]
        return tuple(sorted({*np.flatnonzero(unlike).tolist(), *still}))

    def _is_audible(self, samples: Float32Array) -> bool:
        return bool(swing_dbfs(samples).min() > AUDIBLE_DBFS)

    def _weigh(self, samples: Float32Array) -> set[str]:
        """What is wrong with one second."""
        weak, mean = is_weak(swing_dbfs(samples)), samples.mean(axis=1)
        stuck = np.ptp(samples, axis=1) <= ONE_VALUE
        clipped = (np.abs(samples) >= _CLIPPED_FROM).mean(axis=1)
        with self._lock:
            self._stuck = int(stuck.sum())
        seen: set[str] = set()
        for mic in range(self._mics):
            name = f"microphone {mic + 1}"
            if stuck[mic]:
                # Digital silence has a sentence of its own, in the heartbeat.
                seen |= set() if abs(mean[mic]) < _SILENT else {f"{name} is stuck at one value"}
            elif clipped[mic] >= _CLIPPED_SHARE:
                seen.add(f"{name} clips; lower its gain")
            elif abs(mean[mic]) >= _OFFSET:
                seen.add(f"{name} has a DC offset")
            elif weak[mic]:
                seen.add(f"{name} is far weaker than the others: blocked, wet or dead")
        for one, other in itertools.combinations(np.flatnonzero(~stuck), 2):
            if np.array_equal(samples[one], samples[other]):
                seen.add(f"microphones {one + 1} and {other + 1} give the same samples; check [capture] channels")
        return seen

    def _note(self, seen: set[str]) -> None:
        for fault in {*seen, *self._lasted_s}:
            patience_s = _WEAK_S if "weaker" in fault else _FAULTY_S
            self._lasted_s[fault] = (
                min(patience_s, self._lasted_s[fault] + 1) if fault in seen else self._lasted_s[fault] - 1
            )
            if self._lasted_s[fault] >= patience_s:
                self._named.add(fault)
            elif self._lasted_s[fault] <= 0:
                del self._lasted_s[fault]
                self._named.discard(fault)
