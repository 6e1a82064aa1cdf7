"""A spherically isotropic (diffuse) field at an array, made of recordings: ambience, rain, crickets, leaves.

The sum of plane waves from directions spread evenly over the sphere, each another stretch of the recordings. Unlike
mixing by a root of the coherence matrix, every chirp and drop so comes from a real direction, at all microphones.
Coherence is sin(kd)/(kd) (Cook et al., J. Acoust. Soc. Am. 27, 1955) as far as the directions sample the sphere for
the array: kd up to √waves; beyond, where the field is all but incoherent, it errs by about 1/√waves.
"""

import math

import numpy as np
import numpy.typing as npt

from appliance.dsp.foa import fibonacci_sphere
from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.errors import RecordingError
from appliance.geometry import SPEED_OF_SOUND_M_S
from appliance.lab.world.overlap_add import add, cut, hann

FloatArray = npt.NDArray[np.float64]

_FRAME = 4096
_HOP = 2048
_MAX_WAVES = 128
_PRODUCT = 60_000


def diffuse_field(
    rng: np.random.Generator, recordings: list[FloatArray], mics_m: FloatArray, samples: int
) -> FloatArray:
    """Recordings [(n,), …] as a diffuse field at microphones (mics, 3) → (mics, samples) at 16 kHz.

    Its power at each microphone is the mean power of the recordings. Short recordings are looped with cross-faded
    seams; 16 s in all or more keep the directions from repeating each other. A microphone's delay wraps round the flank of a 256-ms window: below −60 dB for apertures under 1 m.
    Raises `RecordingError` where there is no recording, or one is empty.
    """
    if not recordings or min(len(recording) for recording in recordings) < 2:
        raise RecordingError("diffuse field: no recording, or an empty one; give at least one with samples")
    aperture_m = float(np.linalg.norm(mics_m[:, None] - mics_m[None], axis=2).max())
    highest_kd = 2.0 * math.pi * (SAMPLE_RATE_HZ / 2) * aperture_m / SPEED_OF_SOUND_M_S
    waves = int(np.clip((highest_kd + 2.0) ** 2, 48, _MAX_WAVES))
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    directions = fibonacci_sphere(waves) @ turn
    window = np.sqrt(hann(_FRAME))
    # Each wave is a recording rolled by whole frames, turned over or not. Twice in a row, a roll is a slice.
    spectra = []
    for recording in recordings[:waves]:
        frames = np.fft.rfft(cut(loop(recording, samples), _FRAME, _HOP) * window, axis=1)
        spectra.append(np.concatenate([frames, frames]).astype(np.complex64).T)
    bins, count = spectra[0].shape[0], spectra[0].shape[1] // 2
    both = np.stack(spectra, axis=1).reshape(bins, -1)
    # No roll comes twice for one recording while there are others.
    rolls = rng.permutation(count).take(np.arange(waves) // len(spectra), mode="wrap")
    signs = rng.choice((-1.0, 1.0), waves) / math.sqrt(waves)
    lead_s = mics_m @ directions.T / SPEED_OF_SOUND_M_S
    frequencies_hz = np.fft.rfftfreq(_FRAME, 1.0 / SAMPLE_RATE_HZ)
    # Products so small that BLAS keeps to one thread: its threads spin when the cores are busy with other scenes.
    columns = max(8, _PRODUCT // (len(mics_m) * waves))
    blocks = -(-count // columns)
    rolled = np.zeros((waves, blocks * columns), np.complex64)
    in_blocks = rolled.reshape(waves, blocks, columns).transpose(1, 0, 2)
    heard = np.arange(waves) % len(spectra) * (2 * count) + rolls
    picked = heard[:, None] + np.arange(count)
    field = np.empty((bins, blocks, len(mics_m), columns), np.complex64)
    for row, frequency_hz in enumerate(frequencies_hz):
        rolled[:, :count] = both[row].take(picked)
        steering = signs * np.exp(2j * np.pi * frequency_hz * lead_s)
        np.matmul(steering.astype(np.complex64), in_blocks, out=field[row])
    frames = field.transpose(2, 1, 3, 0).reshape(len(mics_m), blocks * columns, bins)[:, :count]
    signals = add(np.fft.irfft(frames.astype(np.complex128), n=_FRAME, axis=2) * window, _HOP)
    return signals[:, _FRAME - _HOP : _FRAME - _HOP + samples]


def loop(recording: FloatArray, samples: int) -> FloatArray:
    """Exactly `samples` of a recording (n,): cut, or repeated with seams cross-faded over up to 50 ms at equal power."""
    if len(recording) >= samples:
        return recording[:samples]
    fade = min(SAMPLE_RATE_HZ // 20, len(recording) // 2)
    angle = (np.arange(fade) + 0.5) * (np.pi / 2 / max(fade, 1))
    period = len(recording) - fade
    once = recording[:period].copy()
    once[:fade] = recording[:fade] * np.sin(angle) + recording[period:] * np.cos(angle)
    return np.concatenate([recording[:period], np.resize(once, samples - period)])
