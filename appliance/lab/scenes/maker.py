"""Training scenes, made in batches in the STFT domain on any device, while a network learns from those before.

A source at (slowly varying) direction θ enters as S(f, t)·E(f)·A(f, θ); `sources` draws what sounds, `space` brings
it to the array, and here the cast is chosen, the levels are set and the truth is written down. The test suite and the judge
render in the time domain, so that this approximation never judges itself.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from appliance.dsp.features import BANDS
from appliance.dsp.harmonics import LONG_SAMPLES, OVERLAP_SAMPLES
from appliance.dsp.stft import HOP_SAMPLES, HOPS_PER_LABEL
from appliance.lab.pack import CLASSES, DIFFUSE_CLASSES, SOUNDS
from appliance.lab.scenes.dice import Dice
from appliance.lab.scenes.fields import ArrayBank
from appliance.lab.scenes.sources import SourceBank, in_band, in_band_where, power, synthetic_shares
from appliance.lab.scenes.space import LABEL_S, SceneSpace
from appliance.lab.scenes.torch_features import TorchFeatures

TARGETS = 3
CONFUSERS = 2
_EASY_SNR_DB = 15.0
_LEAD_LABELS = -(-(LONG_SAMPLES + OVERLAP_SAMPLES) // (HOP_SAMPLES * HOPS_PER_LABEL))
"""Heard before a scene begins and not kept: no unit begins with silence but once."""

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
    """Share of aircraft, engines, tools, sirens, horns and explosions that are; of humming machines and music more (`sources`)."""
    doubled: float = 0.2
    """Share of sustained sounds that are two recordings of the class at once: one more airframe, engine or voice."""
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

    def __init__(self, settings: SceneSettings, seed: int = 0, *, device: str = "cpu", workers: int = 1) -> None:
        """`workers`: processes that synthesise recordings before the first scene."""
        self.settings = settings
        self.device = torch.device(device)
        rng = np.random.default_rng([seed, 1])
        self._front_end = TorchFeatures(self.device)
        self._bank = SourceBank(
            settings.sources,
            settings.folds,
            settings.without,
            synthetic_shares(settings.synthetic_drones, settings.synthetic_machines),
            settings.synthetic_count,
            settings.doubled,
            rng,
            self._front_end,
            self.device,
            workers,
        )
        self._arrays = ArrayBank(rng, settings.arrays, self.device)
        self.hops = round(settings.seconds / LABEL_S) * HOPS_PER_LABEL
        self._all_hops = self.hops + _LEAD_LABELS * HOPS_PER_LABEL
        dice = Dice((seed, 2), self.device)
        self._space = SceneSpace(self._arrays, self._all_hops // HOPS_PER_LABEL, self._front_end, dice)
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
        mixture = self._space.bed(dice, array, spectra[:count])
        noise = in_band(power(mixture[:, 0]))
        dry, active = spectra[count:], active[count:]
        path = self._space.paths(dice, len(scene))
        direct, wet = self._space.propagated(dice, array[scene], dry, path)
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


def _blend(easy: float, hard: float, difficulty: Tensor) -> Tensor:
    return easy + difficulty * (hard - easy)
