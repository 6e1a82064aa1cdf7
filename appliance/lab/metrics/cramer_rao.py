"""The least error of azimuth that any unbiased estimator can have: the Cramér–Rao bound of a still wideband source.

Source and noise are Gaussian and stationary, the source's elevation and all spectra are known. Per independent snapshot
at one frequency, with snr = source over noise at a microphone, a the steering vector, d its derivative by azimuth and Q
the coherence of the noise, the information is

    2 · snr² · (aᴴQ⁻¹a) / (1 + snr · aᴴQ⁻¹a) · (dᴴQ⁻¹d − |aᴴQ⁻¹d|² / aᴴQ⁻¹a)

(Stoica & Nehorai, *Performance study of conditional and unconditional direction-of-arrival estimation*, IEEE Trans. ASSP
38(10), 1990, for one source, the noise whitened). T seconds hold T independent snapshots per hertz.
"""

import math

import numpy as np
import numpy.typing as npt

from appliance.geometry import SPEED_OF_SOUND_M_S, ArrayGeometry

Floats = npt.NDArray[np.float64]

BAND_HZ = (100.0, 7500.0)
"""Where the suite measures SNR."""
_STEP_HZ = 50.0
_SELF_NOISE = 1e-3


def azimuth_crb_deg(
    geometry: ArrayGeometry,
    snr_db: float,
    *,
    seconds: float,
    azimuth_deg: float = 0.0,
    elevation_deg: float = 0.0,
    band_hz: tuple[float, float] = BAND_HZ,
    diffuse: bool = False,
) -> float:
    """1-sigma bound in degrees for one SNR over the whole band: the spectra of source and noise have the same shape.

    Noise is incoherent between microphones, or with `diffuse` an isotropic field (coherence sinc(2fd/c)) and 30 dB less
    of incoherent self-noise.
    """
    edges_hz = np.arange(band_hz[0], band_hz[1] + _STEP_HZ / 2, _STEP_HZ)
    centres_hz = (edges_hz[:-1] + edges_hz[1:]) / 2.0
    snr = 10.0 ** (snr_db / 10.0)
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    towards = math.cos(elevation) * np.array([math.cos(azimuth), math.sin(azimuth)])
    turning = math.cos(elevation) * np.array([-math.sin(azimuth), math.cos(azimuth)])
    lead_s = (geometry.positions_m[:, :2] @ towards + geometry.positions_m[:, 2] * math.sin(elevation)) / (
        SPEED_OF_SOUND_M_S
    )
    slope_s = geometry.positions_m[:, :2] @ turning / SPEED_OF_SOUND_M_S
    apart_m = np.linalg.norm(geometry.positions_m[:, None] - geometry.positions_m[None], axis=2)
    information = 0.0
    for hz in centres_hz:
        omega = 2.0 * math.pi * hz
        steering = np.exp(1j * omega * lead_s)
        derivative = 1j * omega * slope_s * steering
        noise = np.eye(geometry.mics)
        if diffuse:
            noise = (np.sinc(2.0 * hz * apart_m / SPEED_OF_SOUND_M_S) + _SELF_NOISE * noise) / (1.0 + _SELF_NOISE)
        white = np.linalg.solve(noise, np.stack([steering, derivative], axis=1))
        gain = float((steering.conj() @ white[:, 0]).real)
        across = float((derivative.conj() @ white[:, 1]).real) - abs(complex(steering.conj() @ white[:, 1])) ** 2 / gain
        information += 2.0 * snr**2 * gain / (1.0 + snr * gain) * across
    return math.degrees(1.0 / math.sqrt(information * seconds * _STEP_HZ))


def mean_azimuth_crb_deg(geometry: ArrayGeometry, snr_db: float, *, seconds: float, diffuse: bool) -> float:
    """The root mean square of the bound over azimuths 15 degrees apart, at the horizon, in degrees."""
    azimuths_deg: Floats = np.arange(-180.0, 180.0, 15.0)
    bounds = [
        azimuth_crb_deg(geometry, snr_db, seconds=seconds, azimuth_deg=float(azimuth), diffuse=diffuse)
        for azimuth in azimuths_deg
    ]
    return float(np.sqrt(np.mean(np.square(bounds))))
