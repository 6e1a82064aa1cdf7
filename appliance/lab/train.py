"""Train DeepASA-Edge on scenes that are drawn while it learns, every scene new. Readable in one sitting.

On a GPU the scenes are made there too, so that it never waits for a processor; on a CPU other processes make them. Every
batch depends on (seed, step) and the kind of device alone, so a run resumes at the exact step. The rate is warmed up, constant, and
falls linearly to zero over the last part, which does what averaging the weights would. (An exponential average was
tried: on the plateau it scores worse than the weights themselves, since batch normalisation's statistics lag behind.)
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from appliance.lab.commit import current_commit
from appliance.lab.losses import scene_loss
from appliance.lab.network import DeepAsaEdge, NetworkSettings
from appliance.lab.scene_dice import Dice
from appliance.lab.scenes import Batch, SceneMaker, SceneSettings


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """One experiment; kept in every checkpoint."""

    seed: int = 0
    batch: int = 16
    """Scenes in a batch."""
    steps: int = 10_000
    minutes: float = 0.0
    """Where given, the run ends after so long, and the rate falls by the clock: for a machine that is lent by the minute."""
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    decay_share: float = 0.3
    """Last part of the run, over which the rate falls."""
    weight_decay: float = 0.01
    curriculum_steps: int = 2500
    """Scenes go from clear single targets to what `scenes` says over this many steps."""
    bfloat16: bool = True
    """Mixed precision: convolutions in bfloat16."""
    validate_every: int = 1000
    """Steps from one checkpoint to the next."""
    validation_scenes: int = 64
    """Scenes of fold 4 at each level that a checkpoint is looked at with; 0: none."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
    scenes: SceneSettings = field(default_factory=SceneSettings)


class SceneBatches(IterableDataset[Batch]):
    """Batches by step number, without end; worker i of W makes those with step ≡ i (mod W)."""

    def __init__(self, settings: TrainSettings, first_step: int, device: str = "cpu") -> None:
        self._settings, self._first_step, self._device = settings, first_step, device

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        settings = self._settings
        maker = SceneMaker(settings.scenes, settings.seed, device=self._device)
        step = self._first_step + number
        while True:
            # Never all hard: what cannot be told in a din still has to be learned from what can.
            hardest = min(1.0, step / max(1, settings.curriculum_steps))
            share = Dice((settings.seed, step, 1), maker.device).uniform(settings.batch, low=0.1)
            yield maker.batch((settings.seed, step), settings.batch, hardest * share)
            step += workers


def batches_from(settings: TrainSettings, step: int, device: str, workers: int) -> Iterator[Batch]:
    """Batches on the device from a step on: made there on a GPU, else by so many processes (0: this one)."""
    if not device.startswith("cpu"):
        return iter(SceneBatches(settings, step, device))
    ahead = 4 if workers else None
    made = DataLoader(SceneBatches(settings, step), batch_size=None, num_workers=workers, prefetch_factor=ahead)
    return iter(made)


def learning_rate(settings: TrainSettings, step: int, elapsed_s: float = 0.0) -> float:
    """Warm-up, plateau, linear fall to zero at the last step or, where `minutes` is given, at the last moment."""
    done = elapsed_s / (60.0 * settings.minutes) if settings.minutes else step / settings.steps
    rise = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    fall = min(1.0, max(0.0, 1.0 - done) / max(settings.decay_share, 1e-9))
    return settings.learning_rate * rise * fall


