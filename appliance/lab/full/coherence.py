"""Chain of inference: what was said of class and of direction is held against each other, and both are said again.

DeepASA's temporal coherence matching: an object's activity and its direction come and go together. So cross-attention runs
between the series of sound event detection and those of direction, where a token is one class of one object, or one axis of
one object's direction, and *its course over time is its embedding*: tokens that move together find each other.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from appliance.dsp.stft import HOPS_PER_LABEL

_TAPS = 9
"""Label frames that a token's projections look at: they are convolutions along time, so that a clip may have any length."""


class CrossAttention(nn.Module):
    """Tokens (N, A, L) hear other tokens (N, B, L), as a residual: (N, A, L)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Conv1d(1, heads, _TAPS, padding=_TAPS // 2) for _ in range(3))
        self.out = nn.Conv1d(heads, 1, 1)

    def forward(self, tokens: Tensor, others: Tensor) -> Tensor:
        """As the class says."""
        query, key, value = _along(self.query, tokens), _along(self.key, others), _along(self.value, others)
        heard = functional.scaled_dot_product_attention(query, key, value)  # (N, heads, A, L)
        return tokens + _along(self.out, heard.transpose(1, 2))[:, 0]


def _along(conv: nn.Conv1d, tokens: Tensor) -> Tensor:
    """One convolution along time for every token: (N, A, L) or (N, A, channels, L) → (N, new channels, A, L)."""
    n, count, labels = tokens.shape[0], tokens.shape[1], tokens.shape[-1]
    channels = conv(tokens.reshape(n * count, conv.in_channels, labels))
    return channels.reshape(n, count, -1, labels).transpose(1, 2)


class TemporalCoherence(nn.Module):
    """Series of J objects, `sed` (N, J, L, C) and `doa` (N, J, L, 3) → features (N, D, 5·L + 1, F), seen in their light.

    The features are scaled and shifted, (1 + γ)·z + β, per channel and hop. γ and β begin at zero: untrained it changes nothing.
    """

    def __init__(self, objects: int, classes: int, width: int, heads: int) -> None:
        super().__init__()
        self.sed_hears_doa, self.doa_hears_sed = CrossAttention(heads), CrossAttention(heads)
        self.film = nn.Conv1d(objects * (classes + 3), 2 * width, 1)
        nn.init.zeros_(self.film.weight)
        assert self.film.bias is not None
        nn.init.zeros_(self.film.bias)

    def forward(self, features: Tensor, sed: Tensor, doa: Tensor) -> Tensor:
        """As the class says."""
        events, axes = (series.transpose(2, 3).flatten(1, 2) for series in (sed, doa))
        matched = torch.cat([self.sed_hears_doa(events, axes), self.doa_hears_sed(axes, events)], dim=1)
        film = self.film(matched).repeat_interleave(HOPS_PER_LABEL, dim=2)
        gamma, beta = torch.cat([film, film[:, :, -1:]], dim=2).unsqueeze(3).chunk(2, dim=1)
        return (1.0 + gamma) * features + beta
