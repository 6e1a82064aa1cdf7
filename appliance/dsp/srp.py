"""Streaming SRP-PHAT: where the sound comes from, from raw microphone spectra, with no training.

Steered response power with phase transform (DiBiase, Silverman & Brandstein, 2001), computed as the sum over microphone
pairs of the whitened cross-correlation at the lag each direction implies. Lags are few (a small array hears everything
within a millisecond), so the way over the lag costs less than steering every bin to every direction.
"""

import numpy as np
import numpy.typing as npt

from appliance.angles import azimuth_elevation_deg
from appliance.dsp.foa import fibonacci_sphere
from appliance.dsp.stft import SAMPLE_RATE_HZ, WINDOW_SAMPLES
from appliance.geometry import SPEED_OF_SOUND_M_S, ArrayGeometry
from appliance.types import Complex64Array, Direction, Float32Array

GRID_DIRECTIONS = 2000
"""Directions on the whole sphere: 4.5 degrees apart, finer than the main lobe of any shipped array."""

_LAGS_PER_PERIOD = 16
"""Lag grid per period of the highest frequency; between its points the correlation is interpolated linearly."""
_NEWTON_STEPS = 6
_STEP_MAX = float(np.sqrt(4.0 * np.pi / GRID_DIRECTIONS))
"""Longest Newton step in radians: one grid spacing, so that it stays on the lobe the map found."""
_TINY = 1e-20


