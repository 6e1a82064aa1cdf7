"""What share of all that an array hears comes from which directions, and how far ambience alone makes that scatter.

A share is a form of `dsp.directional_power` over the power of all microphones, of the covariance R of what was heard. `Forms` are quick
for many directions at once; `Beams` are small, for directions of which each is wanted now and then.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from appliance.dsp.directional_power import Aim, DirectionalPower, coherence, wind_share
from appliance.geometry import ArrayGeometry
from appliance.types import Complex64Array, Float32Array

_WINDY_HZ, _MOST_WIND = 300.0, 1.0
_TINY = 1e-20


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What `Beams` have to know of what was heard."""

    covariance: Complex64Array
    """R (bins, mics, mics)."""
    total: Float32Array
    """(bins,): the power of all microphones."""
    away: Float32Array
    """(2, bins): tr(DR) and tr(WR)."""


@dataclass(frozen=True, slots=True, eq=False)
class Forms:
    """Quadratic forms of the microphones' signals for some directions, as products with the reals of a covariance: quick to use."""

    forms: Float32Array
    """(bins, directions, mics²)."""
    precision: Float32Array
    """(bins, directions): one over the variance of what ambience alone would make of each."""

    def shares(self, reals: Float32Array) -> Float32Array:
        """(bins, directions) of all power that comes from each, by the reals of a covariance (bins, mics²); below zero at times."""
        shares: Float32Array = (self.forms @ reals[..., None])[..., 0] / total_power(reals)[:, None]
        return shares


@dataclass(frozen=True, slots=True, eq=False)
class Beams:
    """The same of single directions as B·Bᴴ − α·D − β·W: small, and quick to make."""

    beams: Complex64Array
    """(bins, mics, directions): B of each."""
    taken: Float32Array
    """(2, bins, directions): how much of D and W each takes away."""
    precision: Float32Array
    """As above."""

    def shares(self, heard: Heard) -> Float32Array:
        """As above, but never below zero."""
        power = (self.beams.conj() * (heard.covariance @ self.beams)).real.sum(axis=1)
        power -= (heard.away[..., None] * self.taken).sum(axis=0)
        shares: Float32Array = np.maximum(power * self.beams.shape[1] / heard.total[:, None], 0.0)
        return shares


class ShareMaker:
    """Makes the forms and beams of one array at frequencies (bins,) in Hz."""

    def __init__(self, geometry: ArrayGeometry, hz: npt.NDArray[np.float64]) -> None:
        self._power = DirectionalPower(geometry, hz)
        taken_away = self._power.taken_away()
        self._traced = _traced(taken_away)
        self._scatter = _Scatter(_ambience(geometry.positions_m, hz), taken_away)

    def forms(self, angles: Sequence[tuple[float, float | None]]) -> Forms:
        """Towards azimuths and elevations, where these are known."""
        _, bins, reals = self._traced.shape
        mics = math.isqrt(reals)
        # In place, as they are by far the largest of all that is kept.
        forms = np.empty((bins, len(angles), reals), np.float32)
        precision = np.empty((bins, len(angles)), np.float32)
        for number, each in enumerate(angles):
            aim = self._power.aim(*each)
            beams = self._power.beams(aim)
            forms[:, number] = _traced(self._power.form_of(beams, aim)) * mics
            precision[:, number] = self._scatter.precision(beams, aim)
        return Forms(forms, precision)

    def beams(self, angles: Sequence[tuple[float, float]]) -> Beams:
        """Likewise."""
        aims = [self._power.aim(*each) for each in angles]
        beams = [self._power.beams(aim) for aim in aims]
        precision = [self._scatter.precision(own, aim) for own, aim in zip(beams, aims, strict=True)]
        taken = np.stack([[aim.diffuse, aim.white] for aim in aims], axis=2)
        return Beams(np.concatenate(beams, axis=2), taken, np.stack(precision, axis=1))

    def of_wave(self, forms: Forms, azimuth_deg: float, elevation_deg: float | None) -> Float32Array:
        """(bins, directions) where nothing sounds but a wave from there."""
        waves = self._power.waves(azimuth_deg, elevation_deg)
        return forms.shares(as_reals(waves @ waves.conj().transpose(0, 2, 1)))

    def heard(self, reals: Float32Array) -> Heard:
        """What `Beams` want to know of a covariance (bins, mics²)."""
        return Heard(_as_matrices(reals), total_power(reals), (self._traced * reals).sum(axis=2))


