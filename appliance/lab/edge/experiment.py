"""An experiment is a TOML file: `TrainSettings` with its tables [network] and [scenes]."""

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from appliance.errors import ConfigError
from appliance.lab.edge.network import NetworkSettings
from appliance.lab.edge.settings import TrainSettings
from appliance.lab.scenes.maker import SceneSettings
from appliance.toml_file import read_toml

EXPERIMENTS_DIR = Path(__file__).parents[1] / "experiments"
_TABLES: dict[str, type] = {"network": NetworkSettings, "scenes": SceneSettings}


def load_experiment(name_or_path: str, changes: Mapping[str, Any] | None = None) -> TrainSettings:
    """The experiment of this name (`tiny`, `small`, `base`) or file, with top-level keys changed where not None.

    Raises `ConfigError` that names file and key.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = EXPERIMENTS_DIR / f"{name_or_path}.toml"
    try:
        raw = read_toml(path)
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem for file in EXPERIMENTS_DIR.glob("*.toml")))
        raise ConfigError(f"{path}: no such experiment; give a TOML file or one of: {known}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a TOML file ({error})") from error
    raw |= {key: value for key, value in (changes or {}).items() if value is not None}
    _refuse_unknown(path, "", raw, TrainSettings)
    for table, settings in _TABLES.items():
        _refuse_unknown(path, f"[{table}] ", raw.get(table, {}), settings)
    try:
        experiment = TypeAdapter(TrainSettings).validate_python(raw)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise ConfigError(f"{path}: {where}: {fault['msg'].lower()} (got {fault['input']!r:.60})") from None
    if experiment.batch % experiment.uses:
        raise ConfigError(f"{path}: batch: {experiment.batch} scenes cannot be {experiment.uses} equal parts; see uses")
    return experiment


def _refuse_unknown(path: Path, table: str, given: Mapping[str, Any], settings: type) -> None:
    known = [field.name for field in dataclasses.fields(settings)]
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(known)}"
            raise ConfigError(f"{path}: {table}{key}: unknown key; {hint}")
