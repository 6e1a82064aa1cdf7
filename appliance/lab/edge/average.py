"""The average of trainings' weights: where they began from one another it hears what is new better than each of them.

Wortsman et al., Model soups, arXiv 2203.05482. Weights of runs that began apart do not average.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from appliance.errors import ModelError
from appliance.lab.checkpoint import REMEDY, read_checkpoint, write_checkpoint


def average_checkpoints(paths: Sequence[Path], out: Path) -> Path:
    """Write the mean of the weights of checkpoints, each with equal weight; `out` comes back.

    Commit, settings, steps and hours are those of the one that learned longest, and `averaged` says what went in. Raises
    `ModelError` where checkpoints are of other networks than the first.
    """
    saved = [read_checkpoint(path) for path in paths]
    network, first = saved[0]["settings"]["network"], _sizes(saved[0]["network"])
    for path, other in zip(paths, saved, strict=True):
        if other["settings"]["network"] != network or _sizes(other["network"]) != first:
            raise ModelError(f"{path}: another network than that of {paths[0]}; {REMEDY}")
    oldest = max(saved, key=lambda one: one["seconds"])
    kept: dict[str, Any] = {key: oldest[key] for key in ("commit", "settings", "step", "seconds")}
    kept["averaged"] = [{"commit": one["commit"], "seconds": one["seconds"]} for one in saved]
    kept["network"] = {name: _mean([one["network"][name] for one in saved]) for name in saved[0]["network"]}
    write_checkpoint(out, kept)
    return out


def _sizes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: values.shape for name, values in weights.items()}


def _mean(values: Sequence[Tensor]) -> Tensor:
    """As float32; what counts (batches of a normalisation) is that of the last."""
    if not values[0].is_floating_point():
        return values[-1]
    return torch.stack([each.float() for each in values]).mean(dim=0)
