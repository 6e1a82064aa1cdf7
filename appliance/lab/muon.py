"""Muon: momentum whose every matrix is made orthogonal, so that no direction of the weights learns faster than another.

After Jordan et al. (2024, kellerjordan.github.io/posts/muon) with the scale of Moonshot (arXiv 2502.16982), at which AdamW's
rate and decay hold for it too. `torch.optim.Muon` takes two-dimensional weights alone; here a convolution's kernel is a
matrix of outputs by all that it sees, and matrices of one shape go through together, as a GPU would have it.
"""

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

_MOMENTUM = 0.95
_ROUNDS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the Newton–Schulz iteration: singular values come to between 0.7 and 1.2, which is all that is asked."""
_LIKE_ADAMW = 0.2


class Muon(Optimizer):
    """For weights of two dimensions and more; `lr` may be a tensor."""

    def __init__(self, weights: Iterable[Tensor], lr: float | Tensor, weight_decay: float) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override] # noqa: ARG002
        """Learn from the gradients."""
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    alike[len(weight), weight[0].numel()].append(weight)
            for shape, weights in alike.items():
                update = orthogonal(torch.stack([self._momentum(weight).reshape(shape) for weight in weights]))
                update = update * (group["lr"] * _LIKE_ADAMW * math.sqrt(max(shape)))
                for weight, change in zip(weights, update, strict=True):
                    weight.mul_(1.0 - group["lr"] * group["weight_decay"])
                    weight.sub_(change.reshape(weight.shape))

    def _momentum(self, weight: Tensor) -> Tensor:
        """Nesterov's: one step ahead."""
        assert weight.grad is not None
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        momentum: Tensor = state["momentum"]
        momentum.mul_(_MOMENTUM).add_(weight.grad)
        return weight.grad + _MOMENTUM * momentum


def orthogonal(matrices: Tensor) -> Tensor:
    """(n, rows, columns) → the nearest semi-orthogonal ones, roughly."""
    a, b, c = _COEFFICIENTS
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_ROUNDS):
        square = x @ x.transpose(1, 2)
        x = a * x + (b * square + c * square @ square) @ x
    return (x.transpose(1, 2) if tall else x).to(matrices.dtype)
