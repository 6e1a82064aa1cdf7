"""Delay, Doppler and spreading against their formulas."""

import numpy as np
import numpy.typing as npt
import pytest

from appliance.errors import ConfigError
from appliance.geometry import SPEED_OF_SOUND_M_S, load_array
from appliance.lab.world.propagation import apparent_positions_m, emission_times_s, propagate
from appliance.lab.world.trajectories import Trajectory, orbit, still, straight

RATE_HZ = 16_000
C = SPEED_OF_SOUND_M_S
FloatArray = npt.NDArray[np.float64]
ORIGIN = np.zeros((1, 3))


def db(ratio: float) -> float:
    return float(20.0 * np.log10(ratio))


def retarded_time_s(begin: FloatArray, velocity: FloatArray, mic: FloatArray, times_s: FloatArray) -> FloatArray:
    """Closed form for a straight flight: |begin + v·τ − m|² = c²(t − τ)², the earlier root."""
    offset = begin - mic
    a = C**2 - velocity @ velocity
    b = C**2 * times_s + velocity @ offset
    return np.asarray((b - np.sqrt(b**2 - a * (C**2 * times_s**2 - offset @ offset))) / a)


@pytest.mark.parametrize("frequency_hz", [100.0, 1000.0, 3000.0, 5000.0, 6300.0])
def test_a_tone_that_flies_past_is_the_closed_form_to_minus_90_db(frequency_hz: float) -> None:
    """50 m/s, 2 m away: delay, Doppler and level change faster than any drone makes them. 6.3 kHz is heard at 7.4 kHz."""
    begin, velocity = np.array([-50.0, 2.0, 0.5]), np.array([50.0, 0.0, 0.0])
    mics = np.array([[0.0, 0.0, 0.0], [0.05, 0.02, 0.01]])
    emission_s = np.arange(-8000, 36_000) / RATE_HZ
    tone = np.sin(2 * np.pi * frequency_hz * emission_s)
    flight = straight(begin - 0.5 * velocity, begin, 50.0, seconds=2.8, start_s=-0.5)
    heard = propagate(tone, flight, mics, samples=32_000, signal_start_s=-0.5)
    times_s = np.arange(32_000) / RATE_HZ
    for mic, position in enumerate(mics):
        emitted_s = retarded_time_s(begin, velocity, position, times_s)
        exact = np.sin(2 * np.pi * frequency_hz * emitted_s) / (C * (times_s - emitted_s))
        error = heard[mic] - exact
        assert db(np.sqrt((error**2).mean() / (exact**2).mean())) < -90.0
        # At no moment, however far the source then is.
        assert db(float(np.abs(error * C * (times_s - emitted_s)).max())) < -80.0


@pytest.mark.parametrize("frequency_hz", [20.0, 440.0, 2500.0, 5500.0, 7000.0, 7200.0])
def test_interpolation_error_is_below_minus_95_db_up_to_7200_hz(frequency_hz: float) -> None:
    """Every fraction of a sample is met: microphones 0.37 mm apart."""
    mics = np.stack([np.linspace(0.0, 0.03, 81), np.zeros(81), np.zeros(81)], axis=1)
    tone = np.cos(2 * np.pi * frequency_hz * np.arange(-2000, 4000) / RATE_HZ)
    heard = propagate(tone, still((10.0, 3.0, 2.0)), mics, samples=3000, signal_start_s=-2000 / RATE_HZ)
    distance_m = np.linalg.norm(mics - [10.0, 3.0, 2.0], axis=1)[:, None]
    exact = np.cos(2 * np.pi * frequency_hz * (np.arange(3000) / RATE_HZ - distance_m / C)) / distance_m
    assert db(np.abs(heard - exact).max() / np.abs(exact).max()) < -95.0


def test_a_still_source_equals_a_fractional_delay_by_fft() -> None:
    """Noise below 7.2 kHz on a shipped array."""
    mics = load_array("respeaker_usb_4mic").positions_m
    place = np.array([3.0, -4.0, 1.5])
    size = 16_384
    spectrum = np.fft.rfft(np.random.default_rng(3).standard_normal(size))
    frequencies_hz = np.fft.rfftfreq(size, 1.0 / RATE_HZ)
    spectrum[frequencies_hz > 7200.0] = 0.0
    noise = np.fft.irfft(spectrum, size)
    distance_m = np.linalg.norm(mics - place, axis=1)
    delayed = np.fft.irfft(spectrum * np.exp(-2j * np.pi * frequencies_hz * distance_m[:, None] / C), size)
    heard = propagate(np.tile(noise, 3), still(place), mics, samples=3 * size)[:, size : 2 * size]
    error = heard - delayed / distance_m[:, None]
    assert db(np.sqrt((error**2).mean() / (heard**2).mean())) < -95.0


@pytest.mark.parametrize("distance_m", [1.0, 2.0, 10.0, 50.0, 100.0])
def test_level_falls_by_six_decibel_per_doubling(distance_m: float) -> None:
    noise = np.random.default_rng(5).standard_normal(8000)
    band = np.fft.irfft(np.fft.rfft(noise) * (np.fft.rfftfreq(8000, 1 / RATE_HZ) < 6500.0))
    heard = propagate(band, still((0.0, distance_m, 0.0)), ORIGIN, samples=16_000)
    level_db = 10.0 * np.log10((heard**2).sum() / (band**2).sum())
    assert level_db == pytest.approx(-20.0 * np.log10(distance_m), abs=0.01)


