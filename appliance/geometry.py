"""Array geometry files: which ALSA channel is which microphone, and where it sits.

A file holds `schema = 1`, `name`, and one `[[mic]]` record per microphone with `alsa_channel` and `position_m`
together, so that the channel map and the geometry cannot drift apart. Device hints are optional.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from appliance.errors import ConfigError
from appliance.firmware import FIRMWARE_DIR
from appliance.toml_file import read_toml
from appliance.validation import one_line

ARRAYS_DIR = FIRMWARE_DIR / "arrays"
SPEED_OF_SOUND_M_S = 343.0

# Microphones nearer to one plane (or line) than this cannot tell what lies across it.
_FLAT_M = 2e-3
_LEAST_MICS = 3
# Beyond, no wave that is heard is long enough to tell a direction; it is a file in other units.
_MOST_M = 2.0


class _Mic(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    alsa_channel: int = Field(ge=0)
    position_m: tuple[float, float, float]


class _Device(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    alsa_card_id: str | None = None
    channels: int | None = Field(default=None, ge=1)
    sample_rate_hz: int | None = Field(default=None, ge=8000)
    sample_format: Literal["S16_LE", "S24_LE", "S24_3LE", "S32_LE"] | None = None
    usb_id: str | None = None

    @field_validator("usb_id")
    @classmethod
    def _as_lsusb_prints_it(cls, usb_id: str | None) -> str | None:
        if usb_id is not None and not re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{4}", usb_id):
            raise ValueError('must be vendor and product as `lsusb` prints them, such as "2886:0018"')
        return usb_id


class _ArrayFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_version: Literal[1] = Field(alias="schema")
    name: str
    description: str = ""
    source: str = ""
    mic: tuple[_Mic, ...] = Field(min_length=_LEAST_MICS)
    device: _Device = _Device()


@dataclass(frozen=True, slots=True)
class ArrayGeometry:
    """Where the microphones are, in the array frame (x front, y left, z up)."""

    name: str
    """Short name, as in the file."""
    positions_m: npt.NDArray[np.float64]
    """(mics, 3) positions in metres, centred on their mean."""
    alsa_channels: tuple[int, ...]
    """Channel of the capture device for each microphone, counted from 0."""
    device: _Device = field(default_factory=_Device)
    """Hints: how the device presents itself."""
    description: str = ""
    """One line for a technician."""

    @property
    def mics(self) -> int:
        """Number of microphones."""
        return len(self.alsa_channels)

    @property
    def is_planar(self) -> bool:
        """True where all microphones lie in one plane, so that elevation's sign cannot be told."""
        return _extents_m(self.positions_m)[2] < _FLAT_M

    @property
    def tells_directions(self) -> bool:
        """True with three microphones or more that are not on one line: a line cannot tell left from right."""
        return self.mics >= _LEAST_MICS and _extents_m(self.positions_m)[1] >= _FLAT_M

    @property
    def radius_m(self) -> float:
        """Largest distance of a microphone from the centre, in metres."""
        return float(np.linalg.norm(self.positions_m, axis=1).max())

    def part(self, mics: Sequence[int]) -> "ArrayGeometry":
        """Some of the microphones, counted from 0, where they are in the whole array: its centre stays."""
        channels = tuple(self.alsa_channels[mic] for mic in mics)
        return replace(self, positions_m=self.positions_m[list(mics)], alsa_channels=channels)


def _extents_m(positions_m: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """How far microphones (mics, 3) spread along the principal axes of their positions, most first."""
    extents = np.linalg.svd(positions_m - positions_m.mean(axis=0), compute_uv=False)
    first, second, third = (*extents.tolist(), 0.0, 0.0, 0.0)[:3]
    return first, second, third


def load_array(name_or_path: str | Path) -> ArrayGeometry:
    """Read an array file, by the name of a shipped one or by path.

    Raises `ConfigError` that names file, key and remedy where it is missing, malformed, linear, far too large or has a channel twice.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = ARRAYS_DIR / f"{name_or_path}.toml"
    try:
        raw = read_toml(path)
    except FileNotFoundError:
        known = ", ".join(shipped_arrays()) or "none"
        raise ConfigError(f"{path}: no such array file; give a path to a .toml file or one of: {known}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a readable TOML file: {error}") from error
    try:
        parsed = _ArrayFile.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {one_line(error, _ArrayFile)}") from None
    channels = tuple(mic.alsa_channel for mic in parsed.mic)
    if len(set(channels)) != len(channels):
        raise ConfigError(
            f"{path}: [[mic]] alsa_channel: {list(channels)} names a channel twice; give each microphone its own"
        )
    if parsed.device.channels is not None and max(channels) >= parsed.device.channels:
        raise ConfigError(
            f"{path}: [[mic]] alsa_channel: {max(channels)} is beyond [device] channels = {parsed.device.channels}; channels count from 0"
        )
    positions = np.array([mic.position_m for mic in parsed.mic], dtype=np.float64)
    positions -= positions.mean(axis=0)
    array = ArrayGeometry(parsed.name, positions, channels, parsed.device, parsed.description)
    if array.radius_m > _MOST_M:
        raise ConfigError(
            f"{path}: [[mic]] position_m: a microphone is {array.radius_m:g} m from the centre of the others; positions are metres, 32 mm is 0.032"
        )
    if not array.tells_directions:
        raise ConfigError(
            f"{path}: [[mic]] position_m: the microphones lie on one line, which cannot tell left from right; use a planar or 3-D array"
        )
    # The front end takes "planar" to mean "in the horizontal plane of the array frame".
    if array.is_planar and np.abs(positions[:, 2]).max() > _FLAT_M:
        raise ConfigError(
            f"{path}: [[mic]] position_m: a planar array must lie in z = 0 of its own frame; say how it hangs in the site's [mount]"
        )
    return array


def shipped_arrays() -> list[str]:
    """Names of the array files that come with the appliance, sorted."""
    return sorted(path.stem for path in ARRAYS_DIR.glob("*.toml"))
