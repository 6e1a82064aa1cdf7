"""Several networks learn the same scenes in one loop, so that what differs in the end is the network alone.

Our `tiny` with and without each of its parts, and the two baselines that are trained, from the same batches in the same
order and at the same rate.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from appliance.errors import ConfigError
from appliance.lab.baselines.accdoa import AccdoaCrnn, AccdoaSettings
from appliance.lab.baselines.steered_cnn import SteeredCnn, SteeredSettings
from appliance.lab.baselines.training import accdoa_step, save_baseline, steered_cnn_step
from appliance.lab.edge.batches import batches_from
from appliance.lab.edge.settings import TrainSettings, learning_rate
from appliance.lab.edge.train import Learner, Progress
from appliance.lab.scenes.maker import Batch


class Contestant(Protocol):
    """One network that learns."""

    def learn(self, batch: Batch, rate: float) -> Tensor:
        """One step; the loss."""

    def save(self, path: Path, step: int, seconds: float) -> None:
        """Write its checkpoint."""


class _Edge:
    """DeepASA-Edge, or a variation of it."""

    def __init__(self, settings: TrainSettings, device: str) -> None:
        # Minutes of compiling would be minutes of another one's learning; and the baselines are not fused either.
        self._learner = Learner(replace(settings, fused=False), device)

    def learn(self, batch: Batch, rate: float) -> Tensor:
        return self._learner.learn(batch, rate)["loss"]

    def save(self, path: Path, step: int, seconds: float) -> None:
        torch.save(self._learner.checkpoint() | {"step": step, "seconds": seconds, "scores": {}}, path)


class _Baseline:
    """A network and how it takes one step."""

    def __init__(self, network: nn.Module, step: Callable[..., Tensor], settings: TrainSettings, device: str) -> None:
        self._network, self._step = network.to(device), step
        self._optimiser = torch.optim.AdamW(
            network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )

    def learn(self, batch: Batch, rate: float) -> Tensor:
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        return self._step(self._network, self._optimiser, batch)

    def save(self, path: Path, step: int, seconds: float) -> None:
        assert isinstance(self._network, AccdoaCrnn | SteeredCnn)
        save_baseline(self._network, path, step=step, seconds=seconds)


def _varied(**changes: Any) -> Callable[[TrainSettings, str], Contestant]:
    def make(settings: TrainSettings, device: str) -> Contestant:
        return _Edge(replace(settings, network=replace(settings.network, **changes)), device)

    return make


CONTESTANTS: dict[str, Callable[[TrainSettings, str], Contestant]] = {
    "edge": _varied(),
    "edge-short-window": _varied(long_window=False),
    "edge-unchained": _varied(coi_rounds=0),
    "accdoa": lambda settings, device: _Baseline(AccdoaCrnn(AccdoaSettings()), accdoa_step, settings, device),
    "steered_cnn": lambda settings, device: _Baseline(
        SteeredCnn(SteeredSettings()), steered_cnn_step, settings, device
    ),
}


def train_paired(
    settings: TrainSettings,
    names: Sequence[str],
    folder: Path,
    *,
    workers: int = 1,
    device: str = "cpu",
    log: Callable[[str], None] = print,
) -> list[Path]:
    """Train these of `CONTESTANTS` on the scenes and at the rate of an experiment; a checkpoint NAME.pt of each.

    Checkpoints are written every `validate_every` steps and at the end; a run that is interrupted begins anew.
    Raises `ConfigError` for an unknown name.
    """
    if unknown := [name for name in names if name not in CONTESTANTS]:
        raise ConfigError(f"{unknown[0]}: no such network; give some of: {', '.join(CONTESTANTS)}")
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    contestants = {name: CONTESTANTS[name](settings, device) for name in names}
    paths = {name: folder / f"{name}.pt" for name in names}
    progress, began = Progress(settings, 0, log), time.monotonic()
    for step, batch in enumerate(batches_from(settings, 0, device, workers)):
        elapsed_s = time.monotonic() - began
        rate = learning_rate(settings, step, elapsed_s)
        progress.add(step, elapsed_s, {name: one.learn(batch, rate) for name, one in contestants.items()})
        ended = elapsed_s >= 60.0 * settings.minutes if settings.minutes else step + 1 >= settings.steps
        if (step + 1) % settings.validate_every == 0 or ended:
            for name, one in contestants.items():
                one.save(paths[name], step + 1, time.monotonic() - began)
        if ended:
            break
    return list(paths.values())
