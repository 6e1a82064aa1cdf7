"""Beams for the tagger to learn from: recordings as powers in bands, mixed as an array would hear them (`tagger.responses`).

A recording is transformed once at a few speeds; from then on channel, ground, reverberation, bed and other sounds are
products and sums of band powers. That makes a thousand a second of one core, where a scene takes a quarter of a second.
"""

import math
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.signal import resample_poly
from torch import Tensor
from torch.nn import functional

from appliance.dsp.steered import FLOOR_BELOW_PEAK, LEVEL_RANGE, Ear
from appliance.dsp.stft import SAMPLE_RATE_HZ, stft
from appliance.lab.datasets.sources import load_clips, read_clip
from appliance.lab.pack import CLASSES, DIFFUSE_CLASSES, SHORT_CLASSES, SOUNDS, Clip
from appliance.lab.scenes.dice import Dice
from appliance.lab.scenes.maker import SceneSettings
from appliance.lab.scenes.moments import LoudMoments
from appliance.lab.scenes.sources import clip_weights, synthesised, synthetic_shares
from appliance.lab.tagger.responses import BeamResponses
from appliance.lab.workers import each
from appliance.lab.world.atmosphere import Air, absorption_db_per_m

_SPEEDS_PERCENT = (100, 78, 84, 90, 95, 106, 112, 119, 127)
"""A faster copy of a rotor is another airframe, of a voice another throat. More of them helps sounds that were never learned from."""
_SNR_DB = (-10.0, 25.0)
_OTHER_DB = (-15.0, 3.0)
_SECOND_DB = (-15.0, 0.0)
_TARGETS_SHARE = 0.65
_YOUNG_SHARE = 0.6
_LEAST_S = 0.6
"""As often a track is younger than what is heard at once: its first hop, half a second before it was found, stands for what came
before (`model.tagger`). So long it is at least."""
_SMOOTH_S, _SMOOTH_HZ = 0.06, 12.0
_SHORTEST_S = 0.08
_SWAY_DB = 4.0
"""Turbulence on the way makes parts of the spectrum louder and softer, each on its own, within half a second or so."""
_KNOTS = 18
"""What changes on the way is known so often in the time that is heard at once, and straight between."""
_LOUD = 0.9
"""A sound is as loud as in its loudest tenth: a shot is short."""


