"""A scene as data: what sounds where, when and how loud, in which weather, at which array. Sound is `lab.world.render`'s.

The scene frame is level: x north, y west, z up from the ground, its origin on the ground below the array. A recipe is
complete: the same recipe renders to the same samples. One that cannot be is refused as it is made.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from appliance.angles import mount_rotation
from appliance.config import Surface
from appliance.errors import ConfigError
from appliance.geometry import ArrayGeometry, load_array
from appliance.lab.pack import SOUNDS
from appliance.lab.world.ground import FLOW_RESISTIVITY_PA_S_M2
from appliance.lab.world.levels import SOURCE_LEVELS
from appliance.validation import one_line

Position = tuple[float, float, float]


def _known_label(label: str) -> str:
    if label not in SOUNDS:
        raise ValueError(f"unknown class; one of: {', '.join(SOUNDS)}")
    return label


def _known_surface(surface: str | None) -> str | None:
    if surface is not None and surface not in FLOW_RESISTIVITY_PA_S_M2:
        raise ValueError(f"unknown ground; one of: {', '.join(FLOW_RESISTIVITY_PA_S_M2)}, or null for none")
    return surface


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SourcePlan(_Part):
    """One sounding object. Its level is `level_dba` at 1 m, or `snr_db` at the array: one of them."""

    clip: str
    """Path of the recording within the audio pack."""
    label: Annotated[str, AfterValidator(_known_label)]
    """Its class, one of `pack.SOUNDS`."""
    start_s: float = Field(ge=0.0)
    """When its sound begins to be heard at the array."""
    seconds: float = Field(gt=0.0)
    """How long it sounds; a shorter recording is looped, with cross-faded seams."""
    positions_m: tuple[Position, ...] = Field(min_length=1)
    """Where it is while it sounds, in the scene frame, at equal intervals from its first sound on; one: still."""
    interval_s: float = Field(default=0.25, gt=0.0)
    """Between positions; they are joined by a cubic spline."""
    level_dba: float | None = None
    """A-weighted level at 1 m by the measure of its class (`levels.SOURCE_LEVELS`), dB re 20 µPa."""
    snr_db: float | None = None
    """Level of its active part over all noise at the first microphone, 100 Hz – 7.5 kHz."""
    fade_s: float = Field(default=0.02, ge=0.0)
    """Fade in and out."""
    offset_s: float = Field(default=0.0, ge=0.0)
    """Where in the recording it begins."""

    @model_validator(mode="after")
    def _can_be(self) -> "SourcePlan":
        if (self.level_dba is None) == (self.snr_db is None):
            raise ValueError("a source needs either level_dba or snr_db; give one")
        if self.level_dba is not None and self.label not in SOURCE_LEVELS:
            raise ValueError(f"no level at 1 m is known for {self.label!r}; give snr_db")
        if min(position[2] for position in self.positions_m) < 0.0:
            raise ValueError("positions_m: below the ground (z < 0); raise the source")
        return self


class Weather(_Part):
    """Air, wind and rain."""

    temperature_c: float = Field(default=15.0, ge=-20.0, le=50.0)
    humidity_percent: float = Field(default=70.0, ge=5.0, le=100.0)
    wind_m_s: float = Field(default=0.0, ge=0.0, le=25.0)
    """Mean speed at the array; below 0.5 it is calm."""
    wind_from_deg: float = Field(default=0.0, ge=0.0, lt=360.0)
    """True bearing that it blows from."""
    rain_mm_h: float = Field(default=0.0, ge=0.0, le=200.0)
    """Its recordings are `Recipe.rain`."""


class Pose(_Part):
    """How the array hangs; angles as in a site's [mount]."""

    height_m: float = Field(default=3.0, ge=0.3, le=50.0)
    """Above ground."""
    heading_true_deg: float = Field(default=0.0, ge=0.0, lt=360.0)
    pitch_deg: float = Field(default=0.0, ge=-90.0, le=90.0)
    roll_deg: float = Field(default=0.0, ge=-180.0, le=180.0)

    def rotation(self) -> npt.NDArray[np.float64]:
        """(3, 3) from the array frame to the scene frame."""
        return mount_rotation(self.heading_true_deg, self.pitch_deg, self.roll_deg)


