"""The training scenes of `lab.scenes` in PyTorch: the same dice, the same scenes, made in batches on any device.

The processor draws (recordings, speeds, directions, levels), the device computes (spectra, array responses, fields,
reverberation, features), so that few cores keep a GPU in scenes. The dice are thrown in `SceneMaker`'s order, and the
test holds every tensor to `SceneMaker.scene`: whoever changes one changes both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# The twins share their constants and dice, which are nobody else's.
from appliance.dsp.features import _ENERGY_FLOOR, _LEVEL_DECAY, _LEVEL_RANGE, BAND_EDGES, BANDS, FEATURES
from appliance.dsp.stft import (
    BINS,
    HOP_SAMPLES,
    HOPS_PER_LABEL,
    SAMPLE_RATE_HZ,
    WINDOW_SAMPLES,
    bin_frequencies_hz,
)
from appliance.geometry import SPEED_OF_SOUND_M_S
from appliance.lab.pack import CLASSES, DIFFUSE_CLASSES, SOUNDS
from appliance.lab.scenes import (
    _ACTIVE_BELOW_PEAK_DB,
    TARGETS,
    SceneMaker,
    SceneSettings,
    _coloured,
    _smooth_gain,
    draw_confusers,
    draw_targets,
)
from appliance.types import Complex64Array, Float32Array

Batch = dict[str, Tensor]

_IN_BAND = slice(6, 480)
_CODEC_FROM = 128


@dataclass(frozen=True, slots=True)
class _Dry:
    """A recording on its way to a spectrum."""

    wave: Float32Array
    equaliser: Float32Array
    """(bins,) all its filters."""
    codec: float
    """Share of a hop's greatest power below which bins above 2 kHz are dropped; 0: none."""


@dataclass(frozen=True, slots=True)
class _Field:
    """Which stretch of the white noise makes a field."""

    start: int
    order: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Bed:
    """Ambience, wind and self-noise."""

    dry: _Dry
    scale: float
    floor: Float32Array
    """(bins,)."""
    ambience: _Field
    self_noise: float
    wind: tuple[Float32Array, float, float, float] | None
    """Speed (hops,), corner in hertz, slope, level."""
    incoherent: _Field


@dataclass(frozen=True, slots=True)
class _Sound:
    """A target in a slot, or a confuser (slot −1)."""

    scene: int
    slot: int
    label: str
    dry: _Dry
    path: Float32Array
    """(labels, 3) unit vectors."""
    ways: tuple[tuple[npt.NDArray[np.float64], Complex64Array | None], ...]
    """Directions (1 or labels, 3) and filter (bins,) of the direct sound and each reflection."""
    tail: tuple[float, float, _Field] | None
    """Decay per hop, energy against the dry sound, field of the reverberation."""
    snr_db: float


@dataclass(frozen=True, slots=True)
class _Plan:
    """One scene, drawn."""

    array: int
    bed_label: str
    bed: _Bed
    sounds: tuple[_Sound, ...]
    gain: Float32Array
    """(bins,) of the whole."""


