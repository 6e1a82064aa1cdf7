"""What arrays make of sounds in a beam: mean and scatter of `dsp.directional_power`, for waves and noise fields.

A beam is a quadratic form of the microphones' signals. What it makes of a plane wave follows from the true array's response,
what it makes of a field from its covariance, and how far it scatters from both: no scene has to be rendered for it.
"""

import math
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from appliance.angles import azimuth_elevation_deg
from appliance.dsp.directional_power import DirectionalPower, coherence
from appliance.dsp.foa import steering
from appliance.dsp.steered import LEAST_OF_ALL, Ear
from appliance.dsp.stft import SAMPLE_RATE_HZ, stft
from appliance.lab.scenes.dice import Dice
from appliance.lab.scenes.fields import draw_array
from appliance.lab.workers import each
from appliance.types import Complex64Array

_BEAMS_OF_EACH = 24
_LEAST_APART_DEG = 25.0
_OFF_DEG = (1.0, 8.0)
"""A track points beside its source, by a normal error of so many degrees on each axis."""
_WHITE_S = 120.0
_OTHERS = 5
"""White noises of which a beam takes the mean away from its own: microphones less one, more or less."""

_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Responses:
    """Of beams (n, bands): what they make of a power of 1 per microphone, and the variance of a bin by two powers of 1."""

    source: Tensor
    """Mean of the sound that the beam is for."""
    other: Tensor
    """Of another one elsewhere."""
    ambience: Tensor
    """Of a field from all around."""
    wind: Tensor
    """Of what is independent from microphone to microphone."""
    ambience_alone: Tensor
    """Variances, of fields by themselves and with one another."""
    wind_alone: Tensor
    ambience_wind: Tensor
    source_ambience: Tensor
    """Of a sound and a field."""
    source_wind: Tensor
    other_ambience: Tensor
    other_wind: Tensor
    source_other: Tensor
    """Of two sounds."""

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, chosen: Tensor) -> "Responses":
        """Of some beams, with room for hops (n, 1, bands)."""
        return Responses(*(getattr(self, field.name)[chosen, None] for field in fields(self)))


class BeamResponses:
    """Beams of many arrays with small faults: towards a source more or less, with another sound elsewhere."""

    def __init__(self, rng: np.random.Generator, ear: Ear, arrays: int, device: torch.device, workers: int = 1) -> None:
        """`workers`: processes that work them out."""
        parts = each(partial(_responses, ear=ear), rng.spawn(arrays), workers)
        self._responses = Responses(
            *(torch.from_numpy(np.concatenate(told)).to(device) for told in zip(*parts, strict=True))
        )
        self._textures = tuple(torch.from_numpy(texture).to(device) for texture in _white_textures(rng, ear))
        self._device = device

    def white(self, dice: Dice, n: int, hops: int) -> tuple[Tensor, Tensor, Tensor]:
        """White noise of one hearing (n, hops, bands): its power of mean 1, and what it adds to a beam by itself and beside a wave.

        The last two have the mean 0 and the variance of a band's mean over bins of variance 1.
        """
        start = dice.integers(0, len(self._textures[0]) - hops, n)
        stretch = start[:, None] + torch.arange(hops, device=self._device)
        power, alone, beside = (texture[stretch] for texture in self._textures)
        return power, alone, beside

    def beams(self, dice: Dice, source: Tensor, other: Tensor, ambience: Tensor, wind: Tensor) -> Tensor:
        """(n, hops, bands) power in beams: two sounds as they are, two fields by their mean power."""
        at = self._responses[dice.integers(0, len(self._responses), len(source))]
        power, alone, beside = self.white(dice, len(source), source.shape[1])
        fields_variance = (
            ambience.square() * at.ambience_alone + wind.square() * at.wind_alone + ambience * wind * at.ambience_wind
        )
        waves_variance = source * (
            ambience * at.source_ambience + wind * at.source_wind + other * at.source_other
        ) + other * (ambience * at.other_ambience + wind * at.other_wind)
        beam = source * at.source + other * at.other + (ambience * at.ambience + wind * at.wind) * power
        beam = beam + fields_variance.clamp(min=0.0).sqrt() * alone + waves_variance.clamp(min=0.0).sqrt() * beside
        return torch.maximum(beam, LEAST_OF_ALL * (source + other + (ambience + wind) * power))