class Sensors(_Part):
    """Microphones and converter as they are, their faults included. An empty tuple: none of it."""

    full_scale_db_spl: float = 120.0
    """Level of the sine that just reaches full scale; above it samples clip."""
    self_noise_dba: float = 30.0
    """Equivalent input noise."""
    bits: Literal[16, 24] = 16
    """Of the converter."""
    gain_db: tuple[float, ...] = ()
    """Error of each microphone."""
    delay_us: tuple[float, ...] = ()
    """Phase error of each microphone, as a delay."""
    moved_mm: tuple[Position, ...] = ()
    """How far each microphone is from where the array file says, in the array frame."""
    dead: tuple[int, ...] = ()
    """Microphones that give zeros, counted from 0."""
    inverted: tuple[int, ...] = ()
    """Microphones of the wrong polarity."""
    swapped: tuple[tuple[int, int], ...] = ()
    """Pairs of microphones that are in each other's channel."""
    gaps: tuple[tuple[float, float], ...] = ()
    """(start, length) in seconds of lost audio, in label frames of 0.1 s begun."""


class Room(_Part):
    """A shoebox, or a yard where the ceiling absorbs all. Its sources stand still, and its floor is the ground."""

    size_m: Position
    """Along x, y and z of the scene frame."""
    array_m: tuple[float, float]
    """Where the array stands, from the corner of least x and y."""
    absorption: tuple[float, float, float, float, float, float]
    """Share of energy that walls take: least x, greatest x, least y, greatest y, floor, ceiling."""
    order: int = Field(default=10, ge=0, le=40)
    """Reflections followed."""

    @model_validator(mode="after")
    def _can_be(self) -> "Room":
        if not all(0.0 <= share <= 1.0 for share in self.absorption):
            raise ValueError("absorption: a share of energy is within 0…1")
        if not all(0.0 < at < side for at, side in zip(self.array_m, self.size_m, strict=False)):
            raise ValueError("array_m: outside the room; move the array or enlarge size_m")
        return self

    def holds(self, position_m: Position) -> bool:
        """A position of the scene frame is inside."""
        x, y, z = position_m[0] + self.array_m[0], position_m[1] + self.array_m[1], position_m[2]
        return 0.0 < x < self.size_m[0] and 0.0 < y < self.size_m[1] and 0.0 <= z < self.size_m[2]


class Recipe(_Part):
    """A whole scene."""

    seed: int = Field(ge=0)
    """Seeds the noise fields."""
    seconds: float = Field(gt=0.0)
    array: str
    """Name of a shipped array, or path of an array file; just a name where `mics_m` says it all."""
    mics_m: tuple[Position, ...] = ()
    """Microphones of an array that has no file, in the array frame."""
    pose: Pose = Pose()
    sources: tuple[SourcePlan, ...] = ()
    ambient_dba: float | None = 45.0
    """Level of the diffuse ambience; none: silence but for wind, rain and self-noise."""
    bed: tuple[str, ...] = ()
    """Recordings that make the ambience, as paths within the pack; empty: pink noise."""
    rain: tuple[str, ...] = ()
    """Recordings of rain, used where it rains; empty: pink noise."""
    weather: Weather = Weather()
    surface: Annotated[str | None, AfterValidator(_known_surface)] = "grass"
    """The ground, one of `ground.FLOW_RESISTIVITY_PA_S_M2`; none: free field."""
    room: Room | None = None
    """Walls; none: outdoors."""
    sensors: Sensors = Sensors()
    notes: dict[str, Any] = {}
    """For the judge: which part of the suite the scene belongs to."""

    @model_validator(mode="after")
    def _can_be(self) -> "Recipe":
        for source in self.sources:
            if source.start_s >= self.seconds:
                raise ValueError(f"sources: {source.label} starts at {source.start_s:g} s, after the scene's end")
            if self.room is not None and len(source.positions_m) > 1:
                raise ValueError(
                    f"sources: {source.label} moves in a room; image sources stand still, give one position"
                )
            if self.room is not None and not self.room.holds(source.positions_m[0]):
                raise ValueError(f"sources: {source.label} is outside the room; move it or enlarge size_m")
        return self

    @property
    def ground(self) -> Surface:
        """As a site's [mount] says it: in a room the floor is one of six walls."""
        return "none" if self.surface is None or self.room is not None else cast(Surface, self.surface)

    def geometry(self) -> ArrayGeometry:
        """The array as its file says; raises `ConfigError` where there is none."""
        if not self.mics_m:
            return load_array(self.array)
        return ArrayGeometry(self.array, np.array(self.mics_m, np.float64), tuple(range(len(self.mics_m))))


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe as JSON."""
    path.write_text(json.dumps(recipe.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; raises `ConfigError` that names file and key where it is none, or cannot be."""
    try:
        return Recipe.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: not a scene recipe ({error}); write it with save_recipe") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {one_line(error, Recipe)}") from None
