"""Harmonicity: how much the spectrum looks like a comb of each fundamental, over a long window.

Bands as wide as an ear's cannot tell the spacing of harmonics, and that is what tells a rotor (70 to 450 blades per
second) from an engine (10 to 60 firings) and both from wind. So W is put together again from its short spectra, a
window of 256 ms resolves its lines, the logarithm is whitened over frequency, and a cosine comb is held against it (as
pitch detectors on the log spectrum do; Hermes, JASA 83, 1988, sums subharmonics likewise).
"""

import numpy as np
import numpy.typing as npt

from appliance.dsp.stft import HOP_SAMPLES, SAMPLE_RATE_HZ, WINDOW, WINDOW_SAMPLES
from appliance.types import Complex64Array, Float32Array

LONG_SAMPLES = 4096
"""256 ms: lines of 3.9 Hz; longer, and the wander of a rotor blurs them."""
LOWEST_HZ, HIGHEST_HZ = 25.0, 500.0
"""Fundamentals looked for."""
OVERLAP_SAMPLES = WINDOW_SAMPLES - HOP_SAMPLES
_LINES = 1024
"""Bins of the long spectrum that are used: up to 4 kHz."""
WHITENED_OVER = 65
_REACH = 6.0
"""Harmonics after which the comb's weight has fallen to 1/e."""
FLOOR = 1e-9
"""130 dB below full scale: rounding says nothing."""
CLIP = (-0.5, 1.5)
"""In bels about the local mean: troughs of noise say nothing."""
RANGE = 4.0


def _hop_weight() -> Float32Array:
    """(hop,) sum of the analysis windows over each sample of a hop, by which overlap-add is divided."""
    padded = np.concatenate([WINDOW, np.zeros(-WINDOW_SAMPLES % HOP_SAMPLES, np.float32)])
    total: Float32Array = padded.reshape(-1, HOP_SAMPLES).sum(axis=0)
    return total


def fundamentals_hz(count: int) -> npt.NDArray[np.float64]:
    """(count,) fundamentals, evenly spaced in pitch."""
    return np.geomspace(LOWEST_HZ, HIGHEST_HZ, count)


def comb(count: int) -> Float32Array:
    """(count, lines) a cosine comb per fundamental: zero mean, unit energy, its first harmonics count most."""
    harmonic = (
        np.arange(_LINES) * (SAMPLE_RATE_HZ / LONG_SAMPLES) / fundamentals_hz(count)[:, None]
    )  # (count, lines): number of the harmonic at each line
    weight = np.exp(-harmonic / _REACH) * (harmonic >= 0.5)
    teeth = weight * np.cos(2.0 * np.pi * harmonic)
    teeth -= weight * (teeth.sum(axis=1) / weight.sum(axis=1))[:, None]
    scaled: Float32Array = (teeth / np.linalg.norm(teeth, axis=1, keepdims=True)).astype(np.float32)
    return scaled


HOP_WEIGHT = _hop_weight()
LONG_WINDOW = np.hanning(LONG_SAMPLES + 1)[:-1].astype(np.float32)


class Harmonicity:
    """Spectra of W, hop by hop, to harmonicity. It ends 44 ms before now: where the short windows have all been added."""

    def __init__(self, count: int) -> None:
        self._comb = comb(count)
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self._unfinished = np.zeros(OVERLAP_SAMPLES, np.float32)
        self._heard = np.zeros(LONG_SAMPLES - HOP_SAMPLES, np.float32)

    def push(self, pressure: Complex64Array) -> Float32Array:
        """W (frames, bins) → (frames, fundamentals), bounded by ±4; 0 in silence, about ±0.5 in noise."""
        frames = len(pressure)
        segments = np.fft.irfft(pressure, WINDOW_SAMPLES, axis=1).astype(np.float32)
        added = np.zeros(frames * HOP_SAMPLES + OVERLAP_SAMPLES, np.float32)
        added[:OVERLAP_SAMPLES] = self._unfinished
        for index, segment in enumerate(segments):
            added[index * HOP_SAMPLES :][:WINDOW_SAMPLES] += segment
        self._unfinished = added[frames * HOP_SAMPLES :]
        finished = (added[: frames * HOP_SAMPLES].reshape(frames, HOP_SAMPLES) / HOP_WEIGHT).reshape(-1)
        heard = np.concatenate([self._heard, finished])
        self._heard = heard[frames * HOP_SAMPLES :]
        windows = np.lib.stride_tricks.sliding_window_view(heard, LONG_SAMPLES)[::HOP_SAMPLES]
        spectrum = np.fft.rfft(windows * LONG_WINDOW, axis=1)[:, :_LINES]
        lines = np.log10(spectrum.real**2 + spectrum.imag**2 + FLOOR).astype(np.float32)
        combed: Float32Array = np.clip(whitened(lines) @ self._comb.T, -RANGE, RANGE)
        return combed


def whitened(lines: Float32Array) -> Float32Array:
    """(frames, lines) log spectrum less its mean over the 254 Hz around each line, held within bounds."""
    half = WHITENED_OVER // 2
    padded = np.pad(lines, ((0, 0), (half + 1, half)), mode="edge")
    total = np.cumsum(padded, axis=1, dtype=np.float64)
    mean = (total[:, WHITENED_OVER:] - total[:, :-WHITENED_OVER]) / WHITENED_OVER
    flat: Float32Array = np.clip(lines - mean.astype(np.float32), *CLIP)
    return flat