class TorchSceneMaker(SceneMaker):
    """A `SceneMaker` whose batches are computed by PyTorch on `device`, as `train.collate` would give them."""

    def __init__(self, settings: SceneSettings, seed: int = 0, *, device: str = "cpu") -> None:
        super().__init__(settings, seed)
        self.device = torch.device(device)
        hops = self._hops
        self._noise_bank = torch.from_numpy(self._white).to(self.device)
        self._hz = torch.from_numpy(bin_frequencies_hz()).to(self.device, torch.float32)
        self._window = torch.from_numpy(np.hanning(WINDOW_SAMPLES + 1)[:-1].astype(np.float32)).to(self.device)
        self._roots = [
            (self._on_device(array.diffuse_root), self._on_device(array.incoherent_root)) for array in self._arrays
        ]
        self._encoders = [
            (self._on_device(array.encoder), self._on_device(array.true_positions_m / SPEED_OF_SOUND_M_S))
            for array in self._arrays
        ]
        sums = np.zeros((BINS, BANDS), np.float32)
        for band, (first, end) in enumerate(pairwise(BAND_EDGES)):
            sums[first:end, band] = 1.0
        self._band_sums = self._on_device(sums)
        ages = np.arange(hops)[:, None] - np.arange(hops)[None]
        self._ages = self._on_device(ages.astype(np.float32))
        memory = np.where(ages >= 0, _LEVEL_DECAY ** np.maximum(ages, 0), 0.0)
        self._slow_level = self._on_device(memory / memory.sum(axis=1, keepdims=True))

    def batch(self, seeds: Sequence[tuple[int, ...]], difficulties: Sequence[float] | None = None) -> Batch:
        """Scenes `scene(seed, difficulty)` stacked: `Scene`'s fields as tensors with a batch dimension, on the device."""
        difficulties = [1.0] * len(seeds) if difficulties is None else difficulties
        drawn = zip(seeds, difficulties, strict=True)
        plans = [self._plan(index, seed, difficulty) for index, (seed, difficulty) in enumerate(drawn)]
        return self._computed(plans)

    def _on_device(self, values: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    # --- the dice, in the order of SceneMaker ---------------------------------------------------------------------

    def _plan(self, index: int, seed: tuple[int, ...], difficulty: float) -> _Plan:
        rng = np.random.default_rng(list(seed))
        settings = self.settings
        array = int(rng.integers(len(self._arrays)))
        bed_label = str(rng.choice(DIFFUSE_CLASSES))
        bed = self._plan_bed(rng, bed_label)
        targets, snr_db = draw_targets(rng, settings, difficulty)
        confusers, confuser_snr_db = draw_confusers(rng, settings, difficulty, targets)
        sounds = [
            self._plan_sound(rng, index, slot, str(rng.choice(CLASSES, p=self._class_weights)), snr_db)
            for slot in range(targets)
        ]
        sounds += [
            self._plan_sound(rng, index, -1, str(rng.choice(self._confusers)), confuser_snr_db)
            for _ in range(confusers)
        ]
        return _Plan(array, bed_label, bed, tuple(sounds), _smooth_gain(rng, 3.0))

    def _plan_bed(self, rng: np.random.Generator, label: str) -> _Bed:
        dry = self._plan_dry(rng, label)
        scale = float(rng.uniform(0.9, 1.1))
        floor = np.float32(10.0 ** (rng.uniform(-25.0, -3.0) / 20.0)) * _coloured(rng)
        ambience = self._plan_field(rng)
        self_noise = 10.0 ** (rng.uniform(-45.0, -20.0) / 20.0)
        wind = None
        if rng.random() < 0.5:
            knots = np.arange(0, self._hops + 40, 25)
            gust = np.interp(np.arange(self._hops), knots, rng.normal(0, 1, len(knots)))
            corner_hz, slope = float(rng.uniform(15.0, 80.0)), float(rng.uniform(0.8, 1.8))
            wind = (np.exp(0.35 * gust).astype(np.float32), corner_hz, slope, 10.0 ** (rng.uniform(-15.0, 15.0) / 20.0))
        return _Bed(dry, scale, floor, ambience, self_noise, wind, self._plan_field(rng))

    def _plan_dry(self, rng: np.random.Generator, label: str) -> _Dry:
        wave = self._place(rng, label)
        equaliser = _smooth_gain(rng, 5.0)
        frequencies = bin_frequencies_hz()
        if rng.random() < 0.35:
            equaliser = equaliser * (1.0 / (1.0 + (frequencies / rng.uniform(2500.0, 7500.0)) ** 8)).astype(np.float32)
        if rng.random() < 0.35:
            corner_hz = rng.uniform(40.0, 400.0)
            equaliser = equaliser * (frequencies**3 / (frequencies**3 + corner_hz**3)).astype(np.float32)
        codec = 10.0 ** rng.uniform(-4.5, -3.0) if rng.random() < 0.12 else 0.0
        return _Dry(wave, equaliser, codec)

    def _plan_field(self, rng: np.random.Generator) -> _Field:
        start = int(rng.integers(self._white.shape[1] - self._hops))
        return _Field(start, tuple(int(place) for place in rng.permutation(4)))

    def _plan_sound(
        self, rng: np.random.Generator, scene: int, slot: int, label: str, snr_db: tuple[float, float]
    ) -> _Sound:
        dry = self._plan_dry(rng, label)
        path = self._path(rng, self._hops // HOPS_PER_LABEL)
        directions = path[:1].astype(np.float64) if (path == path[0]).all() else path.astype(np.float64)
        frequencies = bin_frequencies_hz()
        ways: list[tuple[npt.NDArray[np.float64], Complex64Array | None]] = [(directions, None)]
        for _ in range(int(rng.choice([0, 1, 2], p=[0.4, 0.45, 0.15]))):
            mirrored = directions * [1.0, 1.0, -1.0] if rng.random() < 0.7 else directions + rng.normal(0.0, 1.0, 3)
            mirrored = mirrored / np.linalg.norm(mirrored, axis=1, keepdims=True)
            delay_s, strength = rng.uniform(2e-4, 1.2e-2), rng.uniform(0.1, 0.8)
            late = strength * np.exp(-2j * np.pi * frequencies * delay_s) / (1.0 + frequencies / rng.uniform(1e3, 8e3))
            ways.append((mirrored, late.astype(np.complex64)))
        tail = None
        if rng.random() < 0.4:
            decay = 10.0 ** (-6.0 * HOP_SAMPLES / SAMPLE_RATE_HZ / rng.uniform(0.15, 1.2))
            energy = 10.0 ** (-rng.uniform(0.0, 18.0) / 10.0)
            tail = (float(decay), float(energy), self._plan_field(rng))
        return _Sound(scene, slot, label, dry, path, tuple(ways), tail, float(rng.uniform(*snr_db)))

    # --- the sums, on the device ----------------------------------------------------------------------------------

    def _computed(self, plans: Sequence[_Plan]) -> Batch:
        sounds = [sound for plan in plans for sound in plan.sounds]
        spectra, active = self._spectra([*(plan.bed.dry for plan in plans), *(sound.dry for sound in sounds)])
        beds, dry, active = spectra[: len(plans)], spectra[len(plans) :], active[len(plans) :]
        mixture = self._beds(plans, beds)
        noise_energy = _in_band(_power(mixture[:, :, 0]))
        scenes, labels = len(plans), self._hops // HOPS_PER_LABEL
        stems = torch.zeros((scenes, TARGETS + 1, self._hops, BANDS), device=self.device)
        activity = torch.zeros((scenes, TARGETS, labels), device=self.device)
        class_index = torch.full((scenes, TARGETS), -1, dtype=torch.int64, device=self.device)
        direction = torch.zeros((scenes, TARGETS, labels, 3), device=self.device)
        heard = torch.zeros((scenes, labels, len(SOUNDS)), device=self.device)
        for index, plan in enumerate(plans):
            heard[index, :, SOUNDS.index(plan.bed_label)] = 1.0
        for number, sound in enumerate(sounds):
            scene = sound.scene
            wet = self._wet(plans[scene].array, sound, dry[number])
            hops = active[number].repeat_interleave(HOPS_PER_LABEL)
            energy = (_power(wet[:, 0])[:, _IN_BAND].mean(dim=1) * hops).sum() / hops.sum().clamp_min(1.0)
            ratio = noise_energy[scene] / energy.clamp_min(1e-12) * 10.0 ** (sound.snr_db / 10.0)
            wet = wet * ratio.sqrt()
            mixture[scene] += wet
            place = SOUNDS.index(sound.label)
            heard[scene, :, place] = torch.maximum(heard[scene, :, place], active[number])
            if sound.slot >= 0:
                stems[scene, sound.slot] = _power(wet[:, 0]) @ self._band_sums
                activity[scene, sound.slot] = active[number]
                class_index[scene, sound.slot] = CLASSES.index(sound.label)
                direction[scene, sound.slot] = self._on_device(sound.path)
        planar = torch.tensor([self._arrays[plan.array].planar for plan in plans], device=self.device)
        flat = direction * torch.tensor([1.0, 1.0, 0.0], device=self.device)
        flat = flat / torch.linalg.vector_norm(flat, dim=-1, keepdim=True).clamp_min(1e-6)
        direction = torch.where(planar[:, None, None, None], flat, direction)
        mixture = mixture * self._on_device(np.stack([plan.gain for plan in plans]))[:, None, None]
        rest = _power(mixture[:, :, 0]) @ self._band_sums - stems.sum(dim=1)
        stems[:, TARGETS] = rest.clamp_min(0.0)
        validity = self._on_device(np.stack([self._arrays[plan.array].validity for plan in plans]))
        return {
            "features": self._features(mixture, validity),
            "ratio_mask": stems / stems.sum(dim=1, keepdim=True).clamp_min(1e-12),
            "activity": activity,
            "class_index": class_index,
            "direction": direction,
            "sounds": heard,
        }

    def _spectra(self, dry: Sequence[_Dry]) -> tuple[Tensor, Tensor]:
        """Spectra (n, hops, bins) and activities (n, labels)."""
        waves = self._on_device(np.stack([one.wave for one in dry]))
        padded = torch.nn.functional.pad(waves, (WINDOW_SAMPLES - HOP_SAMPLES, 0))
        spectra = torch.fft.rfft(padded.unfold(1, WINDOW_SAMPLES, HOP_SAMPLES) * self._window)
        spectra = spectra * self._on_device(np.stack([one.equaliser for one in dry]))[:, None]
        codec = torch.tensor([one.codec for one in dry], dtype=torch.float32, device=self.device)
        power = _power(spectra)
        kept = power > codec[:, None, None] * power.amax(dim=2, keepdim=True)
        kept[:, :, :_CODEC_FROM] = True
        kept |= (codec == 0.0)[:, None, None]
        spectra = spectra * kept
        energy = (_power(spectra)[:, :, _IN_BAND]).sum(dim=2).reshape(len(spectra), -1, HOPS_PER_LABEL).sum(dim=2)
        loud = torch.quantile(energy, 0.95, dim=1, keepdim=True) * 10.0 ** (-_ACTIVE_BELOW_PEAK_DB / 10.0)
        return spectra, ((energy > loud) & (energy > 1e-9)).float()

    def _noise_field(self, root: Tensor, level: Tensor, drawn: _Field) -> Tensor:
        """(hops, 4, bins) noise of magnitude (hops, bins) with the spatial covariance root·rootᴴ, root (4, bins, 4)."""
        white = self._noise_bank[list(drawn.order), drawn.start : drawn.start + self._hops]
        return torch.einsum("cbs,stb->tcb", root, white) * level[:, None]

    def _beds(self, plans: Sequence[_Plan], spectra: Tensor) -> Tensor:
        """(scenes, hops, 4, bins)."""
        power = _power(spectra)
        smooth = power.clone()
        smooth[:, 1:] += power[:, :-1]
        smooth[:, :-1] += power[:, 1:]
        smooth[:, :, 1:] += power[:, :, :-1]
        smooth[:, :, :-1] += power[:, :, 1:]
        scale = torch.tensor([plan.bed.scale for plan in plans], dtype=torch.float32, device=self.device)
        levels = (smooth / 5.0).sqrt() * scale[:, None, None]
        levels = levels / (_in_band(levels**2).sqrt() + 1e-12)[:, None, None]
        levels = levels + self._on_device(np.stack([plan.bed.floor for plan in plans]))[:, None]
        return torch.stack([self._one_bed(plan, level) for plan, level in zip(plans, levels, strict=True)])

    def _one_bed(self, plan: _Plan, level: Tensor) -> Tensor:
        bed, (diffuse, incoherent) = plan.bed, self._roots[plan.array]
        noise = torch.full_like(level, bed.self_noise)
        if bed.wind is not None:
            speed, corner_hz, slope, strength = bed.wind
            gust = self._on_device(speed)[:, None]
            wind = gust**2 / (1.0 + self._hz / (corner_hz * gust)) ** (2.0 * slope)
            noise = noise + wind * strength / _in_band(wind[None] ** 2).sqrt()
        return self._noise_field(diffuse, level, bed.ambience) + self._noise_field(incoherent, noise, bed.incoherent)

    def _wet(self, array: int, sound: _Sound, dry: Tensor) -> Tensor:
        """(hops, 4, bins) of a dry spectrum (hops, bins)."""
        encoder, lead_s = self._encoders[array]
        response = torch.zeros((), device=self.device)
        for directions, late in sound.ways:
            # In double precision, as `dsp.foa.steering`: a few directions at a time are nothing.
            turns = lead_s @ self._on_device(directions).T
            steering = torch.exp(2j * torch.pi * self._hz.double()[:, None, None] * turns).to(torch.complex64)
            heard = torch.einsum("bcm,bmd->dcb", encoder, steering)
            response = response + (heard if late is None else heard * self._on_device(late))
        if len(response) > 1:
            response = response.repeat_interleave(HOPS_PER_LABEL, dim=0)
        wet = response * dry[:, None]
        if sound.tail is not None:
            decay, share, drawn = sound.tail
            energy = _power(dry)
            late_energy = torch.where(self._ages > 0, decay ** self._ages.clamp_min(0.0), 0.0) @ energy
            ratio = share * energy.sum() / (late_energy.sum() + 1e-12)
            wet = wet + self._noise_field(self._roots[array][0], (ratio * late_energy / 2.0).sqrt(), drawn)
        return wet

    def _features(self, foa: Tensor, validity: Tensor) -> Tensor:
        """Ambisonics (scenes, hops, 4, bins) → (scenes, features, hops, bands), as `dsp.features.band_features`."""
        power = _power(foa)
        energy = 0.5 * (power.sum(dim=2) @ self._band_sums) + _ENERGY_FLOOR
        level = torch.log10(power[:, :, 0] @ self._band_sums + _ENERGY_FLOOR)
        slow = torch.einsum("kh,sh->sk", self._slow_level, level.mean(dim=2, dtype=torch.float64)).float()
        values = torch.empty((len(foa), FEATURES, self._hops, BANDS), device=self.device)
        values[:, 0] = (level - slow[..., None]).clamp(-_LEVEL_RANGE, _LEVEL_RANGE)
        for feature, dipole in zip((1, 2, 3), (3, 1, 2), strict=True):
            values[:, feature] = (foa[:, :, 0].conj() * foa[:, :, dipole]).real @ self._band_sums / energy
        values[:, 4] = 1.0 - (values[:, 1:4] ** 2).sum(dim=1).sqrt()
        values[:, 5:7] = validity[:, :, None]
        return values


def _power(spectrum: Tensor) -> Tensor:
    return spectrum.real**2 + spectrum.imag**2


def _in_band(power: Tensor) -> Tensor:
    """Mean power (scenes,) of (scenes, hops, bins) over 100 Hz – 7.5 kHz."""
    return power[:, :, _IN_BAND].mean(dim=(1, 2))
