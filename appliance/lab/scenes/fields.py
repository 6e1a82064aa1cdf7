"""Arrays as the training scenes need them: nominal encoder, true (imperfect) microphones, and noise fields.

The network is trained on the *encoded* response E(f)·A(f, θ): E from the geometry the unit believes, A from microphones
that are a little elsewhere, of unequal gain and phase, one of them dead at times.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from appliance.dsp.directional_power import coherence
from appliance.dsp.features import band_validity
from appliance.dsp.foa import FoaEncoder
from appliance.dsp.stft import bin_frequencies_hz
from appliance.geometry import SPEED_OF_SOUND_M_S, ArrayGeometry
from appliance.lab.world.arrays import draw_geometry
from appliance.types import Complex64Array


class EncodedArray:
    """One array with its faults, seen through its encoder.

    `encoder` (bins, 4, mics) leads from the true microphones, gain and phase errors included, to Ambisonics; `geometry` is what
    the unit believes, `true_positions_m` (mics, 3) where they really are; `validity` (2, bands); `diffuse_root`, `incoherent_root` (bins, 4, 4) colour white noise (…, bins, 4) into an
    isotropic field and into noise that is independent from microphone to microphone (wind, self-noise).
    """

    def __init__(self, rng: np.random.Generator, geometry: ArrayGeometry) -> None:
        encoder = FoaEncoder(geometry)
        self.geometry, self.planar = geometry, geometry.is_planar
        self.validity = band_validity(encoder)
        positions = geometry.positions_m + rng.normal(0.0, 7e-4, geometry.positions_m.shape)
        self._amplitude = 10.0 ** (rng.normal(0.0, 0.7, geometry.mics) / 20.0)
        self._delay_s = rng.normal(0.0, 3e-6, geometry.mics)
        if geometry.mics > 4 and rng.random() < 0.05:
            self._amplitude[rng.integers(geometry.mics)] = 0.0
        self.true_positions_m = positions
        gain = self.gain(bin_frequencies_hz())
        self.encoder: Complex64Array = (encoder.matrix * gain[:, None, :]).astype(np.complex64)
        self.diffuse_root = _root(self.encoder @ coherence(positions) @ self.encoder.conj().transpose(0, 2, 1))
        self.incoherent_root = _root(self.encoder @ self.encoder.conj().transpose(0, 2, 1))

    def gain(self, hz: npt.NDArray[np.float64]) -> Complex64Array:
        """(bins, mics) what the microphones make of a sound at frequencies (bins,) in Hz."""
        turns = np.exp(-2j * np.pi * hz[:, None] * self._delay_s)
        gain: Complex64Array = (self._amplitude * turns).astype(np.complex64)
        return gain


def _root(covariance: npt.NDArray[np.complexfloating]) -> Complex64Array:
    """R (4, bins, 4) with R·Rᴴ = covariance (bins, 4, 4)."""
    power, vectors = np.linalg.eigh(covariance.astype(np.complex128))
    return np.ascontiguousarray(
        (vectors * np.sqrt(np.maximum(power, 0.0))[:, None, :]).astype(np.complex64).transpose(1, 0, 2)
    )


def draw_array(rng: np.random.Generator) -> EncodedArray:
    """A random array with random faults."""
    return EncodedArray(rng, draw_geometry(rng))


class ArrayBank:
    """Random arrays on a device, as tensors with the array in front; a missing microphone's encoder is zero.

    `validity` (arrays, 2, bands), `planar` (arrays,), `diffuse_root` and `incoherent_root` (arrays, 4, bins, 4).
    """

    def __init__(self, rng: np.random.Generator, count: int, device: torch.device) -> None:
        with ThreadPoolExecutor() as pool:
            arrays = list(pool.map(draw_array, rng.spawn(count)))
        mics = max(len(array.true_positions_m) for array in arrays)
        encoder = np.zeros((count, *arrays[0].encoder.shape[:2], mics), np.complex64)
        lead_s = np.zeros((count, mics, 3), np.float32)
        for index, array in enumerate(arrays):
            own = len(array.true_positions_m)
            encoder[index, :, :, :own] = array.encoder
            lead_s[index, :own] = array.true_positions_m / SPEED_OF_SOUND_M_S
        self._encoder = torch.from_numpy(encoder).to(device)
        self._lead_s = torch.from_numpy(lead_s).to(device)
        self._hz = torch.from_numpy(bin_frequencies_hz().astype(np.float32)).to(device)
        self.validity = torch.from_numpy(np.stack([array.validity for array in arrays])).to(device)
        self.planar = torch.tensor([array.planar for array in arrays], device=device)
        self.diffuse_root = torch.from_numpy(np.stack([array.diffuse_root for array in arrays])).to(device)
        self.incoherent_root = torch.from_numpy(np.stack([array.incoherent_root for array in arrays])).to(device)

    def __len__(self) -> int:
        return len(self.planar)

    def response(self, array: Tensor, directions: Tensor) -> Tensor:
        """Encoded response (n, 4, directions, bins) of arrays (n,) to plane waves from unit vectors (n, directions, 3)."""
        turns = torch.einsum("nmx,ndx->nmd", self._lead_s[array], directions)[:, None] * self._hz[:, None, None]
        steering = torch.polar(torch.ones((), device=turns.device).expand_as(turns), 2.0 * torch.pi * turns)
        return torch.matmul(self._encoder[array], steering).permute(0, 2, 3, 1)
