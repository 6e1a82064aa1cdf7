"""Levels against IEC 61672-1 and against signals whose level is known."""

import math

import numpy as np
import pytest

from appliance.errors import ConfigError, RecordingError
from appliance.lab.pack import CLASSES
from appliance.lab.synth.drones import AIRFRAMES
from appliance.lab.world.levels import (
    AMBIENT_DBA,
    DRONE_LEVELS,
    SOURCE_LEVELS,
    Microphone,
    SourceLevel,
    a_weighting_db,
    active_dba,
    at_one_metre,
    draw_level_dba,
    equivalent_dba,
    fast_maximum_dba,
    gain_to_dba,
    source_level,
)

RATE_HZ = 16_000
TIME_S = np.arange(4 * RATE_HZ) / RATE_HZ

# Nominal 1/3-octave bands as k of 1000·10^(k/10) Hz → dB: IEC 61672-1:2013, table 3.
TABLE_3 = {-20: -70.4, -15: -39.4, -12: -26.2, -9: -16.1, -6: -8.6, -3: -3.2, 0: 0.0, 3: 1.2, 6: 1.0, 9: -1.1, 13: -9.3}


@pytest.mark.parametrize(("band", "weighting_db"), TABLE_3.items())
def test_a_weighting_is_the_table(band: int, weighting_db: float) -> None:
    assert a_weighting_db(1000.0 * 10.0 ** (band / 10.0)) == pytest.approx(weighting_db, abs=0.06)


def tone(frequency_hz: float, level_db: float) -> np.ndarray:
    """Pressure in pascal of a tone of this unweighted level."""
    return np.asarray(math.sqrt(2.0) * 20e-6 * 10.0 ** (level_db / 20.0) * np.sin(2 * np.pi * frequency_hz * TIME_S))


def test_a_calibrator_reads_94() -> None:
    """1 Pa at 1 kHz."""
    assert equivalent_dba(math.sqrt(2.0) * np.sin(2 * np.pi * 1000.0 * TIME_S)) == pytest.approx(93.98, abs=0.01)
    assert fast_maximum_dba(tone(1000.0, 94.0)) == pytest.approx(94.0, abs=0.1)
    assert equivalent_dba(tone(100.0, 80.0)) == pytest.approx(80.0 - 19.1, abs=0.1)


def test_fast_reads_a_short_burst_as_the_standard_says() -> None:
    """IEC 61672-1, table 4: a 4-kHz burst of 200 ms reads 1.0 dB less than steady, of 50 ms 4.8, of 10 ms 11.1."""
    steady = tone(4000.0, 90.0)
    for length_s, below_db in ((0.2, 1.0), (0.05, 4.8), (0.01, 11.1)):
        burst = np.where((TIME_S >= 1.0) & (TIME_S - length_s < 1.0), steady, 0.0)
        assert fast_maximum_dba(burst) - fast_maximum_dba(steady) == pytest.approx(-below_db, abs=0.2)


def test_the_active_level_knows_nothing_of_the_silence_around() -> None:
    bark = np.where((TIME_S > 1.0) & (TIME_S < 1.8), tone(800.0, 85.0), 0.0)
    steady = active_dba(tone(800.0, 85.0))
    assert active_dba(bark) == pytest.approx(steady, abs=0.6)
    assert equivalent_dba(bark) == pytest.approx(steady - 10 * np.log10(4.0 / 0.8), abs=0.1)


@pytest.mark.parametrize("measure", ["equivalent", "fast_maximum"])
def test_a_recording_of_any_scale_gets_its_level_at_one_metre(measure: str) -> None:
    level = SourceLevel(70.0, 90.0, measure, "test")  # type: ignore[arg-type]
    recording = 0.003 * np.random.default_rng(0).standard_normal(RATE_HZ)
    heard = at_one_metre(recording, level, 82.5)
    measured = active_dba if measure == "equivalent" else fast_maximum_dba
    assert measured(heard) == pytest.approx(82.5, abs=1e-6)
    assert np.corrcoef(heard, recording)[0, 1] == pytest.approx(1.0)


def test_ambience_is_set_over_all_microphones() -> None:
    field = np.random.default_rng(1).standard_normal((4, RATE_HZ))
    for level_dba in AMBIENT_DBA.values():
        assert equivalent_dba(field * gain_to_dba(field, level_dba)) == pytest.approx(level_dba)


def test_full_scale_is_the_sine_of_its_level() -> None:
    """A −26 dBFS MEMS microphone: 94 dB SPL is 26 dB below the sine that fills it."""
    microphone = Microphone()
    assert np.abs(microphone.digital(tone(1000.0, 120.0))).max() == pytest.approx(1.0, abs=1e-3)
    rms = microphone.digital(tone(1000.0, 94.0)).std() * math.sqrt(2.0)
    assert 20 * np.log10(rms) == pytest.approx(-26.0, abs=0.01)


def test_self_noise_has_the_level_of_the_data_sheet() -> None:
    noise = Microphone(self_noise_dba=29.0).self_noise(np.random.default_rng(2), 3, 10 * RATE_HZ)
    assert noise.shape == (3, 10 * RATE_HZ)
    assert equivalent_dba(noise) == pytest.approx(29.0, abs=0.1)
    assert abs(np.corrcoef(noise[0], noise[1])[0, 1]) < 0.02


def test_every_class_and_airframe_has_a_level_with_a_source() -> None:
    assert set(CLASSES) <= set(SOURCE_LEVELS)
    assert set(DRONE_LEVELS) == set(AIRFRAMES)
    for level in (*SOURCE_LEVELS.values(), *DRONE_LEVELS.values()):
        assert 20.0 < level.low_dba < level.high_dba < 160.0
        assert level.source


def test_the_eu_limit_lies_in_the_range_of_camera_drones() -> None:
    """(EU) 2019/945 part 15: 81 + 18.5·lg(m/900 g) dB(A) of sound power, in free field 11 dB less at 1 m."""
    for mass_g in (900.0, 4000.0):
        at_1_m = 81.0 + 18.5 * np.log10(mass_g / 900.0) - 11.0
        assert DRONE_LEVELS["camera"].low_dba <= at_1_m <= DRONE_LEVELS["camera"].high_dba


def test_levels_are_drawn_from_the_range() -> None:
    rng = np.random.default_rng(3)
    drawn = [draw_level_dba(rng, source_level("speech")) for _ in range(500)]
    assert 58.0 <= min(drawn) < 60.0
    assert 86.0 < max(drawn) <= 88.0
    assert source_level("drone", "piston") is DRONE_LEVELS["piston"]


def test_what_is_unknown_or_silent_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unicorn.*helicopter"):
        source_level("unicorn")
    with pytest.raises(ConfigError, match=r"zeppelin.*piston"):
        source_level("drone", "zeppelin")
    with pytest.raises(RecordingError, match="silent"):
        at_one_metre(np.zeros(8000), SOURCE_LEVELS["dog"], 90.0)
    assert equivalent_dba(np.zeros(100)) == -math.inf
