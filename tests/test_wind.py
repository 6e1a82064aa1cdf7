"""Wind against Corcos, Kaimal and what was measured behind windscreens."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.integrate import trapezoid
from scipy.signal import csd, welch

from appliance.errors import ConfigError
from appliance.geometry import load_array, shipped_arrays
from appliance.lab.world.levels import REFERENCE_PA, a_weighting_db
from appliance.lab.world.wind import (
    Wind,
    gust_speeds_m_s,
    pressure_psd,
    turbulence_psd,
    wind_coherence,
    wind_noise,
)

RATE_HZ = 16_000
FloatArray = npt.NDArray[np.float64]


def measured_coherence(first: FloatArray, second: FloatArray) -> tuple[FloatArray, npt.NDArray[np.complex128]]:
    """Frequencies and complex coherence; phase as of `second` behind `first`."""
    frequencies, cross = csd(first, second, RATE_HZ, nperseg=8192)
    _, power_1 = welch(first, RATE_HZ, nperseg=8192)
    _, power_2 = welch(second, RATE_HZ, nperseg=8192)
    return frequencies, cross / np.sqrt(power_1 * power_2)


@pytest.mark.parametrize(
    ("second_m", "azimuth_deg"), [((0.03, 0.0, 0.0), 0.0), ((0.0, 0.03, 0.0), 0.0), ((0.02, 0.02, 0.01), 30.0)]
)
def test_coherence_is_corcos(second_m: tuple[float, float, float], azimuth_deg: float) -> None:
    """Along, across and aslant to the wind, magnitude and phase, over six minutes of steady wind."""
    mics = np.array([(0.0, 0.0, 0.0), second_m])
    wind = Wind(8.0, azimuth_deg, gusts=False)
    noise = wind_noise(np.random.default_rng(4), wind, mics, 360 * RATE_HZ)
    frequencies, found = measured_coherence(noise[0], noise[1])
    band = (frequencies >= 20.0) & (frequencies <= 1000.0)
    expected = wind_coherence(frequencies, mics, wind)[:, 1, 0]
    error = (found - expected)[band]
    assert np.abs(error).max() < 0.1
    assert np.sqrt((np.abs(error) ** 2).mean()) < 0.04
    assert np.abs(error.mean()) < 0.01


def test_turbulence_reaches_the_windward_microphone_first() -> None:
    """Wind from the front: the pattern is found again 5 cm further back after 0.05 m / (0.8·8 m/s)."""
    mics = np.array([(0.05, 0.0, 0.0), (0.0, 0.0, 0.0)])
    noise = wind_noise(np.random.default_rng(1), Wind(8.0, 0.0, gusts=False), mics, 120 * RATE_HZ)
    spectra = np.fft.rfft(noise, axis=1)
    frequencies = np.fft.rfftfreq(noise.shape[1], 1 / RATE_HZ)
    spectra[:, (frequencies < 15.0) | (frequencies > 150.0)] = 0.0
    correlation = np.fft.irfft(np.conj(spectra[0]) * spectra[1])
    lag = int(np.argmax(correlation[: RATE_HZ // 10]))
    assert lag / RATE_HZ == pytest.approx(0.05 / 6.4, abs=2e-3)


@pytest.mark.parametrize("array", shipped_arrays())
def test_at_array_spacings_wind_is_incoherent_above_low_frequencies(array: str) -> None:
    """5 m/s, any direction: above 1 kHz no pair of neighbours shares more than a tenth of its amplitude."""
    mics = load_array(array).positions_m
    for azimuth_deg in (0.0, 45.0, 90.0):
        magnitude = np.abs(wind_coherence([1000.0, 3000.0], mics, Wind(5.0, azimuth_deg)))
        others = magnitude[:, ~np.eye(len(mics), dtype=bool)]
        assert others.max() < 0.1


def test_spectrum_is_the_formula_in_steady_wind() -> None:
    wind = Wind(6.0, gusts=False)
    noise = wind_noise(np.random.default_rng(2), wind, np.zeros((1, 3)), 300 * RATE_HZ)[0]
    frequencies, power = welch(noise, RATE_HZ, nperseg=16_384)
    for low_hz in (20.0, 50.0, 100.0, 300.0, 1000.0, 3000.0):
        band = (frequencies >= low_hz) & (frequencies < low_hz * 1.26)
        expected = pressure_psd(frequencies[band], wind).mean()
        assert 10 * np.log10(power[band].mean() / expected) == pytest.approx(0.0, abs=0.6)


def test_slopes_are_those_of_inertial_turbulence_and_of_the_screen() -> None:
    """−5/3 below U/(3D), two powers more above."""
    wind = Wind(5.0, screen_m=0.01)
    inertial = np.log10(pressure_psd([10.0, 20.0], wind))
    averaged = np.log10(pressure_psd([2000.0, 4000.0], wind))
    assert (inertial[1] - inertial[0]) / np.log10(2.0) == pytest.approx(-5 / 3, abs=0.1)
    assert (averaged[1] - averaged[0]) / np.log10(2.0) == pytest.approx(-11 / 3, abs=0.1)


@pytest.mark.parametrize("speed_m_s", [3.0, 5.0, 8.0, 12.0])
def test_level_lies_between_what_was_measured_in_calm_flow_and_the_full_stagnation_pressure(speed_m_s: float) -> None:
    """Strasberg 1988 in wind tunnels, 40·lg V − 23·lg(fD/V) + 15 per 1/3 octave, is the least; ρ·U·u the most.

    And in total it is some decibels above the 95-% level in grassland, 37.9·lg V + 42.5 dB (van den Berg,
    J. Acoust. Soc. Am. 101, 1997).
    """
    wind = Wind(speed_m_s)
    frequencies = np.arange(4.0, 8000.0, 0.5)
    psd = pressure_psd(frequencies, wind)
    for centre_hz in (31.5, 63.0, 125.0):
        band = (frequencies > centre_hz * 2 ** (-1 / 6)) & (frequencies < centre_hz * 2 ** (1 / 6))
        level_db = 10 * np.log10(psd[band].sum() * 0.5 / REFERENCE_PA**2)
        strasberg_db = 40 * np.log10(speed_m_s) - 23 * np.log10(centre_hz * wind.screen_m / speed_m_s) + 15
        full = (1.2 * speed_m_s) ** 2 * turbulence_psd(frequencies[band], wind)
        assert strasberg_db < level_db < 10 * np.log10(full.sum() * 0.5 / REFERENCE_PA**2)
    total_db = 10 * np.log10(psd.sum() * 0.5 / REFERENCE_PA**2)
    assert 5.0 < total_db - (37.9 * np.log10(speed_m_s) + 42.5) < 18.0


def test_wind_of_5_m_s_is_about_40_dba_behind_a_9_cm_screen_and_rises_by_70_per_decade() -> None:
    frequencies = np.arange(4.0, 8000.0, 0.5)
    weight = 10.0 ** (a_weighting_db(frequencies) / 10.0)
    slow, fast = (
        10 * np.log10((weight * pressure_psd(frequencies, Wind(speed))).sum() * 0.5 / REFERENCE_PA**2)
        for speed in (5.0, 10.0)
    )
    assert slow == pytest.approx(41.0, abs=3.0)
    assert (fast - slow) / np.log10(2.0) == pytest.approx(67.0, abs=5.0)


def test_gusts_are_the_slow_part_of_the_turbulence() -> None:
    """Standard deviation over an hour is that of Kaimal's spectrum below 0.5 Hz, some 17 % of the mean."""
    wind = Wind(6.0)
    speeds = gust_speeds_m_s(np.random.default_rng(0), wind, np.arange(0.0, 3600.0, 0.128))
    slow_hz = np.linspace(1e-4, 0.5, 20_000)
    expected = float(np.sqrt(trapezoid(turbulence_psd(slow_hz, wind), slow_hz)))
    assert speeds.std() == pytest.approx(expected, rel=0.1)
    assert speeds.mean() == pytest.approx(6.0, rel=0.03)
    assert speeds.min() > 0.0


