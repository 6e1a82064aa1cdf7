"""How loud things are: A-weighting, source levels at 1 m, and the way from pascal to digital full scale.

Signals of the scene world are sound pressures in pascal. A level at 1 m is that of the free field, so that spreading
alone makes it 20·lg(r) less at r metres; sound powers of the standards become levels by −11 dB in the open and −8 dB
over hard ground.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from appliance.dsp.stft import HOP_SAMPLES, HOPS_PER_LABEL, SAMPLE_RATE_HZ
from appliance.errors import ConfigError, RecordingError

FloatArray = npt.NDArray[np.float64]

REFERENCE_PA = 20e-6
AMBIENT_DBA = {"rural": 35.0, "suburban": 45.0, "urban": 55.0}
"""Equivalent level of ambience by day (after the residential categories of ANSI/ASA S12.9-3, annex C)."""

_FAST_S = 0.125
_LABEL_SAMPLES = HOP_SAMPLES * HOPS_PER_LABEL
_ACTIVE_BELOW_PEAK_DB = 25.0


@dataclass(frozen=True, slots=True)
class SourceLevel:
    """Range of A-weighted levels of a kind of source at 1 m, dB re 20 µPa; levels are drawn from it uniformly."""

    low_dba: float
    high_dba: float
    measure: Literal["equivalent", "fast_maximum"]
    """equivalent: L_Aeq while it sounds; fast_maximum: L_AF,max, for what is short."""
    source: str
    """Where the range comes from; *estimate* where no standard or measurement is behind it."""


SOURCE_LEVELS = {
    "drone": SourceLevel(70.0, 95.0, "equivalent", "camera to heavy multicopters, see DRONE_LEVELS"),
    "helicopter": SourceLevel(115.0, 130.0, "equivalent", "ICAO Annex 16 ch. 11: 73–85 dB(A) overhead at 150 m"),
    "airplane": SourceLevel(115.0, 135.0, "equivalent", "ICAO Annex 16 ch. 10: 65–85 dB(A) overhead at 300 m"),
    "vehicle_engine": SourceLevel(70.0, 100.0, "equivalent", "UNECE R51.03: 68–82 dB(A) at 7.5 m; less when idling"),
    "motorbike": SourceLevel(88.0, 108.0, "equivalent", "UNECE R41: 73–80 dB(A) at 7.5 m; more with a changed exhaust"),
    "mower": SourceLevel(82.0, 97.0, "equivalent", "2000/14/EC: sound power 90–105 dB(A)"),
    "power_tool": SourceLevel(85.0, 109.0, "equivalent", "2000/14/EC: chainsaws' sound power to 117 dB(A); EN 62841"),
    "hand_saw": SourceLevel(65.0, 85.0, "equivalent", "estimate"),
    "gunshot": SourceLevel(125.0, 145.0, "fast_maximum", "ISO 17201: source energy 125–145 dB; peaks 20–25 dB above"),
    "explosion": SourceLevel(120.0, 145.0, "fast_maximum", "EN 15947: fireworks to 120 dB(AI) at 8–15 m"),
    "glass_break": SourceLevel(85.0, 105.0, "fast_maximum", "estimate"),
    "siren": SourceLevel(100.0, 130.0, "equivalent", "EN 50131-4: ≥ 100 dB(A) at 1 m; SAE J1849: 118 dB(A) at 3 m"),
    "dog": SourceLevel(85.0, 105.0, "fast_maximum", "estimate, from kennel surveys of 100–115 dB(A) indoors"),
    "speech": SourceLevel(58.0, 88.0, "equivalent", "normal to shouted, Olsen, Am. J. Audiol. 7, 1998"),
    "footsteps": SourceLevel(35.0, 60.0, "fast_maximum", "estimate: soft ground to gravel"),
    "train": SourceLevel(95.0, 115.0, "equivalent", "TSI Noise: 79–95 dB(A) at 7.5 m"),
    "vehicle_horn": SourceLevel(108.0, 124.0, "fast_maximum", "UNECE R28: horns of 105–118 dB(A) at 2 m"),
    "birds": SourceLevel(70.0, 95.0, "fast_maximum", "Brackenbury, J. Exp. Biol. 78, 1979: 74–100 dB at 1 m"),
    "insects_frogs": SourceLevel(60.0, 95.0, "equivalent", "Gerhardt, J. Comp. Physiol. 102, 1975, and below"),
    "crickets": SourceLevel(60.0, 85.0, "equivalent", "estimate"),
    "animal_other": SourceLevel(70.0, 100.0, "fast_maximum", "estimate: cat to cow"),
    "human_other": SourceLevel(60.0, 90.0, "fast_maximum", "estimate: cough to applause"),
    "bells": SourceLevel(80.0, 115.0, "fast_maximum", "estimate: cow bell to church bell"),
    "impact_other": SourceLevel(70.0, 100.0, "fast_maximum", "estimate"),
    "machine_hum": SourceLevel(60.0, 90.0, "equivalent", "estimate"),
    "music": SourceLevel(75.0, 105.0, "equivalent", "estimate"),
    "fire": SourceLevel(50.0, 70.0, "equivalent", "estimate"),
}
"""By label of the audio pack and two kinds of vehicle and tool that the benchmark names."""

DRONE_LEVELS = {
    "micro": SourceLevel(59.0, 72.0, "equivalent", "below 250 g: sound power 70–83 dB(A)"),
    "camera": SourceLevel(70.0, 86.0, "equivalent", "(EU) 2019/945 part 15: sound power 81–97 dB(A) for 0.9–4 kg"),
    "fpv": SourceLevel(80.0, 96.0, "equivalent", "estimate: 5–10 inch racing frames at full thrust"),
    "heavy": SourceLevel(84.0, 98.0, "equivalent", "(EU) 2019/945's 18.5·lg(mass), carried on to 5–25 kg"),
    "piston": SourceLevel(98.0, 115.0, "equivalent", "estimate: two-stroke pushers of 5–50 kW"),
}
"""By airframe of `synth.drones`."""


@dataclass(frozen=True, slots=True)
class Microphone:
    """What a capsule makes of pressure; a common digital MEMS microphone by default (−26 dBFS at 94 dB SPL)."""

    full_scale_db_spl: float = 120.0
    """Level of the sine that just reaches ±1.0."""
    self_noise_dba: float = 30.0
    """Equivalent input noise (94 dB less the data sheet's SNR)."""

    @property
    def pascal_at_full_scale(self) -> float:
        """Pressure in pascal that reads 1.0."""
        return math.sqrt(2.0) * REFERENCE_PA * 10.0 ** (self.full_scale_db_spl / 20.0)

    def digital(self, pressure_pa: FloatArray) -> FloatArray:
        """Pressure (...) in pascal → samples (...), full scale ±1.0, not yet clipped."""
        return pressure_pa / self.pascal_at_full_scale

    def self_noise(self, rng: np.random.Generator, mics: int, samples: int) -> FloatArray:
        """White noise (mics, samples) in pascal of the level `self_noise_dba`."""
        frequencies_hz = np.fft.rfftfreq(4096, 1.0 / SAMPLE_RATE_HZ)
        weighted = float(np.mean(10.0 ** (a_weighting_db(frequencies_hz) / 10.0)))
        sigma_pa = REFERENCE_PA * 10.0 ** (self.self_noise_dba / 20.0) / math.sqrt(weighted)
        return sigma_pa * rng.standard_normal((mics, samples))


def a_weighting_db(frequencies_hz: npt.ArrayLike) -> FloatArray:
    """A-weighting in dB at frequencies (...) (IEC 61672-1:2013, annex E); −∞ at 0 Hz."""
    square = np.square(np.asarray(frequencies_hz, np.float64))
    numerator = 12_194.217**2 * square**2
    denominator = (
        (square + 20.598997**2) * np.sqrt((square + 107.65265**2) * (square + 737.86223**2)) * (square + 12_194.217**2)
    )
    with np.errstate(divide="ignore"):
        weighting: FloatArray = 20.0 * np.log10(numerator / denominator) + 2.000
    return weighting


def a_weighted(pressure_pa: FloatArray) -> FloatArray:
    """Pressure (..., n) through the A-weighting in zero phase → (..., n)."""
    size = pressure_pa.shape[-1]
    gain = 10.0 ** (a_weighting_db(np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE_HZ)) / 20.0)
    return np.fft.irfft(np.fft.rfft(pressure_pa, axis=-1) * gain, n=size, axis=-1)


