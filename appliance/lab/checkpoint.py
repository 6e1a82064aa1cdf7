"""Checkpoints of training as files: written whole or not at all, and read with a sentence about what is wrong with one."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from appliance.errors import ModelError

Network = TypeVar("Network", bound=nn.Module)
Settings = TypeVar("Settings")

REMEDY = "give the last .pt of a training, or train it again"


def write_checkpoint(path: Path, saved: dict[str, Any]) -> None:
    """Write `saved`; it replaces an older checkpoint only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".next")
    torch.save(saved, fresh)
    fresh.replace(path)


def read_checkpoint(path: Path, device: str = "cpu") -> dict[str, Any]:
    """What was saved: at least `network`, its weights, and `settings`. Raises `ModelError` that names file and remedy."""
    try:
        saved = torch.load(path, weights_only=True, map_location=device)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such checkpoint; {REMEDY}") from error
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ModelError(f"{path}: not a checkpoint ({_first_line(error)}); {REMEDY}") from error
    if not isinstance(saved, dict) or not {"network", "settings"} <= saved.keys():
        raise ModelError(f"{path}: not a checkpoint (it holds no network and settings); {REMEDY}")
    return saved


def fill(network: nn.Module, saved: dict[str, Any], path: Path) -> None:
    """Put the weights of a checkpoint into a network; raises `ModelError` where they do not fit."""
    try:
        network.load_state_dict(saved["network"])
    except RuntimeError as error:
        raise ModelError(f"{path}: weights of another network ({_first_line(error)}); train it again") from error


def rebuilt(
    saved: dict[str, Any], path: Path, network: Callable[[Settings], Network], settings: Callable[..., Settings]
) -> Network:
    """The network that a checkpoint holds, ready to listen; raises `ModelError` where it holds one of another kind."""
    try:
        sizes = {
            name: tuple(size) if isinstance(size, list) else size for name, size in saved["settings"]["network"].items()
        }
        made = network(settings(**sizes))
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: another kind of network ({_first_line(error)}); {REMEDY}") from error
    fill(made, saved, path)
    made.eval()
    return made


def _first_line(error: Exception) -> str:
    """What an error says in one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
