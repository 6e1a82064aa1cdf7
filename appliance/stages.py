"""From settings to the stages of a pipeline, the same for the field, replay and demo."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.config import SiteSettings
from appliance.dsp.features import FeatureExtractor
from appliance.errors import ConfigError
from appliance.events import EventPolicy, UlidFactory, policies_for
from appliance.geometry import ArrayGeometry
from appliance.model.scene import SceneModel
from appliance.tracking import Tracker
from appliance.types import ClockQuality


@dataclass(frozen=True, slots=True)
class Stages:
    """What stands between audio and events, in this order."""

    extractor: FeatureExtractor
    """Samples → features of the array."""
    model: SceneModel
    """Features → objects."""
    tracker: Tracker
    """Objects → tracks."""
    policy: EventPolicy
    """Tracks → events."""


def build_stages(
    settings: SiteSettings,
    geometry: ArrayGeometry,
    model: SceneModel,
    *,
    ulids: UlidFactory,
    clock: Callable[[], ClockQuality],
    site_file: Path | None = None,
) -> Stages:
    """Fresh stages; raises `ConfigError` (naming `site_file`) where [policy] does not fit the model."""
    try:
        policies = policies_for(model.classes, model.thresholds, settings.policy)
    except ConfigError as error:
        raise ConfigError(f"{site_file}: {error}" if site_file else str(error)) from None
    policy = EventPolicy(model.classes, policies, unit=settings.unit, mount=settings.mount, ulids=ulids, clock=clock)
    return Stages(FeatureExtractor(geometry), model, Tracker(settings.tracking), policy)