class _Scatter:
    """How much ambience alone makes forms scatter: tr(QAQA), by the products that all directions share."""

    def __init__(self, ambience: Float32Array, taken_away: Float32Array) -> None:
        """A (bins, mics, mics), and D and W (2, bins, mics, mics)."""
        self._ambience = ambience
        scattered = ambience @ taken_away
        self._taken = scattered @ ambience
        of_diffuse, between, of_white = (
            (scattered[one] * scattered[other].transpose(0, 2, 1)).sum(axis=(1, 2))
            for one, other in ((0, 0), (0, 1), (1, 1))
        )
        self._own = of_diffuse, between, of_white

    def precision(self, beams: Complex64Array, aim: Aim) -> Float32Array:
        """(bins,) one over it, of B·Bᴴ − α·D − β·W."""
        conjugate = beams.conj()
        own = conjugate.transpose(0, 2, 1) @ self._ambience @ beams
        away = (conjugate * (self._taken @ beams)).real.sum(axis=(2, 3))
        of_diffuse, between, of_white = self._own
        alpha, beta = aim.diffuse, aim.white
        variance = (own.real**2 + own.imag**2).sum(axis=(1, 2)) - 2.0 * (alpha * away[0] + beta * away[1])
        variance += alpha**2 * of_diffuse + 2.0 * alpha * beta * between + beta**2 * of_white
        precision: Float32Array = 1.0 / np.maximum(variance, np.float32(_TINY))
        return precision


def _ambience(positions_m: npt.NDArray[np.float64], hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """(bins, mics, mics) covariance of what is there when nothing is: a field from all around, and wind at low frequencies."""
    alone = wind_share(hz, _WINDY_HZ, _MOST_WIND)[:, None, None]
    mixed = (coherence(positions_m, hz) + alone * np.eye(len(positions_m))) / (1.0 + alone)
    return mixed.astype(np.float32)


def as_reals(matrices: Complex64Array) -> Float32Array:
    """Hermitian matrices (..., mics, mics) as their mics² real numbers: diagonal, and real and imaginary part of one triangle."""
    mics = matrices.shape[-1]
    flat = matrices.reshape(*matrices.shape[:-2], mics * mics)
    above = flat.take(np.ravel_multi_index(np.triu_indices(mics, 1), (mics, mics)), axis=-1)
    reals: Float32Array = np.concatenate([flat[..., :: mics + 1].real, above.real, above.imag], axis=-1)
    return reals


def total_power(reals: Float32Array) -> Float32Array:
    """(bins,) of all microphones, by the reals of their covariance (bins, mics²)."""
    power: Float32Array = reals[:, : math.isqrt(reals.shape[-1])].sum(axis=1) + np.float32(_TINY)
    return power


def _as_matrices(reals: Float32Array) -> Complex64Array:
    """The matrices of which these are the reals (..., mics²)."""
    mics = math.isqrt(reals.shape[-1])
    row, column = np.triu_indices(mics, 1)
    diagonal, real, imaginary = np.split(reals, [mics, mics + len(row)], axis=-1)
    matrices = np.empty((*reals.shape[:-1], mics, mics), np.complex64)
    matrices[..., row, column] = real + 1j * imaginary
    matrices[..., column, row] = real - 1j * imaginary
    matrices[..., range(mics), range(mics)] = diagonal
    return matrices


def _traced(matrices: Complex64Array | Float32Array) -> Float32Array:
    """(..., mics²) of Hermitian matrices: times the reals of another one it is the trace of the product of both."""
    doubled = np.where(np.eye(matrices.shape[-1], dtype=bool), 1.0, 2.0).astype(np.float32)
    return as_reals((matrices * doubled).astype(np.complex64, copy=False))
