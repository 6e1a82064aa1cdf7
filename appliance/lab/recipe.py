"""A scene as data: which recordings sound where, when and how loud, on which array. Rendering it is `lab.render`.

A recipe is JSON-able and complete: the same recipe renders to the same samples.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from appliance.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """One sounding object."""

    clip: str
    """Path of the recording within the audio pack."""
    label: str
    """Its class."""
    start_s: float
    """When it starts."""
    seconds: float
    """How long it sounds; a shorter recording is looped, with cross-faded seams."""
    azimuth_deg: tuple[float, ...]
    """Azimuth at equally spaced moments from start to end; one value: still."""
    elevation_deg: tuple[float, ...]
    """Elevation at the same moments."""
    snr_db: float
    """Level of its active part over the bed, 100 Hz – 7.5 kHz."""
    fade_s: float = 0.02
    """Fade in and out."""
    offset_s: float = 0.0
    """Where in the recording it begins."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole scene."""

    seed: int
    """Seeds the noise fields."""
    seconds: float
    array: str
    """Name of a shipped array."""
    sources: tuple[SourcePlan, ...] = ()
    bed: tuple[str, ...] = ()
    """Recordings that make the diffuse ambience, as paths within the pack."""
    bed_dbfs: float = -45.0
    """RMS of the bed at a microphone, 100 Hz – 7.5 kHz."""
    wind_db: float | None = None
    """Wind noise against the bed in the same band; incoherent between microphones."""
    self_noise_db: float = -30.0
    """Microphone self-noise against the bed in the same band."""
    ground_reflection: float = 0.4
    """Reflection coefficient of the ground (0: none); a soft-ground low-pass is applied to it."""
    height_m: float = 3.0
    """Height of the array above the ground."""
    notes: dict[str, Any] = field(default_factory=dict)
    """For the judge: which part of the suite the scene belongs to."""


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe as JSON."""
    path.write_text(json.dumps(asdict(recipe), indent=1) + "\n", encoding="utf-8")


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; raises `ConfigError` that names file and key."""
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        plans: list[dict[str, Any]] = raw.pop("sources")
        sources = tuple(SourcePlan(**{key: _tuple(value) for key, value in plan.items()}) for plan in plans)
        return Recipe(**{**raw, "sources": sources, "bed": tuple(raw.get("bed", ()))})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not a scene recipe: {error}; write it with save_recipe") from error


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
