"""Random numbers of a batch of scenes on its device: the same key, device and calls give the same numbers."""

import numpy as np
import torch
from torch import Tensor


class Dice:
    """A generator of PyTorch with the draws that scenes need."""

    def __init__(self, key: tuple[int, ...], device: torch.device) -> None:
        self.device = device
        seed = int(np.random.SeedSequence(list(key)).generate_state(1, np.uint64)[0] >> 1)
        self._generator = torch.Generator(device).manual_seed(seed)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform in [low, high)."""
        return low + (high - low) * torch.rand(shape, generator=self._generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(shape, generator=self._generator, device=self.device)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Whole numbers in [low, high)."""
        return torch.randint(low, high, shape, generator=self._generator, device=self.device)

    def choice(self, weights: Tensor, count: int) -> Tensor:
        """(count,) indices drawn by weight (choices,)."""
        return torch.multinomial(weights, count, replacement=True, generator=self._generator)

    def orders(self, n: int, of: int) -> Tensor:
        """(n, of) random permutations."""
        return self.uniform(n, of).argsort(dim=1)

    def curve(self, n: int, samples: int, knots: float) -> Tensor:
        """(n, samples) normal values every `knots` samples, straight lines between them."""
        count = int(samples / knots) + 2
        values = self.normal(n, count)
        position = torch.arange(samples, device=self.device) / knots
        left = position.long()
        share = position - left
        return values[:, left] * (1.0 - share) + values[:, left + 1] * share
