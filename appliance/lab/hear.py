"""One system hears one scene through `pipeline.run`: what it announced, tracked and scored, kept for the judge."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from appliance.config import ClassPolicy, MountSettings, SiteSettings, Surface
from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.events import policies_for, seeded_ulids
from appliance.events.confidence import Calibration, is_listed, likeliest
from appliance.geometry import ArrayGeometry
from appliance.lab.world.sensors import LABEL_SAMPLES
from appliance.pipeline import Extractor, Moment, Observer, run
from appliance.stages import HearingModel, build_stages
from appliance.types import AudioBlock, Event, Float32Array

TARGET = "drone"
"""The class whose score is kept frame by frame."""


class BareModel:
    """What a model of the judge's has beside its own `step` where nothing corrects it and no tagger hears with it."""

    doa_sigma_factor = 1.0
    detection_activity = 0.15
    sounds: tuple[str, ...] = ()

    def __init__(self, thresholds: Mapping[str, float] | None = None) -> None:
        self.thresholds = thresholds or {}
        self.calibration: Calibration = {}

    def new_tagger(self, geometry: ArrayGeometry) -> None:
        """None hears beside it."""


class System(Protocol):
    """What is judged: whatever turns audio into scene frames. It must survive pickling, to reach other processes."""

    @property
    def name(self) -> str:
        """Its name in the report."""

    def stages(self, geometry: ArrayGeometry) -> tuple[Extractor, HearingModel]:
        """A front end and a model that have heard nothing yet, for an array."""


@dataclass(frozen=True, slots=True)
class HeardFrame:
    """A confirmed track that was heard in one label frame."""

    frame: int
    """Label frame since the scene's start."""
    track_id: int
    """Its identity."""
    label: str
    """Its most probable class."""
    azimuth_deg: float
    """Counter-clockwise from the front."""
    elevation_deg: float
    """Above the horizon; 0 where the array cannot tell."""
    sigma_deg: float
    """1-sigma uncertainty of its direction, across azimuth."""
    confidence: float
    """In that class, 0…1, as an event of it would say."""


@dataclass(frozen=True, slots=True, eq=False)
class HeardScene:
    """What one system made of one scene."""

    events: tuple[tuple[float, Event], ...]
    """(seconds into the scene at which it was sent, state change), in order."""
    frames: tuple[HeardFrame, ...]
    """Confirmed tracks that are likely enough of their class for an event to go on, frame by frame."""
    listed: tuple[HeardFrame, ...]
    """Those that `events.confidence.is_listed`."""
    target_score: npt.NDArray[np.float64]
    """(label frames,) greatest probability of a drone in any output slot, before tracking; where a tagger has a say in it,
    in any track. 0 where audio was lost."""
    target_direction_deg: npt.NDArray[np.float64]
    """(label frames, 2) azimuth and elevation that this slot says; NaN where audio was lost."""


class MemorySource(contextlib.AbstractContextManager["MemorySource"]):
    """An `AudioSource` of samples in memory (mics, n), in blocks of one label frame; time begins at 0.

    A block that a gap (first, end) touches is lost, as capture would lose it.
    """

    def __init__(self, samples: Float32Array, gaps: Sequence[tuple[int, int]] = ()) -> None:
        self._samples, self._gaps = samples, gaps

    @property
    def sample_rate_hz(self) -> int:
        """16 kHz."""
        return SAMPLE_RATE_HZ

    @property
    def mics(self) -> int:
        """Rows of the samples."""
        return len(self._samples)

    def blocks(self) -> Iterator[AudioBlock]:
        """All blocks in order."""
        lost = False
        for start in range(0, self._samples.shape[1], LABEL_SAMPLES):
            stop = start + LABEL_SAMPLES
            if any(start < end and first < stop for first, end in self._gaps):
                lost = True
                continue
            utc_ns = start * 1_000_000_000 // SAMPLE_RATE_HZ
            yield AudioBlock(self._samples[:, start:stop], SAMPLE_RATE_HZ, start, utc_ns, gap=lost)
            lost = False

    def close(self) -> None:
        """Nothing is held."""

    def __exit__(self, *_: object) -> None:
        self.close()


