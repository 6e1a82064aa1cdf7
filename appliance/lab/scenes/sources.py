"""Sounds of training scenes: recordings held on the device, drawn, placed in time and their channel randomised.

Few recordings have to stand for many: each is drawn at another speed (which wanders, as a rotor's does), at times with a
second one of its class beside it, with another loudness over time and through another channel (equaliser, band limits,
air, codec). How often a group of recordings is drawn goes by the root of how many *independent* ones it has, so that no
session of a hundred cuts is the class.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from appliance.dsp.stft import HOP_SAMPLES, HOPS_PER_LABEL, SAMPLE_RATE_HZ, WINDOW_SAMPLES, bin_frequencies_hz
from appliance.lab.datasets.sources import load_clips, read_clip
from appliance.lab.pack import SHORT_CLASSES, SOUNDS, Clip
from appliance.lab.scenes.dice import Dice
from appliance.lab.scenes.moments import LoudMoments
from appliance.lab.scenes.torch_features import TorchFeatures
from appliance.lab.synth.aircraft import synth_airplane, synth_helicopter
from appliance.lab.synth.beasts import synth_beast
from appliance.lab.synth.blasts import synth_explosion, synth_gunshot
from appliance.lab.synth.drones import synth_drone
from appliance.lab.synth.glass import synth_glass
from appliance.lab.synth.hums import synth_hum
from appliance.lab.synth.music import synth_music
from appliance.lab.synth.signals import synth_horn, synth_siren
from appliance.lab.synth.steps import synth_footsteps
from appliance.lab.synth.tools import synth_tool
from appliance.lab.synth.vehicles import synth_train, synth_vehicle
from appliance.lab.workers import each
from appliance.lab.world.atmosphere import Air, absorption_db_per_m

_ACTIVE_BELOW_PEAK_DB = 25.0
_IN_BAND = slice(6, 480)
_CODEC_FROM = 128
SYNTHESISED = {
    "drone": synth_drone,
    "vehicle_engine": synth_vehicle,
    "train": synth_train,
    "machine_hum": synth_hum,
    "helicopter": synth_helicopter,
    "airplane": synth_airplane,
    "power_tool": synth_tool,
    "siren": synth_siren,
    "vehicle_horn": synth_horn,
    "explosion": synth_explosion,
    "music": synth_music,
    "gunshot": synth_gunshot,
    "glass_break": synth_glass,
    "footsteps": synth_footsteps,
    "animal_other": synth_beast,
}
"""What makes recordings of a class where there are few."""
SYNTHETIC_S = 5.0
_SCARCE = {"music": 3.0, "machine_hum": 2.0, "vehicle_engine": 2.0}
"""So many times as often as of other sounds it is a synthetic one that is heard: the pack has music of one street, and hums of three
machines, and of both the tagger made drones."""
_KNOTS_S = 0.5
_SECOND_DB = (-15.0, 0.0)
_MOMENT_SAMPLES = 160


class SourceBank:
    """All recordings of some folds as one tensor of 16-bit samples on a device, and what is drawn from them."""

    def __init__(
        self,
        sources: tuple[str, ...],
        folds: tuple[int, ...],
        without: tuple[str, ...],
        synthetic: dict[str, float],
        synthetic_count: int,
        doubled: float,
        rng: np.random.Generator,
        features: TorchFeatures,
        device: torch.device,
        workers: int = 1,
    ) -> None:
        """`without`: groups left out, by how they begin. `synthetic`: label → share of its draws, of `synthetic_count` that are made.

        `doubled`: share of the long sounds that are two recordings of one class. `workers`: processes that synthesise.
        """
        self.device, self._features, self._doubled = device, features, doubled
        waves: list[npt.NDArray[np.int16]] = []
        shares: list[tuple[str, float]] = []
        groups: dict[tuple[str, str], list[npt.NDArray[np.int16]]] = {}
        used = [clip for clip in load_clips(sources, folds) if not clip.group.startswith(without)]
        with ThreadPoolExecutor() as pool:  # NumPy and libsndfile let go of the interpreter's lock
            read = list(pool.map(lambda clip: _as_int16(read_clip(clip)), used))
        made: dict[str, list[npt.NDArray[np.int16]]] = {}
        for label, synthetic_wave in synthesised(synthetic, rng, synthetic_count, workers):
            made.setdefault(label, []).append(_as_int16(synthetic_wave))
        for clip, wave in zip(used, read, strict=True):
            groups.setdefault((clip.label, clip.group), []).append(wave)
        weights, recorded = clip_weights(used), {label for label, _ in groups}
        for (label, group), own_waves in groups.items():
            weight = weights[label, group] * (1.0 - (synthetic[label] if label in made else 0.0))
            waves += own_waves
            shares += [(label, weight)] * len(own_waves)
        for label, own in made.items():
            waves += own
            shares += [(label, (synthetic[label] if label in recorded else 1.0) / len(own))] * len(own)
        self.labels = tuple(label for label in SOUNDS if label in recorded or label in made)
        order = sorted(range(len(waves)), key=lambda index: SOUNDS.index(shares[index][0]))
        lengths = np.array([len(waves[index]) for index in order])
        self._samples = torch.from_numpy(np.concatenate([waves[index] for index in order])).to(device)
        self._starts = torch.from_numpy(np.cumsum(lengths) - lengths).to(device)
        self._lengths = torch.from_numpy(lengths).to(device)
        self._loud = LoudMoments((_powers(waves[index]) for index in order), device)
        # Clips of label k fill the interval (k, k + 1]: one search draws label and clip.
        edges = np.cumsum([shares[index][1] for index in order]).reshape(-1)
        numbers = np.array([SOUNDS.index(shares[index][0]) for index in order])
        firsts = {number: edges[numbers < number].max(initial=0.0) for number in set(numbers.tolist())}
        edges = numbers + edges - np.array([firsts[number] for number in numbers.tolist()])
        self._edges = torch.from_numpy(edges).to(device)
        self._last = torch.tensor(
            [int(np.flatnonzero(numbers == n)[-1]) if n in firsts else -1 for n in range(len(SOUNDS))], device=device
        )
        self._short = torch.tensor([label in SHORT_CLASSES for label in SOUNDS], device=device)
        hz = bin_frequencies_hz()
        self._hz = torch.from_numpy(hz.astype(np.float32)).to(device)
        self._air_db_per_m = torch.from_numpy(absorption_db_per_m(hz, Air()).astype(np.float32)).to(device)
        points = np.log(np.geomspace(40.0, 8000.0, 8))
        hats = [np.interp(np.log(np.maximum(hz, 20.0)), points, row) for row in np.eye(8)]
        self._equaliser = torch.from_numpy(np.stack(hats).astype(np.float32)).to(device)

    def draw(self, dice: Dice, labels: Tensor, hops: int) -> tuple[Tensor, Tensor]:
        """Spectra (n, hops, bins) of sounds of these labels (n,) (indices into `SOUNDS`), and activity (n, hops / 5)."""
        waves = self._waves(dice, labels, (hops - 1) * HOP_SAMPLES + WINDOW_SAMPLES)
        spectra = self._channel(dice, self._features.stft(waves))
        energy = power(spectra)[..., _IN_BAND].sum(dim=2).reshape(len(labels), -1, HOPS_PER_LABEL).sum(dim=2)
        loud = torch.quantile(energy, 0.95, dim=1, keepdim=True) * 10.0 ** (-_ACTIVE_BELOW_PEAK_DB / 10.0)
        return spectra, ((energy > loud) & (energy > 1e-9)).float()

    def equaliser(self, dice: Dice, sigma_db: Tensor) -> Tensor:
        """(n, bins) smooth random gain: eight points on a logarithmic frequency axis, `sigma_db` (n,)."""
        points = dice.normal(len(sigma_db), 8) * sigma_db[:, None]
        return torch.pow(10.0, points @ self._equaliser / 20.0)

    def _waves(self, dice: Dice, labels: Tensor, samples: int) -> Tensor:
        """(n, samples): short sounds here and there, long ones looped over part or all of it."""
        n = len(labels)
        clip, second = self._clips(dice, labels), self._clips(dice, labels)
        time = torch.arange(samples, device=self.device, dtype=torch.float64)
        speed = torch.exp(torch.where(labels == 0, 0.25, 0.12) * dice.uniform(n, low=-1.0))
        speed = torch.where(dice.uniform(n) < 0.7, speed, 1.0)
        wander = dice.curve(n, samples, _KNOTS_S * SAMPLE_RATE_HZ) * dice.uniform(n, high=0.02)[:, None]
        wander = torch.where((dice.uniform(n) < 0.5)[:, None], wander, 0.0)
        played = torch.cumsum((speed[:, None] * (1.0 + wander)).double(), dim=1)
        waves = torch.empty((n, samples), device=self.device)
        short = self._short[labels]
        if bool((~short).any()):
            waves[~short] = self._long(dice, clip[~short], second[~short], played[~short], time)
        if bool(short.any()):
            waves[short] = self._shots(dice, clip[short], speed[short].double(), time)
        return waves / _rms(waves) * 0.1

    def _clips(self, dice: Dice, labels: Tensor) -> Tensor:
        """A recording (n,) of each label."""
        clip = torch.searchsorted(self._edges, labels + dice.uniform(len(labels)).double(), right=False)
        return torch.minimum(clip, self._last[labels])

    def _long(self, dice: Dice, clip: Tensor, second: Tensor, played: Tensor, time: Tensor) -> Tensor:
        n, samples = played.shape
        waves = self._looped(dice, clip, played)
        two = (dice.uniform(n) < self._doubled).nonzero()[:, 0]
        faster = torch.exp(dice.uniform(len(two), 1, low=-0.25, high=0.25))
        weaker_db = dice.uniform(len(two), 1, low=_SECOND_DB[0], high=_SECOND_DB[1])
        beside = self._looped(dice, second[two], played[two] * faster)
        waves[two] += beside * torch.pow(10.0, weaker_db / 20.0) * _rms(waves[two]) / _rms(beside)
        swell_db = dice.curve(n, samples, _KNOTS_S * SAMPLE_RATE_HZ) * dice.uniform(n, high=5.0)[:, None]
        waves = waves * torch.pow(10.0, swell_db / 20.0)
        start = dice.uniform(n, high=0.6 * samples)
        stop = start + dice.uniform(n, low=1.0, high=4.0) * SAMPLE_RATE_HZ
        fade = dice.uniform(n, low=0.02, high=0.5) * SAMPLE_RATE_HZ
        at = time.float()
        gate = (torch.minimum(at - start[:, None], stop[:, None] - at) / fade[:, None]).clamp(0.0, 1.0)
        return torch.where((dice.uniform(n) < 0.5)[:, None], waves, waves * gate)

    def _looped(self, dice: Dice, clip: Tensor, played: Tensor) -> Tensor:
        offset = dice.uniform(len(clip)).double() * self._lengths[clip]
        return self._read(clip, torch.remainder(played + offset[:, None], self._lengths[clip, None].double()))

    def _shots(self, dice: Dice, clip: Tensor, speed: Tensor, time: Tensor) -> Tensor:
        """One to three of the same, a loud moment of the first one somewhere; what comes before and after may be cut off."""
        n = len(clip)
        onset = dice.uniform(n).double() * 0.75 * len(time) - _MOMENT_SAMPLES * self._loud.draw(dice, clip) / speed
        lasts = self._lengths[clip].double() / speed
        repeats = dice.integers(1, 4, n)
        waves = torch.zeros((n, len(time)), device=self.device)
        for repeat in range(3):
            position = (time[None] - onset[:, None]) * speed[:, None]
            inside = (position >= 0.0) & (position < self._lengths[clip, None] - 2) & (repeats > repeat)[:, None]
            heard = self._read(clip, position.clamp(min=0.0).minimum(self._lengths[clip, None] - 2.0))
            waves += torch.where(inside, heard, 0.0)
            onset = onset + lasts + dice.uniform(n, low=0.05, high=1.5).double() * SAMPLE_RATE_HZ
        return waves

    def _read(self, clip: Tensor, position: Tensor) -> Tensor:
        """Samples of clips (n,) at fractional positions (n, samples), by cubic (Catmull–Rom) interpolation."""
        whole = position.floor()
        t = (position - whole).float()
        start, last = self._starts[clip, None], self._lengths[clip, None] - 1
        index = whole.long()
        taps = [
            self._samples[start + torch.minimum((index + step).clamp(min=0), last)].float() for step in (-1, 0, 1, 2)
        ]
        a, b, c, d = taps
        value = b + 0.5 * t * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a)))
        return value / 32768.0

    def _channel(self, dice: Dice, spectra: Tensor) -> Tensor:
        """Equaliser, low pass, high pass, air and codec, each at times."""
        n = len(spectra)
        gain = self.equaliser(dice, dice.uniform(n, low=1.0, high=8.0))
        low_pass = 1.0 / (1.0 + (self._hz / dice.uniform(n, low=2500.0, high=7500.0)[:, None]) ** 8)
        gain = torch.where((dice.uniform(n) < 0.35)[:, None], gain * low_pass, gain)
        corner = dice.uniform(n, low=40.0, high=400.0)[:, None]
        gain = torch.where((dice.uniform(n) < 0.3)[:, None], gain * self._hz**3 / (self._hz**3 + corner**3), gain)
        metres = torch.exp(dice.uniform(n, low=0.0, high=math.log(800.0)))[:, None]
        gain = gain * torch.pow(10.0, -metres * self._air_db_per_m / 20.0)
        spectra = spectra * gain[:, None]
        loudness = power(spectra)
        codec = torch.where(dice.uniform(n) < 0.12, torch.pow(10.0, dice.uniform(n, low=-4.5, high=-3.0)), 0.0)
        kept = loudness >= codec[:, None, None] * loudness.amax(dim=2, keepdim=True)
        kept[:, :, :_CODEC_FROM] = True
        return spectra * kept


def synthetic_shares(drones: float, others: float) -> dict[str, float]:
    """Label → share of its draws that are synthetic, if any: `drones` of the drones, and about `others` of all else."""
    shares = {label: min(1.0, _SCARCE.get(label, 1.0) * others) for label in SYNTHESISED} | {"drone": drones}
    return {label: share for label, share in shares.items() if share}


def synthesised(
    labels: Iterable[str], rng: np.random.Generator, count: int, workers: int = 1
) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """So many synthetic recordings of each label, made by so many processes."""
    tasks = [(label, own) for label in labels for own in rng.spawn(count)]
    return zip((label for label, _ in tasks), each(_synthesise, tasks, workers), strict=True)


def _synthesise(task: tuple[str, np.random.Generator]) -> npt.NDArray[np.float32]:
    label, rng = task
    return SYNTHESISED[label](rng, SYNTHETIC_S)


def clip_weights(clips: Sequence[Clip]) -> dict[tuple[str, str], float]:
    """(label, group) → share of the label's draws that each of its clips has: by the root of the group's recordings."""
    recordings: dict[tuple[str, str], set[str]] = {}
    counts = Counter((clip.label, clip.group) for clip in clips)
    for clip in clips:
        recordings.setdefault((clip.label, clip.group), set()).add(clip.recording_id)
    of_label: dict[str, float] = {}
    for (label, _), own in recordings.items():
        of_label[label] = of_label.get(label, 0.0) + math.sqrt(len(own))
    return {
        (label, group): math.sqrt(len(own)) / of_label[label] / counts[label, group]
        for (label, group), own in recordings.items()
    }


def _rms(waves: Tensor) -> Tensor:
    """(n, 1) and never zero."""
    return waves.square().mean(dim=1, keepdim=True).sqrt() + 1e-6


def power(spectra: Tensor) -> Tensor:
    """|spectra|²."""
    return spectra.real**2 + spectra.imag**2


def in_band(powers: Tensor) -> Tensor:
    """Mean (n,) of powers (n, hops, bins) over 100 Hz – 7.5 kHz."""
    return powers[..., _IN_BAND].mean(dim=(1, 2))


def in_band_where(powers: Tensor, active: Tensor) -> Tensor:
    """The same over the hops of active label frames (n, labels)."""
    hops = active.repeat_interleave(HOPS_PER_LABEL, dim=1)
    return (powers[..., _IN_BAND].mean(dim=2) * hops).sum(dim=1) / hops.sum(dim=1).clamp(min=1.0)


def _powers(wave: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
    """(moments,) of each hundredth of a second."""
    whole = len(wave) // _MOMENT_SAMPLES * _MOMENT_SAMPLES
    powers: npt.NDArray[np.float64] = (
        np.square(wave[:whole].astype(np.float64)).reshape(-1, _MOMENT_SAMPLES).sum(axis=1)
    )
    return powers


def _as_int16(wave: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    loudest = max(float(np.abs(wave).max()), 1e-6)
    scaled: npt.NDArray[np.int16] = np.round(wave * (32000.0 / loudest)).astype(np.int16)
    return scaled if len(scaled) > 1600 else np.resize(scaled, 1600)
