"""The `.meta.json` beside every model: what it is, what it expects, and the hash that proves it is whole."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.dsp.features import BANDS, FEATURE_NAMES
from appliance.dsp.stft import HOP_SAMPLES, HOPS_PER_LABEL, SAMPLE_RATE_HZ, WINDOW_SAMPLES
from appliance.errors import DENIED, ModelError
from appliance.firmware import FIRMWARE_DIR

MODELS_DIR = FIRMWARE_DIR / "models"


class TaggerReference(BaseModel):
    """Which tagger (`model.tagger`) hears beside a model: thresholds and calibration hold for the two together."""

    model_config = ConfigDict(frozen=True)

    file: str
    """Name of its .onnx file, which lies beside the model or among the shipped ones."""
    sha256: str
    """Of that file."""


class ModelMeta(BaseModel):
    """Fields of a `.meta.json`; `training` and `scores` are for people and may hold anything."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    name: str
    sha256: str
    precision: str
    opset: int
    classes: tuple[str, ...]
    objects: int
    sample_rate_hz: int
    window_samples: int
    hop_samples: int
    hops_per_step: int
    features: tuple[str, ...]
    bands: int
    states: dict[str, tuple[int, ...]]
    """Name → shape of each state tensor; the graph returns it as `next_<name>`."""
    thresholds: dict[str, float] = {}
    """Class → probability from which it counts as heard, tuned for these weights (`appliance lab tune`)."""
    calibration: dict[str, tuple[float, float]] = {}
    """Class → (slope, offset) that make a probability of its score (`events.confidence`); a missing one says its score."""
    doa_sigma_factor: float = Field(default=1.0, gt=0.0)
    """What a track's sigma is multiplied by, so that one of it holds the truth in 68 % (`tracking.target`)."""
    detection_activity: float = Field(default=0.15, gt=0.0, lt=1.0)
    """Activity times class probability from which a slot is a detection, unless the site file says another."""
    tagger: TaggerReference | None = None
    """The second opinion on what tracks sound like; None: the network's own has to do."""
    training: dict[str, Any] = {}
    scores: dict[str, Any] = {}


def front_end() -> dict[str, Any]:
    """What this appliance's front end delivers, under the names of `ModelMeta`."""
    return {
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "window_samples": WINDOW_SAMPLES,
        "hop_samples": HOP_SAMPLES,
        "hops_per_step": HOPS_PER_LABEL,
        "features": FEATURE_NAMES,
        "bands": BANDS,
    }


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def find_model(name_or_path: str | Path) -> Path:
    """Path of the .onnx file, by the name of a shipped one or by path."""
    path = Path(name_or_path)
    if path.suffix != ".onnx":
        path = MODELS_DIR / f"{name_or_path}.onnx"
    try:
        path.open("rb").close()
    except PermissionError:
        raise ModelError(f"{path}: {DENIED}") from None
    except OSError:
        known = ", ".join(shipped_models()) or "none"
        raise ModelError(f"{path}: no such model; give a path to an .onnx file or one of: {known}") from None
    return path


def load_meta(model_path: Path) -> ModelMeta:
    """Read and check the meta of a model: hash of the file and of its tagger, and that its front end is ours.

    Raises `ModelError` that names file and remedy.
    """
    path = model_path.with_suffix(".meta.json")
    try:
        meta = ModelMeta.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ModelError(f"{path}: missing; every model travels with its meta file, install both again") from None
    except PermissionError:
        raise ModelError(f"{path}: {DENIED}") from None
    except (OSError, ValueError, ValidationError) as error:
        raise ModelError(f"{path}: not a meta file ({str(error).splitlines()[0]}); install the model again") from error
    hashes = {model_path: meta.sha256}
    if meta.tagger:
        hashes[find_tagger(model_path, meta.tagger)] = meta.tagger.sha256
    for file, expected in hashes.items():
        if (found := file_sha256(file)) != expected:
            raise ModelError(
                f"{file}: sha256 {found[:12]}… is not {expected[:12]}… of {path.name}; tampered with or cut short, install both again"
            )
    for key, ours in front_end().items():
        if (theirs := getattr(meta, key)) != ours:
            raise ModelError(
                f"{path}: {key}: {theirs} does not fit this appliance ({ours}); install the model of this release"
            )
    return meta


def find_tagger(model_path: Path, reference: TaggerReference) -> Path:
    """Path of the tagger that a model's meta names."""
    for folder in (model_path.parent, MODELS_DIR):
        if (path := folder / reference.file).is_file():
            return path
    raise ModelError(
        f"{model_path.parent / reference.file}: missing, but the meta of {model_path.name} names it; install the models again"
    )


def shipped_models() -> list[str]:
    """Names of the models that come with the appliance, sorted; a tagger is none, it only hears beside one."""
    return sorted(path.name.removesuffix(".meta.json") for path in MODELS_DIR.glob("*.meta.json"))
