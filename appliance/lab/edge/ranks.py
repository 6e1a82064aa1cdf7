"""Processes that learn together, each from scenes of its own and on a device of its own: `torchrun` starts them, else there is one.

Every process holds the same weights: they begin alike, and each step is taken with the mean of all gradients. (Batch
normalisation's statistics are those of a process's own scenes; the first one's are kept, as PyTorch's own data parallelism has it.)
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, distributed, nn

from appliance.errors import ConfigError
from appliance.lab.edge.settings import TrainSettings

_SEED_STRIDE = 1_000_003


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of how many processes this is. Every method but the properties is called by all of them, or none goes on."""

    device: str
    """Where this one learns, as PyTorch names it."""
    rank: int = 0
    world: int = 1

    @classmethod
    def joined(cls, device: str) -> "Ranks":
        """Meet the others that `torchrun` started. On GPUs each has the one of its number on this machine."""
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if world == 1:
            return cls(device)
        if device == "cuda":
            device = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(device)
        if not distributed.is_initialized():
            distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        return cls(device, distributed.get_rank(), world)

    def leave(self) -> None:
        """Part from the others, once all have come to this."""
        if self.world > 1:
            distributed.barrier()
            distributed.destroy_process_group()

    @property
    def first(self) -> bool:
        """The one that speaks and writes."""
        return self.rank == 0

    def share(self, settings: TrainSettings) -> TrainSettings:
        """What this process makes of an experiment: its part of each batch, and scenes that no other one has."""
        if settings.batch % (self.world * settings.uses):
            raise ConfigError(
                f"batch: {settings.batch} scenes cannot be shared by {self.world} processes with {settings.uses} uses each"
            )
        return replace(settings, batch=settings.batch // self.world, seed=settings.seed + _SEED_STRIDE * self.rank)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the mean over all processes in place of each gradient."""
        if self.world == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(together)
        together /= self.world
        means = torch.split(together, [gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))

    def of_first(self, value: float) -> float:
        """The first one's value: clocks differ, and a step must mean the same to all."""
        if self.world == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(shared, 0)
        return float(shared)

    def gathered(self, values: Tensor) -> Tensor:
        """The parts of all processes one after the other, along the first dimension."""
        if self.world == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.world)]
        distributed.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    def own_part(self, values: Tensor) -> Tensor:
        """What of such a whole is this process's."""
        size = len(values) // self.world
        return values[self.rank * size : (self.rank + 1) * size]
