"""Where the strongest sound comes from, and what a cardioid turned there would hear: from the band features alone.

The features keep no waveform, so the beam is one of energies: with the band's intensity i (within ±1) a cardioid towards
u is taken to hear ½·(1 + u·i) of the energy. A plane wave gives ½·(1 + cos θ), a diffuse field ½: where a beam on the
spectra would give the square and ⅓, so this one is the blunter, by less than 3 dB in front of the array.
"""

import math

import torch
from torch import Tensor

from appliance.dsp.features import FEATURE_NAMES, INTENSITY
from appliance.dsp.stft import HOP_SAMPLES, HOPS_PER_LABEL, SAMPLE_RATE_HZ

_LEVEL, _VALIDITY = FEATURE_NAMES.index("level"), FEATURE_NAMES.index("validity_xy")
_AZIMUTHS, _ELEVATIONS_DEG = 36, (-20.0, 0.0, 20.0, 40.0, 60.0, 80.0)
PEAKS = _AZIMUTHS * len(_ELEVATIONS_DEG)
"""Directions that are tried; between them the intensity itself tells."""
_SHARPNESS = 20.0
"""A band counts by exp(−20·(1 − cos θ)): half at 15°."""
_MEMORY_S = 0.3
_BLEND = 1.0 - math.exp(-HOPS_PER_LABEL * HOP_SAMPLES / SAMPLE_RATE_HZ / _MEMORY_S)
_LEAST_SHARE = 1e-3


def strongest(features: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, features, T, bands) → unit vectors (N, L, 3) to the strongest peak of intensity, and the new memory.

    Memory (N, 3, 1, `PEAKS`) is the intensity near each direction, averaged with a memory of 0.3 s; zeros: nothing heard.
    """
    vectors = _intensity(features)  # (N, L, bands, 3)
    places = _places(features)
    units = vectors / vectors.norm(dim=3, keepdim=True).clamp(min=1e-9)
    near = torch.exp(_SHARPNESS * (units @ places.T - 1.0))  # (N, L, bands, PEAKS)
    now = vectors.transpose(2, 3) @ near  # (N, L, 3, PEAKS)
    kept, steps = memory[:, :, 0], []
    for one in now.unbind(1):
        kept = torch.lerp(kept, one, _BLEND)
        steps.append(kept)
    around = torch.stack(steps, dim=1)
    best = (around * places.T).sum(dim=2).argmax(dim=2)  # (N, L)
    peak = around.gather(3, best[:, :, None, None].expand(-1, -1, 3, 1))[..., 0]
    length = peak.norm(dim=2, keepdim=True)
    return torch.where(length > 0.0, peak / length.clamp(min=1e-12), places[best]), kept.unsqueeze(2)


def steered_level(features: Tensor, towards: Tensor) -> Tensor:
    """Features (N, features, T, bands) and unit vectors (N, L, 3) → log10 energy of a cardioid there (N, 1, T, bands)."""
    per_hop = towards.repeat_interleave(HOPS_PER_LABEL, dim=1)
    along = torch.einsum("nxtb,ntx->ntb", features[:, INTENSITY], per_hop)
    share = (0.5 * (1.0 + along)).clamp(min=_LEAST_SHARE)
    return (features[:, _LEVEL] + torch.log10(share)).unsqueeze(1)


def strongest_target(features: Tensor, truth: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The true direction (N, L, 3) of the strongest target that sounds, and where (N, L) one does.

    The strongest sends most intensity its way while it sounds; so a scene does not change over from frame to frame.
    """
    active = truth["activity"] * (truth["class_index"] >= 0).unsqueeze(2)  # (N, J, L)
    arriving = _intensity(features).sum(dim=2)  # (N, L, 3)
    sent = torch.einsum("nlx,njlx->njl", arriving, truth["direction"]).clamp(min=0.0) * active
    strength = sent.sum(dim=2) / active.sum(dim=2).clamp(min=1.0)
    rank = torch.where(active > 0.0, strength.unsqueeze(2), -1.0)
    best = rank.argmax(dim=1)  # (N, L)
    direction = truth["direction"].gather(1, best[:, None, :, None].expand(-1, 1, -1, 3))[:, 0]
    return direction, (active > 0.0).any(dim=1)


def _intensity(features: Tensor) -> Tensor:
    """(N, L, bands, 3) mean intensity of each label frame, weighted by amplitude and by how far the array can be trusted."""
    weight = 10.0 ** (0.5 * features[:, _LEVEL]) * features[:, _VALIDITY] ** 2
    weighted = features[:, INTENSITY] * weight.unsqueeze(1)
    n, axes, hops, bands = weighted.shape
    return weighted.reshape(n, axes, hops // HOPS_PER_LABEL, HOPS_PER_LABEL, bands).mean(dim=3).permute(0, 2, 3, 1)


def _places(like: Tensor) -> Tensor:
    """(`PEAKS`, 3) unit vectors."""
    azimuth = torch.arange(_AZIMUTHS, device=like.device, dtype=like.dtype) * (2.0 * math.pi / _AZIMUTHS)
    elevation = torch.deg2rad(torch.tensor(_ELEVATIONS_DEG, device=like.device, dtype=like.dtype))
    across, up = torch.cos(elevation)[:, None], torch.sin(elevation)[:, None]
    axes = (across * torch.cos(azimuth), across * torch.sin(azimuth), up * torch.ones_like(azimuth))
    return torch.stack(axes, dim=2).reshape(PEAKS, 3)