def equivalent_dba(pressure_pa: FloatArray) -> float:
    """L_Aeq of pressures (..., n) in pascal, over everything given; −∞ for silence."""
    return _decibel(float(np.mean(a_weighted(pressure_pa) ** 2)))


def active_dba(pressure_pa: FloatArray) -> float:
    """L_Aeq of a signal (n,) in pascal while it sounds: over 100-ms frames within 25 dB of the loud ones."""
    power = a_weighted(pressure_pa) ** 2
    frames = [float(part.mean()) for part in np.split(power, range(_LABEL_SAMPLES, len(power), _LABEL_SAMPLES))]
    sounding = np.array([frame for frame in frames if frame > 0.0])
    if len(sounding) == 0:
        return -math.inf
    loud = sounding > np.percentile(sounding, 95) * 10.0 ** (-_ACTIVE_BELOW_PEAK_DB / 10.0)
    return _decibel(float(sounding[loud].mean()))


def fast_maximum_dba(pressure_pa: FloatArray) -> float:
    """L_AF,max of a signal (n,) in pascal: its square averaged with 125 ms (IEC 61672-1), at its greatest."""
    keep = math.exp(-1.0 / (_FAST_S * SAMPLE_RATE_HZ))
    averaged = lfilter([1.0 - keep], [1.0, -keep], a_weighted(pressure_pa) ** 2)
    return _decibel(float(averaged.max()))


