"""How much of a signal came straight from a direction, told by the sound field alone.

A plane wave from the unit vector u is one and the same signal on W and on the dipole towards u, while a diffuse field is on
both and uncorrelated between them. So the smoothed Re{W·V*} is the power of what comes from u, whatever the ambience, and over the power
of a signal it is that signal's Wiener gain (Thiergart, Taseska & Habets, IEEE/ACM TASLP 2014; intensity as in Merimaa & Pulkki, JAES 2005).
A network's mask is finer in time, but knows nothing where the object was not heard, and little of unknown sounds: on fold 4
(`lab.separation`, the twin) the mean of both, from 2 s before the object was found, is 1.6 dB of SI-SDRi better than the mask.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from appliance.dsp.features import BAND_EDGES
from appliance.dsp.stft import BINS, HOP_SAMPLES, SAMPLE_RATE_HZ
from appliance.types import Complex64Array, Float32Array

_MEMORY_S = 1.0
_KEEP = float(np.exp(-HOP_SAMPLES / SAMPLE_RATE_HZ / _MEMORY_S))
_BINS = slice(int(BAND_EDGES[0]), int(BAND_EDGES[-1]))
_TINY = 1e-20

Direction = npt.NDArray[np.float64]
Powers = npt.NDArray[np.float64]


class SpatialShares:
    """Carries averages of the field and of each object's beam from one run of hops to the next."""

    def __init__(self) -> None:
        self._field = _Average()
        self._beams: dict[int, _Average] = {}
        self._intensity: Powers = np.zeros((0, 3, BINS))

    def push(self, foa: Complex64Array, directions: Mapping[int, Direction]) -> dict[int, Float32Array]:
        """Ambisonics (hops, 4, bins) [W, Y, Z, X] → for each direction (3,) the share (hops, bins) of W that comes from it."""
        x_y_z = (foa[:, :1] * foa[:, [3, 1, 2]].conj()).real
        average = self._field.push(np.concatenate([np.abs(foa[:, :1]) ** 2, x_y_z], axis=1))
        self._intensity = average[:, 1:]
        return {key: self._share(towards, average[:, 0]) for key, towards in directions.items()}

    def of_beams(
        self, beams: Mapping[int, Complex64Array], directions: Mapping[int, Direction]
    ) -> dict[int, Float32Array]:
        """The same of beams (hops, bins) over the hops that were pushed last; one that is left out is forgotten."""
        self._beams = {key: self._beams.get(key) or _Average() for key in beams}
        return {
            key: self._share(directions[key], self._beams[key].push(np.abs(beam) ** 2)) for key, beam in beams.items()
        }

    def _share(self, towards: Direction, power: Powers) -> Float32Array:
        share = np.zeros(power.shape, np.float32)
        coming = np.einsum("c,hcb->hb", towards, self._intensity[..., _BINS])
        share[:, _BINS] = np.clip(coming / (power[:, _BINS] + _TINY), 0.0, 1.0)
        return share


class _Average:
    """Exponential, from hop to hop."""

    def __init__(self) -> None:
        self._state: Powers | None = None

    def push(self, values: npt.NDArray[np.floating]) -> Powers:
        """(hops, …) → the same, smoothed."""
        if self._state is None:
            self._state = np.zeros((1, *values.shape[1:]))
        smooth: Powers
        smooth, self._state = lfilter([1.0 - _KEEP], [1.0, -_KEEP], values, axis=0, zi=self._state)
        return smooth
