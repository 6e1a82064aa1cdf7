"""Where the two strongest sounds of the last second come from, whatever they are, and how high tracks are: by power, with no training.

In each bin the power from every direction (`dsp.directional_power`) is held against all power. Its share ρ scatters around nought
by a known σ where nothing but ambience is there. So ρ/σ says how sure the bin is that something comes from there, and −log(1 − ρ)/σ
how much better that explains the bin than another direction does (the likelihood of one source in ambience). The mean of
their product over bins is a map in which a faint sound stands out and a loud one has a sharp peak. The second sound is sought in what
the first one leaves: from the power of each direction goes what a wave from there alone would make of it (as CLEAN does, Högbom,
Astronomy and Astrophysics Supplement 15, 1974), and a bin counts the less, the more of it is the first one's.
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial, reduce

import numpy as np
import numpy.typing as npt

from appliance.angles import azimuth_elevation_deg, unit_vector
from appliance.dsp.directional_power import Aim, DirectionalPower, coherence, wind_share
from appliance.dsp.foa import fibonacci_sphere
from appliance.dsp.heights import ELEVATIONS_DEG, Height
from appliance.dsp.stft import STANDARD, STANDARD_HZ, StreamingStft
from appliance.geometry import ArrayGeometry
from appliance.types import Arrival, Complex64Array, Direction, FeatureFrame, Float32Array, Track

_HEARD_S = 1.0
"""Drones of fold 4 at −10 dB are found less often in shorter times, and in longer ones those that fly are smeared."""
_HEARD_HOPS = round(_HEARD_S / STANDARD.hop_s)
_BINS = np.flatnonzero((STANDARD_HZ > 90.0) & (STANDARD_HZ < 4060.0))
_PLANAR_STEP_DEG = 6
_SPHERE_DIRECTIONS = 600
"""8.3 degrees apart, as the steps in a plane finer than the main lobe of any shipped array at these frequencies."""
_APART_DEG = 30.0
"""In azimuth: nearer to the first sound a second one is mostly what the first one leaves, on the ground too."""
_LEAST_OWN = 0.1
"""A form whose own wave makes less of itself tells nothing of how strong the wave is."""
_WAVES_KEPT = 8
"""The strongest sound mostly comes from where it came from before."""
_PEAK_DEG, _PEAK_LEVEL = 15.0, 0.8
"""The direction is the centre of what is so near the highest point and so high."""
_HOPS_PER_SNAPSHOT = 2.0
"""Windows overlap: so many hops tell as much as one that is independent of the others."""
_MOST_SHARE = 0.98
_STILL = 0.2
"""What comes from a direction in the latest hops is less than this share of its mean over the last second: it is over."""
_WINDY_HZ, _MOST_WIND = 300.0, 1.0
_TINY = 1e-20


@dataclass(frozen=True, slots=True, eq=False)
class _Heard:
    """What `_Beams` have to know of the last second."""

    covariance: Complex64Array
    """R (bins, mics, mics)."""
    total: Float32Array
    """(bins,): the power of all microphones."""
    away: Float32Array
    """(2, bins): tr(DR) and tr(WR)."""


@dataclass(frozen=True, slots=True, eq=False)
class _Forms:
    """Quadratic forms of the microphones' signals for some directions, as products with the reals of a covariance: quick to use."""

    forms: Float32Array
    """(bins, directions, mics²)."""
    precision: Float32Array
    """(bins, directions): one over the variance of what ambience alone would make of each."""

    def shares(self, covariance: Float32Array, total: Float32Array) -> Float32Array:
        """(bins, directions) of all power (bins,) that comes from each, by the reals of a covariance (bins, mics²); below zero at times."""
        shares: Float32Array = (self.forms @ covariance[..., None])[..., 0] / total[:, None]
        return shares


@dataclass(frozen=True, slots=True, eq=False)
class _Beams:
    """The same of single directions as B·Bᴴ − α·D − β·W: small, and quick to make."""

    beams: Complex64Array
    """(bins, mics, directions): B of each."""
    taken: Float32Array
    """(2, bins, directions): how much of D and W each takes away."""
    precision: Float32Array
    """As above."""

    def shares(self, heard: _Heard) -> Float32Array:
        """As above, but never below zero."""
        power = (self.beams.conj() * (heard.covariance @ self.beams)).real.sum(axis=1)
        power -= (heard.away[..., None] * self.taken).sum(axis=0)
        shares: Float32Array = np.maximum(power * self.beams.shape[1] / heard.total[:, None], 0.0)
        return shares


