"""A beam that is pointed after the fact hears what one that was pointed all along would have heard."""

import numpy as np
from plane_waves import at_array, hum

from appliance.dsp.directional_power import DirectionalPower, power_towards
from appliance.dsp.features import FeatureExtractor
from appliance.dsp.steered import (
    BEAM_BAND_BINS,
    BEAM_BANDS,
    LEAST_OF_ALL,
    BeamHistory,
    beam_band_frequencies_hz,
    beam_band_sum,
    relative_levels,
)
from appliance.geometry import load_array
from appliance.types import AudioBlock, FeatureFrame

_ARRAY = load_array("tetrahedron_4cm2")


def random_hops(count: int, seed: int = 0) -> list[FeatureFrame]:
    rng = np.random.default_rng(seed)
    spectra = rng.normal(size=(count, 4, 513)) + 1j * rng.normal(size=(count, 4, 513))
    return [FeatureFrame(np.zeros((0, 0), np.float32), s.astype(np.complex64), i, 0) for i, s in enumerate(spectra)]


def test_a_beam_is_the_power_from_there_in_bands_and_never_less_than_a_share_of_all() -> None:
    hops = random_hops(12)
    history = BeamHistory(_ARRAY, 12)
    history.push(hops[:5])
    history.push(hops[5:])
    spectra = np.stack([hop.spectrum for hop in hops])
    forms = DirectionalPower(_ARRAY, 487)
    coming = beam_band_sum(power_towards(forms.aim(-120.0, 35.0), forms.weighted(spectra[..., :487])))
    everything = beam_band_sum((np.abs(spectra) ** 2).mean(axis=1).astype(np.float32))
    assert 0.2 < np.mean(coming > LEAST_OF_ALL * everything) < 0.8
    told = history.powers(-120.0, 35.0, 12)
    np.testing.assert_allclose(told, np.maximum(coming, LEAST_OF_ALL * everything), rtol=1e-3, atol=1e-3)


def test_ambience_from_everywhere_is_heard_less_than_by_a_cardioid() -> None:
    """A cardioid has a third of such a field."""
    rng = np.random.default_rng(4)
    field = sum(at_array(0.05 * rng.standard_normal(32_000), _ARRAY, 9.0 * k) for k in range(40))
    history = BeamHistory(_ARRAY, 0)
    hops = FeatureExtractor(_ARRAY).push(AudioBlock(np.asarray(field, np.float32), 16_000, 0, 0))[-90:]
    history.push(hops)
    band = np.abs(beam_band_frequencies_hz() - 1500.0) < 700.0
    omni = beam_band_sum(np.stack([(np.abs(hop.spectrum) ** 2).mean(axis=0) for hop in hops]))
    assert history.powers(40.0, 0.0)[:, band].sum() < 0.7 * omni[:, band].sum() / 3.0


def test_a_sound_is_heard_where_it_is_and_not_behind() -> None:
    samples = at_array(hum(1.0), _ARRAY, 40.0, 10.0).astype(np.float32)
    history = BeamHistory(_ARRAY, 0)
    history.push(FeatureExtractor(_ARRAY).push(AudioBlock(samples, 16_000, 0, 0)))
    rotor = np.abs(beam_band_frequencies_hz() - 440.0) < 10.0
    towards, behind = (
        history.powers(azimuth, elevation)[-20:, rotor].sum() for azimuth, elevation in ((40.0, 10.0), (-140.0, -10.0))
    )
    assert towards / behind > 0.98 / LEAST_OF_ALL


def test_the_last_push_is_heard_and_so_many_hops_before_it_as_there_are() -> None:
    history = BeamHistory(_ARRAY, 20)
    hops = random_hops(12)
    for at in (0, 5, 7):
        history.push(hops[at : at + (2 if at == 5 else 5)])
    whole = history.powers(10.0, 0.0, 20)
    assert whole.shape == (12, BEAM_BANDS)
    np.testing.assert_array_equal(history.powers(10.0, 0.0), whole[-5:])
    np.testing.assert_array_equal(history.powers(10.0, 0.0, 4), whole[-9:])


def test_a_reset_forgets_and_it_holds_no_more_than_it_is_asked_to() -> None:
    history, hops = BeamHistory(_ARRAY, 8), random_hops(30)
    for at in range(0, 30, 5):
        history.push(hops[at : at + 5])
    before = history.powers(0.0, 0.0, 100)
    assert len(before) == 5 + 10  # whole pushes that cover eight hops
    history.reset()
    history.push(hops[25:])
    np.testing.assert_array_equal(history.powers(0.0, 0.0, 8), before[-5:])


def test_levels_do_not_depend_on_gain_and_silence_is_finite() -> None:
    powers = np.random.default_rng(0).gamma(2.0, size=(3, 16, BEAM_BANDS)).astype(np.float32) * BEAM_BAND_BINS
    levels = relative_levels(powers)
    np.testing.assert_allclose(relative_levels(1e-4 * powers), levels, atol=1e-4)
    np.testing.assert_allclose(relative_levels(powers[1]), levels[1], atol=1e-5)
    np.testing.assert_allclose(levels.mean(axis=(1, 2)), 0.0, atol=1e-4)
    assert (relative_levels(np.zeros((16, BEAM_BANDS), np.float32)) == 0.0).all()
    powers[0, 3, 7] = 0.0
    assert np.abs(relative_levels(powers)).max() <= 4.0
