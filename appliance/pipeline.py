"""The only loop: audio in, events out. The field, replay, tests and evaluation all run it."""

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from appliance.audio.source import AudioSource
from appliance.dsp.stft import HOP_SAMPLES, SAMPLE_RATE_HZ
from appliance.errors import DeviceError, RecordingError
from appliance.events import EventPolicy
from appliance.tracking import Tracker
from appliance.types import Arrival, AudioBlock, Event, FeatureFrame, Float32Array, SceneFrame, Track

_SILENCE_DBFS = -120.0
_CLOCK_SET_NS = 500_000_000
"""NTP corrects less than that by and by; what audio was lost is known better."""


class Extractor(Protocol):
    """`dsp.features.FeatureExtractor`."""

    def push(self, block: AudioBlock) -> list[FeatureFrame]:
        """The hops that the block completes."""

    def reset(self) -> None:
        """Forget what was heard."""


class Model(Protocol):
    """`model.scene.SceneModel`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of its probabilities."""

    @property
    def frames_per_step(self) -> int:
        """Hops in one label frame."""

    def step(self, frames: Sequence[FeatureFrame]) -> SceneFrame:
        """Hear one label frame."""

    def reset(self) -> None:
        """Forget what was heard."""


class Arrivals(Protocol):
    """`dsp.arrivals.ArrivalFinder`."""

    def find(self, hops: Sequence[FeatureFrame], *, after_gap: bool = False) -> Sequence[Arrival]:
        """Where the strongest sounds come from after the hops of this label frame."""

    def with_heights(self, tracks: Sequence[Track]) -> list[Track]:
        """The tracks of this label frame with how high those are of which the array tells no elevation."""


class Aloft(Protocol):
    """`tracking.aloft.Aloft`."""

    def weigh(self, tracks: Sequence[Track]) -> list[Track]:
        """The tracks of this label frame with what flies the likelier, the higher they are."""


class Novelty(Protocol):
    """`novelty.listener.NoveltyListener`."""

    def judge(self, tracks: Sequence[Track]) -> list[Track]:
        """The tracks of this label frame with what is strange of them on this site."""

    def learn(self, tracks: Sequence[Track], events: Sequence[Event], frame_s: float) -> None:
        """Learn from the frame that was judged last, given which events are open."""