def test_gusts_swell_at_all_microphones_together() -> None:
    """Levels of half seconds go together where the waveforms do not."""
    mics = load_array("respeaker_usb_4mic").positions_m
    noise = wind_noise(np.random.default_rng(6), Wind(6.0), mics, 120 * RATE_HZ)
    spectra = np.fft.rfft(noise, axis=1)
    spectra[:, np.fft.rfftfreq(noise.shape[1], 1 / RATE_HZ) < 300.0] = 0.0
    high = np.fft.irfft(spectra, axis=1)
    assert abs(np.corrcoef(high[0], high[1])[0, 1]) < 0.1
    one_db, other_db = 10 * np.log10((high[:2].reshape(2, -1, 8000) ** 2).mean(axis=2))
    assert np.corrcoef(one_db, other_db)[0, 1] > 0.9
    assert one_db.std() > 2.0


def test_the_same_seed_blows_the_same_wind() -> None:
    mics = load_array("respeaker_usb_4mic").positions_m
    one, two = (wind_noise(np.random.default_rng(9), Wind(4.0), mics, 20_000) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (4, 20_000)


@pytest.mark.parametrize(
    ("name", "value"),
    [("speed_m_s", 60.0), ("speed_m_s", 0.0), ("height_m", 0.0), ("roughness_m", 2.0), ("screen_m", 0.0)],
)
def test_wind_that_cannot_be_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        replace(Wind(5.0), **{name: value})  # type: ignore[arg-type]
