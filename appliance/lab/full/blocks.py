"""What the full DeepASA is built of: blocks that hear a whole clip at once, along frequency and along time.

After DeFT-Mamba (Lee & Choi, ICASSP 2025), on which DeepASA stands: gated convolution, attention and a feed-forward part,
first along frequency, then along time, where the feed-forward part is a recurrence both ways. There it is Mamba, whose scan
needs CUDA kernels of its own; here it is a GRU both ways, which every build of PyTorch runs on every device.
"""

from torch import Tensor, nn
from torch.nn import functional

from appliance.dsp.stft import HOPS_PER_LABEL

_FFN = 4
"""Width of a feed-forward part, in widths of the block."""


class GatedConv(nn.Module):
    """Convolution of three steps with a gate, as a residual: (B, S, D) → the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, 2 * width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """As the class says."""
        return x + functional.glu(self.conv(self.norm(x).transpose(1, 2)), dim=1).transpose(1, 2)


class Attention(nn.Module):
    """Every step hears every step, as a residual: (B, S, D) → the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """As the class says."""
        batch, steps, width = x.shape
        parts = self.query_key_value(self.norm(x)).reshape(batch, steps, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        heard = functional.scaled_dot_product_attention(query, key, value)
        return x + self.out(heard.transpose(1, 2).reshape(batch, steps, width))


class FeedForward(nn.Module):
    """Each step alone, as a residual: (B, S, D) → the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, _FFN * width), nn.SiLU(), nn.Linear(_FFN * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """As the class says."""
        return x + self.layers(x)


class Recurrence(nn.Module):
    """A GRU both ways in the place of a feed-forward part, as a residual: (B, S, D) → the same."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gru = nn.GRU(width, hidden, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """As the class says."""
        return x + self.out(self.gru(self.norm(x))[0])


class Aggregation(nn.Module):
    """F-hybrid, then T-hybrid: (N, D, T, F) → the same."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.frequency = nn.Sequential(GatedConv(width), Attention(width, heads), FeedForward(width))
        self.time = nn.Sequential(GatedConv(width), Attention(width, heads), Recurrence(width, hidden))

    def forward(self, x: Tensor) -> Tensor:
        """As the class says."""
        n, width, time, bins = x.shape
        x = self.frequency(x.permute(0, 2, 3, 1).reshape(n * time, bins, width))
        x = x.reshape(n, time, bins, width).transpose(1, 2).reshape(n * bins, time, width)
        return self.time(x).reshape(n, bins, time, width).permute(0, 3, 2, 1)


class SeriesDecoder(nn.Module):
    """CNN and GRU both ways: an object's features (B, D, 5·L + 1, F) → its series (B, L, 2·hidden), one step per 100 ms."""

    def __init__(self, width: int, bins: int, hidden: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for hops in (HOPS_PER_LABEL, 1, 1):
            layers += [
                nn.Conv2d(width, width, 3, padding=1),
                nn.GroupNorm(1, width),
                nn.GELU(),
                nn.AvgPool2d((hops, 4)),
            ]
            bins //= 4
        self.cnn = nn.Sequential(*layers)
        self.gru = nn.GRU(width * bins, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        """As the class says."""
        y = self.cnn(x[:, :, :-1])
        return self.gru(y.permute(0, 2, 1, 3).flatten(2))[0]
