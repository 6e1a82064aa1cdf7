"""Train DeepASA-Edge on scenes drawn on the fly. Readable in one sitting.

Every batch depends on (seed, step) alone, so a run resumes at the exact step. Scenes cost as much as learning from them,
so each is used twice: new, and again some steps later, turned another way (data echoing, arXiv 1907.05550). The rate is warmed up, constant, and
falls linearly to zero over the last part, which does what averaging the weights would. (An exponential average was
tried: on the plateau it scores worse than the weights themselves, since batch normalisation's statistics lag behind.)
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from appliance.lab.commit import current_commit
from appliance.lab.losses import scene_loss
from appliance.lab.network import DeepAsaEdge, NetworkSettings
from appliance.lab.scenes import Scene, SceneMaker, SceneSettings, turned


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """One experiment; kept in every checkpoint."""

    seed: int = 0
    batch: int = 16
    fresh: int = 8
    """New scenes in a batch; the others were new `_ECHO_AFTER` steps ago."""
    steps: int = 10_000
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    decay_share: float = 0.3
    weight_decay: float = 0.01
    curriculum_steps: int = 2500
    """Scenes go from clear single targets to what `scenes` says over this many steps."""
    bfloat16: bool = True
    """Mixed precision: convolutions in bfloat16."""
    validate_every: int = 1000
    network: NetworkSettings = field(default_factory=NetworkSettings)
    scenes: SceneSettings = field(default_factory=SceneSettings)


Batch = dict[str, Tensor]

_ECHO_AFTER = 60
"""Steps from a scene's first use to its second: a multiple of 1 to 6 workers, so that the same one remembers it."""


class SceneBatches(IterableDataset[Batch]):
    """Batches by step number; worker i of W makes those with step ≡ i (mod W)."""

    def __init__(self, settings: TrainSettings, first_step: int) -> None:
        self._settings, self._first_step = settings, first_step

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        settings = self._settings
        maker = SceneMaker(settings.scenes, settings.seed * 1000 + number)

        @lru_cache(maxsize=settings.batch * (_ECHO_AFTER + workers) // workers)
        def drawn(step: int, index: int) -> Scene:
            # Never all hard: what cannot be told in a din still has to be learned from what can.
            hardest = min(1.0, step / max(1, settings.curriculum_steps))
            share = np.random.default_rng([settings.seed, step, index]).uniform(0.1, 1.0)
            return maker.scene((settings.seed, step, index), hardest * share)

        for step in range(self._first_step + number, settings.steps, workers):
            echoed = max(0, step - _ECHO_AFTER)
            scenes = [
                drawn(step if index < settings.fresh else echoed, index % settings.fresh)
                for index in range(settings.batch)
            ]
            turns = np.random.default_rng([settings.seed, step])
            yield collate([turned(scene, turns) for scene in scenes])


def collate(scenes: list[Scene]) -> Batch:
    """Stack scenes into tensors named as `Scene`'s fields, with a batch dimension."""
    names = ("features", "ratio_mask", "activity", "class_index", "direction", "sounds")
    return {name: torch.from_numpy(np.stack([getattr(scene, name) for scene in scenes])) for name in names}


def learning_rate(settings: TrainSettings, step: int) -> float:
    """Warm-up, plateau, linear fall to zero."""
    fall_from = settings.steps * (1.0 - settings.decay_share)
    rise = min(1.0, (step + 1) / settings.warmup_steps)
    fall = min(1.0, (settings.steps - step) / max(1.0, settings.steps - fall_from))
    return settings.learning_rate * rise * fall


def train(
    settings: TrainSettings,
    folder: Path,
    *,
    start: Path | None = None,
    workers: int = 1,
    threads: int = 1,
    fuse: bool = False,
    device: str = "cpu",
    log: Any = print,
) -> Path:
    """Train, or go on from `folder`/last.pt; the path of the last checkpoint comes back.

    `start` is the checkpoint that a new folder begins from, its steps counted. `fuse` compiles the network first: two to
    three minutes, then a fifth faster. `device` is PyTorch's name of where the network learns, `cpu` or `cuda`.
    """
    from appliance.lab.validate import validate

    torch.set_num_threads(threads)
    torch.manual_seed(settings.seed)
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.pt"
    network = DeepAsaEdge(settings.network).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    step, seconds = 0, 0.0
    fresh = network.initial_state(settings.batch)
    state = fresh
    origin = last if last.exists() else start
    if origin is not None:
        saved = torch.load(origin, weights_only=True, map_location=device)
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        step, seconds = saved["step"], saved["seconds"]
        log(f"going on from {origin} at step {step}")
        state = saved.get("state", state)
    run = torch.compile(network, dynamic=False) if fuse else network
    batches = iter(
        DataLoader(
            SceneBatches(settings, step), batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None
        )
    )
    began, sums, counted = time.monotonic() - seconds, dict[str, float](), 0
    for batch in batches:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(settings, step)
        network.train()
        batch = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
        features = batch["features"].to(memory_format=torch.channels_last)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=settings.bfloat16):
            outputs, heard = run(features, state)
        outputs = {name: output.float() for name, output in outputs.items()}
        loss, parts = scene_loss(outputs, batch, batch["features"])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        # Half of the next scenes begin with what another scene left behind: the unit listens for hours, and what it
        # remembers must not outlive its cause.
        stale = torch.arange(settings.batch, device=device) % 2 == 0
        state = {
            name: torch.where(stale[:, None, None, None], kept.detach().float(), fresh[name])
            for name, kept in heard.items()
        }
        step += 1
        counted += 1
        for name, part in {"loss": float(loss.detach()), **parts}.items():
            sums[name] = sums.get(name, 0.0) + part
        if step % 100 == 0 or step == settings.steps:
            elapsed = time.monotonic() - began
            eta_min = elapsed / step * (settings.steps - step) / 60
            shown = " ".join(f"{name} {value / counted:.4f}" for name, value in sums.items())
            log(
                f"step {step}/{settings.steps} {shown} {step * settings.batch / elapsed:.1f} scenes/s ETA {eta_min:.0f} min"
            )
            sums, counted = {}, 0
        if step % settings.validate_every == 0 or step == settings.steps:
            seconds = time.monotonic() - began
            scores = validate(network, seed=settings.seed)
            log(json.dumps({"step": step, **scores}))
            checkpoint = {
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "state": state,
                "step": step,
                "seconds": seconds,
                "settings": asdict(settings),
                "commit": current_commit(),
                "scores": scores,
            }
            torch.save(checkpoint, folder / "next.pt")
            (folder / "next.pt").replace(last)
    return last


def load_checkpoint(path: Path) -> tuple[DeepAsaEdge, dict[str, Any]]:
    """The network of a checkpoint, ready to listen, and the checkpoint itself."""
    saved = torch.load(path, weights_only=True, map_location="cpu")
    network = DeepAsaEdge(NetworkSettings(**saved["settings"]["network"]))
    network.load_state_dict(saved["network"])
    return network.eval(), saved
