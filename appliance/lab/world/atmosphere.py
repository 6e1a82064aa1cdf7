"""Air: the speed of sound in it and what it absorbs on the way (ISO 9613-1:1993).

Absorption is applied in zero phase: the dispersion that belongs to it is below 0.1 m/s and is left out.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from appliance.errors import ConfigError
from appliance.lab.world.slow_filter import filter_frequencies_hz, slow_filter

FloatArray = npt.NDArray[np.float64]

_REFERENCE_KPA = 101.325
_REFERENCE_K = 293.15
_TRIPLE_POINT_K = 273.16


@dataclass(frozen=True, slots=True)
class Air:
    """Uniform, still air."""

    temperature_c: float = 15.0
    """Air temperature in degrees Celsius, −20…50 (the range of the standard's tables)."""
    humidity_percent: float = 70.0
    """Relative humidity, 5…100 %."""
    pressure_kpa: float = _REFERENCE_KPA
    """Ambient pressure, 50…110 kPa."""

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("temperature_c", self.temperature_c, -20.0, 50.0),
            ("humidity_percent", self.humidity_percent, 5.0, 100.0),
            ("pressure_kpa", self.pressure_kpa, 50.0, 110.0),
        ):
            if not low <= value <= high:
                raise ConfigError(f"air: {name} = {value}: outside {low:g}…{high:g}; set it within")


def speed_of_sound_m_s(air: Air) -> float:
    """Speed of sound in m/s by temperature alone (ISO 9613-1, A.5); humidity adds at most 0.5 % at 30 °C."""
    return 343.2 * math.sqrt((air.temperature_c + 273.15) / _REFERENCE_K)


def absorption_db_per_m(frequencies_hz: npt.ArrayLike, air: Air) -> FloatArray:
    """Pure-tone attenuation in dB/m at frequencies of any shape; 0 at 0 Hz.

    ISO 9613-1:1993, equations (3)–(5), with the saturation pressure of annex B; the standard states ±10 % for it.
    """
    frequency = np.asarray(frequencies_hz, np.float64)
    kelvin = air.temperature_c + 273.15
    warm = kelvin / _REFERENCE_K
    pressure = air.pressure_kpa / _REFERENCE_KPA
    saturation = 10.0 ** (-6.8346 * (_TRIPLE_POINT_K / kelvin) ** 1.261 + 4.6151)
    vapour_percent = air.humidity_percent * saturation / pressure
    oxygen_hz = pressure * (24.0 + 4.04e4 * vapour_percent * (0.02 + vapour_percent) / (0.391 + vapour_percent))
    nitrogen_hz = pressure * warm**-0.5 * (9.0 + 280.0 * vapour_percent * math.exp(-4.170 * (warm ** (-1 / 3) - 1.0)))
    square = frequency**2
    classical = 1.84e-11 / pressure * math.sqrt(warm)
    oxygen = 0.01275 * math.exp(-2239.1 / kelvin) / (oxygen_hz + square / oxygen_hz)
    nitrogen = 0.1068 * math.exp(-3352.0 / kelvin) / (nitrogen_hz + square / nitrogen_hz)
    attenuation: FloatArray = 8.686 * square * (classical + warm**-2.5 * (oxygen + nitrogen))
    return attenuation


def absorption_gain(distances_m: npt.ArrayLike, air: Air) -> FloatArray:
    """Pressure gain (..., bins) over distances (...) in metres, at `filter_frequencies_hz`."""
    loss_db = np.asarray(distances_m, np.float64)[..., None] * absorption_db_per_m(filter_frequencies_hz(), air)
    gain: FloatArray = 10.0 ** (-loss_db / 20.0)
    return gain


def absorb(signal: FloatArray, distances_m: npt.ArrayLike, air: Air) -> FloatArray:
    """A signal (n,) after a way through the air.

    `distances_m` is one number, or (frames,) distances at `slow_filter.frame_times_s(n)`. The filter is applied to the
    sound as it is emitted: a distance is the one that the sound of that moment will travel.
    """
    return slow_filter(signal, absorption_gain(distances_m, air))