class ArrivalFinder:
    """Looks all around an array, once a label frame. State: the covariance of its microphones over the last second, and heights."""

    def __init__(self, geometry: ArrayGeometry) -> None:
        self._geometry = geometry
        self._directions = _all_around(planar=geometry.is_planar)
        self._heights: dict[int, Height] = {}
        self._listen_with(tuple(range(geometry.mics)))

    def find(self, hops: Sequence[FeatureFrame], *, after_gap: bool = False) -> tuple[Arrival, Arrival]:
        """The strongest arrival after these hops, and the strongest in what it leaves, elsewhere."""
        self._hear(hops, after_gap=after_gap)
        shares = self._around.shares(self._reals, self._total)
        first, best = self._strongest(shares, np.ones(len(self._directions), bool))
        of_first = self._of_wave(*self._angles[best])
        own = shares[:, [best]] / np.maximum(of_first[:, [best]], np.float32(_LEAST_OWN))
        own = np.clip(own, 0.0, 1.0)
        left: Float32Array = (shares - own * of_first) * (1.0 - own)
        apart = np.cos(self._azimuths_rad - self._azimuths_rad[best]) <= np.cos(np.radians(_APART_DEG))
        second, _ = self._strongest(left, apart)
        return first, second

    def _hear(self, hops: Sequence[FeatureFrame], *, after_gap: bool) -> None:
        """Take in these hops: the covariance of the last second, by its reals (bins, mics²)."""
        if hops[-1].mics != self._mics:
            self._listen_with(hops[-1].mics)
        elif after_gap:
            self._stft.reset()
            self._pushes.clear()
        samples = np.concatenate([hop.samples[list(self._mics)] for hop in hops], axis=1)
        spectra = self._stft.push(samples)[..., _BINS].transpose(2, 1, 0)
        self._pushes.append((spectra.shape[2], _as_reals(spectra @ spectra.conj().transpose(0, 2, 1))))
        while sum(count for count, _ in self._pushes) - self._pushes[0][0] >= _HEARD_HOPS:
            self._pushes.popleft()
        self._reals = reduce(np.add, (reals for _, reals in self._pushes))
        self._snapshots = np.float32(sum(count for count, _ in self._pushes) / _HOPS_PER_SNAPSHOT)
        self._total = self._reals[:, : len(self._mics)].sum(axis=1) + np.float32(_TINY)

    def _strongest(self, shares: Float32Array, where: npt.NDArray[np.bool_]) -> tuple[Arrival, int]:
        """By the shares (bins, directions), and which of the directions (directions,) is nearest."""
        shares = np.clip(shares, 0.0, _MOST_SHARE)
        strength = self._snapshots * (-shares * np.log1p(-shares) * self._around.precision).mean(axis=0)
        best = int(np.where(where, strength, -1.0).argmax())
        near = self._directions @ self._directions[best] > np.cos(np.radians(_PEAK_DEG))
        centre = np.maximum(strength[near] - _PEAK_LEVEL * strength[best], _TINY) @ self._directions[near]
        azimuth_deg, elevation_deg = azimuth_elevation_deg(centre / np.linalg.norm(centre))
        doa = Direction(azimuth_deg, 0.0 if self._planar else elevation_deg, elevation_valid=not self._planar)
        stands_out = float(strength[best] - np.median(strength))
        return Arrival(doa, stands_out, self._sounds_still(shares[:, best], best)), best

    def _sounds_still(self, shares: Float32Array, best: int) -> bool:
        """Whether the latest hops have their part in what its shares (bins,) of the last second say comes from one of the directions."""
        count, reals = self._pushes[-1]
        heard = sum(each for each, _ in self._pushes)
        now = (self._around.forms[:, best] * reals).sum(axis=1) / self._total
        # By what its bins count in its strength.
        weights = -np.log1p(-shares) * self._around.precision[:, best]
        return bool(heard * (weights @ now) >= _STILL * count * (weights @ shares))

    def with_heights(self, tracks: Iterable[Track]) -> list[Track]:
        """The tracks after what `find` has heard last, with the `height_deg` of those whose elevation nothing else tells."""
        if not self._tells_height:
            return list(tracks)
        known, self._heights = self._heights, {}
        away = (self._taken_away * self._reals).sum(axis=2)
        heard = _Heard(_as_matrices(self._reals), self._total, away)
        return [self._with_height(track, known.get(track.track_id), heard) for track in tracks]

    def _with_height(self, track: Track, height: Height | None, heard: _Heard) -> Track:
        if height is None:
            height = Height(self._strength_above(track.doa.azimuth_deg, heard))
        elif track.updated:
            height.hear(self._strength_above(track.doa.azimuth_deg, heard), self._pushes[-1][0] * STANDARD.hop_s)
        self._heights[track.track_id] = height
        return replace(track, height_deg=height.deg)

    def _strength_above(self, azimuth_deg: float, heard: _Heard) -> Float32Array:
        """(elevations,) between those of the two azimuths around it.

        ρ²/σ², which is not as sharp as what arrivals are told by, but true: that would hear a sound on the horizon, in ambience as loud,
        at 30°, for at low frequencies more of it passes what is aimed above it.
        """
        at = (azimuth_deg + 180.0) / _PLANAR_STEP_DEG
        around = [self._above[(int(at) + each) % len(self._above)] for each in (0, 1)]
        before, after = ((beams.shares(heard) ** 2 * beams.precision).mean(axis=0) for beams in around)
        between: Float32Array = self._snapshots * (before + np.float32(at % 1.0) * (after - before))
        return between

    def _listen_with(self, mics: tuple[int, ...]) -> None:
        """Build the forms for the microphones that work."""
        self._mics, part = mics, self._geometry.part(mics)
        self._stft, self._planar = StreamingStft(part.mics, STANDARD), part.is_planar
        self._tells_height = self._geometry.is_planar and part.tells_directions
        self._pushes: deque[tuple[int, Float32Array]] = deque()
        power = DirectionalPower(part, STANDARD_HZ[_BINS])
        taken_away = power.taken_away()
        self._taken_away = _traced(taken_away)
        scatter = _Scatter(_ambience(part.positions_m, STANDARD_HZ[_BINS]), taken_away)
        angles = [azimuth_elevation_deg(direction) for direction in self._directions]
        self._angles = [(azimuth, None if self._planar else elevation) for azimuth, elevation in angles]
        self._azimuths_rad = np.radians([azimuth for azimuth, _ in angles])
        self._around = _forms(power, self._angles, scatter)
        self._of_wave = lru_cache(len(self._angles) if self._planar else _WAVES_KEPT)(
            partial(_of_wave, power, self._around)
        )
        # All at once, a third of a second and 23 MB for sixteen microphones: made as tracks came by, they made the longest steps.
        for each in self._angles if self._planar else ():
            self._of_wave(*each)
        self._above = [
            _beams(power, [(azimuth_deg, each) for each in ELEVATIONS_DEG], scatter)
            for azimuth_deg, _ in angles
            if self._tells_height
        ]


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


