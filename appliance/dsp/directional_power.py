"""How much power comes from a direction, by the microphones' covariance, without what comes from everywhere or nowhere.

Of microphone signals x with covariance p·a·aᴴ + s·Γ + w·I (a source, a field from all around, wind and self-noise) the form
xᴴQx has the mean p, whatever s and w are, where aᴴQa = 1 and tr(QΓ) = tr(Q) = 0. Among these

    Q ∝ G (a·aᴴ − α·Γ − β·I) G,    G = (Γ + μ·I)⁻¹

scatters least where Γ + μ·I is what disturbs: weighted least squares on a covariance matrix (Ottersten, Stoica & Roy, Digital
Signal Processing 8, 1998). At low frequencies this is a differential array, above the spatial aliasing of Ambisonics it is delay and sum.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from appliance.angles import unit_vector
from appliance.dsp.foa import steering
from appliance.dsp.stft import STANDARD_HZ
from appliance.geometry import SPEED_OF_SOUND_M_S, ArrayGeometry
from appliance.types import Complex64Array, Float32Array

_CALM_SHARE = 0.1
_WINDY_HZ, _MOST_LOADING = 500.0, 3.0
_UNKNOWN_ELEVATIONS_DEG = (0.0, 25.0, 45.0)
"""Where it is not known how high a sound is, all of these are listened to."""
_RIDGE = 1e-6


def coherence(
    positions_m: npt.NDArray[np.float64], hz: npt.NDArray[np.float64] = STANDARD_HZ
) -> npt.NDArray[np.float64]:
    """Γ (bins, mics, mics) of a field from all around, between microphones at (mics, 3); bins as in `steering`."""
    distance_m = np.linalg.norm(positions_m[:, None] - positions_m[None], axis=2)
    wavenumber = 2.0 * np.pi * hz / SPEED_OF_SOUND_M_S
    isotropic: npt.NDArray[np.float64] = np.sinc(wavenumber[:, None, None] * distance_m / np.pi)
    return isotropic


def wind_share(hz: npt.NDArray[np.float64], windy_hz: float, most: float) -> npt.NDArray[np.float64]:
    """(bins,) μ: noise that each microphone has to itself, for a field from all around of 1, at frequencies in Hz.

    Below `windy_hz` it grows with the square of the wavelength, as wind does against ambience, up to `most`.
    """
    share: npt.NDArray[np.float64] = np.minimum(
        _CALM_SHARE * np.maximum(1.0, (windy_hz / np.maximum(hz, 1.0)) ** 2), most
    )
    return share


@dataclass(frozen=True, slots=True, eq=False)
class Weighted:
    """Some hops of an array, as every direction needs them."""

    signals: Complex64Array
    """(bins, mics, hops): G·x."""
    diffuse: Float32Array
    """(bins, hops): xᴴGΓGx."""
    white: Float32Array
    """(bins, hops): xᴴGGx."""


@dataclass(frozen=True, slots=True, eq=False)
class Aim:
    """Q for one direction: how to steer G·x, and how much of the other two forms to take away."""

    beams: Complex64Array
    """(bins, beams, mics): the power of these together is that of G·a·aᴴ·G."""
    diffuse: Float32Array
    """(bins,): α."""
    white: Float32Array
    """(bins,): β."""
    wave: Weighted
    """What would be heard of a sound of power 1 from there and of nothing else; its hops are waves from all that may be there."""


class DirectionalPower:
    """The forms of one array at frequencies (bins,) in Hz; bins at the same frequency share one.

    A direction costs some products with the microphones' signals, which are weighted once.
    """

    def __init__(self, geometry: ArrayGeometry, hz: npt.NDArray[np.float64]) -> None:
        self._positions_m = geometry.positions_m
        self._hz, self._of_bin = np.unique(hz, return_inverse=True)
        isotropic, unit = coherence(geometry.positions_m, self._hz), np.eye(geometry.mics)
        loading = wind_share(self._hz, _WINDY_HZ, _MOST_LOADING)
        inverse = np.linalg.inv(isotropic + loading[:, None, None] * unit)
        diffuse, white = inverse @ isotropic @ inverse, inverse @ inverse
        of_diffuse, between, of_white = (diffuse * isotropic).sum(axis=(1, 2)), _trace(diffuse), _trace(white)
        gram = np.stack([np.stack([of_diffuse, between], 1), np.stack([between, of_white], 1)], 1)
        gram += _RIDGE * (of_diffuse + of_white)[:, None, None] * np.eye(2)
        self._shares = np.linalg.inv(gram)
        self._forms = inverse.astype(np.float32), isotropic.astype(np.float32)
        self._taken = np.stack([diffuse, white]).astype(np.float32)
        # By bin, for all that is heard goes through these.
        self._weights, self._isotropic = (form[self._of_bin] for form in self._forms)

    def weighted(self, spectra: Complex64Array) -> Weighted:
        """Of microphone spectra (hops, mics, bins)."""
        return _weighted(spectra.transpose(2, 1, 0), self._weights, self._isotropic)

    def waves(self, azimuth_deg: float, elevation_deg: float | None) -> Complex64Array:
        """(bins, mics, waves) that come from a direction, or where it is not known how high it is, from all that may be: of power 1 together."""
        waves: Complex64Array = self._waves(azimuth_deg, elevation_deg)[self._of_bin]
        return waves

    def _waves(self, azimuth_deg: float, elevation_deg: float | None) -> Complex64Array:
        elevations_deg = _UNKNOWN_ELEVATIONS_DEG if elevation_deg is None else (elevation_deg,)
        directions = np.stack([unit_vector(azimuth_deg, each) for each in elevations_deg])
        waves: Complex64Array = steering(self._positions_m, directions, self._hz) / np.float32(len(directions) ** 0.5)
        return waves

    def aim(self, azimuth_deg: float, elevation_deg: float | None) -> Aim:
        """Towards a direction, or where it is not known how high it is, towards all that may be."""
        waves, at = self._waves(azimuth_deg, elevation_deg), self._of_bin
        wave = _weighted(waves, *self._forms)
        diffuse, white = wave.diffuse.sum(axis=1), wave.white.sum(axis=1)
        alpha, beta = (self._shares @ np.stack([diffuse, white], axis=1)[..., None])[..., 0].T
        conjugate = waves.conj().transpose(0, 2, 1)
        own = (np.abs(conjugate @ wave.signals) ** 2).sum(axis=(1, 2)) - alpha * diffuse - beta * white
        beams = (conjugate / np.sqrt(own)[:, None, None]).astype(np.complex64)
        return Aim(
            beams[at],
            (alpha / own).astype(np.float32)[at],
            (beta / own).astype(np.float32)[at],
            Weighted(wave.signals[at], wave.diffuse[at], wave.white[at]),
        )

    def beams(self, aim: Aim) -> Complex64Array:
        """B (bins, mics, beams) of Q = B·Bᴴ − α·D − β·W."""
        return _product(self._weights, aim.beams.conj().transpose(0, 2, 1))

    def taken_away(self) -> Float32Array:
        """D = GΓG and W = GG (2, bins, mics, mics), of which every direction takes away some."""
        taken: Float32Array = self._taken[:, self._of_bin]
        return taken

    def form(self, aim: Aim) -> Complex64Array:
        """Q (bins, mics, mics) itself."""
        return self.form_of(self.beams(aim), aim)

    def form_of(self, beams: Complex64Array, aim: Aim) -> Complex64Array:
        """The same by the `beams` of that aim, where they are known."""
        diffuse, white = self.taken_away()
        form = beams @ beams.conj().transpose(0, 2, 1)
        form -= aim.diffuse[:, None, None] * diffuse + aim.white[:, None, None] * white
        single: Complex64Array = form.astype(np.complex64)
        return single


def power_towards(aim: Aim, heard: Weighted) -> Float32Array:
    """(hops, bins): xᴴQx, below zero at times where nothing is."""
    steered = aim.beams @ heard.signals
    power = (steered.real**2 + steered.imag**2).sum(axis=1)
    power -= aim.diffuse[:, None] * heard.diffuse + aim.white[:, None] * heard.white
    return np.ascontiguousarray(power.T)


def _weighted(signals: Complex64Array, inverse: Float32Array, isotropic: Float32Array) -> Weighted:
    """Of signals (bins, mics, hops), given G and Γ (bins, mics, mics)."""
    weighted = _product(inverse, signals)
    diffuse = (_product(isotropic, weighted) * weighted.conj()).real.sum(axis=1)
    return Weighted(weighted, diffuse, (weighted.real**2 + weighted.imag**2).sum(axis=1))


def _product(real: Float32Array, signals: Complex64Array) -> Complex64Array:
    """(bins, mics, mics) by (bins, mics, hops): as one of reals, which is a third of the work."""
    product: Complex64Array = (real @ np.ascontiguousarray(signals, np.complex64).view(np.float32)).view(np.complex64)
    return product


def _trace(matrices: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    traces: npt.NDArray[np.float64] = np.trace(matrices, axis1=1, axis2=2)
    return traces
