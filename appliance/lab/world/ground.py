"""The ground below a source: its complex, frequency-dependent reflection and the image source behind it.

A surface is one number, its effective flow resistivity, which Miki's model turns into an impedance (Y. Miki,
J. Acoust. Soc. Jpn. (E) 11, 1990: Delany and Bazley's data, made causal). Above it a spherical wave is reflected after
Chien & Soroka (J. Sound Vib. 43, 1975), as in Attenborough et al., *Predicting Outdoor Sound*: the plane-wave
coefficient and a boundary loss factor, within 1 dB of the exact integral. The ground is flat, reacts locally, and
turbulence does not blur its dips.

Phases are those of NumPy's FFT, e^{+jωt}.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import wofz

from appliance.errors import ConfigError
from appliance.geometry import SPEED_OF_SOUND_M_S
from appliance.lab.world.slow_filter import filter_frequencies_hz, frame_times_s, slow_filter
from appliance.lab.world.trajectories import Trajectory

FloatArray = npt.NDArray[np.float64]
ComplexArray = npt.NDArray[np.complex128]

FLOW_RESISTIVITY_PA_S_M2 = {
    "snow": 25e3,
    "forest_floor": 50e3,
    "grass": 200e3,
    "bare_soil": 500e3,
    "gravel": 2e6,
    "asphalt": 20e6,
}
"""Effective flow resistivity in Pa·s/m² (Embleton, Piercy & Daigle, J. Acoust. Soc. Am. 74, 1983; Nord2000 classes A–G)."""


def flow_resistivity_pa_s_m2(surface: str) -> float:
    """Effective flow resistivity of a surface by name; raises `ConfigError` that lists the names."""
    if surface not in FLOW_RESISTIVITY_PA_S_M2:
        raise ConfigError(f"surface = {surface!r}: unknown; one of: {', '.join(FLOW_RESISTIVITY_PA_S_M2)}")
    return FLOW_RESISTIVITY_PA_S_M2[surface]


def impedance(frequencies_hz: npt.ArrayLike, flow_resistivity_pa_s_m2: float) -> ComplexArray:
    """Impedance (...) of a surface over that of air, at frequencies (...) above 0 Hz (Miki 1990)."""
    ratio = 1e3 * np.asarray(frequencies_hz, np.float64) / flow_resistivity_pa_s_m2
    return np.asarray(1.0 + (5.50 - 8.43j) * ratio**-0.632, np.complex128)


def plane_wave_reflection(impedance_ratio: npt.ArrayLike, grazing_sine: npt.ArrayLike) -> ComplexArray:
    """Reflection coefficient of pressure for a plane wave at the sine of its angle to the ground; shapes broadcast."""
    admittance = 1.0 / np.asarray(impedance_ratio, np.complex128)
    sine = np.asarray(grazing_sine, np.float64)
    coefficient: ComplexArray = (sine - admittance) / (sine + admittance)
    return coefficient


def spherical_wave_reflection(
    frequencies_hz: npt.ArrayLike,
    flow_resistivity_pa_s_m2: float,
    *,
    source_height_m: npt.ArrayLike,
    mic_height_m: npt.ArrayLike,
    range_m: npt.ArrayLike,
    speed_of_sound_m_s: float = SPEED_OF_SOUND_M_S,
) -> ComplexArray:
    """Coefficient Q (..., bins) of the image source at frequencies (bins,) in Hz; heights and horizontal range (...) in metres.

    Pressure at the microphone is e^{−jkR1}/R1 + Q·e^{−jkR2}/R2. Q is 1 at 0 Hz.
    """
    climb_m, range_m = np.broadcast_arrays(
        np.asarray(source_height_m, np.float64) + np.asarray(mic_height_m, np.float64), range_m
    )
    path_m = np.hypot(climb_m, range_m)[..., None]
    sine = climb_m[..., None] / path_m
    frequencies = np.maximum(np.asarray(frequencies_hz, np.float64), 1e-2)
    # The boundary loss factor is written for e^{−jωt}: conjugate in, conjugate out.
    surface = np.conj(impedance(frequencies, flow_resistivity_pa_s_m2))
    wavenumber = 2.0 * np.pi * frequencies / speed_of_sound_m_s
    distance = np.exp(0.25j * np.pi) * np.sqrt(wavenumber * path_m / 2.0) * (sine + 1.0 / surface)
    boundary_loss = 1.0 + 1j * np.sqrt(np.pi) * distance * wofz(distance)
    plane = plane_wave_reflection(surface, sine)
    coefficient: ComplexArray = np.conj(plane + (1.0 - plane) * boundary_loss)
    return coefficient


def image(trajectory: Trajectory, array_height_m: float) -> Trajectory:
    """The source mirrored at the ground, which lies level `array_height_m` below the array's origin.

    Raises `ConfigError` where the source is below the ground.
    """
    mirrored = trajectory.positions_m.copy()
    lowest_m = float(mirrored[:, 2].min()) + array_height_m
    if lowest_m < 0.0:
        raise ConfigError(f"trajectory: {-lowest_m:.2f} m below the ground; raise the source or array_height_m")
    mirrored[:, 2] = -2.0 * array_height_m - mirrored[:, 2]
    return Trajectory(mirrored, trajectory.interval_s, trajectory.start_s)


def reflect(
    signal: FloatArray,
    trajectory: Trajectory,
    surface: str,
    *,
    array_height_m: float,
    signal_start_s: float = 0.0,
    speed_of_sound_m_s: float = SPEED_OF_SOUND_M_S,
) -> FloatArray:
    """A source's signal (n,) as its image below the ground emits it (n,): filtered by Q of where it is at each moment.

    Propagate what comes back from `image(trajectory, array_height_m)`. The array stands at the origin.
    """
    still = len(trajectory.positions_m) == 1
    times_s = signal_start_s + (np.zeros(1) if still else frame_times_s(len(signal)))
    place = trajectory.at(times_s)
    response = spherical_wave_reflection(
        filter_frequencies_hz(),
        flow_resistivity_pa_s_m2(surface),
        # A spline may swing a hair below the ground between points on it.
        source_height_m=np.maximum(place[:, 2] + array_height_m, 0.0),
        mic_height_m=array_height_m,
        range_m=np.hypot(place[:, 0], place[:, 1]),
        speed_of_sound_m_s=speed_of_sound_m_s,
    )
    return slow_filter(signal, response)