class SrpPhat:
    """A power map over directions, and its peak.

    Whitened cross-spectra are averaged exponentially over frames; `averaging_frames` is the time constant. The band ends
    where the closest two microphones are half a wavelength apart, unless `f_max_hz` says otherwise. A planar array
    cannot tell above from below: only the upper half-sphere is searched and the elevation is marked as not valid.
    """

    def __init__(
        self,
        geometry: ArrayGeometry,
        *,
        sample_rate_hz: int = SAMPLE_RATE_HZ,
        n_fft: int = WINDOW_SAMPLES,
        f_min_hz: float = 200.0,
        f_max_hz: float | None = None,
        grid: npt.NDArray[np.float64] | None = None,
        averaging_frames: float = 10.0,
    ) -> None:
        self.geometry = geometry
        if grid is None:
            grid = fibonacci_sphere(GRID_DIRECTIONS)
            if geometry.is_planar:
                grid = grid[grid[:, 2] >= 0.0]
        self.grid = grid
        """(directions, 3) unit vectors in the array frame, the order of the map."""
        first, second = np.triu_indices(geometry.mics, 1)
        self._pairs = first, second
        self._baselines_m = geometry.positions_m[first] - geometry.positions_m[second]
        lengths_m = np.linalg.norm(self._baselines_m, axis=1)
        if f_max_hz is None:
            f_max_hz = min(SPEED_OF_SOUND_M_S / (2.0 * float(lengths_m.min())), sample_rate_hz / 2.0)
        all_bins_hz = np.fft.rfftfreq(n_fft, 1.0 / sample_rate_hz)
        self._bins = np.flatnonzero((all_bins_hz >= f_min_hz) & (all_bins_hz <= f_max_hz))
        self._frequencies_hz = all_bins_hz[self._bins]
        if self._bins.size == 0:
            raise ValueError(f"no STFT bin between {f_min_hz} and {f_max_hz} Hz")
        self._decay = float(np.exp(-1.0 / averaging_frames))

        self._lag_step_s = 1.0 / (_LAGS_PER_PERIOD * f_max_hz)
        # One more point at the end keeps the interpolation of the longest lag inside the table.
        self._lag_max = int(np.ceil(float(lengths_m.max()) / SPEED_OF_SOUND_M_S / self._lag_step_s)) + 1
        lags_s = np.arange(-self._lag_max, self._lag_max + 1) * self._lag_step_s
        self._to_lags: Complex64Array = np.exp(2j * np.pi * self._frequencies_hz[:, None] * lags_s[None, :]).astype(
            np.complex64
        )
        self._grid_lags = self._lags(grid)
        self.reset()

    def reset(self) -> None:
        """Forget everything heard so far."""
        self._cross = np.zeros((len(self._baselines_m), self._bins.size), np.complex64)
        self._weight = np.zeros(self._bins.size, np.float32)
        self._correlation = np.zeros((len(self._baselines_m), self._to_lags.shape[1]), np.float32)
        self.map = np.zeros(len(self.grid), np.float32)

    def push(self, spectrum: Complex64Array, weights: Float32Array | None = None) -> Float32Array:
        """Add spectra (frames, mics, bins) and get the map (directions,): 1 for one noise-free plane wave, 0 for none.

        `weights` (frames, bins), 0 or more, say how much each bin of each frame counts: the mask of one source gives
        that source's map.
        """
        frames = len(spectrum)
        counts = np.ones((frames, self._bins.size), np.float32) if weights is None else weights[:, self._bins]
        fading = (self._decay ** np.arange(frames - 1, -1, -1)).astype(np.float32)
        counts = counts * fading[:, None]
        kept = np.float32(self._decay**frames)

        band = spectrum[:, :, self._bins]
        phases = band / np.maximum(np.abs(band), _TINY)
        # (bins, mics, frames) @ (bins, frames, mics): every pair of every bin at once.
        products = (phases * counts[:, None, :]).transpose(2, 1, 0) @ phases.conj().transpose(2, 0, 1)
        first, second = self._pairs
        self._cross = kept * self._cross + products[:, first, second].T
        self._weight = kept * self._weight + counts.sum(axis=0)
        self._correlation = ((self._cross @ self._to_lags).real / max(float(self._weight.sum()), _TINY)).astype(
            np.float32
        )
        self.map = self._power(self._grid_lags)
        return self.map

    def peak(self) -> tuple[Direction, float]:
        """Direction of the map's maximum, refined between the points of the grid, and its power there.

        The grid's best point is improved by Newton's method on the exact power, within the sphere or, for a planar
        array, within the plane in which its delays are linear.
        """
        direction = self.grid[int(np.argmax(self.map))]
        best, best_power = direction, -np.inf
        for _ in range(_NEWTON_STEPS):
            power, gradient, curvature = self._expand(direction)
            if power > best_power:
                best, best_power = direction, power
            ways = np.eye(3)[:, :2] if self.geometry.is_planar else _tangents(direction)
            slope, bend = ways.T @ gradient, ways.T @ curvature @ ways
            if np.linalg.eigvalsh(bend)[-1] >= 0.0:
                break
            step = np.linalg.solve(bend, -slope)
            step *= min(1.0, _STEP_MAX / max(float(np.linalg.norm(step)), _TINY))
            direction = direction + ways @ step
            if self.geometry.is_planar:
                in_plane = direction[:2] / max(1.0, float(np.linalg.norm(direction[:2])))
                direction = np.append(in_plane, np.sqrt(max(0.0, 1.0 - float(in_plane @ in_plane))))
            else:
                direction = direction / np.linalg.norm(direction)
        azimuth_deg, elevation_deg = azimuth_elevation_deg(best)
        return Direction(azimuth_deg, elevation_deg, elevation_valid=not self.geometry.is_planar), best_power

    def _expand(
        self, direction: npt.NDArray[np.float64]
    ) -> tuple[float, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Exact power at a direction (3,), its gradient (3,) and its second derivative (3, 3)."""
        lag_per_direction = -self._baselines_m / SPEED_OF_SOUND_M_S
        turning = 2j * np.pi * self._frequencies_hz
        aligned = self._cross * np.exp(np.outer(lag_per_direction @ direction, turning))
        scale = 1.0 / (len(aligned) * max(float(self._weight.sum()), _TINY))
        first = (aligned @ turning).real * scale
        second = (aligned @ turning**2).real * scale
        gradient: npt.NDArray[np.float64] = lag_per_direction.T @ first
        curvature: npt.NDArray[np.float64] = lag_per_direction.T @ (second[:, None] * lag_per_direction)
        return float(aligned.sum().real * scale), gradient, curvature

    def _lags(self, directions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(pairs, directions) position in the lag table: how much earlier the first microphone of a pair hears it."""
        lag: npt.NDArray[np.float64] = -self._baselines_m @ directions.T / SPEED_OF_SOUND_M_S / self._lag_step_s
        return lag + self._lag_max

    def _power(self, lags: npt.NDArray[np.float64]) -> Float32Array:
        """Mean correlation over pairs (directions,) at positions (pairs, directions) in the lag table."""
        left = lags.astype(np.intp)
        share = (lags - left).astype(np.float32)
        row = np.arange(len(lags))[:, None]
        values = self._correlation[row, left] * (1.0 - share) + self._correlation[row, left + 1] * share
        power: Float32Array = values.mean(axis=0)
        return power


def _tangents(direction: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(3, 2) orthonormal vectors across a unit vector."""
    helper = np.eye(3)[int(np.argmin(np.abs(direction)))]
    one = np.cross(helper, direction)
    one /= np.linalg.norm(one)
    return np.stack([one, np.cross(direction, one)], axis=1)
