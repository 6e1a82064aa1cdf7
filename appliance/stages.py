"""From settings to the stages of a pipeline, the same for the field, replay and demo."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from appliance.config import SiteSettings
from appliance.dsp.arrivals import ArrivalFinder
from appliance.dsp.features import FeatureExtractor
from appliance.errors import ConfigError, in_file, named_by
from appliance.events import EventPolicy, UlidFactory, policies_for
from appliance.events.confidence import Calibration
from appliance.geometry import ArrayGeometry, load_array
from appliance.model.scene import SceneModel
from appliance.novelty.listener import NoveltyListener
from appliance.novelty.memory import MemorySettings, SiteMemory
from appliance.pipeline import Extractor, Model, Stages, Tagger
from appliance.texts import Texts, load_texts
from appliance.tracking import Tracker
from appliance.tracking.aloft import Aloft
from appliance.types import ClockQuality


class HearingModel(Model, Protocol):
    """`model.scene.SceneModel`, or what the lab judges beside it."""

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Class → probability from which it counts as heard; a class that is missing keeps the policy's own."""

    @property
    def calibration(self) -> Calibration:
        """How its scores are worded as probabilities."""

    @property
    def doa_sigma_factor(self) -> float:
        """What makes the sigmas of tracks true."""

    @property
    def detection_activity(self) -> float:
        """From which activity an object is a detection, where the site file does not say."""

    @property
    def sounds(self) -> tuple[str, ...]:
        """What the tagger beside it tells apart; empty where it has none."""

    def new_tagger(self, geometry: ArrayGeometry) -> Tagger | None:
        """What hears an array beside the model and has heard nothing yet; None where it has to do alone."""


def load_array_and_model(
    settings: SiteSettings, site_file: Path | None = None, *, array: str | None = None, model: str | None = None
) -> tuple[ArrayGeometry, SceneModel]:
    """What the site file names, or others in its place.

    Raises `ConfigError` and `ModelError`, naming `site_file` and its key where these named what is wrong.
    """
    with named_by(None if array else site_file, "array"):
        geometry = load_array(array or settings.array)
    with named_by(None if model else site_file, "[model] file"):
        return geometry, SceneModel.load(model or settings.model.file, provider=settings.model.provider)


def texts_of(settings: SiteSettings, site_file: Path | None = None) -> Texts:
    """The sentences that the site file names; raises `ConfigError`, naming `site_file` and its key where it named a file."""
    with named_by(site_file, "[unit] texts"):
        return load_texts(settings.unit.texts)


def build_stages(
    settings: SiteSettings,
    geometry: ArrayGeometry,
    model: HearingModel,
    *,
    extractor: Extractor | None = None,
    ulids: UlidFactory,
    clock: Callable[[], ClockQuality],
    site_file: Path | None = None,
    memory: SiteMemory | None = None,
) -> Stages:
    """Fresh stages; raises `ConfigError` (naming `site_file`) where [policy] does not fit the model.

    A model that wants no features brings its own `extractor`. With the site's `memory` (of `new_memory`) what is unlike the
    site becomes events too.
    """
    try:
        policies = policies_for(model.classes, model.thresholds, settings.policy)
    except ConfigError as error:
        raise in_file(site_file, error) from None
    policy = EventPolicy(
        model.classes,
        policies,
        unit=settings.unit,
        mount=settings.mount,
        ulids=ulids,
        clock=clock,
        calibration=model.calibration,
        anomalies=memory is not None,
    )
    tracker = Tracker(
        settings.tracking,
        settings.mount,
        sigma_factor=model.doa_sigma_factor,
        detection_activity=model.detection_activity,
    )
    tagger = model.new_tagger(geometry)
    arrivals = ArrivalFinder(geometry) if tagger else None
    aloft = Aloft(model.classes, settings.mount) if settings.tracking.height_tells else None
    novelty = (
        NoveltyListener(memory, model.sounds, false_per_day=settings.novelty.false_per_day)
        if memory is not None
        else None
    )
    return Stages(extractor or FeatureExtractor(geometry), model, arrivals, tracker, tagger, aloft, policy, novelty)


def new_memory(settings: SiteSettings, model: HearingModel, site_file: Path | None = None) -> SiteMemory:
    """An empty memory of what this model's tagger hears of a site; raises `ConfigError` (naming `site_file`) where it has none."""
    if not model.sounds:
        raise in_file(
            site_file,
            "[novelty] enabled: this model has no tagger beside it, and nothing else tells one sound from another; "
            "name a model that has one in [model], or set enabled to false",
        )
    learning = MemorySettings(learning_s=settings.novelty.learning_hours * 3600.0)
    return SiteMemory(len(model.sounds), learning)