class BeamMaker:
    """Makes batches of beams as an ear hears them. `batch(key, …)` depends on settings, ear, seed, key and device alone."""

    def __init__(
        self, settings: SceneSettings, ear: Ear, seed: int = 0, *, device: str = "cpu", workers: int = 1
    ) -> None:
        """Which recordings, how many of them drones or synthetic: as scenes are drawn. `workers`: processes that prepare them."""
        self._settings, self._ear, self.device = settings, ear, torch.device(device)
        rng = np.random.default_rng([seed, 7])
        self._bank = _BeamBank(settings, ear, rng, self.device, workers)
        hz = ear.band_frequencies_hz()
        self._hz, self._bins = self._held(hz), self._held(ear.bins_in_band)
        self._time = torch.arange(ear.hops, device=self.device)
        # As the level of a field that is fed with it: what is random is put in afresh.
        across = 2 * round(0.5 * _SMOOTH_HZ / ear.resolution.bin_hz) + 1
        self._smooth = (2 * (ear.hops_in(_SMOOTH_S) // 2) + 1, across)
        self._in_band = self._hz > 100.0
        self._air_db_per_m = self._held(absorption_db_per_m(hz.astype(np.float64), Air()))
        points = np.log(np.geomspace(40.0, 8000.0, 8))
        hats = [np.interp(np.log(hz), points, row) for row in np.eye(8)]
        self._equaliser = self._held(np.stack(hats))
        self._responses = BeamResponses(rng, ear, settings.arrays, self.device, workers)
        present = self._bank.labels
        weights = {label: (1.0 - settings.drone_share) / (len(CLASSES) - 1) for label in CLASSES}
        weights["drone"] = settings.drone_share
        targets = self._shares({label: weights[label] for label in CLASSES if label in present})
        others = self._shares({label: 1.0 for label in present if label not in CLASSES})
        self._wanted = _TARGETS_SHARE * targets + (1.0 - _TARGETS_SHARE) * others
        self._beside = 0.5 * targets + 0.5 * others
        self._beds = self._shares({label: 1.0 for label in DIFFUSE_CLASSES if label in present})

    def _held(self, values: npt.NDArray[np.floating[Any]]) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.device)

    def _shares(self, weights: dict[str, float]) -> Tensor:
        """(sounds,) weights by name, their sum 1."""
        shares = torch.tensor([weights.get(label, 0.0) for label in SOUNDS], device=self.device)
        return shares / shares.sum().clamp(min=1e-9)

    @torch.no_grad()
    def batch(self, key: tuple[int, ...], count: int) -> tuple[Tensor, Tensor]:
        """Levels (count, 1, hops, bands) as `Ear.relative_levels` gives them, and the index into `SOUNDS` (count,).

        A fifth are two recordings of a class at once, half have another sound elsewhere.
        """
        dice = Dice(key, self.device)
        label = dice.choice(self._wanted, count)
        young = dice.uniform(count) < _YOUNG_SHARE
        always = torch.zeros(count, dtype=torch.long, device=self.device)
        least = self._ear.hops_in(_LEAST_S)
        first = torch.where(young, dice.integers(0, self._ear.hops - least, count), always)
        source, late = self._sound(dice, label, first)
        second_db = dice.uniform(count, low=_SECOND_DB[0], high=_SECOND_DB[1])
        twice = _power(second_db, dice.uniform(count) < self._settings.doubled)
        second, second_late = self._sound(dice, label, first)
        source, late = source + second * twice, late + second_late * twice
        other, other_late = self._sound(dice, dice.choice(self._beside, count), always)
        other_db = dice.uniform(count, low=_OTHER_DB[0], high=_OTHER_DB[1])
        beside = _power(other_db, dice.uniform(count) < 0.5)
        bed, bed_late = self._channel(dice, self._bank.draw(dice, dice.choice(self._beds, count), always))
        ambience = bed + bed_late
        ambience = ambience / (ambience.sum(dim=(1, 2), keepdim=True) + 1e-9)
        floor, wind = self._noise(dice, count)
        ambience = ambience + floor
        level = _power(-dice.uniform(count, low=_SNR_DB[0], high=_SNR_DB[1]))
        level = level * self._ear.hops / ((ambience + wind) * self._in_band).sum(dim=(1, 2), keepdim=True)
        ambience = ambience * level + late + other_late * beside
        beyond = (self._smooth[0] // 2, self._smooth[1] // 2)
        ambience = functional.avg_pool2d(ambience[:, None], self._smooth, 1, beyond, count_include_pad=False)[:, 0]
        beam = self._responses.beams(dice, source, other * beside, ambience, wind * level)
        kept = torch.maximum(self._time, first[:, None])
        beam = beam.gather(1, kept[..., None].expand_as(beam))
        return _relative_levels(beam, self._bins)[:, None], label

    def _sound(self, dice: Dice, label: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Sounds of these labels, from these hops on, through some channel, their loud part at 1; and their reverberation."""
        powers, late = self._channel(dice, self._bank.draw(dice, label, first))
        loud = torch.quantile(((powers + late) * self._in_band).sum(dim=2), _LOUD, dim=1)[:, None, None] + 1e-9
        return powers / loud, late / loud

    def _channel(self, dice: Dice, powers: Tensor) -> tuple[Tensor, Tensor]:
        """Equaliser, band limits, air, the ground's comb and reverberation, each at times; as `scenes.sources` has them."""
        n = len(powers)
        sigma_db = dice.uniform(n, 1, low=1.0, high=8.0)
        gain_db = (dice.normal(n, 8) * sigma_db) @ self._equaliser
        low_pass_db = -20.0 * torch.log10(1.0 + (self._hz / dice.uniform(n, 1, low=2500.0, high=7500.0)) ** 8)
        gain_db += torch.where(dice.uniform(n, 1) < 0.35, low_pass_db, 0.0)
        corner = dice.uniform(n, 1, low=40.0, high=400.0)
        high_pass_db = 20.0 * torch.log10(self._hz**3 / (self._hz**3 + corner**3))
        gain_db += torch.where(dice.uniform(n, 1) < 0.3, high_pass_db, 0.0)
        metres = torch.exp(dice.uniform(n, 1, low=0.0, high=math.log(800.0)))
        gain = torch.pow(10.0, (gain_db - metres * self._air_db_per_m) / 10.0)
        changing = self._ground(dice, n) * self._turbulence(dice, n)
        changing = functional.interpolate(changing.transpose(1, 2), self._ear.hops, mode="linear").transpose(1, 2)
        powers = powers * gain[:, None] * changing
        echoing = (dice.uniform(n) < 0.4).nonzero()[:, 0]
        late = torch.zeros_like(powers)
        late[echoing] = self._tail(dice, powers[echoing])
        return powers, late

    def _ground(self, dice: Dice, n: int) -> Tensor:
        """(n, knots, bands) gain of what the ground returns, at times: a comb, and it moves where the source does."""
        first_s = dice.uniform(n, 1, 1, low=2e-4, high=1.2e-2)
        grown = torch.where(dice.uniform(n, 1, 1) < 0.5, dice.uniform(n, 1, 1, low=-0.5, high=0.5), 0.0)
        delay_s = first_s * torch.exp(grown * torch.linspace(0.0, 1.0, _KNOTS, device=self.device)[:, None])
        strength = torch.where(dice.uniform(n, 1, 1) < 0.6, dice.uniform(n, 1, 1, low=0.1, high=0.8), 0.0)
        # Over a band as wide as the comb's teeth the ripple evens out.
        ripple = torch.sinc(self._bins * self._ear.resolution.bin_hz * first_s)
        return 1.0 + strength**2 + 2.0 * strength * ripple * torch.cos(2.0 * torch.pi * self._hz * delay_s)

    def _turbulence(self, dice: Dice, n: int) -> Tensor:
        """(n, knots, bands) gain of the way through the air, at times."""
        depth_db = torch.where(dice.uniform(n, 1, 1) < 0.5, dice.uniform(n, 1, 1, high=_SWAY_DB), 0.0)
        sway = functional.interpolate(dice.normal(n, 8, _KNOTS // 3), _KNOTS, mode="linear").transpose(1, 2)
        return torch.pow(10.0, (depth_db * sway) @ self._equaliser / 10.0)

    def _tail(self, dice: Dice, powers: Tensor) -> Tensor:
        n = len(powers)
        keep = torch.exp(-13.8 * self._ear.resolution.hop_s / dice.uniform(n, 1, 1, low=0.15, high=1.2))
        late, reach = functional.pad(powers[:, :-1], (0, 0, 1, 0)) * keep, 1
        while reach < powers.shape[1]:  # each time all that came twice as long before
            late[:, reach:] += keep**reach * late[:, :-reach]
            reach *= 2
        ratio = torch.pow(10.0, -dice.uniform(n, 1, 1, high=18.0) / 10.0)
        return ratio * late * powers.sum(dim=(1, 2), keepdim=True) / (late.sum(dim=(1, 2), keepdim=True) + 1e-9)

    def _noise(self, dice: Dice, n: int) -> tuple[Tensor, Tensor]:
        """A coloured floor of the ambience, and what is independent from microphone to microphone: at times wind in gusts.

        Of a bed whose power is 1.
        """
        colour = torch.pow(100.0 / self._hz.clamp(min=60.0), 2.0 * dice.uniform(n, 1))
        floor = self._responses.white(dice, n, self._ear.hops)[0] * (colour * self._bins)[:, None]
        slope = 2.0 * dice.uniform(n, 1, low=0.8, high=1.8)
        turbulence = torch.pow(1.0 + self._hz / dice.uniform(n, 1, low=15.0, high=80.0), -slope) * self._bins
        swell = functional.interpolate(dice.normal(n, 1, 8), self._ear.hops, mode="linear")[:, 0, :, None]
        gusts = torch.exp(0.7 * swell)
        wind = turbulence[:, None] * gusts
        hiss = self._bins.expand_as(wind)
        floor, wind, hiss = (noise / noise.sum(dim=(1, 2), keepdim=True) for noise in (floor, wind, hiss))
        floor_db, wind_db = dice.uniform(n, low=-25.0, high=-3.0), dice.uniform(n, low=-15.0, high=15.0)
        hiss_db = dice.uniform(n, low=-45.0, high=-20.0)
        return floor * _power(floor_db), wind * _power(wind_db, dice.uniform(n) < 0.4) + hiss * _power(hiss_db)


class _BeamBank:
    """Band powers of all recordings of some folds, at each of some speeds, and what is drawn from them."""

    def __init__(
        self, settings: SceneSettings, ear: Ear, rng: np.random.Generator, device: torch.device, workers: int
    ) -> None:
        self._ear = ear
        clips = [c for c in load_clips(settings.sources, settings.folds) if not c.group.startswith(settings.without)]
        weights = clip_weights(clips)
        made = synthetic_shares(settings.synthetic_drones, settings.synthetic_machines)
        entries: dict[int, list[tuple[float, npt.NDArray[np.float32]]]] = {}
        for clip, own in zip(clips, each(partial(_clip_powers, ear=ear), clips, workers), strict=True):
            share = weights[clip.label, clip.group] * (1.0 - made.get(clip.label, 0.0)) / max(len(own), 1)
            entries.setdefault(SOUNDS.index(clip.label), []).extend((share, powers) for powers in own)
        count = settings.synthetic_count
        for label, wave in synthesised(made, rng, count, workers):
            entries.setdefault(SOUNDS.index(label), []).append((made[label] / count, beam_band_power(wave, ear)))
        self.labels = tuple(SOUNDS[number] for number in sorted(entries))
        # Entries of label k fill the interval (k, k + 1]: one search draws label and entry.
        edges, last = [], torch.full((len(SOUNDS),), -1)
        held: list[npt.NDArray[np.float32]] = []
        for number, listed in sorted(entries.items()):
            shares = np.cumsum([share for share, _ in listed])
            edges.append(number + shares / shares[-1])
            held += [powers for _, powers in listed]
            last[number] = len(held) - 1
        lengths = np.array([len(powers) for powers in held])
        self._edges, self._last = torch.from_numpy(np.concatenate(edges)).to(device), last.to(device)
        self._powers = torch.from_numpy(np.concatenate(held)).to(device)
        self._loud = LoudMoments((powers.sum(axis=1) for powers in held), device)
        self._lengths = torch.from_numpy(lengths).to(device)
        self._starts = torch.from_numpy(np.cumsum(lengths) - lengths).to(device)
        self._short = torch.tensor([label in SHORT_CLASSES for label in SOUNDS], device=device)

    def draw(self, dice: Dice, labels: Tensor, first: Tensor) -> Tensor:
        """(n, hops, bands): short sounds once or twice, a loud moment of theirs somewhere; long ones looped and at times only for a while.

        What does not sound throughout is heard from hop `first` (n,) on, or begins later.
        """
        n, hops, hop_s = len(labels), self._ear.hops, self._ear.resolution.hop_s
        time = torch.arange(hops, device=labels.device)
        entry = torch.searchsorted(self._edges, labels + dice.uniform(n).double()).minimum(self._last[labels])
        length, short = self._lengths[entry, None], self._short[labels, None]
        looped = (time + (dice.uniform(n, 1) * length).long()) % length
        left = hops - first[:, None]
        place = first[:, None] + (dice.uniform(n, 1, high=0.95) * left).long()
        once = time - place + self._loud.draw(dice, entry)[:, None]
        again = once - length - (dice.uniform(n, 1, low=0.06, high=1.56) / hop_s).long()
        at = torch.where((again >= 0) & (dice.uniform(n, 1) < 0.5), again, once)
        inside = (at >= 0) & (at < length)
        position = torch.where(short, torch.where(inside, at, 0), looped)
        powers = self._powers[self._starts[entry, None] + position]
        start = first[:, None] + dice.uniform(n, 1, high=0.6) * left
        stop = start + dice.uniform(n, 1, low=0.6, high=2.6) / hop_s
        gate = ((time - start) * hop_s / 0.1).clamp(0.0, 1.0) * ((stop - time) * hop_s / 0.1).clamp(0.0, 1.0)
        heard = torch.where(short, inside.float(), torch.where(dice.uniform(n, 1) < 0.3, gate, 1.0))
        return powers * heard[..., None]


def beam_band_power(wave: npt.NDArray[np.float32], ear: Ear) -> npt.NDArray[np.float32]:
    """Samples (n,) of RMS 0.1 → power in an ear's bands (hops, bands)."""
    level = max(float(np.sqrt(np.square(wave).mean())), 1e-6)
    spectrum = stft((wave * (0.1 / level)).astype(np.float32), ear.resolution)[:, : ear.edges[-1]]
    return ear.band_sum(spectrum.real**2 + spectrum.imag**2)


def _clip_powers(clip: Clip, ear: Ear) -> list[npt.NDArray[np.float32]]:
    """A recording at each of the speeds."""
    # A short sound leaves the window some time after it is over; others go round in a loop.
    after = ear.resolution.context_samples if clip.label in SHORT_CLASSES else 0
    return [beam_band_power(np.pad(wave, (0, after)), ear) for wave in _at_speeds(read_clip(clip))]


def _at_speeds(wave: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    played = [wave if percent == 100 else resample_poly(wave, 100, percent) for percent in _SPEEDS_PERCENT]
    return [each for each in played if len(each) > _SHORTEST_S * SAMPLE_RATE_HZ]


def _power(decibels: Tensor, where: Tensor | float = 1.0) -> Tensor:
    """(n,) decibels → (n, 1, 1) power, 0 where not wanted."""
    return (torch.pow(10.0, decibels / 10.0) * where)[:, None, None]


def _relative_levels(powers: Tensor, bins: Tensor) -> Tensor:
    """`Ear.relative_levels` on a device; a test holds the two together."""
    mean = powers / bins
    levels = torch.log10(torch.maximum(mean, FLOOR_BELOW_PEAK * mean.amax(dim=(-2, -1), keepdim=True)) + 1e-20)
    levels = levels - levels.mean(dim=(-2, -1), keepdim=True)
    return levels.clamp(-LEVEL_RANGE, LEVEL_RANGE)
