"""Training scenes, made in batches in the STFT domain on any device: fast enough to draw every scene once.

A source at (slowly varying) direction θ enters as S(f, t)·E(f)·A(f, θ); reflections as other directions with a delay that
drifts with the source; reverberation and ambience as isotropic fields, wind and self-noise as fields that are incoherent
between microphones. The noise is the transform of real samples, so that neighbouring hops are as alike as they are in
the field. The test suite and the judge render in the time domain, so that this approximation never judges itself.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from appliance.dsp.features import BANDS
from appliance.dsp.harmonics import LONG_SAMPLES, OVERLAP_SAMPLES
from appliance.dsp.stft import HOP_SAMPLES, HOPS_PER_LABEL, SAMPLE_RATE_HZ, WINDOW_SAMPLES, bin_frequencies_hz
from appliance.lab.fields import ArrayBank
from appliance.lab.pack import CLASSES, DIFFUSE_CLASSES, SOUNDS
from appliance.lab.scene_dice import Dice
from appliance.lab.scene_sources import SourceBank, in_band, in_band_where, power
from appliance.lab.torch_features import TorchFeatures

TARGETS = 3
CONFUSERS = 2
_EASY_SNR_DB = 15.0
_LEAD_LABELS = -(-(LONG_SAMPLES + OVERLAP_SAMPLES) // (HOP_SAMPLES * HOPS_PER_LABEL))
"""Heard before a scene begins and not kept: no unit begins with silence but once."""
_LABEL_S = HOP_SAMPLES * HOPS_PER_LABEL / SAMPLE_RATE_HZ
_KEY_LABELS = 4
"""Label frames from one key direction of a path to the next; responses between them are interpolated."""
_WHITE_S = 60.0

Batch = dict[str, Tensor]
"""`features` (N, features, T, bands) and the truth: `ratio_mask` (N, 2·J + 1, T, bands), the share of W's energy that each
target has directly, then each by reflection, then all the rest; `activity` (N, J, L) 0 or 1; `class_index` (N, J) into
`CLASSES`, -1 for an empty slot; `direction` (N, J, L, 3) unit vectors, horizontal for planar arrays; `sounds`
(N, L, sounds of `SOUNDS`) 0 or 1, confusers and the bed too. T hops are L label frames of 5."""


@dataclass(frozen=True, slots=True)
class SceneSettings:
    """What scenes are drawn from; kept in the checkpoint."""

    sources: tuple[str, ...] = ("pack",)
    """Sets of recordings, as `appliance lab data` names them."""
    folds: tuple[int, ...] = (1, 2, 3)
    without: tuple[str, ...] = ()
    """Groups of recordings left out, by how `source:subclass` begins: to be judged on them."""
    seconds: float = 4.0
    target_free: float = 0.4
    """Share of scenes with no target; they hold loud confusers instead."""
    drone_share: float = 0.28
    """Share of targets that are drones."""
    synthetic_drones: float = 0.25
    """Share of drones that are synthesised."""
    synthetic_machines: float = 0.2
    """Share of engines and of humming machines that are."""
    snr_db: tuple[float, float] = (-12.0, 20.0)
    """Target against ambience, wind and self-noise, 100 Hz – 7.5 kHz on W."""
    confuser_snr_db: tuple[float, float] = (-5.0, 20.0)
    """Confusers likewise."""
    arrays: int = 80
    """Random arrays held by each maker."""
    synthetic_count: int = 240
    """Synthetic recordings of each kind held by each maker."""


class SceneMaker:
    """Makes scenes. `batch(key, …)` depends on settings, seed, key and device alone."""

    def __init__(self, settings: SceneSettings, seed: int = 0, *, device: str = "cpu") -> None:
        self.settings = settings
        self.device = torch.device(device)
        rng = np.random.default_rng([seed, 1])
        self._front_end = TorchFeatures(self.device)
        synthetic = {
            label: (share, settings.synthetic_count)
            for label, share in (
                ("drone", settings.synthetic_drones),
                ("vehicle_engine", settings.synthetic_machines),
                ("machine_hum", settings.synthetic_machines),
            )
        }
        self._bank = SourceBank(
            settings.sources, settings.folds, settings.without, synthetic, rng, self._front_end, self.device
        )
        self._arrays = ArrayBank(rng, settings.arrays, self.device)
        self.hops = round(settings.seconds / _LABEL_S) * HOPS_PER_LABEL
        self._all_hops = self.hops + _LEAD_LABELS * HOPS_PER_LABEL
        self._hz = torch.from_numpy(bin_frequencies_hz().astype(np.float32)).to(self.device)
        white = Dice((seed, 2), self.device).normal(4, int(_WHITE_S * SAMPLE_RATE_HZ))
        self._white = self._front_end.stft(white) / (0.375 * WINDOW_SAMPLES) ** 0.5
        weights = {label: (1.0 - settings.drone_share) / (len(CLASSES) - 1) for label in CLASSES}
        weights["drone"] = settings.drone_share
        present = self._bank.labels
        self._target_weights = self._weights({label: weights[label] for label in CLASSES if label in present})
        self._confuser_weights = self._weights({label: 1.0 for label in present if label not in CLASSES})
        self._bed_weights = self._weights({label: 1.0 for label in DIFFUSE_CLASSES if label in present})

    def _weights(self, weights: dict[str, float]) -> Tensor:
        """(sounds,) by name."""
        return torch.tensor([weights.get(label, 0.0) for label in SOUNDS], device=self.device)

    @torch.no_grad()
    def batch(self, key: tuple[int, ...], count: int, difficulty: Tensor | float = 1.0) -> Batch:
        """Draw and make `count` scenes. Difficulty (or one for each) 0 is one clear target and no confuser; 1 is the settings'."""
        dice = Dice(key, self.device)
        hard = torch.as_tensor(difficulty, dtype=torch.float32, device=self.device).expand(count)
        array = dice.integers(0, len(self._arrays), count)
        bed_label = dice.choice(self._bed_weights, count)
        scene, slot, label, snr_db = self._cast(dice, hard)
        spectra, active = self._bank.draw(dice, torch.cat([bed_label, label]), self._all_hops)
        mixture = self._bed(dice, array, spectra[:count])
        noise = in_band(power(mixture[:, 0]))
        dry, active = spectra[count:], active[count:]
        path = self._paths(dice, len(scene))
        direct, wet = self._propagated(dice, array[scene], dry, path)
        level = in_band_where(power(wet[:, 0]), active)
        gain = torch.sqrt(noise[scene] / level.clamp(min=1e-12) * torch.pow(10.0, snr_db / 10.0)) * (level > 1e-12)
        mixture = mixture.index_add(0, scene, wet * gain[:, None, None, None])
        mixture = mixture * self._bank.equaliser(dice, torch.full((count,), 3.0, device=self.device))[:, None, None]

        labels = self._all_hops // HOPS_PER_LABEL
        target = slot >= 0
        place = (scene[target], slot[target])
        stems = torch.zeros((count, 2 * TARGETS + 1, self._all_hops, BANDS), device=self.device)
        gained = gain[target, None, None]
        stems[place] = self._front_end.band_sum(power(direct[target] * gained))
        stems[place[0], place[1] + TARGETS] = self._front_end.band_sum(
            power((wet[target, 0] - direct[target]) * gained)
        )
        heard = self._front_end.band_sum(power(mixture[:, 0]))
        stems[:, -1] = (heard - stems.sum(dim=1)).clamp(min=0.0)
        activity = torch.zeros((count, TARGETS, labels), device=self.device)
        activity[place] = active[target]
        class_index = torch.full((count, TARGETS), -1, dtype=torch.int64, device=self.device)
        class_index[place] = label[target]
        direction = torch.zeros((count, TARGETS, labels, 3), device=self.device)
        direction[place] = path[target]
        flat = functional.normalize(direction * direction.new_tensor([1.0, 1.0, 0.0]), dim=3)
        direction = torch.where(self._arrays.planar[array][:, None, None, None], flat, direction)
        sounds = torch.zeros((count, len(SOUNDS), labels), device=self.device)
        sounds[torch.arange(count, device=self.device), bed_label] = 1.0
        sounds.index_put_((scene, label), active, accumulate=True)
        features = self._front_end.features(mixture, self._arrays.validity[array])
        lead_hops = _LEAD_LABELS * HOPS_PER_LABEL
        return {
            "features": features[:, :, lead_hops:].contiguous(),
            "ratio_mask": (stems / stems.sum(dim=1, keepdim=True).clamp(min=1e-12))[:, :, lead_hops:],
            "activity": activity[:, :, _LEAD_LABELS:],
            "class_index": class_index,
            "direction": direction[:, :, _LEAD_LABELS:],
            "sounds": sounds.clamp(max=1.0).transpose(1, 2)[:, _LEAD_LABELS:],
        }

    def _cast(self, dice: Dice, hard: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Who sounds: scene, slot (-1: confuser), label and SNR in dB of each sound (n,)."""
        settings, count = self.settings, len(hard)
        empty = dice.uniform(count) < settings.target_free * _blend(0.4, 1.0, hard)
        more = dice.choice(hard.new_tensor([0.6, 0.28, 0.12]), count) * (dice.uniform(count) < hard)
        targets = torch.where(empty, 0, 1 + more)
        beside = dice.choice(hard.new_tensor([0.5, 0.38, 0.12]), count) * (dice.uniform(count) < hard)
        alone = dice.choice(hard.new_tensor([0.15, 0.5, 0.35]), count)
        confusers = torch.where(empty, alone, beside)
        places = torch.arange(TARGETS + CONFUSERS, device=self.device)
        there = torch.where(places < TARGETS, places < targets[:, None], places - TARGETS < confusers[:, None])
        label = dice.choice(self._target_weights, count * TARGETS).reshape(count, TARGETS)
        other = dice.choice(self._confuser_weights, count * CONFUSERS).reshape(count, CONFUSERS)
        share = dice.uniform(count, TARGETS + CONFUSERS)
        lowest = _blend(_EASY_SNR_DB, settings.snr_db[0], hard)[:, None]
        loudest = _blend(0.0, settings.confuser_snr_db[1], hard)[:, None]
        snr_db = torch.cat(
            [
                lowest + (settings.snr_db[1] - lowest) * share[:, :TARGETS],
                settings.confuser_snr_db[0] + (loudest - settings.confuser_snr_db[0]) * share[:, TARGETS:],
            ],
            dim=1,
        )
        scene, place = there.nonzero(as_tuple=True)
        slot = torch.where(place < TARGETS, place, -1)
        return scene, slot, torch.cat([label, other], dim=1)[there], snr_db[there]

    def _bed(self, dice: Dice, array: Tensor, spectra: Tensor) -> Tensor:
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
        stretch = start[:, None] + torch.arange(hops, device=self.device)
        white = self._white[order[:, :, None], stretch[:, None]]
        noise = torch.empty_like(white)
        for channel in range(4):
            total = root[:, channel, None, :, 0] * white[:, 0]
            for source in range(1, 4):
                total += root[:, channel, None, :, source] * white[:, source]
            noise[:, channel] = total * level
        return noise

    def _paths(self, dice: Dice, n: int) -> Tensor:
        """(n, labels, 3) unit vectors: still, or drifting by some degrees per second."""
        labels = self._all_hops // HOPS_PER_LABEL
        time_s = _LABEL_S * torch.arange(labels, device=self.device)
        moving = dice.uniform(n) < 0.5
        azimuth_rate = torch.where(moving, 8.0 * dice.normal(n), 0.0)[:, None]
        elevation_rate = torch.where(moving, 3.0 * dice.normal(n), 0.0)[:, None]
        azimuth_deg = dice.uniform(n, low=-180.0, high=180.0)[:, None] + azimuth_rate * time_s
        elevation_deg = (12.0 + 22.0 * dice.normal(n)).clamp(-30.0, 85.0)[:, None] + elevation_rate * time_s
        azimuth, elevation = torch.deg2rad(azimuth_deg), torch.deg2rad(elevation_deg.clamp(-35.0, 89.0))
        level = torch.cos(elevation)
        return torch.stack([level * torch.cos(azimuth), level * torch.sin(azimuth), torch.sin(elevation)], dim=2)

    def _propagated(self, dice: Dice, array: Tensor, dry: Tensor, path: Tensor) -> tuple[Tensor, Tensor]:
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
            delay_s = delay_s * torch.exp(drift * _LABEL_S * torch.arange(labels, device=self.device))
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
        moments = torch.linspace(0, labels - 1, keys, device=self.device).round().long()
        response = self._arrays.response(array, path[:, moments])
        after = torch.searchsorted(moments, torch.arange(labels, device=self.device)).clamp(min=1)
        span = moments[after] - moments[after - 1]
        share = ((torch.arange(labels, device=self.device) - moments[after - 1]) / span)[:, None]
        return response[:, :, after - 1] * (1.0 - share) + response[:, :, after] * share

    def _tail(self, dice: Dice, array: Tensor, dry: Tensor) -> Tensor:
        """Reverberation (n, 4, hops, bins): an isotropic field whose energy dies away behind the sound."""
        n, hops = dry.shape[:2]
        reverberation_s = dice.uniform(n, low=0.15, high=1.2)[:, None, None]
        ages = torch.arange(hops, device=self.device)[:, None] - torch.arange(hops, device=self.device)
        decay = torch.pow(10.0, -6.0 * HOP_SAMPLES / SAMPLE_RATE_HZ / reverberation_s * ages.clamp(min=0))
        energy = power(dry)
        late = torch.bmm(torch.where(ages > 0, decay, 0.0), energy)
        ratio = torch.pow(10.0, -dice.uniform(n, high=18.0) / 10.0)
        ratio = ratio * energy.sum(dim=(1, 2)) / (late.sum(dim=(1, 2)) + 1e-12)
        return self._field(dice, self._arrays.diffuse_root[array], (ratio[:, None, None] * late).sqrt())


def _decibel(dice: Dice, n: int, low: float, high: float) -> Tensor:
    """(n, 1, 1) amplitudes, uniform in decibels."""
    return torch.pow(10.0, dice.uniform(n, 1, 1, low=low, high=high) / 20.0)


def _blend(easy: float, hard: float, difficulty: Tensor) -> Tensor:
    return easy + difficulty * (hard - easy)
