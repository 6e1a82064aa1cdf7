"""Minimum-variance distortionless beams from the raw microphones, one per object, driven by the network's masks.

w = N⁻¹d / (dᴴN⁻¹d) per bin (Capon 1969; with masks: Higuchi, Ito, Yoshioka & Nakatani, ICASSP 2016). The direction is the
track's, so d is the free-field response about the array's centre: what comes from there passes unchanged, as W hears it.
N is what is not the object: covariance of all that is heard less the covariance of what the object's mask covers, both
averaged exponentially. Two parts regularise it: a share of a diffuse field, so that with a poor mask the beam falls back to
the superdirective one instead of cancelling its own object, and white noise against the microphones' errors.

The object's own reverberation counts as the object here, also where a mask of its direct sound is known: taken for noise,
its echoes, which are the object's own sound, make the beam cancel some of that. What a direct mask is good for is the gain
behind the beam (`separator`): `tests/test_separation_scenes.py` measures both.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from appliance.dsp.directional_power import coherence
from appliance.dsp.features import BAND_EDGES
from appliance.dsp.foa import steering
from appliance.dsp.stft import BINS, HOP_SAMPLES, SAMPLE_RATE_HZ
from appliance.geometry import ArrayGeometry
from appliance.types import Complex64Array, Float32Array

_MEMORY_S = 1.0
_DIFFUSE_SHARE = 1.0
_WHITE_SHARE = 0.03
"""Both against the mean power of the microphones; from scenes of fold 4 (`lab.judge.separation`), with ideal masks and tracked ones."""
_TINY = 1e-20

Covariance = npt.NDArray[np.complex128]


class MvdrBeams:
    """Beams of objects that come and go; `push` carries the state from one run of hops to the next.

    Only the bins that masks speak of are filtered; the others come out as zero.
    """

    def __init__(self, geometry: ArrayGeometry) -> None:
        self._positions_m = geometry.positions_m
        self._bins = slice(int(BAND_EDGES[0]), int(BAND_EDGES[-1]))
        diffuse = coherence(geometry.positions_m)[self._bins]
        self._loading = _DIFFUSE_SHARE * diffuse + _WHITE_SHARE * np.eye(geometry.mics)
        self._heard: Covariance = np.zeros(diffuse.shape, np.complex128)
        self._objects: dict[int, Covariance] = {}

    def push(
        self,
        spectrum: Complex64Array,
        masks: Mapping[int, Float32Array],
        directions: Mapping[int, npt.NDArray[np.float64]],
    ) -> dict[int, Complex64Array]:
        """Hops (hops, mics, bins) → the beam (hops, bins) of every object that has a mask (hops, bins).

        `directions` holds the unit vector (3,) of each of these objects for these hops. An object that has no mask any
        more is forgotten.
        """
        x = spectrum[:, :, self._bins].transpose(2, 1, 0).astype(np.complex128)  # (bins, mics, hops)
        keep = float(np.exp(-len(spectrum) * HOP_SAMPLES / SAMPLE_RATE_HZ / _MEMORY_S))
        conjugate = x.conj().transpose(0, 2, 1)
        self._heard = keep * self._heard + x @ conjugate
        power = np.trace(self._heard, axis1=1, axis2=2).real / len(self._positions_m) + _TINY
        loading = power[:, None, None] * self._loading
        self._objects = {
            key: keep * self._objects.get(key, 0.0) + (mask[:, self._bins].T[:, None] * x) @ conjugate
            for key, mask in masks.items()
        }
        beams = {}
        for key, covered in self._objects.items():
            response = steering(self._positions_m, directions[key][None])[self._bins].astype(np.complex128)
            solved = np.linalg.solve(self._heard - covered + loading, response)
            weights = solved / (response.conj().transpose(0, 2, 1) @ solved).real  # (bins, mics, 1)
            beam = np.zeros((len(spectrum), BINS), np.complex64)
            beam[:, self._bins] = (weights.conj().transpose(0, 2, 1) @ x)[:, 0].T
            beams[key] = beam
        return beams