def _forms(power: DirectionalPower, angles: Sequence[tuple[float, float | None]], scatter: _Scatter) -> _Forms:
    """Towards azimuths and elevations, where these are known."""
    bins, mics, _ = power.taken_away()[0].shape
    # In place, as they are by far the largest of all that is kept.
    forms, precision = (np.empty((bins, len(angles), each), np.float32) for each in (mics**2, 1))
    for number, (azimuth_deg, elevation_deg) in enumerate(angles):
        aim = power.aim(azimuth_deg, elevation_deg)
        beams = power.beams(aim)
        forms[:, number] = _traced(power.form_of(beams, aim)) * mics
        precision[:, number, 0] = scatter.precision(beams, aim)
    return _Forms(forms, precision[..., 0])


def _of_wave(power: DirectionalPower, forms: _Forms, azimuth_deg: float, elevation_deg: float | None) -> Float32Array:
    """(bins, directions): shares where nothing sounds but a wave from there."""
    waves = power.waves(azimuth_deg, elevation_deg)
    covariance = waves @ waves.conj().transpose(0, 2, 1)
    return forms.shares(_as_reals(covariance), np.trace(covariance, axis1=1, axis2=2).real)


def _beams(power: DirectionalPower, angles: Iterable[tuple[float, float]], scatter: _Scatter) -> _Beams:
    """Likewise, of single directions."""
    aims = [power.aim(*each) for each in angles]
    beams = [power.beams(aim) for aim in aims]
    precision = np.stack([scatter.precision(own, aim) for own, aim in zip(beams, aims, strict=True)], axis=1)
    taken = np.stack([[aim.diffuse, aim.white] for aim in aims], axis=2)
    return _Beams(np.concatenate(beams, axis=2), taken, precision)


def _all_around(*, planar: bool) -> npt.NDArray[np.float64]:
    """(directions, 3) unit vectors; of a planar array, which knows no elevation, along its horizon."""
    if not planar:
        return fibonacci_sphere(_SPHERE_DIRECTIONS)
    return np.stack([unit_vector(azimuth_deg, 0.0) for azimuth_deg in range(-180, 180, _PLANAR_STEP_DEG)])


def _ambience(positions_m: npt.NDArray[np.float64], hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """(bins, mics, mics) covariance of what is there when nothing is: a field from all around, and wind at low frequencies."""
    alone = wind_share(hz, _WINDY_HZ, _MOST_WIND)[:, None, None]
    mixed = (coherence(positions_m, hz) + alone * np.eye(len(positions_m))) / (1.0 + alone)
    return mixed.astype(np.float32)


def _as_reals(matrices: Complex64Array) -> Float32Array:
    """Hermitian matrices (..., mics, mics) as their mics² real numbers: diagonal, and real and imaginary part of one triangle."""
    mics = matrices.shape[-1]
    flat = matrices.reshape(*matrices.shape[:-2], mics * mics)
    above = flat.take(np.ravel_multi_index(np.triu_indices(mics, 1), (mics, mics)), axis=-1)
    reals: Float32Array = np.concatenate([flat[..., :: mics + 1].real, above.real, above.imag], axis=-1)
    return reals


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
    return _as_reals((matrices * doubled).astype(np.complex64, copy=False))
