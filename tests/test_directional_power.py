"""The power from a direction: one for what is there, nothing on average for what is everywhere or nowhere."""

import numpy as np
import pytest

from appliance.angles import unit_vector
from appliance.dsp.directional_power import DirectionalPower, coherence, power_towards
from appliance.dsp.foa import FoaEncoder, foa_gains, steering
from appliance.dsp.stft import bin_frequencies_hz
from appliance.geometry import load_array, shipped_arrays
from appliance.types import Complex64Array

_BINS = 487
_HZ = bin_frequencies_hz()[:_BINS]
_SOLID = load_array("tetrahedron_4cm2")


def noise(hops: int, mics: int, seed: int = 0) -> Complex64Array:
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(2, hops, mics, _BINS))
    spectra: Complex64Array = (parts[0] + 1j * parts[1]).astype(np.complex64)
    return spectra


def wave(azimuth_deg: float, elevation_deg: float) -> Complex64Array:
    """(bins, mics) of a plane wave at the tetrahedron."""
    waves = steering(_SOLID.positions_m, unit_vector(azimuth_deg, elevation_deg)[None])
    return np.ascontiguousarray(waves[:_BINS, :, 0])


@pytest.mark.parametrize("name", ["tetrahedron_4cm2", "minidsp_uma16_v2", "respeaker_usb_4mic"])
def test_what_is_computed_is_the_quadratic_form(name: str) -> None:
    geometry = load_array(name)
    forms = DirectionalPower(geometry, _HZ)
    aim = forms.aim(-50.0, 20.0)
    x = noise(6, geometry.mics)
    form = forms.form(aim)
    expected = np.einsum("hmb,bmn,hnb->hb", x.conj(), form, x).real
    scale = np.abs(form).sum(axis=(1, 2))
    told = power_towards(aim, forms.weighted(x))
    np.testing.assert_allclose((told / scale)[:, 3:], (expected / scale)[:, 3:], atol=2e-4)


def test_bins_at_the_same_frequency_share_a_form() -> None:
    hz, x = np.array([250.0, 250.0, 3000.0, 250.0]), noise(6, 4)[..., :4]
    several = DirectionalPower(_SOLID, hz)
    told = power_towards(several.aim(20.0, 10.0), several.weighted(x))
    for bin_, own in enumerate(hz):
        one = DirectionalPower(_SOLID, np.array([own]))
        alone = power_towards(one.aim(20.0, 10.0), one.weighted(x[..., bin_ : bin_ + 1]))
        np.testing.assert_allclose(told[:, bin_], alone[:, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", shipped_arrays())
def test_fields_from_everywhere_and_noise_of_the_microphones_are_nothing_on_average(name: str) -> None:
    geometry = load_array(name)
    forms = DirectionalPower(geometry, _HZ)
    form = forms.form(forms.aim(75.0, 0.0))[4:]
    scale = np.abs(form).sum(axis=(1, 2))
    isotropic = np.trace(form @ coherence(geometry.positions_m)[4:_BINS], axis1=1, axis2=2).real
    assert np.abs(isotropic / scale).max() < 1e-3
    assert np.abs(np.trace(form, axis1=1, axis2=2).real / scale).max() < 1e-3


@pytest.mark.parametrize(("azimuth_deg", "elevation_deg"), [(0.0, 0.0), (-120.0, 35.0), (77.0, -20.0)])
def test_a_plane_wave_counts_in_full_from_the_lowest_to_the_highest_frequency(
    azimuth_deg: float, elevation_deg: float
) -> None:
    forms = DirectionalPower(_SOLID, _HZ)
    x = wave(azimuth_deg, elevation_deg).T[None] * np.complex64(3.0)
    told = power_towards(forms.aim(azimuth_deg, elevation_deg), forms.weighted(x))
    np.testing.assert_allclose(told[0, 3:], 9.0, rtol=0.01)
    behind = power_towards(forms.aim(azimuth_deg - 180.0, -elevation_deg), forms.weighted(x))
    low = bin_frequencies_hz()[:_BINS] < 1500.0
    assert (behind[0, low][3:] < 1.0).all()


def test_where_nobody_knows_how_high_a_sound_is_it_is_heard_as_well_above_as_level() -> None:
    geometry = load_array("minidsp_uma16_v2")
    forms = DirectionalPower(geometry, _HZ)
    band = slice(16, 350)
    for elevation_deg in (0.0, 20.0, 40.0):
        x = steering(geometry.positions_m, unit_vector(30.0, elevation_deg)[None])[:_BINS].transpose(2, 1, 0)
        told = power_towards(forms.aim(30.0, None), forms.weighted(x))
        assert 0.6 < told[0, band].mean() < 1.5


@pytest.mark.parametrize("name", shipped_arrays())
def test_it_scatters_less_than_w_times_a_dipole(name: str) -> None:
    """Of a diffuse field, against a wave of the same power from there; at 3 kHz and above W and dipole hear little."""
    geometry = load_array(name)
    forms = DirectionalPower(geometry, _HZ)
    form, isotropic = forms.form(forms.aim(30.0, 0.0)), coherence(geometry.positions_m)
    encoder, towards = FoaEncoder(geometry).matrix, foa_gains(unit_vector(30.0, 0.0)[None])[:, 0]
    heard = steering(geometry.positions_m, unit_vector(30.0, 0.0)[None])[:, :, 0]
    for hz, better in ((500.0, 1.0), (1000.0, 1.2), (5000.0, 1.5)):
        at = round(hz / 15.625)
        w, dipole = encoder[at, 0], towards[1:] @ encoder[at, 1:]
        cross = 0.5 * (np.outer(w.conj(), dipole) + np.outer(dipole.conj(), w))
        scatter = []
        for each in (form[at], cross):
            product = each @ isotropic[at]
            own = (heard[at].conj() @ each @ heard[at]).real
            scatter.append(np.sqrt(np.trace(product @ product).real) / own)
        assert scatter[0] > 0.0
        assert scatter[1] < 0.0 or scatter[1] > better * scatter[0]
