"""A beam that is pointed after the fact hears what one that was pointed all along would have heard."""

import numpy as np
import pytest
from plane_waves import at_array, hum

from appliance.dsp.directional_power import DirectionalPower, power_towards
from appliance.dsp.steered import EARS, LEAST_OF_ALL, BeamHistory, Ear
from appliance.dsp.stft import stft
from appliance.geometry import load_array
from appliance.types import Float32Array

_ARRAY = load_array("tetrahedron_4cm2")
_LABEL = 1600
ears = pytest.mark.parametrize("name", list(EARS))


def noise(labels: int, seed: int = 0) -> Float32Array:
    samples: Float32Array = np.random.default_rng(seed).normal(size=(4, labels * _LABEL)).astype(np.float32)
    return samples


def heard(history: BeamHistory, samples: Float32Array) -> None:
    for at in range(0, samples.shape[1], _LABEL):
        history.push(samples[:, at : at + _LABEL])


def spectra(samples: Float32Array, ear: Ear) -> np.ndarray:
    return stft(samples, ear.resolution)[..., : ear.edges[-1]]


@ears
def test_a_beam_is_the_power_from_there_in_bands_and_never_less_than_a_share_of_all(name: str) -> None:
    ear, samples = EARS[name], noise(6)
    history = BeamHistory(_ARRAY, 0.5)
    heard(history, samples)
    own = spectra(samples, ear)
    forms = DirectionalPower(_ARRAY, ear.bin_frequencies_hz())
    coming = ear.band_sum(power_towards(forms.aim(-120.0, 35.0), forms.weighted(own)))
    least = LEAST_OF_ALL * ear.band_sum((np.abs(own) ** 2).mean(axis=1).astype(np.float32))
    assert 0.2 < np.mean(coming > least) < 0.8
    told = history.powers((-120.0, 35.0), before=True)[name]
    assert told.shape == (ear.hops_in(0.6), ear.bands)
    off = LEAST_OF_ALL * np.abs(told - np.maximum(coming, least)) / least.mean(axis=0)
    assert np.quantile(off, 0.99) < 0.1  # forms are made at rounded frequencies
    assert off.mean() < 0.02


@ears
def test_all_hear_two_and_a_half_seconds_at_once_in_bands_that_rise(name: str) -> None:
    ear = EARS[name]
    assert 2.55 < ear.hops * ear.resolution.hop_s < 2.65
    assert ear.hops_in(0.1) * ear.resolution.hop_samples == _LABEL
    assert (np.diff(ear.edges) > 0).all()
    assert (np.diff(ear.band_frequencies_hz()) > 0).all()
    assert ear.bins_in_band.sum() == ear.edges[-1] - ear.edges[0]


def test_ambience_from_everywhere_is_heard_less_than_by_a_cardioid() -> None:
    """A cardioid has a third of such a field."""
    rng = np.random.default_rng(4)
    field = sum(at_array(0.05 * rng.standard_normal(32_000), _ARRAY, 9.0 * k) for k in range(40))
    samples = np.asarray(field, np.float32)
    history, ear = BeamHistory(_ARRAY, 0.0), EARS["middle"]
    history.push(samples)
    band = np.abs(ear.band_frequencies_hz() - 1500.0) < 700.0
    omni = ear.band_sum((np.abs(spectra(samples, ear)) ** 2).mean(axis=1))
    assert history.powers((40.0, 0.0))["middle"][:, band].sum() < 0.7 * omni[:, band].sum() / 3.0


@ears
def test_a_sound_is_heard_where_it_is_and_not_behind(name: str) -> None:
    history, ear = BeamHistory(_ARRAY, 0.0), EARS[name]
    history.push(at_array(hum(1.0), _ARRAY, 40.0, 10.0).astype(np.float32))
    rotor = [int(np.argmin(np.abs(ear.band_frequencies_hz() - 440.0)))]
    half = ear.hops_in(0.5)
    towards, behind = (
        history.powers((azimuth, elevation))[name][-half:, rotor].sum()
        for azimuth, elevation in ((40.0, 10.0), (-140.0, -10.0))
    )
    assert towards / behind > 0.98 / LEAST_OF_ALL


@pytest.mark.parametrize("name", ["middle", "short"])
@pytest.mark.parametrize(("apart_deg", "low_hz", "high_hz"), [(90.0, 1500.0, 4000.0), (160.0, 300.0, 700.0)])
def test_a_beam_is_told_apart_from_what_sounds_beside_it(
    name: str, apart_deg: float, low_hz: float, high_hz: float
) -> None:
    """A hum beside noise 10 dB louder: at 90° the beam hears some of that where the hum has nothing, at 160° it loses some of the hum."""
    ear, hiss = EARS[name], np.random.default_rng(5).standard_normal(len(hum(6.0)))
    faint = at_array(hum(6.0), _ARRAY, 40.0)
    both = faint + at_array(3.2 * hum(6.0).std() * hiss, _ARRAY, 40.0 + apart_deg)
    heard: list[float] = []
    for samples, beside in ((faint, ()), (both, ()), (both, ((40.0 + apart_deg, 0.0),))):
        history = BeamHistory(_ARRAY, 0.0)
        history.push(np.asarray(samples, np.float32))
        band = (ear.band_frequencies_hz() > low_hz) & (ear.band_frequencies_hz() < high_hz)
        heard.append(float(history.powers((40.0, 0.0), beside=beside)[name][ear.hops_in(0.5) :, band].sum()))
    alone, mixed, told_apart = heard
    assert abs(told_apart - alone) < 0.5 * abs(mixed - alone)


@ears
def test_what_came_last_is_heard_and_half_a_second_before_it(name: str) -> None:
    ear, history = EARS[name], BeamHistory(_ARRAY, 0.5)
    heard(history, noise(3))
    whole = history.powers((10.0, 0.0), before=True)[name]
    assert len(whole) == ear.hops_in(0.3)
    np.testing.assert_array_equal(history.powers((10.0, 0.0))[name], whole[-ear.hops_in(0.1) :])
    heard(history, noise(20))
    assert len(history.powers((10.0, 0.0), before=True)[name]) == ear.hops_in(0.6)


@ears
def test_a_reset_forgets(name: str) -> None:
    torn, fresh = BeamHistory(_ARRAY, 0.5), BeamHistory(_ARRAY, 0.5)
    heard(torn, noise(10, seed=1))
    torn.reset()
    heard(torn, noise(2, seed=2))
    heard(fresh, noise(2, seed=2))
    np.testing.assert_array_equal(
        torn.powers((0.0, 0.0), before=True)[name], fresh.powers((0.0, 0.0), before=True)[name]
    )


@ears
def test_levels_do_not_depend_on_gain_and_silence_is_finite(name: str) -> None:
    ear = EARS[name]
    powers = np.random.default_rng(0).gamma(2.0, size=(3, 16, ear.bands)).astype(np.float32) * ear.bins_in_band
    levels = ear.relative_levels(powers)
    np.testing.assert_allclose(ear.relative_levels(1e-4 * powers), levels, atol=1e-4)
    np.testing.assert_allclose(ear.relative_levels(powers[1]), levels[1], atol=1e-5)
    np.testing.assert_allclose(levels.mean(axis=(1, 2)), 0.0, atol=1e-4)
    assert (ear.relative_levels(np.zeros((16, ear.bands), np.float32)) == 0.0).all()
    powers[0, 3, 7] = 0.0
    assert np.abs(ear.relative_levels(powers)).max() <= 4.0