def gain_to_dba(pressure_pa: FloatArray, level_dba: float) -> float:
    """Factor that brings pressures (..., n) to an equivalent level: for ambience. Raises `RecordingError` for silence."""
    return _gain(equivalent_dba(pressure_pa), level_dba)


def source_level(label: str, airframe: str | None = None) -> SourceLevel:
    """Level at 1 m of a label, or of a drone's airframe; raises `ConfigError` that lists the known ones."""
    table, key = (SOURCE_LEVELS, label) if airframe is None else (DRONE_LEVELS, airframe)
    if key not in table:
        raise ConfigError(f"source level of {key!r}: unknown; one of: {', '.join(table)}")
    return table[key]


def draw_level_dba(rng: np.random.Generator, level: SourceLevel) -> float:
    """A level at 1 m from the range, in dB(A)."""
    return float(rng.uniform(level.low_dba, level.high_dba))


def at_one_metre(recording: FloatArray, level: SourceLevel, level_dba: float) -> FloatArray:
    """A recording (n,) of any scale → its pressure (n,) in pascal at 1 m, at a level by the measure of its kind.

    What it holds of room, ground and air stays in it. Raises `RecordingError` where it is silent.
    """
    measured = active_dba if level.measure == "equivalent" else fast_maximum_dba
    return recording * _gain(measured(recording), level_dba)


def _decibel(mean_square_pa2: float) -> float:
    return 10.0 * math.log10(mean_square_pa2 / REFERENCE_PA**2) if mean_square_pa2 > 0.0 else -math.inf


def _gain(measured_dba: float, wanted_dba: float) -> float:
    if measured_dba == -math.inf:
        raise RecordingError("level: the recording is silent; choose another one")
    return float(10.0 ** ((wanted_dba - measured_dba) / 20.0))
