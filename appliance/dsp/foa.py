"""Any array → first-order Ambisonics, by a regularised least-squares encoder built from the geometry.

Channel order and normalisation inside the code: ACN/SN3D, [W, Y, Z, X]. A plane wave of amplitude s from the unit
vector u gives [s, s·uy, s·uz, s·ux].
"""

import numpy as np
import numpy.typing as npt

from appliance.dsp.stft import STANDARD_HZ
from appliance.geometry import SPEED_OF_SOUND_M_S, ArrayGeometry
from appliance.types import Complex64Array

MAX_NOISE_GAIN_DB = 15.0
"""Cap on the white-noise gain of Y, Z and X: below the frequency where it bites, they shrink together."""
_GRID_DIRECTIONS = 240
_PARTS = 16


def fibonacci_sphere(directions: int) -> npt.NDArray[np.float64]:
    """(directions, 3) unit vectors spread evenly over the sphere (golden-angle spiral)."""
    index = np.arange(directions) + 0.5
    z = 1.0 - 2.0 * index / directions
    azimuth = np.pi * (1.0 + 5.0**0.5) * index
    ring = np.sqrt(1.0 - z**2)
    return np.stack([ring * np.cos(azimuth), ring * np.sin(azimuth), z], axis=1)


def steering(
    positions_m: npt.NDArray[np.float64],
    directions: npt.NDArray[np.float64],
    hz: npt.NDArray[np.float64] = STANDARD_HZ,
) -> Complex64Array:
    """Free-field response (bins, mics, directions) of microphones at (mics, 3) to plane waves from (directions, 3).

    At frequencies (bins,), those of the standard transform unless others are given.

    A microphone nearer to the source hears it earlier, hence the positive phase.
    """
    delay_s = positions_m @ directions.T / SPEED_OF_SOUND_M_S
    response: Complex64Array = np.exp(2j * np.pi * hz[:, None, None] * delay_s).astype(np.complex64)
    return response


def foa_gains(directions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(4, directions) ideal [W, Y, Z, X] response to unit vectors (directions, 3)."""
    x, y, z = directions.T
    return np.stack([np.ones_like(x), y, z, x])


class FoaEncoder:
    """E(f): the least-squares solution of E·A = Y over the sphere, its noise gain capped by Tikhonov regularisation.

    `matrix` is (bins, 4, mics); `validity` is (bins, 2), how well the horizontal and the vertical dipoles are met
    (1: exactly, 0: not at all), the least of pattern match and level. Source: Moreau, Daniel & Bertet (AES 120, 2006).
    """

    def __init__(self, geometry: ArrayGeometry) -> None:
        self.geometry = geometry
        # Some bins at a time: of sixteen microphones all of them would take 70 MB for a moment.
        parts = [_solved(geometry, hz) for hz in np.array_split(STANDARD_HZ, _PARTS)]
        self.matrix: Complex64Array = np.concatenate([matrix for matrix, _ in parts])
        self.validity: npt.NDArray[np.float32] = np.concatenate([validity for _, validity in parts])

    def encode(self, spectrum: Complex64Array) -> Complex64Array:
        """Microphone spectra (frames, mics, bins) → Ambisonics (frames, 4, bins)."""
        encoded = np.matmul(self.matrix, spectrum.transpose(2, 1, 0))  # (bins, 4, frames)
        return np.ascontiguousarray(encoded.transpose(2, 1, 0))


def _solved(geometry: ArrayGeometry, hz: npt.NDArray[np.float64]) -> tuple[Complex64Array, npt.NDArray[np.float32]]:
    """Matrix and validity at some frequencies."""
    directions = fibonacci_sphere(_GRID_DIRECTIONS)
    response = steering(geometry.positions_m, directions, hz).astype(np.complex128)
    target = foa_gains(directions).astype(np.complex128)
    if geometry.is_planar:
        # Above and below look alike to a planar array: Z is not measured, so it is not made up either.
        target[2] = 0.0
    covariance = response @ response.conj().transpose(0, 2, 1) / _GRID_DIRECTIONS
    cross = target @ response.conj().transpose(0, 2, 1) / _GRID_DIRECTIONS
    power, vectors = np.linalg.eigh(covariance)
    coefficients = cross @ vectors
    loading = _noise_capped_loading(np.maximum(power, 0.0), coefficients)
    encoder = (coefficients / (np.maximum(power, 0.0)[:, None, :] + loading[:, None, None])) @ vectors.conj().transpose(
        0, 2, 1
    )
    return encoder.astype(np.complex64), _validity(encoder @ response, foa_gains(directions))


def _noise_capped_loading(
    power: npt.NDArray[np.float64], coefficients: npt.NDArray[np.complex128]
) -> npt.NDArray[np.float64]:
    """Smallest diagonal loading per bin (bins,) at which no dipole's noise gain is above the cap (bisection)."""
    cap = 10.0 ** (MAX_NOISE_GAIN_DB / 10.0)
    low, high = np.full(len(power), -12.0), np.full(len(power), 2.0)
    for _ in range(40):
        middle = (low + high) / 2.0
        inverse = 1.0 / (power + 10.0 ** middle[:, None])
        gain = (np.abs(coefficients * inverse[:, None, :]) ** 2).sum(axis=2).max(axis=1)
        low, high = np.where(gain > cap, middle, low), np.where(gain > cap, high, middle)
    return 10.0**high


def _validity(achieved: npt.NDArray[np.complex128], ideal: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    achieved_power = (np.abs(achieved) ** 2).sum(axis=2)
    ideal_power = (ideal**2).sum(axis=1)
    match = np.abs((achieved * ideal).sum(axis=2)) ** 2 / np.maximum(achieved_power * ideal_power, 1e-12)
    per_channel = match * np.minimum(1.0, achieved_power / ideal_power)
    return np.stack([np.minimum(per_channel[:, 1], per_channel[:, 3]), per_channel[:, 2]], axis=1).astype(np.float32)