class _Collector:
    """Observer and sink: keeps events with their time, confirmed tracks and the target's score."""

    def __init__(
        self,
        classes: Sequence[str],
        policies: Mapping[str, ClassPolicy],
        calibration: Calibration,
        *,
        tagged: bool,
    ) -> None:
        self.events: list[tuple[float, Event]] = []
        self.frames: list[HeardFrame] = []
        self.listed: list[HeardFrame] = []
        self.target: dict[int, tuple[float, float, float]] = {}
        self._classes, self._calibration, self._tagged = tuple(classes), calibration, tagged
        self._least = [policies[label].release for label in classes]
        self._target = self._classes.index(TARGET) if TARGET in self._classes else None

    def append(self, event: Event) -> None:
        """As a sink: the observer sees the same event with its stream time."""

    def frame(self, moment: Moment) -> None:
        """Keep what is said, confirmed and heard in this frame."""
        self.events += [(moment.stream_s, event) for event in moment.events]
        frame = round(moment.scene.end_s * SAMPLE_RATE_HZ / LABEL_SAMPLES) - 1
        if self._target is not None:
            scores = [slot.activity * float(slot.class_probs[self._target]) for slot in moment.scene.objects]
            best = int(np.argmax(scores))
            doa = moment.scene.objects[best].doa
            score = scores[best]
            if self._tagged:
                heard = [float(track.class_probs[self._target]) for track in moment.tracks if track.updated]
                score = max(heard, default=0.0)
            self.target[frame] = score, doa.azimuth_deg, doa.elevation_deg
        for track in moment.tracks:
            if track.status != "confirmed" or not track.updated:
                continue
            best_class, said = likeliest(track, self._classes, self._calibration)
            heard_frame = HeardFrame(
                frame,
                track.track_id,
                self._classes[best_class],
                track.doa.azimuth_deg,
                track.doa.elevation_deg,
                float(np.sqrt(track.covariance_deg2[0][0])),
                said,
            )
            if track.class_probs[best_class] >= self._least[best_class]:
                self.frames.append(heard_frame)
            if is_listed(track, said):
                self.listed.append(heard_frame)

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        """What was open ends with the scene."""
        self.events += [(stream_s, event) for event in events]


def hear(
    samples: Float32Array,
    geometry: ArrayGeometry,
    system: System,
    observers: Sequence[Observer] = (),
    *,
    gaps: Sequence[tuple[int, int]] = (),
    ground: Surface = "none",
) -> HeardScene:
    """Run the pipeline of the field on samples (mics, n) with the settings that a unit has by default, above such a ground."""
    # A simulated array looks exactly where its recipe says.
    settings = SiteSettings(mount=MountSettings(heading_sigma_deg=0.0, ground=ground))
    extractor, model = system.stages(geometry)
    stages = build_stages(
        settings, geometry, model, extractor=extractor, ulids=seeded_ulids(b"judge"), clock=lambda: "replay"
    )
    policies = policies_for(model.classes, model.thresholds, settings.policy)
    collector = _Collector(model.classes, policies, model.calibration, tagged=stages.tagger is not None)
    run(MemorySource(samples, gaps), stages, collector, [collector, *observers])
    frames = max(collector.target, default=-1) + 1
    score, direction_deg = np.zeros(frames), np.full((frames, 2), np.nan)
    for frame, (said, azimuth_deg, elevation_deg) in collector.target.items():
        score[frame], direction_deg[frame] = said, (azimuth_deg, elevation_deg)
    return HeardScene(tuple(collector.events), tuple(collector.frames), tuple(collector.listed), score, direction_deg)
