"""The whole way from a source outdoors to a microphone, against the two-ray formula."""

import numpy as np
import pytest

from appliance.lab.world.atmosphere import Air, absorption_db_per_m, speed_of_sound_m_s
from appliance.lab.world.ground import FLOW_RESISTIVITY_PA_S_M2, spherical_wave_reflection
from appliance.lab.world.outdoors import hear_outdoors
from appliance.lab.world.trajectories import approach, still

RATE_HZ = 16_000
AIR = Air(10.0, 70.0)


@pytest.mark.parametrize("surface", ["grass", "asphalt"])
def test_a_still_source_is_two_rays(surface: str) -> None:
    """Spectrum of what is heard = e^{−jkR1}/R1 + Q·e^{−jkR2}/R2, each with its air, to 1 % of the direct sound."""
    click = np.zeros(16_384)
    click[4000] = 1.0
    sound = hear_outdoors(
        click, still((60.0, 0.0, 4.0)), np.zeros((1, 3)), air=AIR, surface=surface, array_height_m=2.0, samples=16_384
    )
    found = np.fft.rfft(np.roll(sound.direct[0] + sound.ground[0], -4000))
    frequencies_hz = np.fft.rfftfreq(16_384, 1 / RATE_HZ)
    speed = speed_of_sound_m_s(AIR)
    direct_m, bounced_m = np.hypot(60.0, 4.0), np.hypot(60.0, 8.0)
    q = spherical_wave_reflection(
        frequencies_hz,
        FLOW_RESISTIVITY_PA_S_M2[surface],
        source_height_m=6.0,
        mic_height_m=2.0,
        range_m=60.0,
        speed_of_sound_m_s=speed,
    )

    def ray(way_m: float) -> np.ndarray:
        air = 10.0 ** (-absorption_db_per_m(frequencies_hz, AIR) * way_m / 20.0)
        return np.asarray(air * np.exp(-2j * np.pi * frequencies_hz * way_m / speed) / way_m)

    inside = (frequencies_hz > 60.0) & (frequencies_hz < 7000.0)
    expected = ray(direct_m) + q * ray(bounced_m)
    assert np.abs(found - expected)[inside].max() * direct_m < 0.01


@pytest.mark.parametrize("distance_m", [25.0, 200.0, 800.0])
def test_level_against_distance_is_spreading_and_air(distance_m: float) -> None:
    """A 2-kHz tone in free air: −20·lg(r) − α·r."""
    tone = np.sin(2 * np.pi * 2000.0 * np.arange(64_000) / RATE_HZ)
    sound = hear_outdoors(
        tone, still((0.0, distance_m, 0.0)), np.zeros((1, 3)), air=AIR, surface=None, array_height_m=2.0
    )
    heard = sound.direct[0, 40_000:60_000]
    level_db = 10.0 * np.log10((heard**2).mean() / 0.5)
    expected_db = -20.0 * np.log10(distance_m) - absorption_db_per_m(2000.0, AIR) * distance_m
    assert level_db == pytest.approx(expected_db, abs=0.05)
    assert not sound.ground.any()


def test_a_drone_that_comes_nearer_grows_brighter() -> None:
    """From 300 m to 30 m: 20 dB by spreading, and at 6 kHz the air's share on top."""
    emission_s = np.arange(-16_000, 16 * 16_000) / RATE_HZ
    low, high = (
        hear_outdoors(
            np.sin(2 * np.pi * frequency_hz * emission_s),
            approach((300.0, 0.0, 0.0), 25.0, seconds=17.0, nearest_m=30.0, start_s=-1.0),
            np.zeros((1, 3)),
            air=AIR,
            surface=None,
            array_height_m=2.0,
            signal_start_s=-1.0,
            samples=16 * 16_000,
        ).direct[0]
        for frequency_hz in (200.0, 6000.0)
    )

    def gain_db(heard: np.ndarray) -> float:
        return float(10.0 * np.log10((heard[-3200:] ** 2).mean() / (heard[:3200] ** 2).mean()))

    # The first 0.2 s heard left the drone some 0.86 s before, still 295 m away.
    spreading_db = 20.0 * np.log10(295.0 / 30.0)
    assert gain_db(low) == pytest.approx(spreading_db, abs=0.6)
    assert gain_db(high) - gain_db(low) == pytest.approx(absorption_db_per_m(6000.0, AIR) * 265.0, abs=1.5)
