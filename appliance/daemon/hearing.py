"""The hearing check: from time to time a synthetic drone is played into a second front end, model, tracker and policy.

Where it does not come out as an event in its direction, neither would a real one, however well the microphones sound.
Nothing of the live path is touched: only the thresholds that hold there are taken over.
"""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from appliance.angles import wrap_azimuth_deg
from appliance.audio.target import TargetSource, at_array, drone
from appliance.config import SiteSettings
from appliance.errors import ApplianceError
from appliance.events import random_ulids
from appliance.geometry import ArrayGeometry
from appliance.model.scene import SceneModel
from appliance.pipeline import Moment, Stages, run
from appliance.stages import build_stages
from appliance.types import Event

_LOG = logging.getLogger(__name__)

TARGET_CLASS = "drone"
_NEAR_DEG = 20.0
_SECONDS = 5.0
_MOST_CONFIRM_FRAMES = 30
"""No site can ask for more frames of a drone that is over after five seconds, two of which it takes to be found."""
# One of these is enough: a model that has learned anew may take one of them for another sound.
_BLADE_HZ = (120.0, 160.0, 220.0)
_ELEVATION_DEG = 10.0
_GOLDEN_ANGLE_DEG = 137.508
_FIRST_S = 5.0
_AGAIN_S = 60.0
# A check takes a few seconds so, and one per cent of a core.
_PAUSE_S = 0.02
_FOR_GOOD_FRAMES = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What came of the latest check."""

    heard: bool
    """True where the drone came out as an event in its direction."""
    text: str
    """A sentence."""
    at_s: float
    """Monotonic clock."""


class HearingCheck:
    """Owns the second path. Its thread checks from time to time; `check` does so at once, for a self-test."""

    def __init__(
        self,
        settings: SiteSettings,
        geometry: ArrayGeometry,
        classes: Sequence[str],
        thresholds: Callable[[], Mapping[str, float]],
        also: Callable[[], None],
        *,
        site_file: Path | None = None,
    ) -> None:
        """`thresholds`: those that operators have set; `also` is called every second, for what is checked beside it."""
        self._settings = settings
        self._geometry = geometry
        self._thresholds = thresholds
        self._also = also
        self._site_file = site_file
        self._period_s = 60.0 * settings.hearing.check_minutes
        self.knows_target = TARGET_CLASS in classes
        """False for a model of other sounds, which cannot be checked so."""
        self._model: SceneModel | None = None
        self._lock = threading.Lock()
        self._checks = 0
        self._mute_frames = 0
        self._playing: TargetSource | None = None
        self.verdict: Verdict | None = None
        """The latest; None before the first."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="hearing-check", daemon=True)

    def __enter__(self) -> "HearingCheck":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if (playing := self._playing) is not None:
            playing.close()
        self._thread.join()

    @property
    def faults(self) -> list[str]:
        """Why a drone would not be heard; the same words while it lasts."""
        faults = ["the network gives no numbers; restart the sensor"] if self._mute_frames >= _FOR_GOOD_FRAMES else []
        verdict = self.verdict
        if verdict is not None and not verdict.heard:
            faults.append(f"not detecting: {verdict.text}")
        if not self._thread.is_alive() and not self._stop.is_set() and self._thread.ident is not None:
            faults.append("hearing is not checked any more: the thread has died; restart the sensor")
        return faults

    @property
    def told(self) -> dict[str, Any] | None:
        """What `health` says; None where nothing was checked yet."""
        verdict = self.verdict
        if verdict is None:
            return None
        return {"heard": verdict.heard, "text": verdict.text, "age_s": round(time.monotonic() - verdict.at_s)}

    def frame(self, moment: Moment) -> None:
        """A network that gives no numbers is silent, frame after frame."""
        self._mute_frames = 0 if moment.scene.objects else self._mute_frames + 1

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        """Nothing is heard any more."""

    def check(self, *, pause_s: float = 0.0) -> Verdict:
        """Play a drone from another direction than last time; three kinds, until one is heard."""
        with self._lock:
            self._checks += 1
            azimuth_deg = wrap_azimuth_deg(self._checks * _GOLDEN_ANGLE_DEG)
            try:
                text = self._played(azimuth_deg, pause_s)
            except ApplianceError as error:
                verdict = Verdict(False, str(error), time.monotonic())
            else:
                verdict = Verdict(
                    not text, text or f"a drone that was played in from {azimuth_deg:.0f}° was heard", time.monotonic()
                )
            if not self._stop.is_set():
                self.verdict = verdict
            return verdict

    def _played(self, azimuth_deg: float, pause_s: float) -> str:
        """Empty where it was heard."""
        for number, blade_hz in enumerate(_BLADE_HZ):
            if self._stop.is_set():
                break
            seed = self._checks * len(_BLADE_HZ) + number
            samples = at_array(drone(_SECONDS, blade_hz, seed), self._geometry, azimuth_deg, _ELEVATION_DEG, seed)
            events = self._heard(TargetSource(samples, pause_s=pause_s))
            drones = [event for event in events if event.class_label == TARGET_CLASS and event.state == "new"]
            if any(abs(wrap_azimuth_deg(event.azimuth_deg - azimuth_deg)) <= _NEAR_DEG for event in drones):
                return ""
        return "a drone that was played into a second front end and model did not come out as an event"

    def _heard(self, source: TargetSource) -> list[Event]:
        stages = self._fresh_stages()
        kept = _Kept()
        self._playing = source
        if self._stop.is_set():
            source.close()
        run(source, stages, kept)
        return kept.events

    def _fresh_stages(self) -> Stages:
        """The model is loaded once: on some providers that takes minutes."""
        if self._model is None:
            self._model = SceneModel.load(self._settings.model.file, provider=self._settings.model.provider)
        self._model.reset()
        stages = build_stages(
            _within_reach(self._settings),
            self._geometry,
            self._model,
            ulids=random_ulids(),
            clock=lambda: "replay",
            site_file=self._site_file,
        )
        stages.policy.set_thresholds(self._thresholds())
        return stages

    def _work(self) -> None:
        due_s = time.monotonic() + _FIRST_S
        while not self._stop.wait(1.0):
            self._also()
            if self.knows_target and self._period_s > 0.0 and time.monotonic() >= due_s:
                verdict = self.check(pause_s=_PAUSE_S)
                if not verdict.heard and not self._stop.is_set():
                    _LOG.error("hearing check: %s", verdict.text)
                due_s = time.monotonic() + (self._period_s if verdict.heard else min(_AGAIN_S, self._period_s))


def _within_reach(settings: SiteSettings) -> SiteSettings:
    """The settings; where a site waits longer before it believes in a drone, with as many frames as the one played in can give."""
    policy = settings.policy.get(TARGET_CLASS)
    if policy is None or policy.confirm_frames <= _MOST_CONFIRM_FRAMES:
        return settings
    quicker = policy.model_copy(update={"confirm_frames": _MOST_CONFIRM_FRAMES})
    return settings.model_copy(update={"policy": settings.policy | {TARGET_CLASS: quicker}})


class _Kept:
    """Events of the second path; they go nowhere."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def append(self, event: Event) -> None:
        self.events.append(event)
