"""First-order Ambisonics for two ears: a ring of virtual loudspeakers around a rigid sphere.

The field is decoded to the twelve corners of an icosahedron (which samples first order evenly) with max-rE weights (Daniel
2000: g₁ = 1/√3 in three dimensions), and every loudspeaker reaches each ear through the spherical head of Brown & Duda
(1998): a head-shadow filter of one pole and one zero, and Woodworth's delay around the sphere. It has no ear shapes: left
and right are as in nature, above and behind are weak.
"""

import numpy as np
import numpy.typing as npt
from scipy.signal import oaconvolve

from appliance.dsp.foa import foa_gains
from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.geometry import SPEED_OF_SOUND_M_S
from appliance.types import Float32Array

_HEAD_RADIUS_M = 0.0875
_MAX_RE = 3.0**-0.5
_SHADOW_LEAST, _SHADOW_LEAST_AT_DEG = 0.1, 150.0
_TAPS = 128
_LEAD_S = 1e-3
"""Makes the filters causal: the near ear hears earlier than the middle of the head."""

FloatArray = npt.NDArray[np.float64]


def ear_responses(towards: FloatArray, ear: FloatArray) -> FloatArray:
    """(directions, taps) impulse responses of the sphere from unit vectors (directions, 3) to the ear at (3,)."""
    angle = np.arccos(np.clip(towards @ ear, -1.0, 1.0))
    way = np.where(angle < np.pi / 2.0, -np.cos(angle), angle - np.pi / 2.0)
    delay_s = _LEAD_S + _HEAD_RADIUS_M / SPEED_OF_SOUND_M_S * way
    bend = np.cos(angle / np.radians(_SHADOW_LEAST_AT_DEG) * np.pi)
    alpha = (1.0 + _SHADOW_LEAST / 2.0) + (1.0 - _SHADOW_LEAST / 2.0) * bend
    omega = 2.0 * np.pi * np.fft.rfftfreq(_TAPS, 1.0 / SAMPLE_RATE_HZ)
    corner = 2.0 * SPEED_OF_SOUND_M_S / _HEAD_RADIUS_M
    shadow = (1.0 + 1j * alpha[:, None] * omega / corner) / (1.0 + 1j * omega / corner)
    responses: FloatArray = np.fft.irfft(shadow * np.exp(-1j * delay_s[:, None] * omega), _TAPS, axis=1)
    return responses


class BinauralDecoder:
    """[W, Y, Z, X] (4, n) → left and right (2, n), streamed; the head looks to the front of the array frame."""

    def __init__(self) -> None:
        corners = _icosahedron()
        weights = np.array([1.0, 3.0 * _MAX_RE, 3.0 * _MAX_RE, 3.0 * _MAX_RE])[:, None] * foa_gains(corners)
        ears = np.array([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
        responses = np.stack([ear_responses(corners, ear) for ear in ears])
        self._filters = np.einsum("cs,est->ect", weights / len(corners), responses)
        self._tail = np.zeros((2, _TAPS - 1))

    def push(self, foa: Float32Array) -> Float32Array:
        """As many samples as come in; the sound lies 1 ms later."""
        out = oaconvolve(foa[None].astype(np.float64), self._filters, axes=2).sum(axis=1)
        out[:, : _TAPS - 1] += self._tail
        self._tail = out[:, foa.shape[1] :]
        ears: Float32Array = out[:, : foa.shape[1]].astype(np.float32)
        return ears


def _icosahedron() -> FloatArray:
    """(12, 3) unit vectors."""
    golden = (1.0 + 5.0**0.5) / 2.0
    corners = np.array([(0.0, a, b * golden) for a in (-1.0, 1.0) for b in (-1.0, 1.0)])
    turned: FloatArray = np.concatenate([np.roll(corners, shift, axis=1) for shift in range(3)])
    turned /= np.linalg.norm(turned[0])
    return turned
