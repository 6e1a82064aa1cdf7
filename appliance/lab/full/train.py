"""Train the full DeepASA on rendered scenes. It wants a GPU: a clip of 4 s costs a quarter of a tera multiply-add and thrice that to learn."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch.utils.data import DataLoader

from appliance.errors import ConfigError, ModelError
from appliance.geometry import load_array
from appliance.lab.checkpoint import REMEDY, fill, read_checkpoint, write_checkpoint
from appliance.lab.commit import current_commit
from appliance.lab.edge.experiment import EXPERIMENTS_DIR
from appliance.lab.full.losses import asa_loss
from appliance.lab.full.network import DeepAsa, FullNetworkSettings
from appliance.lab.full.scenes import FullBatches, FullSceneSettings
from appliance.toml_file import read_toml
from appliance.validation import one_line

FULL_EXPERIMENT = EXPERIMENTS_DIR / "full.toml"
_SAVE_EVERY = 500
_LOG_EVERY = 50


class FullTraining(BaseModel):
    """One experiment; kept in every checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0)
    batch: int = Field(default=4, ge=1)
    steps: int = Field(default=100_000, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0.0)
    warmup_steps: int = Field(default=1000, ge=1)
    decay_share: float = Field(default=0.3, ge=0.0, le=1.0)
    """Last part of the steps, over which the rate falls to zero."""
    weight_decay: float = Field(default=0.01, ge=0.0)
    bfloat16: bool = True
    """Mixed precision; sums over samples and the losses stay in 32 bits."""
    network: FullNetworkSettings = FullNetworkSettings()
    scenes: FullSceneSettings = FullSceneSettings()

    @model_validator(mode="after")
    def _fits_its_input(self) -> "FullTraining":
        channels = 4 if self.scenes.array is None else load_array(self.scenes.array).mics
        if self.network.channels != channels:
            source = "Ambisonics" if self.scenes.array is None else self.scenes.array
            raise ValueError(f"network.channels must be {channels}, as {source} has")
        if self.network.width % self.network.heads:
            raise ValueError("network.width must be a multiple of network.heads")
        return self

    def rate(self, step: int) -> float:
        """Warm-up, plateau, linear fall to zero."""
        falling = max(1.0, self.steps * self.decay_share)
        return self.learning_rate * min(1.0, (step + 1) / self.warmup_steps, (self.steps - step) / falling)


def load_full_experiment(path: Path = FULL_EXPERIMENT, *, steps: int | None = None) -> FullTraining:
    """The experiment of a TOML file, its steps changed where not None. Raises `ConfigError` that names file and key."""
    try:
        raw = read_toml(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a TOML file ({error}); see {FULL_EXPERIMENT}") from error
    try:
        return FullTraining.model_validate(raw if steps is None else raw | {"steps": steps})
    except ValidationError as error:
        raise ConfigError(f"{path}: {one_line(error, FullTraining)}") from None


def train_full(
    settings: FullTraining,
    folder: Path,
    *,
    workers: int = 1,
    device: str = "cpu",
    log: Callable[[str], None] = print,
) -> Path:
    """Train, or go on from `folder`/last.pt; the path of the last checkpoint comes back.

    Raises `ConfigError` where the folder holds a network of another size, `ModelError` where it holds another kind.
    """
    torch.manual_seed(settings.seed)
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.pt"
    network = DeepAsa(settings.network).to(device)
    optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    step = 0
    if last.exists():
        saved = read_checkpoint(last, device)
        if _experiment_of(saved, last).network != settings.network:
            raise ConfigError(f"{last}: a network of another size; give its own experiment, or another folder")
        fill(network, saved, last)
        optimiser.load_state_dict(saved["optimiser"])
        step = saved["step"]
        log(f"going on from {last} at step {step}")
    scenes = FullBatches(
        settings.scenes,
        seed=settings.seed,
        batch=settings.batch,
        objects=settings.network.objects,
        steps=range(step, settings.steps),
    )
    batches = DataLoader(scenes, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None)
    began, first, sums = time.monotonic(), step, dict[str, float]()
    for batch in batches:
        for group in optimiser.param_groups:
            group["lr"] = settings.rate(step)
        truth = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=settings.bfloat16):
            rounds = network(truth["mixture"])
        loss, parts = asa_loss(rounds, truth)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        step += 1
        for name, part in {"loss": float(loss.detach()), **parts}.items():
            sums[name] = sums.get(name, 0.0) + part
        if step % _LOG_EVERY == 0 or step == settings.steps:
            taken = (step - first - 1) % _LOG_EVERY + 1
            shown = " ".join(f"{name} {value / taken:.3f}" for name, value in sums.items())
            rate = (step - first) * settings.batch / (time.monotonic() - began)
            log(f"step {step}/{settings.steps} {shown} {rate:.1f} scenes/s")
            sums.clear()
        if step % _SAVE_EVERY == 0 or step == settings.steps:
            _save(folder, network, optimiser, step, settings)
    return last


def load_full(path: Path) -> tuple[DeepAsa, FullTraining]:
    """The network of a checkpoint, ready to listen, and its experiment; raises `ModelError` where it holds another kind."""
    saved = read_checkpoint(path)
    settings = _experiment_of(saved, path)
    network = DeepAsa(settings.network)
    fill(network, saved, path)
    return network.eval(), settings


def _experiment_of(saved: dict[str, Any], path: Path) -> FullTraining:
    try:
        return FullTraining.model_validate(saved["settings"])
    except ValidationError as error:
        raise ModelError(f"{path}: another kind of network ({one_line(error, FullTraining)}); {REMEDY}") from None


def _save(folder: Path, network: DeepAsa, optimiser: torch.optim.Optimizer, step: int, settings: FullTraining) -> None:
    checkpoint: dict[str, Any] = {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "settings": settings.model_dump(mode="json"),
        "commit": current_commit(),
    }
    write_checkpoint(folder / "last.pt", checkpoint)
