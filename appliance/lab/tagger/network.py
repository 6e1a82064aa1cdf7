"""The tagger's networks: levels of a beam over the last seconds, as one ear hears them → what sounds in it. Residual CNNs, no state."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from appliance.dsp.steered import EARS
from appliance.lab.pack import SOUNDS


@dataclass(frozen=True, slots=True)
class TaggerSettings:
    """Shape of a network; kept in its checkpoint."""

    ear: str = "middle"
    """Which of `EARS` it is for."""
    kernel: tuple[int, int] = (5, 5)
    """Of the stem, over hops and bands."""
    strides: tuple[tuple[int, int], ...] = ((2, 1), (2, 2), (2, 2), (2, 2))
    """Over hops and bands, of the stem and of each stage."""
    channels: tuple[int, ...] = (16, 32, 64, 96)
    """Likewise."""
    head: int = 192
    """Width of what is kept of each moment."""
    dropout: float = 0.3


NETWORKS: Mapping[str, TaggerSettings] = {
    "middle": TaggerSettings(),
    "long": TaggerSettings("long", (3, 5), ((1, 2), (2, 2), (2, 2), (1, 4))),
    "short": TaggerSettings("short", (7, 3), ((4, 1), (2, 1), (2, 2), (2, 2))),
}
"""By ear: all cost about the same."""


class TaggerCnn(nn.Module):
    """`Ear.relative_levels` (N, 1, hops, bands) → logits (N, sounds of `SOUNDS`)."""

    def __init__(self, settings: TaggerSettings) -> None:
        super().__init__()
        self.settings = settings
        first, second, third, fourth = settings.channels
        bands = [EARS[settings.ear].bands]
        for _, across in settings.strides:
            bands.append(-(-bands[-1] // across))
        at_stem, *at = settings.strides
        self.stem = _conv(1, first, settings.kernel, at_stem)
        self.down1, self.again1 = _conv(first, second, (3, 3), at[0]), _conv(second, second)
        # A harmonic at 150 Hz and one at 3 kHz look alike to a convolution; what they mean is not.
        self.band_place = nn.Parameter(torch.zeros(1, second, 1, bands[2]))
        self.down2, self.again2 = _conv(second, third, (3, 3), at[1]), _conv(third, third)
        self.down3, self.again3 = _conv(third, fourth, (3, 3), at[2]), _conv(fourth, fourth)
        drop = nn.Dropout(settings.dropout)
        self.moment = nn.Sequential(drop, nn.Linear(fourth * bands[-1], settings.head), nn.ReLU(), drop)
        self.name = nn.Linear(2 * settings.head, len(SOUNDS))

    def forward(self, levels: Tensor) -> Tensor:
        """As the class says."""
        x = self.down1(self.stem(levels)) + self.band_place
        x = self.down2(x + self.again1(x))
        x = self.down3(x + self.again2(x))
        x = x + self.again3(x)
        moments = self.moment(x.permute(0, 2, 1, 3).flatten(2))
        logits: Tensor = self.name(torch.cat([moments.mean(dim=1), moments.amax(dim=1)], dim=1))
        return logits


def _conv(
    inputs: int, outputs: int, kernel: tuple[int, int] = (3, 3), stride: int | tuple[int, int] = 1
) -> nn.Sequential:
    padding = (kernel[0] // 2, kernel[1] // 2)
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())
