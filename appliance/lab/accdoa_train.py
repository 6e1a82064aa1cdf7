"""Train the multi-ACCDOA baseline on the same scenes, in the same order, as our network: shorter, since it only has to compare."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from appliance.lab.accdoa import AccdoaCrnn, AccdoaSettings
from appliance.lab.baseline_files import HEARS
from appliance.lab.baseline_training import accdoa_step
from appliance.lab.commit import current_commit
from appliance.lab.train import SceneBatches, TrainSettings, learning_rate

_SAVE_EVERY = 500
_LOG_EVERY = 100


@dataclass(frozen=True, slots=True)
class AccdoaTraining:
    """One run; kept in every checkpoint."""

    network: AccdoaSettings = field(default_factory=AccdoaSettings)
    """Size."""
    training: TrainSettings = field(default_factory=TrainSettings)
    """Scenes, steps and rates as of our own network, whose size in it is not looked at."""


def train_accdoa(
    settings: AccdoaTraining,
    folder: Path,
    *,
    workers: int = 1,
    threads: int = 1,
    device: str = "cpu",
    log: Callable[[str], None] = print,
) -> Path:
    """Train, or go on from `folder`/last.pt; the path of the last checkpoint comes back."""
    torch.set_num_threads(threads)
    training = settings.training
    torch.manual_seed(training.seed)
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.pt"
    network = AccdoaCrnn(settings.network).to(device)
    optimiser = torch.optim.AdamW(network.parameters(), training.learning_rate, weight_decay=training.weight_decay)
    step = 0
    if last.exists():
        saved = torch.load(last, weights_only=True, map_location=device)
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        step = saved["step"]
        log(f"going on from {last} at step {step}")
    ahead = 4 if workers else None
    batches = DataLoader(SceneBatches(training, step), batch_size=None, num_workers=workers, prefetch_factor=ahead)
    began, first, total = time.monotonic(), step, 0.0
    for batch in batches:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(training, step)
        step += 1
        total += float(accdoa_step(network, optimiser, {name: tensor.to(device) for name, tensor in batch.items()}))
        if step % _LOG_EVERY == 0 or step == training.steps:
            taken = (step - first - 1) % _LOG_EVERY + 1
            rate = (step - first) * training.batch / (time.monotonic() - began)
            log(f"step {step}/{training.steps} loss {total / taken:.5f} {rate:.1f} scenes/s")
            total = 0.0
        if step % _SAVE_EVERY == 0 or step == training.steps:
            checkpoint = {
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step,
                "settings": asdict(settings),
                "commit": current_commit(),
                **HEARS,
            }
            torch.save(checkpoint, folder / "next.pt")
            (folder / "next.pt").replace(last)
    return last
