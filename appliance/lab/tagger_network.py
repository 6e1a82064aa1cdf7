"""The tagger's network: levels of a beam over the last seconds → what sounds in it. A small residual CNN, no state."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from appliance.dsp.steered import BEAM_BANDS
from appliance.lab.pack import SOUNDS

TAGGER_HOPS = 128
"""2.56 s of hops are heard at once."""


@dataclass(frozen=True, slots=True)
class TaggerSettings:
    """Size of the network; kept in its checkpoint."""

    channels: tuple[int, ...] = (16, 32, 64, 96)
    """Of the stages; the first halves the hops, each further one hops and bands."""
    head: int = 192
    """Width of what is kept of each moment."""
    dropout: float = 0.3


class TaggerCnn(nn.Module):
    """`relative_levels` (N, 1, hops, bands) → logits (N, sounds of `SOUNDS`)."""

    def __init__(self, settings: TaggerSettings) -> None:
        super().__init__()
        self.settings = settings
        first, second, third, fourth = settings.channels
        bands = -(-BEAM_BANDS // 2)
        self.stem = _conv(1, first, 5, (2, 1))
        self.down1, self.again1 = _conv(first, second, 3, (2, 2)), _conv(second, second, 3, 1)
        # A harmonic at 150 Hz and one at 3 kHz look alike to a convolution; what they mean is not.
        self.band_place = nn.Parameter(torch.zeros(1, second, 1, bands))
        self.down2, self.again2 = _conv(second, third, 3, (2, 2)), _conv(third, third, 3, 1)
        self.down3, self.again3 = _conv(third, fourth, 3, (2, 2)), _conv(fourth, fourth, 3, 1)
        drop = nn.Dropout(settings.dropout)
        self.moment = nn.Sequential(drop, nn.Linear(fourth * -(-bands // 4), settings.head), nn.ReLU(), drop)
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


def _conv(inputs: int, outputs: int, kernel: int, stride: int | tuple[int, int]) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())
