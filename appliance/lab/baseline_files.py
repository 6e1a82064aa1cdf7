"""Checkpoints of the trained baselines: what they hold, and whether they fit the front end that is to feed them."""

import pickle
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from appliance.dsp.features import BANDS, FEATURE_NAMES
from appliance.errors import ModelError
from appliance.lab.commit import current_commit

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

HEARS = {"features": list(FEATURE_NAMES), "bands": BANDS}
"""What every checkpoint says of its input."""


def write_baseline(path: Path, network: nn.Module, settings: "DataclassInstance", **facts: Any) -> None:
    """Write weights, size and `facts` (step, seed …). It replaces an older checkpoint only when it is whole."""
    saved = {
        "network": {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()},
        "settings": {"network": asdict(settings)},
        "commit": current_commit(),
        **HEARS,
        **facts,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".next")
    torch.save(saved, fresh)
    fresh.replace(path)


def read_baseline(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A checkpoint, and the settings of the network in it.

    Raises `ModelError` that names file and remedy where it is none, or was taught other features than there are now.
    """
    try:
        saved = torch.load(path, weights_only=True, map_location="cpu")
        sizes, hears = saved["settings"]["network"], {name: saved.get(name, now) for name, now in HEARS.items()}
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: not a baseline's checkpoint ({_first_line(error)}); train it again") from error
    if hears != HEARS:
        raise ModelError(
            f"{path}: taught on {len(hears['features'])} features in {hears['bands']} bands, the front end gives "
            f"{len(FEATURE_NAMES)} in {BANDS}; train it again"
        )
    return saved, {name: tuple(size) if isinstance(size, list) else size for name, size in sizes.items()}


def fill(network: nn.Module, saved: dict[str, Any], path: Path) -> None:
    """Put the weights of a checkpoint into a network; raises `ModelError` where they do not fit."""
    try:
        network.load_state_dict(saved["network"])
    except RuntimeError as error:
        raise ModelError(f"{path}: weights of another network ({_first_line(error)}); train it again") from error
    network.eval()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
