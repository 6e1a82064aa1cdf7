"""From settings to the stages of a pipeline, the same for the field, replay and demo."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.config import SiteSettings
from appliance.dsp.arrivals import ArrivalFinder
from appliance.dsp.features import FeatureExtractor
from appliance.errors import ConfigError
from appliance.events import EventPolicy, UlidFactory, policies_for
from appliance.geometry import ArrayGeometry
from appliance.model.scene import SceneModel
from appliance.model.tagger import ObjectTagger
from appliance.novelty.listener import NoveltyListener
from appliance.novelty.memory import MemorySettings, SiteMemory
from appliance.tracking import Tracker
from appliance.types import ClockQuality


@dataclass(frozen=True, slots=True)
class Stages:
    """What stands between audio and events, in this order."""

    extractor: FeatureExtractor
    """Samples → features of the array."""
    model: SceneModel
    """Features → objects."""
    arrivals: ArrivalFinder | None
    """Samples → where the strongest sound comes from, where there is a tagger to say what it is."""
    tracker: Tracker
    """Objects → tracks."""
    tagger: ObjectTagger | None
    """Tracks → the same with a second opinion on what they sound like, where the model has one beside it."""
    policy: EventPolicy
    """Tracks → events."""
    novelty: NoveltyListener | None = None
    """Tracks → the same with how strange they are here, where [novelty] is enabled and the site has a memory."""


def build_stages(
    settings: SiteSettings,
    geometry: ArrayGeometry,
    model: SceneModel,
    *,
    ulids: UlidFactory,
    clock: Callable[[], ClockQuality],
    site_file: Path | None = None,
    memory: SiteMemory | None = None,
) -> Stages:
    """Fresh stages; raises `ConfigError` (naming `site_file`) where [policy] does not fit the model.

    With the site's `memory` (of `new_memory`) what is unlike the site becomes events too.
    """
    try:
        policies = policies_for(model.classes, model.thresholds, settings.policy)
    except ConfigError as error:
        raise _in_file(site_file, str(error)) from None
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
    novelty = (
        NoveltyListener(memory, model.sounds, false_per_day=settings.novelty.false_per_day)
        if memory is not None
        else None
    )
    return Stages(FeatureExtractor(geometry), model, arrivals, tracker, tagger, policy, novelty)


def new_memory(settings: SiteSettings, model: SceneModel, site_file: Path | None = None) -> SiteMemory:
    """An empty memory of what this model's tagger hears of a site; raises `ConfigError` (naming `site_file`) where it has none."""
    if not model.sounds:
        raise _in_file(
            site_file,
            "[novelty] enabled: this model has no tagger beside it, and nothing else tells one sound from another; "
            "name a model that has one in [model], or set enabled to false",
        )
    learning = MemorySettings(learning_s=settings.novelty.learning_hours * 3600.0)
    return SiteMemory(len(model.sounds), learning)


def _in_file(site_file: Path | None, why: str) -> ConfigError:
    return ConfigError(f"{site_file}: {why}" if site_file else why)
