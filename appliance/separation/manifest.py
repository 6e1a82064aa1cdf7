"""`stems.json` beside the stems: which file is which object, where it starts, and how it moved."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from appliance.errors import RecordingError
from appliance.validation import one_line

MANIFEST_NAME = "stems.json"


class StemPath(BaseModel):
    """Where an object was, in one label frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time_s: float
    """Start of the label frame, in seconds of the recording."""
    azimuth_deg: float
    """In the array frame, counter-clockwise from the front."""
    elevation_deg: float
    """Above the array's horizon; of a planar array how far above its plane, or as far below."""
    heard: bool
    """False where the track coasts: its sound is then in the residual."""


class ObjectStem(BaseModel):
    """One object: a track of the tracker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    track_id: int
    """Its identity."""
    class_label: str
    """Class of its event, or the most probable one."""
    event_ids: tuple[str, ...]
    """Events that it became; empty where it stayed below every threshold."""
    start_sample: int = Field(ge=0)
    """Sample of the recording that its files begin with."""
    samples: int = Field(ge=0)
    """Length of its files."""
    mono: str
    """File: one channel, the object alone, by MVDR beam and mask; its direct sound where that is apart."""
    foa: str
    """File: [W, Y, Z, X] (ACN/SN3D), the object's share of what the array heard; its direct sound where that is apart."""
    foa_reverb: str | None = None
    """File: [W, Y, Z, X], the rest of its share: what came by way of ground and walls; null where it is not apart."""
    elevation_valid: bool
    """False where the array cannot tell above from below."""
    path: tuple[StemPath, ...]
    """How it moved."""


class StemsManifest(BaseModel):
    """All stems of one recording. Every FOA of objects and residual, each at its start, add up to what the array heard."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    recording: str
    """Name of the file that was heard."""
    array: str
    """Name of the array."""
    model: str
    """Name of the model."""
    sample_rate_hz: int
    samples: int
    """Length of the recording and of the residual."""
    reverberation: Literal["together", "apart"] = "together"
    """together: direct and reverberant sound lie in one stem, for the model does not tell them apart; apart: each object has
    `foa_reverb`."""
    objects: tuple[ObjectStem, ...]
    """Oldest first."""
    residual: str
    """File: [W, Y, Z, X], what belongs to no object."""

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> "StemsManifest":
        for stem in self.objects:
            if (stem.foa_reverb is not None) != (self.reverberation == "apart"):
                raise ValueError(f"reverberation: {self.reverberation!r} does not fit object {stem.track_id}")
        return self


def write_manifest(manifest: StemsManifest, folder: Path) -> Path:
    """Write it into the folder of the stems."""
    path = folder / MANIFEST_NAME
    text = json.dumps(manifest.model_dump(mode="json", by_alias=True), ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def read_manifest(folder: Path) -> StemsManifest:
    """Read it; raises `RecordingError` where the folder holds none, or one that cannot be."""
    path = folder / MANIFEST_NAME
    try:
        return StemsManifest.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise RecordingError(f"{path}: missing; write stems with `appliance replay --stems {folder}`") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RecordingError(f"{path}: not a manifest of stems ({error}); write the stems again") from error
    except ValidationError as error:
        raise RecordingError(f"{path}: {one_line(error, StemsManifest)}; write the stems again") from None
