"""Air against the tables of ISO 9613-1 and ISO 9613-2."""

import numpy as np
import pytest

from appliance.errors import ConfigError
from appliance.lab.world.atmosphere import Air, absorb, absorption_db_per_m, absorption_gain, speed_of_sound_m_s
from appliance.lab.world.slow_filter import filter_frequencies_hz, frame_times_s

# (temperature °C, humidity %, exact midband 1000·10^(k/10) Hz as k, dB/km): ISO 9613-1:1993, table 1.
TABLE_1 = [
    (-20, 10, -13, 0.589),
    (-20, 70, -9, 0.514),
    (-20, 100, 0, 11.1),
    (-20, 70, 6, 20.2),
    (-20, 100, 9, 41.1),
    (-10, 10, -9, 1.86),
    (-10, 50, 0, 12.9),
    (-10, 70, 9, 86.2),
    (0, 30, -9, 0.469),
    (0, 15, 0, 18.3),
    (0, 100, 0, 3.37),
    (0, 10, 9, 26.4),
    (10, 10, 0, 21.6),
    (10, 70, 0, 3.66),
    (10, 70, 6, 32.8),
    (10, 10, 9, 69.4),
    (15, 70, 0, 4.08),
    (15, 70, 6, 26.4),
    (20, 100, -13, 0.0403),
    (20, 80, -13, 0.0501),
    (20, 70, -8, 0.518),
    (20, 100, -7, 0.591),
    (20, 70, 0, 4.98),
    (20, 15, 8, 175.0),
    (20, 10, 6, 109.0),
    (30, 70, -9, 0.256),
    (30, 50, 0, 7.03),
    (30, 100, 6, 24.0),
    (50, 10, -10, 0.584),
    (50, 70, 0, 8.03),
    (50, 10, 9, 155.0),
]

# (temperature °C, humidity %, dB/km in the octaves 63 Hz … 8 kHz): ISO 9613-2:1996, table 2.
TABLE_2 = [
    (10, 70, (0.1, 0.4, 1.0, 1.9, 3.7, 9.7, 32.8, 117.0)),
    (20, 70, (0.1, 0.3, 1.1, 2.8, 5.0, 9.0, 22.9, 76.6)),
    (30, 70, (0.1, 0.3, 1.0, 3.1, 7.4, 12.7, 23.1, 59.3)),
    (15, 20, (0.3, 0.6, 1.2, 2.7, 8.2, 28.2, 88.8, 202.0)),
    (15, 50, (0.1, 0.5, 1.2, 2.2, 4.2, 10.8, 36.2, 129.0)),
    (15, 80, (0.1, 0.3, 1.1, 2.4, 4.1, 8.3, 23.7, 82.8)),
]


@pytest.mark.parametrize(("temperature_c", "humidity_percent", "band", "db_per_km"), TABLE_1)
def test_table_1_of_iso_9613_1(temperature_c: float, humidity_percent: float, band: int, db_per_km: float) -> None:
    found = absorption_db_per_m(1000.0 * 10.0 ** (band / 10.0), Air(temperature_c, humidity_percent))
    assert 1000.0 * found == pytest.approx(db_per_km, rel=6e-3)


@pytest.mark.parametrize(("temperature_c", "humidity_percent", "db_per_km"), TABLE_2)
def test_table_2_of_iso_9613_2(temperature_c: float, humidity_percent: float, db_per_km: tuple[float, ...]) -> None:
    octaves_hz = 1000.0 * 10.0 ** (0.3 * np.arange(-4, 4))
    found = 1000.0 * absorption_db_per_m(octaves_hz, Air(temperature_c, humidity_percent))
    np.testing.assert_allclose(found, db_per_km, rtol=0.01, atol=0.051)


def test_thin_air_absorbs_what_the_formula_says_it_does() -> None:
    """Far above both relaxations only classical absorption grows with f², and inversely with pressure."""
    low, high = (absorption_db_per_m(10e6, Air(pressure_kpa=pressure)) for pressure in (60.0, 100.0))
    assert low / high == pytest.approx(100.0 / 60.0, rel=1e-3)


def test_speed_of_sound_follows_the_root_of_the_temperature() -> None:
    assert speed_of_sound_m_s(Air(20.0)) == pytest.approx(343.2)
    assert speed_of_sound_m_s(Air(0.0)) == pytest.approx(331.3, abs=0.05)


def test_gain_is_the_table_over_the_distance() -> None:
    gain_db = 20.0 * np.log10(absorption_gain([0.0, 200.0], Air(10.0, 70.0)))
    octave = int(np.argmin(np.abs(filter_frequencies_hz() - 4000.0)))
    assert gain_db[0].max() == gain_db[0].min() == 0.0
    assert gain_db[1, octave] == pytest.approx(-0.2 * 32.8, abs=0.1)


@pytest.mark.parametrize("frequency_hz", [500.0, 2000.0, 6000.0])
def test_a_tone_that_comes_nearer_grows_by_the_air_it_need_not_cross(frequency_hz: float) -> None:
    air, length = Air(20.0, 30.0), 32_000
    time_s = np.arange(length) / 16_000
    tone = np.sin(2 * np.pi * frequency_hz * time_s)
    distances_m = 600.0 - 200.0 * frame_times_s(length)
    heard = absorb(tone, distances_m, air)
    expected = tone * 10.0 ** (-absorption_db_per_m(frequency_hz, air) * (600.0 - 200.0 * time_s) / 20.0)
    middle = slice(1000, -1000)
    error = np.abs(heard - expected)[middle] / np.abs(expected[middle]).max()
    assert error.max() < 0.01


def test_no_distance_changes_nothing() -> None:
    noise = np.random.default_rng(1).standard_normal(5000)
    np.testing.assert_allclose(absorb(noise, 0.0, Air()), noise, atol=1e-12)


@pytest.mark.parametrize("wrong", [{"temperature_c": 80.0}, {"humidity_percent": 0.0}, {"pressure_kpa": float("nan")}])
def test_air_that_is_none_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Air(**wrong)
