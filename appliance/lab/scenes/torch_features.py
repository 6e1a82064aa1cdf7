"""The front end of `dsp` in PyTorch, for batches of training scenes; a test holds it to NumPy's, value by value."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# Twins share their constants, which are nobody else's.
from appliance.dsp import harmonics
from appliance.dsp.features import _ENERGY_FLOOR, _LEVEL_DECAY, BAND_EDGES, BANDS, LEVEL_RANGE
from appliance.dsp.stft import BINS, HOP_SAMPLES, WINDOW, WINDOW_SAMPLES


class TorchFeatures:
    """STFT and band features on a device."""

    def __init__(self, device: torch.device) -> None:
        self._window = torch.from_numpy(WINDOW).to(device)
        sums = np.zeros((BINS, BANDS), np.float32)
        for band, (first, end) in enumerate(pairwise(BAND_EDGES)):
            sums[first:end, band] = 1.0
        self._band_sums = torch.from_numpy(sums).to(device)
        self._hop_weight = torch.from_numpy(harmonics.HOP_WEIGHT).to(device)
        self._long_window = torch.from_numpy(harmonics.LONG_WINDOW).to(device)
        self._comb = torch.from_numpy(harmonics.comb(BANDS)).to(device)
        self._slow: dict[int, Tensor] = {}

    def stft(self, waves: Tensor) -> Tensor:
        """Samples (..., n) → spectra (..., hops, bins); the first hop ends with the first whole window."""
        return torch.fft.rfft(waves.unfold(-1, WINDOW_SAMPLES, HOP_SAMPLES) * self._window)

    def band_sum(self, values: Tensor) -> Tensor:
        """(..., bins) → (..., bands)."""
        return values @ self._band_sums

    def features(self, foa: Tensor, validity: Tensor) -> Tensor:
        """Ambisonics (scenes, 4, hops, bins), validity (scenes, 2, bands) → (scenes, features, hops, bands)."""
        power = foa.real**2 + foa.imag**2
        energy = 0.5 * self.band_sum(power.sum(dim=1)) + _ENERGY_FLOOR
        level = torch.log10(self.band_sum(power[:, 0]) + _ENERGY_FLOOR)
        slow = level.mean(dim=2) @ self._slow_mean(level.shape[1], level.device).T
        level = (level - slow[..., None]).clamp(-LEVEL_RANGE, LEVEL_RANGE)
        w, y, z, x = foa.unbind(dim=1)
        intensity = torch.stack(
            [self.band_sum(w.real * dipole.real + w.imag * dipole.imag) / energy for dipole in (x, y, z)], dim=1
        )
        diffuseness = 1.0 - (intensity**2).sum(dim=1).sqrt()
        still = validity[:, :, None].expand(-1, -1, level.shape[1], -1)
        parts = [level[:, None], intensity, diffuseness[:, None], still, self._harmonicity(w)[:, None]]
        return torch.cat(parts, dim=1)

    def _slow_mean(self, hops: int, device: torch.device) -> Tensor:
        """(hops, hops) weights of `SlowLevel`: row k averages the hops up to k."""
        if hops not in self._slow:
            ages = np.arange(hops)[:, None] - np.arange(hops)[None]
            memory = np.where(ages >= 0, _LEVEL_DECAY ** np.maximum(ages, 0), 0.0)
            weights = (memory / memory.sum(axis=1, keepdims=True)).astype(np.float32)
            self._slow[hops] = torch.from_numpy(weights).to(device)
        return self._slow[hops]

    def _harmonicity(self, pressure: Tensor) -> Tensor:
        """`dsp.harmonics.Harmonicity` of W (scenes, hops, bins), from silence on: (scenes, hops, fundamentals)."""
        scenes, hops = pressure.shape[:2]
        segments = torch.fft.irfft(pressure, WINDOW_SAMPLES)
        added = torch.zeros((scenes, hops + 3, HOP_SAMPLES), device=pressure.device)
        for piece in range(0, WINDOW_SAMPLES, HOP_SAMPLES):
            part = segments[..., piece : piece + HOP_SAMPLES]
            added[:, piece // HOP_SAMPLES :][:, :hops, : part.shape[-1]] += part
        finished = (added[:, :hops] / self._hop_weight).flatten(1)
        heard = functional.pad(finished, (harmonics.LONG_SAMPLES - HOP_SAMPLES, 0))
        windows = heard.unfold(1, harmonics.LONG_SAMPLES, HOP_SAMPLES) * self._long_window
        spectrum = torch.fft.rfft(windows)[..., : self._comb.shape[1]]
        lines = torch.log10(spectrum.real**2 + spectrum.imag**2 + harmonics.FLOOR)
        half = harmonics.WHITENED_OVER // 2
        around = functional.pad(lines, (half, half), mode="replicate")
        mean = functional.avg_pool1d(around, harmonics.WHITENED_OVER, stride=1)
        flat = (lines - mean).clamp(*harmonics.CLIP)
        return (flat @ self._comb.T).clamp(-harmonics.RANGE, harmonics.RANGE)
