"""How the weights of every network here learn: matrices between hidden channels by Muon, all else by AdamW."""

from typing import Any

import torch
from torch import Tensor, nn

from appliance.lab.muon import Muon

_NARROW = 32
"""A weight with a side so narrow leads in, leads out or is no matrix at all: Muon is for what lies between."""


class Optimisers:
    """Muon and AdamW as one, at one rate: a tensor that its owner fills."""

    def __init__(self, network: nn.Module, rate: Tensor, weight_decay: float, *, muon: bool = True) -> None:
        hidden = [weight for weight in network.parameters() if muon and is_hidden(weight)]
        rest = [weight for weight in network.parameters() if not (muon and is_hidden(weight))]
        on_gpu = rate.is_cuda
        self._parts: dict[str, torch.optim.Optimizer] = {
            "adamw": torch.optim.AdamW(
                rest, rate, weight_decay=weight_decay, capturable=on_gpu, fused=True if on_gpu else None
            )
        }
        if hidden:
            self._parts["muon"] = Muon(hidden, rate, weight_decay)

    def zero_grad(self) -> None:
        """Forget the last step's gradients."""
        for part in self._parts.values():
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Learn from the gradients."""
        for part in self._parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what was remembered of each weight; rate, decay and device stay this run's."""
        for name, part in self._parts.items():
            own = [{key: value for key, value in group.items() if key != "params"} for group in part.param_groups]
            part.load_state_dict(saved[name])
            for group, kept in zip(part.param_groups, own, strict=True):
                group.update(kept)


def is_hidden(weight: Tensor) -> bool:
    """A matrix, or a kernel that is one, wide on both sides."""
    return weight.ndim > 1 and min(len(weight), weight[0].numel()) > _NARROW