class Tagger(Protocol):
    """`model.tagger.ObjectTagger`."""

    def tag(self, hops: Sequence[FeatureFrame], tracks: Sequence[Track], *, after_gap: bool = False) -> list[Track]:
        """The tracks of this label frame with a second opinion on what they sound like."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stages:
    """What stands between audio and events, in this order, none of which has heard anything yet; see `stages.build_stages`."""

    extractor: Extractor
    """Samples → features of the array."""
    model: Model
    """Features → objects."""
    arrivals: Arrivals | None
    """Samples → where the strongest sounds come from, where there is a tagger to say what it is; and how high tracks are."""
    tracker: Tracker
    """Objects → tracks."""
    tagger: Tagger | None
    """Tracks → the same with a second opinion on what they sound like, where the model has one beside it."""
    aloft: Aloft | None
    """Tracks → the same with what their height says of what they are, where the site file does not forbid it."""
    policy: EventPolicy
    """Tracks → events."""
    novelty: Novelty | None = None
    """Tracks → the same with how strange they are here, where [novelty] is enabled and the site has a memory."""


class EventSink(Protocol):
    """Where events go: `store.EventLog`, or a list in replay."""

    def append(self, event: Event) -> None:
        """Keep the event for good."""


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """Everything about one label frame, for whoever watches."""

    scene: SceneFrame
    """What the model said."""
    tracks: tuple[Track, ...]
    """All tracks, deleted ones once."""
    events: tuple[Event, ...]
    """State changes, already in the sink."""
    stream_s: float
    """Seconds of the stream that had to be heard for it, lost audio included: no earlier could this be sent."""
    levels_dbfs: tuple[float, ...]
    """Level (RMS) of each microphone over the frame; 0 is full scale."""
    step_s: float
    """Time it took to work out, from samples to events."""
    mics: tuple[int, ...]
    """Which microphones, counted from 0, were listened to; the others do not work."""


class Observer(Protocol):
    """Watches a run: live view, CSV, JSON lines, heartbeat. It must be quick, the loop waits for it."""

    def frame(self, moment: Moment) -> None:
        """A label frame is done."""

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        """The audio has ended at `stream_s`, and with it these events."""


@dataclasses.dataclass(frozen=True, slots=True)
class PipelineSummary:
    """What came of a run."""

    audio_s: float
    """Seconds of audio heard."""
    busy_s: float
    """Seconds spent on it, reading not included."""
    frames: int
    """Label frames."""
    gaps: int
    """Times audio was lost."""
    events: int
    """Events begun."""
    alerts: int
    """Those of them that are alerts."""


def run(source: AudioSource, stages: Stages, sink: EventSink, observers: Sequence[Observer] = ()) -> PipelineSummary:
    """Hear `source` to its end. Then, also where it ends with an error of its own, all open events are ended.

    After a gap features and model are reset, because their state describes another moment; tracks coast.
    Raises what the source raises (`DeviceError`, `RecordingError`) and what the sink raises (`StoreError`).
    """
    loop = _Loop(stages, sink, observers)
    try:
        for block in source.blocks():
            loop.hear(block)
    except (DeviceError, RecordingError):
        loop.finish()
        raise
    return loop.finish()


class _Loop:
    """The state of one run that belongs to no stage: hops that wait for their label frame, levels, counts."""

    def __init__(self, stages: Stages, sink: EventSink, observers: Sequence[Observer]) -> None:
        self._stages, self._sink, self._observers = stages, sink, observers
        self._hops: list[FeatureFrame] = []
        self._after_gap = False
        self._utc_ns = 0
        self._latest: SceneFrame | None = None
        self._stream_s = 0.0
        self._metered: list[Float32Array] = []
        self._levels_dbfs: tuple[float, ...] = ()
        self._step_s = 0.0
        self._audio_s = self._busy_s = 0.0
        self._frames = self._gaps = self._events = self._alerts = 0

    def hear(self, block: AudioBlock) -> None:
        """One block, and each label frame that it completes."""
        began_s = time.perf_counter()
        if block.gap:
            self._forget()
        samples = block.samples.shape[1]
        self._stream_s = (block.start_sample + samples) / block.sample_rate_hz
        self._utc_ns = block.utc_ns + samples * 1_000_000_000 // block.sample_rate_hz
        self._audio_s += samples / block.sample_rate_hz
        self._metered.append(block.samples)
        self._hops += self._stages.extractor.push(block)
        while len(self._hops) >= self._stages.model.frames_per_step:
            hops = self._hops[: self._stages.model.frames_per_step]
            del self._hops[: self._stages.model.frames_per_step]
            self._label_frame(hops, began_s)
            began_s = time.perf_counter()
        self._step_s += time.perf_counter() - began_s

    def finish(self) -> PipelineSummary:
        """No more audio comes."""
        ends = self._stages.policy.finish(self._utc_ns)
        for event in ends:
            self._sink.append(event)
        for observer in self._observers:
            observer.finished(ends, self._stream_s)
        return PipelineSummary(self._audio_s, self._busy_s, self._frames, self._gaps, self._events, self._alerts)

    def _label_frame(self, hops: Sequence[FeatureFrame], began_s: float) -> None:
        stages = self._stages
        scene = self._dated(stages.model.step(hops))
        self._after_gap = False
        arrivals = stages.arrivals.find(hops, after_gap=scene.after_gap) if stages.arrivals else ()
        tracks = stages.tracker.update(scene, arrivals)
        if stages.arrivals:
            tracks = stages.arrivals.with_heights(tracks)
        if stages.tagger:
            tracks = stages.tagger.tag(hops, tracks, after_gap=scene.after_gap)
        if stages.aloft:
            tracks = stages.aloft.weigh(tracks)
        if stages.novelty:
            tracks = stages.novelty.judge(tracks)
        events = stages.policy.decide(tracks, scene)
        if stages.novelty:
            frame_s = len(hops) * HOP_SAMPLES / SAMPLE_RATE_HZ
            stages.novelty.learn(tracks, stages.policy.open_events, frame_s)
        for event in events:
            self._sink.append(event)
        self._step_s += time.perf_counter() - began_s
        if self._metered:
            self._levels_dbfs = levels_dbfs(np.concatenate(self._metered, axis=1))
        moment = Moment(
            scene, tuple(tracks), tuple(events), self._stream_s, self._levels_dbfs, self._step_s, hops[-1].mics
        )
        new = [event for event in events if event.state == "new"]
        self._events += len(new)
        self._alerts += sum(event.severity == "alert" for event in new)
        self._frames += 1
        self._busy_s += self._step_s
        self._step_s = 0.0
        self._metered.clear()
        for observer in self._observers:
            observer.frame(moment)

    def _dated(self, scene: SceneFrame) -> SceneFrame:
        """The frame with what lies between it and the one before: lost audio, or a clock that was set."""
        before, self._latest = self._latest, scene
        set_by_ns = 0
        if before is not None:
            set_by_ns = scene.utc_ns - before.utc_ns - round((scene.end_s - before.end_s) * 1e9)
        if abs(set_by_ns) < _CLOCK_SET_NS:
            set_by_ns = 0
        return dataclasses.replace(scene, after_gap=self._after_gap, clock_set_by_ns=set_by_ns)

    def _forget(self) -> None:
        self._stages.extractor.reset()
        self._stages.model.reset()
        self._hops.clear()
        self._metered.clear()
        self._after_gap = True
        self._gaps += 1


def levels_dbfs(samples: Float32Array) -> tuple[float, ...]:
    """RMS level of each microphone of (mics, n) samples; 0 is a full-scale square wave, digital silence -120."""
    mean_squares = np.square(samples, dtype=np.float64).mean(axis=1)
    return tuple(max(10.0 * math.log10(mean), _SILENCE_DBFS) if mean > 0.0 else _SILENCE_DBFS for mean in mean_squares)
