"""Train DeepASA-Edge on scenes that are drawn while it learns. Readable in one sitting.

On a GPU the scenes are made there too, so that it never waits for a processor; on a CPU other processes make them. Every batch
depends on (seed, step) and the kind of device alone, so a run resumes at the exact step. The rate is warmed up, constant, and
falls linearly to zero over the last part, which does what averaging the weights would. (An exponential average was
tried: on the plateau it scores worse than the weights themselves, since batch normalisation's statistics lag behind.)
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from appliance.errors import ConfigError
from appliance.lab.checkpoint import fill, read_checkpoint, rebuilt, write_checkpoint
from appliance.lab.commit import current_commit
from appliance.lab.edge.batches import batches_from
from appliance.lab.edge.layers import State
from appliance.lab.edge.losses import scene_loss
from appliance.lab.edge.network import DeepAsaEdge, NetworkSettings
from appliance.lab.edge.ranks import Ranks
from appliance.lab.edge.settings import TrainSettings, learning_rate
from appliance.lab.edge.shards import read_shards
from appliance.lab.scenes.maker import Batch
from appliance.lab.workers import silent


class Learner:
    """The network as it learns: weights, optimiser, and what it still remembers of the scenes before.

    On a GPU a whole step is one graph of fused kernels: so small a network would wait for its thousands of launches, and
    then for its memory.
    """

    def __init__(self, settings: TrainSettings, device: str, ranks: Ranks | None = None) -> None:
        """`ranks`: who else learns the same; `settings.batch` is of them all."""
        torch.manual_seed(settings.seed)
        self.settings, self._device = settings, torch.device(device)
        self._ranks = ranks or Ranks(device)
        self._commit = current_commit()  # what learns now; others may be made meanwhile
        own_batch = settings.batch // self._ranks.world
        network = DeepAsaEdge(settings.network).to(device)
        self.network: DeepAsaEdge = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._rate = torch.tensor(settings.learning_rate, device=device)
        on_gpu = self._device.type == "cuda"
        self._graphed = on_gpu and self._ranks.world == 1  # processes meet in the middle of a step
        kind = {"lr": self._rate, "capturable": True, "fused": True} if on_gpu else {"lr": self._rate}
        self.optimiser = torch.optim.AdamW(network.parameters(), weight_decay=settings.weight_decay, **kind)
        self._kind = {name: self.optimiser.param_groups[0][name] for name in ("lr", "capturable", "fused", "foreach")}
        self._state = network.initial_state(own_batch)
        # Half of the next scenes begin with what another scene left behind: the unit listens for hours, and what it
        # remembers must not outlive its cause.
        self._stale = (torch.arange(own_batch, device=device) % 2 == 0)[:, None, None, None]
        self._fused = torch.compile(self._losses, fullgraph=True) if on_gpu and settings.fused else self._losses
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch: Batch = {}
        self._parts: dict[str, Tensor] = {}

    def learn(self, batch: Batch, rate: float) -> dict[str, Tensor]:
        """One step; the parts of the loss."""
        self._rate.fill_(rate)
        self.network.train()
        if not self._graphed:
            return self._step(batch)
        if self._graph is None:
            self._graph = self._taken(batch)
        for name, tensor in batch.items():
            self._batch[name].copy_(tensor)
        self._graph.replay()
        return {name: part.clone() for name, part in self._parts.items()}

    def rehearse(self, batch: Batch) -> None:
        """Take a few steps and undo them: compiled kernels and the optimiser's moments are there then, and nothing was learned."""
        held = [*self.network.state_dict().values(), *self._state.values()]
        moments = [moment for own in self.optimiser.state.values() for moment in own.values()]
        before = [tensor.clone() for tensor in (*held, *moments)]
        for _ in range(3):
            self._step(batch)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            for tensor, kept in zip((*held, *moments), before, strict=True):
                tensor.copy_(kept)
            if not moments:  # there were none before: all that there are now begin at nought
                for own in self.optimiser.state.values():
                    for moment in own.values():
                        moment.zero_()

    def _taken(self, batch: Batch) -> torch.cuda.CUDAGraph:
        """The graph of one step on tensors that stay where they are."""
        self._batch = {name: tensor.clone() for name, tensor in batch.items()}
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            self.rehearse(self._batch)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._parts = self._step(self._batch)
        return graph

    def _losses(self, batch: Batch, state: State) -> tuple[Tensor, dict[str, Tensor], State]:
        features = batch["features"].to(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.settings.bfloat16):
            outputs, heard = self.network(features, state)
        outputs = {name: output.float() for name, output in outputs.items()}
        return *scene_loss(outputs, batch, batch["features"]), heard

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        loss, parts, heard = self._fused(batch, self._state)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._ranks.average_gradients(self.network.parameters())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimiser.step()
        with torch.no_grad():
            for name, kept in heard.items():
                self._state[name].copy_(torch.where(self._stale, kept.float(), 0.0))
        return {"loss": loss.detach(), **parts}

    def checkpoint(self) -> dict[str, Any]:
        """All that `restore` needs, and the settings; every process calls it."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "state": {name: self._ranks.gathered(values) for name, values in self._state.items()},
            "settings": asdict(self.settings),
            "commit": self._commit,
        }

    def restore(self, saved: dict[str, Any], path: Path) -> None:
        """Go on from a checkpoint; one that ships has neither optimiser nor memory, and one of another batch size no memory."""
        fill(self.network, saved, path)
        if "optimiser" in saved:
            self.optimiser.load_state_dict(saved["optimiser"])
            for group in self.optimiser.param_groups:  # of this device, and of this run
                group.update(self._kind, weight_decay=self.settings.weight_decay)
        for name, values in self._state.items():
            kept = saved.get("state", {}).get(name)
            if kept is not None and len(kept) == self.settings.batch:
                values.copy_(self._ranks.own_part(kept))


def train(
    settings: TrainSettings,
    folder: Path,
    *,
    start: Path | None = None,
    workers: int = 1,
    threads: int = 1,
    device: str = "cpu",
    shards: Path | None = None,
    log: Callable[[str], None] = print,
) -> Path:
    """Train, or go on from `folder`/last.pt; the path of the last checkpoint comes back.

    `start` is the checkpoint that a new folder begins from, its steps counted. `device` is PyTorch's name of where the network learns, `cpu` or `cuda`.
    `shards` is a folder of scenes made beforehand (`shards`). Started by `torchrun`, each process learns from its part
    of every batch.
    """
    from appliance.lab.edge.validate import validate

    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high")  # of a GPU: what is not bfloat16 need not be exact
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.pt"
    ranks = Ranks.joined(device)
    device, share = ranks.device, ranks.share(settings)
    if shards is not None and ranks.world > 1:
        raise ConfigError("--shards: batches made beforehand cannot be shared; leave it out, or train in one process")
    if not ranks.first:  # only one of several processes has a voice
        log = silent
    learner = Learner(settings, device, ranks)
    step, seconds, own_s = 0, 0.0, 0.0
    origin = last if last.exists() else start
    if origin is not None:
        saved = read_checkpoint(origin, device)
        learner.restore(saved, origin)
        step, seconds = saved["step"], saved["seconds"]
        own_s = saved["own_s"] if origin == last else 0.0
        log(f"going on from {origin} at step {step}")
    progress = Progress(settings, step, log)
    began = time.monotonic()
    made_before = None if shards is None else partial(read_shards, settings, shards)
    for batch in batches_from(share, step, device, workers, made_before):
        elapsed_s = ranks.of_first(own_s + time.monotonic() - began)
        torch.manual_seed(share.seed * 1_000_000_007 + step)  # of dropout: a run that goes on drops the same
        progress.add(step, elapsed_s, learner.learn(batch, learning_rate(settings, step, elapsed_s)))
        step += 1
        ended = elapsed_s >= 60.0 * settings.minutes if settings.minutes else step >= settings.steps
        if step % settings.validate_every == 0 or ended:
            saved = learner.checkpoint()
            if ranks.first:
                scores = validate(learner.network, settings.validation_scenes, seed=settings.seed)
                log(json.dumps({"step": step, **scores}))
                spent_s = time.monotonic() - began
                saved |= {"step": step, "seconds": seconds + spent_s, "own_s": own_s + spent_s, "scores": scores}
                write_checkpoint(last, saved)
        if ended:
            break
    ranks.leave()
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
    saved = read_checkpoint(path)
    return rebuilt(saved, path, DeepAsaEdge, NetworkSettings), saved