def _responses(rng: np.random.Generator, ear: Ear) -> list[_Floats]:
    """As the fields of `Responses`, for some beams of a random array."""
    array, hz = draw_array(rng), ear.bin_frequencies_hz()
    forms, gain = DirectionalPower(array.geometry, hz), array.gain(hz)
    isotropic = coherence(array.true_positions_m, hz)
    ambience = (gain[:, :, None] * isotropic * gain.conj()[:, None]).astype(np.complex64)
    wind = np.abs(gain) ** 2
    told = []
    for _ in range(_BEAMS_OF_EACH):
        source, other, beam = _directions(rng)
        form = forms.form(forms.aim(*azimuth_elevation_deg(beam)))
        waves = steering(array.true_positions_m, np.stack([source, other]), hz) * gain[:, :, None]
        told.append([_band_mean(values, ear) for values in _moments(form, waves, ambience, wind)])
    return [np.stack(values) for values in zip(*told, strict=True)]


def _moments(form: Complex64Array, waves: Complex64Array, ambience: Complex64Array, wind: _Floats) -> list[_Floats]:
    """As the fields of `Responses`, by bin (bins,): for xᴴQx of x = s + n, n of covariance C, they are sᴴQs, tr(QC), tr(QCQC), 2·sᴴQCQs.

    `form` (bins, mics, mics); two `waves` (bins, mics, 2); covariances of ambience (bins, mics, mics) and of wind (bins, mics), its
    diagonal.
    """
    heard = form @ waves
    source, other = (waves.conj() * heard).real.sum(axis=1).T
    by_ambience = 2.0 * (heard.conj() * (ambience @ heard)).real.sum(axis=1).T
    by_wind = 2.0 * (np.abs(heard) ** 2 * wind[:, :, None]).sum(axis=1).T
    between = 2.0 * np.abs((waves[..., 0].conj() * heard[..., 1]).sum(axis=1)) ** 2
    of_ambience, of_wind = form @ ambience, form * wind[:, None]

    def both(one: Complex64Array, two: Complex64Array) -> _Floats:
        product: _Floats = (one * two.transpose(0, 2, 1)).real.sum(axis=(1, 2))
        return product

    return [
        *(source, other),
        *(np.trace(of, axis1=1, axis2=2).real for of in (of_ambience, of_wind)),
        *(both(of_ambience, of_ambience), both(of_wind, of_wind), 2.0 * both(of_ambience, of_wind)),
        *(by_ambience[0], by_wind[0], by_ambience[1], by_wind[1], between),
    ]


def _directions(rng: np.random.Generator) -> tuple[npt.NDArray[np.float64], ...]:
    """Unit vectors of a source, of another sound and of the beam."""
    azimuth = rng.uniform(-math.pi, math.pi, 2)
    elevation = np.radians(np.clip(rng.normal(12.0, 22.0, 2), -30.0, 85.0))
    level = np.cos(elevation)
    source, other = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], axis=1)
    if source @ other > math.cos(math.radians(_LEAST_APART_DEG)):
        other = -other
    beam = source + math.radians(rng.uniform(*_OFF_DEG)) * rng.standard_normal(3)
    return source, other, beam / np.linalg.norm(beam)


def _white_textures(rng: np.random.Generator, ear: Ear) -> tuple[_Floats, _Floats, _Floats]:
    """(hops, bands) of real white noise, whose neighbouring hops and bins are as alike as they are in the field."""
    white = rng.standard_normal((_OTHERS + 2, round(_WHITE_S * SAMPLE_RATE_HZ)), dtype=np.float32)
    spectra = stft(white, ear.resolution)[ear.hops_in(0.5) :, :, : ear.edges[-1]]
    spectra /= np.sqrt(np.mean(np.abs(spectra) ** 2))
    powers = np.abs(spectra) ** 2
    alone = (powers[:, 0] - powers[:, 1 : _OTHERS + 1].mean(axis=1)) / math.sqrt(1.0 + 1.0 / _OTHERS)
    beside = math.sqrt(2.0) * spectra[:, -1].real
    return _band_mean(powers[:, 0], ear), _band_mean(alone, ear), _band_mean(beside, ear)


def _band_mean(values: npt.NDArray[np.floating], ear: Ear) -> _Floats:
    """(..., bins) → (..., bands)."""
    return ear.band_sum(values.astype(np.float32)) / ear.bins_in_band