class Learner:
    """The network as it learns: weights, optimiser, and what it still remembers of the scenes before."""

    def __init__(self, settings: TrainSettings, device: str, *, fuse: bool = False) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self._device = settings, device
        network = DeepAsaEdge(settings.network).to(device)
        self.network: DeepAsaEdge = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.AdamW(
            network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=device != "cpu"
        )
        self._run: Callable[..., Any] = torch.compile(self.network, dynamic=False) if fuse else self.network
        self._fresh = network.initial_state(settings.batch)
        self._state = self._fresh
        # Half of the next scenes begin with what another scene left behind: the unit listens for hours, and what it
        # remembers must not outlive its cause.
        self._stale = (torch.arange(settings.batch, device=device) % 2 == 0)[:, None, None, None]

    def learn(self, batch: Batch, rate: float) -> dict[str, Tensor]:
        """One step; the parts of the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.network.train()
        features = batch["features"].to(memory_format=torch.channels_last)
        with torch.autocast(torch.device(self._device).type, torch.bfloat16, enabled=self.settings.bfloat16):
            outputs, heard = self._run(features, self._state)
        outputs = {name: output.float() for name, output in outputs.items()}
        loss, parts = scene_loss(outputs, batch, batch["features"])
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimiser.step()
        self._state = {
            name: torch.where(self._stale, kept.detach().float(), self._fresh[name]) for name, kept in heard.items()
        }
        return {"loss": loss.detach(), **parts}

    def checkpoint(self) -> dict[str, Any]:
        """All that `restore` needs, and the settings."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "state": self._state,
            "settings": asdict(self.settings),
            "commit": current_commit(),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from a checkpoint; from one of another batch size with nothing in memory."""
        self.network.load_state_dict(saved["network"])
        self.optimiser.load_state_dict(saved["optimiser"])
        state = saved["state"]
        same = all(name in state and state[name].shape == fresh.shape for name, fresh in self._fresh.items())
        self._state = state if same else self._fresh


def train(
    settings: TrainSettings,
    folder: Path,
    *,
    start: Path | None = None,
    workers: int = 1,
    threads: int = 1,
    fuse: bool = False,
    device: str = "cpu",
    log: Callable[[str], None] = print,
) -> Path:
    """Train, or go on from `folder`/last.pt; the path of the last checkpoint comes back.

    `start` is the checkpoint that a new folder begins from, its steps counted. `fuse` compiles the network first: two to
    three minutes, then a fifth faster. `device` is PyTorch's name of where the network learns, `cpu` or `cuda`.
    """
    from appliance.lab.validate import validate

    torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.pt"
    learner = Learner(settings, device, fuse=fuse)
    step, seconds, own_s = 0, 0.0, 0.0
    origin = last if last.exists() else start
    if origin is not None:
        saved = torch.load(origin, weights_only=True, map_location=device)
        learner.restore(saved)
        step, seconds = saved["step"], saved["seconds"]
        own_s = saved["own_s"] if origin == last else 0.0
        log(f"going on from {origin} at step {step}")
    progress = Progress(settings, step, log)
    began = time.monotonic()
    for batch in batches_from(settings, step, device, workers):
        elapsed_s = own_s + time.monotonic() - began
        torch.manual_seed(settings.seed * 1_000_000_007 + step)  # of dropout: a run that goes on drops the same
        progress.add(step, elapsed_s, learner.learn(batch, learning_rate(settings, step, elapsed_s)))
        step += 1
        ended = elapsed_s >= 60.0 * settings.minutes if settings.minutes else step >= settings.steps
        if step % settings.validate_every == 0 or ended:
            scores = validate(learner.network, settings.validation_scenes, seed=settings.seed)
            log(json.dumps({"step": step, **scores}))
            spent_s = time.monotonic() - began
            saved = learner.checkpoint() | {"step": step, "seconds": seconds + spent_s, "own_s": own_s + spent_s}
            torch.save(saved | {"scores": scores}, folder / "next.pt")
            (folder / "next.pt").replace(last)
        if ended:
            break
    return last


class Progress:
    """Says every hundred steps how the losses fall, how fast it goes and how long it still takes."""

    def __init__(self, settings: TrainSettings, first_step: int, log: Callable[[str], None]) -> None:
        self._settings, self._first_step, self._log = settings, first_step, log
        self._sums: dict[str, Tensor] = {}
        self._counted = 0

    def add(self, step: int, elapsed_s: float, parts: dict[str, Tensor]) -> None:
        """The losses of one step (before it is counted), `elapsed_s` after the run began."""
        self._sums = {name: self._sums.get(name, 0.0) + part for name, part in parts.items()}
        self._counted += 1
        if (step + 1) % 100:
            return
        settings, made = self._settings, step + 1 - self._first_step
        left = 60.0 * settings.minutes - elapsed_s if settings.minutes else elapsed_s / made * (settings.steps - step)
        shown = " ".join(f"{name} {float(value) / self._counted:.4f}" for name, value in self._sums.items())
        rate = made * settings.batch / max(elapsed_s, 1e-9)
        self._log(f"step {step + 1} {shown} {rate:.0f} scenes/s ETA {left / 60:.1f} min")
        self._sums, self._counted = {}, 0


def load_checkpoint(path: Path) -> tuple[DeepAsaEdge, dict[str, Any]]:
    """The network of a checkpoint, ready to listen, and the checkpoint itself."""
    saved = torch.load(path, weights_only=True, map_location="cpu")
    network = DeepAsaEdge(NetworkSettings(**saved["settings"]["network"]))
    network.load_state_dict(saved["network"])
    return network.eval(), saved
