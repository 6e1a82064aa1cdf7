"""Beams to learn from are what beams of a rendered scene would be, in mean and scatter."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from appliance.dsp.directional_power import DirectionalPower, coherence, power_towards
from appliance.dsp.foa import steering
from appliance.dsp.steered import EARS
from appliance.dsp.stft import BINS, bin_frequencies_hz
from appliance.geometry import load_array
from appliance.lab.scenes.dice import Dice
from appliance.lab.scenes.fields import EncodedArray
from appliance.lab.tagger.responses import BeamResponses, _moments

_HOPS = 4000
_AT = np.array([8, 40, 100, 240, 400])


def normal(rng: np.random.Generator, *shape: int) -> npt.NDArray[np.complex128]:
    values: npt.NDArray[np.complex128] = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(2.0)
    return values


def test_mean_and_variance_are_those_of_drawn_signals_at_an_array_with_faults() -> None:
    """Two waves in a diffuse field and wind, drawn hop by hop at the true microphones, through the form of the nominal ones."""
    rng = np.random.default_rng(3)
    array = EncodedArray(rng, load_array("respeaker_6mic_circular"))
    mics = array.geometry.mics
    forms = DirectionalPower(array.geometry, bin_frequencies_hz())
    aim = forms.aim(40.0, 0.0)
    directions = np.array([[0.77, 0.64, 0.0], [-0.5, 0.6, 0.62]])
    gain = array.gain(bin_frequencies_hz())
    waves = steering(array.true_positions_m, directions) * gain[:, :, None]
    isotropic = gain[:, :, None] * coherence(array.true_positions_m) * gain.conj()[:, None]
    wind = np.abs(gain) ** 2
    own, other, field, incoherent = 2.0, 0.7, 1.5, 0.05
    told = np.array(_moments(forms.form(aim), waves, isotropic.astype(np.complex64), wind))[:, _AT]
    mean = own * told[0] + other * told[1] + field * told[2] + incoherent * told[3]
    variance = (
        field**2 * told[4]
        + incoherent**2 * told[5]
        + field * incoherent * told[6]
        + own * (field * told[7] + incoherent * told[8] + other * told[11])
        + other * (field * told[9] + incoherent * told[10])
    )
    power, vectors = np.linalg.eigh(isotropic[_AT])
    root = vectors * np.sqrt(np.maximum(power, 0.0))[:, None]
    signals = np.zeros((_HOPS, mics, BINS), np.complex64)
    turned = np.exp(2j * np.pi * rng.random((_HOPS, 2, len(_AT))))
    drawn = np.einsum("bmw,w,hwb->hmb", waves[_AT], np.sqrt([own, other]), turned)
    drawn += np.sqrt(field) * np.einsum("bmn,hnb->hmb", root, normal(rng, _HOPS, mics, len(_AT)))
    drawn += np.sqrt(incoherent) * gain.T[:, _AT] * normal(rng, _HOPS, mics, len(_AT))
    signals[:, :, _AT] = drawn
    heard = power_towards(aim, forms.weighted(signals))[:, _AT]
    np.testing.assert_allclose(heard.var(axis=0), variance, rtol=0.12)
    error = np.abs(heard.mean(axis=0) - mean) / np.sqrt(variance / _HOPS)
    assert error.max() < 4.0


@pytest.mark.parametrize("name", list(EARS))
def test_a_clear_source_is_heard_whole_and_a_field_is_taken_away_but_for_its_scatter(name: str) -> None:
    ear = EARS[name]
    responses = BeamResponses(np.random.default_rng(0), ear, 2, torch.device("cpu"))
    dice = Dice((1,), torch.device("cpu"))
    power, alone, beside = responses.white(dice, 40, ear.hops)
    assert power.shape == (40, ear.hops, ear.bands)
    assert abs(float(power.mean()) - 1.0) < 0.03
    assert max(abs(float(alone.mean())), abs(float(beside.mean()))) < 0.02
    assert abs(float(alone[..., 0].var()) - 1.0) < 0.15
    none, one = torch.zeros_like(power), torch.ones_like(power)
    hz = torch.from_numpy(ear.band_frequencies_hz())
    heard = (hz > 200.0) & (hz < 1500.0)
    clear = responses.beams(dice, one, none, none, none)
    assert 0.8 < float(clear[..., heard].median()) < 1.2
    field = responses.beams(dice, none, none, one, none)
    assert float(field.min()) > 0.0
    assert float((field < 0.05).float().mean()) > 0.3
    assert float(field[..., (hz > 500.0) & (hz < 1500.0)].mean()) < 0.35
