"""Harmonicity tells the fundamental of a comb in noise, is the same however it is cut, and says nothing in silence."""

import numpy as np
import numpy.typing as npt
import pytest

from appliance.dsp.features import BANDS
from appliance.dsp.harmonics import Harmonicity, fundamentals_hz
from appliance.dsp.stft import SAMPLE_RATE_HZ, stft

_TIME_S = np.arange(4 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ


def _heard(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return Harmonicity(BANDS).push(stft(signal.astype(np.float32)))


def _comb(fundamental_hz: float) -> npt.NDArray[np.float64]:
    orders = np.arange(1, int(6000.0 / fundamental_hz))
    comb = (np.cos(2.0 * np.pi * fundamental_hz * orders[:, None] * _TIME_S + orders[:, None])).sum(axis=0)
    return np.asarray(comb / comb.std())


@pytest.mark.parametrize("fundamental_hz", [30.0, 110.0, 180.0])
def test_a_comb_ten_decibels_below_noise_stands_out_at_its_fundamental(fundamental_hz: float) -> None:
    noise = np.random.default_rng(0).standard_normal(len(_TIME_S))
    grid = fundamentals_hz(BANDS)
    fundamental_hz = float(grid[np.abs(grid - fundamental_hz).argmin()])
    mean = _heard(noise + 10.0 ** (-10.0 / 20.0) * _comb(fundamental_hz))[50:].mean(axis=0)
    assert grid[mean.argmax()] == pytest.approx(fundamental_hz)
    assert mean.max() > 1.5 * np.abs(_heard(noise)[50:].mean(axis=0)).max()


def test_it_does_not_depend_on_how_the_sound_is_cut() -> None:
    spectra = stft(np.random.default_rng(1).standard_normal(SAMPLE_RATE_HZ).astype(np.float32))
    whole = Harmonicity(BANDS).push(spectra)
    parts = Harmonicity(BANDS)
    np.testing.assert_allclose(np.concatenate([parts.push(spectra[:7]), parts.push(spectra[7:])]), whole, atol=1e-4)
    parts.reset()
    np.testing.assert_allclose(parts.push(spectra), whole, atol=1e-4)


def test_silence_and_loudness_say_nothing() -> None:
    assert not _heard(np.zeros(SAMPLE_RATE_HZ)).any()
    noise = np.random.default_rng(2).standard_normal(SAMPLE_RATE_HZ)
    np.testing.assert_allclose(_heard(0.01 * noise), _heard(noise), atol=1e-2)
