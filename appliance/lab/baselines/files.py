"""Checkpoints of the trained baselines: what they hold, and whether they fit the front end that is to feed them."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from appliance.dsp.features import BANDS, FEATURE_NAMES
from appliance.errors import ModelError
from appliance.lab.checkpoint import read_checkpoint, write_checkpoint
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
    write_checkpoint(path, saved)


def read_baseline(path: Path) -> dict[str, Any]:
    """A checkpoint. Raises `ModelError` where it is none, or was taught other features than there are now."""
    saved = read_checkpoint(path)
    hears = {name: saved.get(name, now) for name, now in HEARS.items()}
    if hears != HEARS:
        raise ModelError(
            f"{path}: taught on {len(hears['features'])} features in {hears['bands']} bands, the front end gives "
            f"{len(FEATURE_NAMES)} in {BANDS}; train it again"
        )
    return saved
