"""Layers of the edge networks: causal, with their state in named tensors (N, channels, time, bands)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from appliance.dsp.stft import HOP_SAMPLES, HOPS_PER_LABEL, SAMPLE_RATE_HZ

State = dict[str, Tensor]

MEMORY_S = 20.0
"""Scenes are 4 s when it learns. Without this a gate that is nearly shut gathered over half a minute of one loud drone what no
scene had ever left behind, and the network stayed deaf to what came after it, for good."""
_FADES = math.exp(-HOP_SAMPLES * HOPS_PER_LABEL / SAMPLE_RATE_HZ / MEMORY_S)


class CausalConv(nn.Module):
    """Convolution whose kernel reaches into the past only; its state holds the last inputs."""

    def __init__(self, name: str, inputs: int, outputs: int, kernel: tuple[int, int], bands: int) -> None:
        super().__init__()
        self.name = name
        self.context = kernel[0] - 1
        self.state_shape = (inputs, self.context, bands)
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=(0, kernel[1] // 2), bias=False)

    def forward(self, x: Tensor, state: State, new_state: State) -> Tensor:
        x = torch.cat([state[self.name], x], dim=2)
        new_state[self.name] = x[:, :, -self.context :]
        return self.conv(x)


class MinGru(nn.Module):
    """minGRU over time: h ← (1 − z)·h + z·h̃, gate and candidate from the input alone, so all products come first.

    What it remembers fades within `MEMORY_S` whatever the gates say.
    """

    def __init__(self, name: str, inputs: int, outputs: int, bands: int) -> None:
        super().__init__()
        self.name = name
        self.state_shape = (outputs, 1, bands)
        self.gate_and_candidate = nn.Conv2d(inputs, 2 * outputs, 1)

    def forward(self, x: Tensor, state: State, new_state: State) -> Tensor:
        gate, candidate = self.gate_and_candidate(x).float().chunk(2, dim=1)
        gate = torch.sigmoid(gate)
        h, new_state[self.name] = follow(_FADES * (1.0 - gate), gate * candidate, state[self.name])
        return h


def follow(keep: Tensor, new: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """H ← keep·h + new along time, from `last` (N, channels, 1, bands); all of h, and its end."""
    if new.shape[2] == 1:  # the step graph of the export
        h = keep * last + new
        return h, h
    # A parallel scan (Hillis & Steele 1986): after each round a moment has heard twice as many before it.
    keep = keep.expand_as(new)
    h = torch.cat([new[:, :, :1] + keep[:, :, :1] * last, new[:, :, 1:]], dim=2)
    heard = 1
    while heard < h.shape[2]:
        h = torch.cat([h[:, :, :heard], h[:, :, heard:] + keep[:, :, heard:] * h[:, :, :-heard]], dim=2)
        keep = torch.cat([keep[:, :, :heard], keep[:, :, heard:] * keep[:, :, :-heard]], dim=2)
        heard *= 2
    return h, h[:, :, -1:]


def pointwise(inputs: int, outputs: int, *, relu: bool) -> nn.Sequential:
    """Product over channels, normalised, with ReLU or without."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU()) if relu else nn.Sequential(*layers)


class FullBand(nn.Module):
    """Every band hears every band: squeeze channels, mix over bands, expand."""

    def __init__(self, width: int, bands: int, squeezed: int = 8) -> None:
        super().__init__()
        self.squeeze = pointwise(width, squeezed, relu=True)
        self.mix = nn.Conv2d(squeezed * bands, squeezed * bands, 1)
        self.expand = pointwise(squeezed, width, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.squeeze(x)
        n, channels, time, bands = y.shape
        y = y.permute(0, 1, 3, 2).reshape(n, channels * bands, time, 1)
        y = functional.relu(self.mix(y))
        y = y.reshape(n, channels, bands, time).permute(0, 1, 3, 2)
        return self.expand(y)


class Block(nn.Module):
    """Frequency (gated conv, full band, FFN), then time (gated causal conv, minGRU, FFN); each part is a residual."""

    def __init__(self, name: str, width: int, bands: int) -> None:
        super().__init__()
        self.frequency = nn.Sequential(
            nn.Conv2d(width, 2 * width, (1, 3), padding=(0, 1), bias=False), nn.BatchNorm2d(2 * width), nn.GLU(dim=1)
        )
        self.full_band = FullBand(width, bands)
        self.ffn_frequency = nn.Sequential(
            pointwise(width, 2 * width, relu=True), pointwise(2 * width, width, relu=False)
        )
        self.time = CausalConv(f"{name}_time", width, 2 * width, (3, 1), bands)
        self.time_gate = nn.Sequential(nn.BatchNorm2d(2 * width), nn.GLU(dim=1))
        self.recurrence = MinGru(f"{name}_gru", width, width, bands)
        self.recurrence_out = pointwise(width, width, relu=False)
        self.ffn_time = nn.Sequential(pointwise(width, 2 * width, relu=True), pointwise(2 * width, width, relu=False))

    def forward(self, x: Tensor, state: State, new_state: State) -> Tensor:
        x = x + self.frequency(x)
        x = x + self.full_band(x)
        x = x + self.ffn_frequency(x)
        x = x + self.time_gate(self.time(x, state, new_state))
        x = x + self.recurrence_out(self.recurrence(x, state, new_state))
        return x + self.ffn_time(x)
