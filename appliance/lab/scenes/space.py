"""Where the sounds of training scenes are and how they come to the array: paths, responses, reflections, fields.

A plane wave enters by the encoded response of its direction; reflections as other directions with a delay that drifts with
the source; ambience and reverberation as isotropic fields, wind and self-noise as fields that are incoherent between
microphones. The noise is the transform of real samples, so that neighbouring hops are as alike as they are in the field.
"""

import torch
from torch import Tensor
from torch.nn import functional

from appliance.dsp.stft import HOP_SAMPLES, HOPS_PER_LABEL, SAMPLE_RATE_HZ, WINDOW_SAMPLES, bin_frequencies_hz
from appliance.lab.scenes.dice import Dice
from appliance.lab.scenes.fields import ArrayBank
from appliance.lab.scenes.sources import in_band, power
from appliance.lab.scenes.torch_features import TorchFeatures

LABEL_S = HOP_SAMPLES * HOPS_PER_LABEL / SAMPLE_RATE_HZ
_KEY_LABELS = 4
"""Label frames from one key direction of a path to the next; responses between them are interpolated."""
_WHITE_S = 60.0


class SceneSpace:
    """The surroundings of `arrays` for scenes of so many label frames; white noise comes from `dice`."""

    def __init__(self, arrays: ArrayBank, labels: int, front_end: TorchFeatures, dice: Dice) -> None:
        self._arrays, self._labels, self._device = arrays, labels, dice.device
        self._hz = torch.from_numpy(bin_frequencies_hz()).to(dice.device, torch.float32)
        white = dice.normal(4, int(_WHITE_S * SAMPLE_RATE_HZ))
        self._white = front_end.stft(white) / (0.375 * WINDOW_SAMPLES) ** 0.5

    def bed(self, dice: Dice, array: Tensor, spectra: Tensor) -> Tensor:
        """Ambience as a diffuse field with the recording's levels, wind and self-noise: (n, 4, hops, bins)."""
        n, hops = spectra.shape[:2]
        around = functional.avg_pool2d(power(spectra)[:, None], 3, stride=1, padding=1)[:, 0]
        level = around.sqrt()
        level = level / (in_band(level**2).sqrt() + 1e-12)[:, None, None]
        # A floor under the recorded bed: its silent parts and codec cut-offs are not how the field is.
        coloured = torch.pow(100.0 / self._hz.clamp(min=60.0), dice.uniform(n)[:, None])[:, None]
        floor = _decibel(dice, n, -25.0, -3.0) * coloured / in_band(coloured**2).sqrt()[:, None, None]
        bed = self._field(dice, self._arrays.diffuse_root[array], level + floor)
        gust = dice.curve(n, hops, 25.0)[..., None]
        speed = torch.exp(0.35 * gust)
        corner_hz = dice.uniform(n, low=15.0, high=80.0)[:, None, None] * speed
        slope = dice.uniform(n, low=0.8, high=1.8)[:, None, None]
        # The corner moves up with the gust, as turbulence is carried past the microphone faster (Corcos 1964).
        wind = speed**2 / torch.pow(1.0 + self._hz / corner_hz, 2.0 * slope)
        wind = wind / in_band(wind**2).sqrt()[:, None, None] * _decibel(dice, n, -15.0, 15.0)
        windy = (dice.uniform(n) < 0.5)[:, None, None]
        incoherent = _decibel(dice, n, -45.0, -20.0) + torch.where(windy, wind, 0.0)
        return bed + self._field(dice, self._arrays.incoherent_root[array], incoherent)

    def _field(self, dice: Dice, root: Tensor, level: Tensor) -> Tensor:
        """(n, 4, hops, bins) noise of magnitude (n, hops, bins) with the spatial covariance root·rootᴴ, root (n, 4, bins, 4)."""
        n, hops = level.shape[:2]
        start = dice.integers(0, self._white.shape[1] - hops, n)
        order = dice.orders(n, 4)
        stretch = start[:, None] + torch.arange(hops, device=self._device)
        white = self._white[order[:, :, None], stretch[:, None]]
        noise = torch.empty_like(white)
        for channel in range(4):
            total = root[:, channel, None, :, 0] * white[:, 0]
            for source in range(1, 4):
                total += root[:, channel, None, :, source] * white[:, source]
            noise[:, channel] = total * level
        return noise

    def paths(self, dice: Dice, n: int) -> Tensor:
        """(n, labels, 3) unit vectors: still, or drifting by some degrees per second."""
        labels = self._labels
        time_s = LABEL_S * torch.arange(labels, device=self._device)
        moving = dice.uniform(n) < 0.5
        azimuth_rate = torch.where(moving, 8.0 * dice.normal(n), 0.0)[:, None]
        elevation_rate = torch.where(moving, 3.0 * dice.normal(n), 0.0)[:, None]
        azimuth_deg = dice.uniform(n, low=-180.0, high=180.0)[:, None] + azimuth_rate * time_s
        elevation_deg = (12.0 + 22.0 * dice.normal(n)).clamp(-30.0, 85.0)[:, None] + elevation_rate * time_s
        azimuth, elevation = torch.deg2rad(azimuth_deg), torch.deg2rad(elevation_deg.clamp(-35.0, 89.0))
        level = torch.cos(elevation)
        return torch.stack([level * torch.cos(azimuth), level * torch.sin(azimuth), torch.sin(elevation)], dim=2)

    def propagated(self, dice: Dice, array: Tensor, dry: Tensor, path: Tensor) -> tuple[Tensor, Tensor]:
        """Direct sound on W (n, hops, bins), and all there is of each source (n, 4, hops, bins)."""
        n, labels = path.shape[:2]
        response = self._along(array, path)
        direct = response[:, 0].repeat_interleave(HOPS_PER_LABEL, dim=1) * dry
        reflections = dice.choice(dry.real.new_tensor([0.4, 0.45, 0.15]), n)
        ground = path * path.new_tensor([1.0, 1.0, -1.0])
        for number in (1, 2):
            elsewhere = functional.normalize(path + dice.normal(n, 1, 3), dim=2)
            mirrored = torch.where((dice.uniform(n) < 0.7)[:, None, None], ground, elsewhere)
            delay_s = dice.uniform(n, low=2e-4, high=1.2e-2)[:, None]
            drift = torch.where((path[:, 0] != path[:, -1]).any(dim=1), 0.1 * dice.normal(n), 0.0)[:, None]
            delay_s = delay_s * torch.exp(drift * LABEL_S * torch.arange(labels, device=self._device))
            strength, corner_hz = dice.uniform(n, low=0.1, high=0.8), dice.uniform(n, low=1e3, high=8e3)
            magnitude = (strength[:, None] / (1.0 + self._hz / corner_hz[:, None]))[:, None]
            chosen = (reflections >= number).nonzero()[:, 0]
            late = torch.polar(magnitude.expand(-1, labels, -1), -2.0 * torch.pi * self._hz * delay_s[..., None])
            heard = self._along(array[chosen], mirrored[chosen]) * late[chosen, None]
            response = response.index_add(0, chosen, heard)
        wet = response.repeat_interleave(HOPS_PER_LABEL, dim=2) * dry[:, None]
        echoing = (dice.uniform(n) < 0.4).nonzero()[:, 0]
        tail = self._tail(dice, array[echoing], dry[echoing])
        return direct, wet.index_add(0, echoing, tail)

    def _along(self, array: Tensor, path: Tensor) -> Tensor:
        """Encoded response (n, 4, labels, bins) to plane waves from a path (n, labels, 3)."""
        labels = path.shape[1]
        keys = -(-(labels - 1) // _KEY_LABELS) + 1
        moments = torch.linspace(0, labels - 1, keys, device=self._device).round().long()
        response = self._arrays.response(array, path[:, moments])
        after = torch.searchsorted(moments, torch.arange(labels, device=self._device)).clamp(min=1)
        span = moments[after] - moments[after - 1]
        share = ((torch.arange(labels, device=self._device) - moments[after - 1]) / span)[:, None]
        return response[:, :, after - 1] * (1.0 - share) + response[:, :, after] * share

    def _tail(self, dice: Dice, array: Tensor, dry: Tensor) -> Tensor:
        """Reverberation (n, 4, hops, bins): an isotropic field whose energy dies away behind the sound."""
        n, hops = dry.shape[:2]
        reverberation_s = dice.uniform(n, low=0.15, high=1.2)[:, None, None]
        ages = torch.arange(hops, device=self._device)[:, None] - torch.arange(hops, device=self._device)
        decay = torch.pow(10.0, -6.0 * HOP_SAMPLES / SAMPLE_RATE_HZ / reverberation_s * ages.clamp(min=0))
        energy = power(dry)
        late = torch.bmm(torch.where(ages > 0, decay, 0.0), energy)
        ratio = torch.pow(10.0, -dice.uniform(n, high=18.0) / 10.0)
        ratio = ratio * energy.sum(dim=(1, 2)) / (late.sum(dim=(1, 2)) + 1e-12)
        return self._field(dice, self._arrays.diffuse_root[array], (ratio[:, None, None] * late).sqrt())


def _decibel(dice: Dice, n: int, low: float, high: float) -> Tensor:
    """(n, 1, 1) amplitudes, uniform in decibels."""
    return torch.pow(10.0, dice.uniform(n, 1, 1, low=low, high=high) / 20.0)
