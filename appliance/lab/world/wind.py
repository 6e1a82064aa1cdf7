"""Wind at microphones: the pressure of turbulence that is carried past them, with gusts.

Spectrum. Turbulent velocity u(f) of the surface layer (Kaimal et al., Q. J. R. Meteorol. Soc. 98, 1972, neutral) is felt
as the stagnation pressure ρ·U·u (Raspet, Webster & Dillion, J. Acoust. Soc. Am. 119, 2006). A screen of diameter D
averages over eddies smaller than itself, from U/(3D) on (van den Berg, J. Acoust. Soc. Am. 119, 2006), and feels about
a fifth of the rest: a factor set here so that 5 m/s make some 40 dB(A) behind 9 cm, as such screens are known for. So 1/3-octave levels fall by 6.7 dB, above U/(3D) by 26.7 dB per decade, and rise by some 60 dB per decade of U.

Coherence. Corcos (J. Acoust. Soc. Am. 35, 1963): between microphones ξ apart along and η across the wind, turbulence
convected at U_c decays as exp(−ω(α₁|ξ| + α₂|η|)/U_c) with the phase of ξ/U_c. Its free-field use with microphones and
the decays are Mirabilii & Habets' (IWAENC 2018). At 5 m/s and 5 cm nothing of it is left above some 300 Hz.

Gusts are the same turbulence below 0.5 Hz: they change U, and with it level, spectrum and coherence, frame by frame.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from appliance.angles import unit_vector
from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.errors import ConfigError
from appliance.lab.world.overlap_add import add, frame_count, hann

FloatArray = npt.NDArray[np.float64]
ComplexArray = npt.NDArray[np.complex128]

_AIR_DENSITY_KG_M3 = 1.2
_KARMAN = 0.4
_SCREEN_RESPONSE = 0.2
_ALONG, _ACROSS = 0.125, 0.7
_CONVECTION = 0.8
_GUST_HZ = 0.5
_FRAME = 4096
_HOP = 2048
_SPEEDS = 12


@dataclass(frozen=True, slots=True)
class Wind:
    """Wind at the array, neutral surface layer."""

    speed_m_s: float
    """Mean speed at the array, 0.5…25 m/s."""
    azimuth_deg: float = 0.0
    """Where it blows *from*, array frame."""
    height_m: float = 3.0
    """Height of the array above ground, 0.3…50 m."""
    roughness_m: float = 0.03
    """Roughness length of the terrain: 0.005 smooth, 0.03 short grass, 0.1 fields, 0.5 bushes and houses."""
    screen_m: float = 0.09
    """Diameter of the windscreen (or of the unit that shelters the microphones), 0.01…0.5 m."""
    gusts: bool = True
    """False: steady speed."""

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("speed_m_s", self.speed_m_s, 0.5, 25.0),
            ("height_m", self.height_m, 0.3, 50.0),
            ("roughness_m", self.roughness_m, 1e-4, self.height_m / 2.0),
            ("screen_m", self.screen_m, 0.01, 0.5),
        ):
            if not low <= value <= high:
                raise ConfigError(f"wind: {name} = {value}: outside {low:g}…{high:g}; set it within")


def turbulence_psd(frequencies_hz: npt.ArrayLike, wind: Wind, speed_m_s: float | None = None) -> FloatArray:
    """One-sided spectrum of the speed along the wind in (m/s)²/Hz at frequencies (...) (Kaimal 1972)."""
    speed = wind.speed_m_s if speed_m_s is None else speed_m_s
    friction_m_s = _KARMAN * speed / math.log(wind.height_m / wind.roughness_m)
    period_s = wind.height_m / speed
    spectrum: FloatArray = (
        friction_m_s**2 * 105.0 * period_s / (1.0 + 33.0 * np.asarray(frequencies_hz) * period_s) ** (5 / 3)
    )
    return spectrum


def pressure_psd(frequencies_hz: npt.ArrayLike, wind: Wind, speed_m_s: float | None = None) -> FloatArray:
    """One-sided spectrum of the pressure at a screened microphone in Pa²/Hz at frequencies (...)."""
    speed = wind.speed_m_s if speed_m_s is None else speed_m_s
    frequencies = np.asarray(frequencies_hz, np.float64)
    felt = (_SCREEN_RESPONSE * _AIR_DENSITY_KG_M3 * speed) ** 2 / (
        1.0 + (3.0 * wind.screen_m * frequencies / speed) ** 2
    )
    spectrum: FloatArray = felt * turbulence_psd(frequencies, wind, speed)
    return spectrum


def wind_coherence(
    frequencies_hz: npt.ArrayLike, mics_m: FloatArray, wind: Wind, speed_m_s: float | None = None
) -> ComplexArray:
    """Complex coherence (..., mics, mics) of turbulence at microphones (mics, 3) at frequencies (...) (Corcos 1963)."""
    speed = _CONVECTION * (wind.speed_m_s if speed_m_s is None else speed_m_s)
    downwind = -unit_vector(wind.azimuth_deg, 0.0)
    apart = mics_m[:, None] - mics_m[None]
    along = apart @ downwind
    across = np.linalg.norm(apart - along[..., None] * downwind, axis=2)
    omega = 2.0 * np.pi * np.asarray(frequencies_hz, np.float64)[..., None, None]
    coherence: ComplexArray = np.exp(-omega / speed * (_ALONG * np.abs(along) + _ACROSS * across + 1j * along))
    return coherence


def gust_speeds_m_s(rng: np.random.Generator, wind: Wind, times_s: FloatArray) -> FloatArray:
    """Speed (times,) at increasing times: the mean, and the turbulence below 0.5 Hz unless `gusts` is off."""
    if not wind.gusts:
        return np.full(len(times_s), wind.speed_m_s)
    step_s = 0.25
    points = int((times_s[-1] - times_s[0]) / step_s) + 8
    # Twice as long as asked for, so that the last gust is not the first.
    frequencies = np.fft.rfftfreq(2 * points, step_s)
    power = np.where(frequencies <= _GUST_HZ, turbulence_psd(frequencies, wind), 0.0)
    power[0] = 0.0
    real, imaginary = rng.standard_normal((2, len(frequencies)))
    spectrum = (real + 1j * imaginary) * np.sqrt(power * 2 * points / step_s / 4.0)
    gusts = np.fft.irfft(spectrum, n=2 * points)[:points]
    knots_s = times_s[0] + step_s * np.arange(points)
    return np.clip(wind.speed_m_s + CubicSpline(knots_s, gusts)(times_s), 0.2 * wind.speed_m_s, 3.0 * wind.speed_m_s)


def wind_noise(rng: np.random.Generator, wind: Wind, mics_m: FloatArray, samples: int) -> FloatArray:
    """Pressure of the wind at microphones (mics, 3) in pascal → (mics, samples) at 16 kHz, from 4 Hz on.

    Gaussian noise of frames of 256 ms, whose spectrum and coherence are those of the gust's speed then (in twelve
    steps).
    """
    frames = frame_count(samples, _FRAME, _HOP)
    times_s = (np.arange(frames) * _HOP) / SAMPLE_RATE_HZ
    speeds = gust_speeds_m_s(rng, wind, times_s)
    edges = np.geomspace(speeds.min(), speeds.max() * (1.0 + 1e-9), _SPEEDS + 1)
    steps = np.clip(np.searchsorted(edges, speeds, side="right") - 1, 0, _SPEEDS - 1)
    frequencies = np.fft.rfftfreq(_FRAME, 1.0 / SAMPLE_RATE_HZ)
    shape = (frames, len(frequencies), len(mics_m))
    white = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / math.sqrt(2.0)
    spectra = np.zeros(shape, np.complex128)
    for step in np.unique(steps):
        chosen = steps == step
        speed = float(speeds[chosen].mean())
        root = _root(wind_coherence(frequencies, mics_m, wind, speed))
        spectra[chosen] = np.einsum("fij,tfj->tfi", root, white[chosen], optimize=True)
    # Levels follow the speed itself, not its step.
    for frame, speed in enumerate(speeds):
        psd = pressure_psd(frequencies, wind, float(speed))
        psd[0] = 0.0
        spectra[frame] *= np.sqrt(psd * SAMPLE_RATE_HZ * _FRAME / 2.0)[:, None]
    noise = np.fft.irfft(spectra.transpose(2, 0, 1), n=_FRAME, axis=2) * np.sqrt(hann(_FRAME))
    return add(noise, _HOP)[:, _FRAME - _HOP : _FRAME - _HOP + samples]


def _root(coherence: ComplexArray) -> ComplexArray:
    """R (..., mics, mics) with R·Rᴴ = coherence."""
    power, vectors = np.linalg.eigh(coherence)
    root: ComplexArray = vectors * np.sqrt(np.maximum(power, 0.0))[..., None, :]
    return root
