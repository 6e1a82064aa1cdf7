"""Where the two strongest sounds of the last second come from, whatever they are, and how high tracks are: by power, with no training.

In each bin the power from every direction (`dsp.directional_power`) is held against all power. Its share ρ scatters around nought
by a known σ where nothing but ambience is there. So ρ/σ says how sure the bin is that something comes from there, and −log(1 − ρ)/σ
how much better that explains the bin than another direction does (the likelihood of one source in ambience). The mean of
their product over bins is a map in which a faint sound stands out and a loud one has a sharp peak. The second sound is sought in what
the first one leaves: from the power of each direction goes what a wave from there alone would make of it (as CLEAN does, Högbom,
Astronomy and Astrophysics Supplement 15, 1974), and a bin counts the less, the more of it is the first one's.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache, partial, reduce

import numpy as np
import numpy.typing as npt

from appliance.angles import azimuth_elevation_deg, unit_vector
from appliance.dsp.foa import fibonacci_sphere
from appliance.dsp.heights import ELEVATIONS_DEG, Height
from appliance.dsp.shares import Heard, ShareMaker, as_reals, total_power
from appliance.dsp.stft import STANDARD, STANDARD_HZ, StreamingStft
from appliance.geometry import ArrayGeometry
from appliance.types import Arrival, Direction, FeatureFrame, Float32Array, Track

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
_TINY = 1e-20


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
        shares = self._around.shares(self._reals)
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
        self._pushes.append((spectra.shape[2], as_reals(spectra @ spectra.conj().transpose(0, 2, 1))))
        while sum(count for count, _ in self._pushes) - self._pushes[0][0] >= _HEARD_HOPS:
            self._pushes.popleft()
        self._reals = reduce(np.add, (reals for _, reals in self._pushes))
        self._snapshots = np.float32(sum(count for count, _ in self._pushes) / _HOPS_PER_SNAPSHOT)

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
        now = (self._around.forms[:, best] * reals).sum(axis=1) / total_power(self._reals)
        # By what its bins count in its strength.
        weights = -np.log1p(-shares) * self._around.precision[:, best]
        return bool(heard * (weights @ now) >= _STILL * count * (weights @ shares))

    def with_heights(self, tracks: Iterable[Track]) -> list[Track]:
        """The tracks after what `find` has heard last, with the `height_deg` of those whose elevation nothing else tells."""
        if not self._tells_height:
            return list(tracks)
        known, self._heights = self._heights, {}
        heard = self._maker.heard(self._reals)
        return [self._with_height(track, known.get(track.track_id), heard) for track in tracks]

    def _with_height(self, track: Track, height: Height | None, heard: Heard) -> Track:
        if height is None:
            height = Height(self._strength_above(track.doa.azimuth_deg, heard))
        elif track.updated:
            height.hear(self._strength_above(track.doa.azimuth_deg, heard), self._pushes[-1][0] * STANDARD.hop_s)
        self._heights[track.track_id] = height
        return replace(track, height_deg=height.deg)

    def _strength_above(self, azimuth_deg: float, heard: Heard) -> Float32Array:
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
        self._maker = ShareMaker(part, STANDARD_HZ[_BINS])
        angles = [azimuth_elevation_deg(direction) for direction in self._directions]
        self._angles = [(azimuth, None if self._planar else elevation) for azimuth, elevation in angles]
        self._azimuths_rad = np.radians([azimuth for azimuth, _ in angles])
        self._around = self._maker.forms(self._angles)
        self._of_wave = lru_cache(len(self._angles) if self._planar else _WAVES_KEPT)(
            partial(self._maker.of_wave, self._around)
        )
        # All at once, a third of a second and 23 MB for sixteen microphones: made as tracks came by, they made the longest steps.
        for each in self._angles if self._planar else ():
            self._of_wave(*each)
        self._above = [
            self._maker.beams([(azimuth_deg, each) for each in ELEVATIONS_DEG])
            for azimuth_deg, _ in angles
            if self._tells_height
        ]


def _all_around(*, planar: bool) -> npt.NDArray[np.float64]:
    """(directions, 3) unit vectors; of a planar array, which knows no elevation, along its horizon."""
    if not planar:
        return fibonacci_sphere(_SPHERE_DIRECTIONS)
    return np.stack([unit_vector(azimuth_deg, 0.0) for azimuth_deg in range(-180, 180, _PLANAR_STEP_DEG)])