@pytest.mark.parametrize("speed_m_s", [15.0, 40.0, -25.0])
def test_doppler_is_the_formula_head_on(speed_m_s: float) -> None:
    """f·c/(c − v): approaching for a positive speed, going away for a negative one."""
    tone = np.sin(2 * np.pi * 1000.0 * np.arange(80_000) / RATE_HZ)
    far = straight(
        (300.0, 0.0, 0.0), (0.0, 0.0, 0.0) if speed_m_s > 0 else (600.0, 0.0, 0.0), abs(speed_m_s), seconds=5.0
    )
    heard = propagate(tone, far, ORIGIN)[0, 32_000:64_000]
    phase = np.unwrap(np.angle(heard_analytic(heard)))[1000:-1000]
    slope = np.polyfit(np.arange(len(phase)) / RATE_HZ, phase, 1)[0]
    assert slope / (2 * np.pi) == pytest.approx(1000.0 * C / (C - speed_m_s), abs=0.01)


def heard_analytic(signal: FloatArray) -> npt.NDArray[np.complex128]:
    """Analytic signal of a narrow band, its envelope's edges tapered."""
    spectrum = np.fft.fft(signal * np.hanning(len(signal)))
    spectrum[len(signal) // 2 :] = 0.0
    return np.asarray(np.fft.ifft(spectrum), np.complex128)


def test_a_click_arrives_when_it_must_and_not_before() -> None:
    click = np.zeros(4000)
    click[100] = 1.0
    heard = propagate(click, still((34.3, 0.0, 0.0)), ORIGIN, samples=4000)[0]
    assert np.argmax(heard) == 100 + 1600
    assert heard.max() == pytest.approx(1.0 / 34.3, rel=1e-5)
    assert np.abs(heard[:1560]).max() == 0.0
    assert np.abs(heard[: 1700 - 40]).max() < 1e-15


def test_a_source_that_started_earlier_is_heard_from_the_first_sample() -> None:
    tone = np.sin(2 * np.pi * 500.0 * np.arange(32_000) / RATE_HZ)
    late = propagate(tone, still((343.0, 0.0, 0.0)), ORIGIN)[0]
    early = propagate(tone, still((343.0, 0.0, 0.0)), ORIGIN, signal_start_s=-1.0)[0]
    assert np.abs(late[:15_900]).max() == 0.0
    np.testing.assert_allclose(early[:16_000], late[16_000:], atol=1e-12)


def test_direction_is_where_the_sound_left_and_not_where_the_drone_is() -> None:
    """At 30 m/s and 100 m a drone is 8.7 m further than it sounds."""
    flight = straight((-30.0, 100.0, 0.0), (0.0, 100.0, 0.0), 30.0, seconds=3.0)
    apparent = apparent_positions_m(flight, np.array([1.0]))[0]
    emitted_s = retarded_time_s(np.array([-30.0, 100.0, 0.0]), np.array([30.0, 0.0, 0.0]), np.zeros(3), np.array([1.0]))
    np.testing.assert_allclose(apparent, [-30.0 + 30.0 * emitted_s[0], 100.0, 0.0], atol=1e-9)
    assert flight.at(1.0)[0] - apparent[0] == pytest.approx(8.8, abs=0.1)


def test_round_an_orbit_the_delay_to_the_centre_stands_still() -> None:
    circle = orbit(40.0, 20.0, 15.0, seconds=30.0)
    times_s = np.linspace(1.0, 29.0, 200)
    late_s = times_s - emission_times_s(circle, times_s, ORIGIN)[0]
    np.testing.assert_allclose(late_s, np.hypot(40.0, 20.0) / C, rtol=1e-6)


def test_scenes_render_alike_whatever_stands_beside() -> None:
    """Microphones are independent of each other, bit for bit."""
    noise = np.random.default_rng(2).standard_normal(20_000)
    flight = straight((5.0, -20.0, 3.0), (5.0, 0.0, 3.0), 12.0, seconds=2.0)
    mics = load_array("respeaker_usb_4mic").positions_m
    together = propagate(noise, flight, mics)
    np.testing.assert_array_equal(propagate(noise, flight, mics[2:3])[0], together[2])


@pytest.mark.parametrize(
    ("flight", "message"),
    [
        (straight((-20.0, 0.0, 0.0), (0.0, 0.0, 0.0), 10.0, seconds=4.0), "keep the source"),
        (straight((-500.0, 9.0, 0.0), (0.0, 9.0, 0.0), 400.0, seconds=4.0), "half the speed of sound"),
        (Trajectory(np.array([[0.0, 5.0, 0.0], [100.0, 5.0, 0.0], [0.0, 5.0, 0.0]])), "half the speed of sound"),
    ],
)
def test_impossible_flights_are_refused(flight: Trajectory, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        propagate(np.ones(64_000), flight, ORIGIN)
