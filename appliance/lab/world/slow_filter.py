"""A filter that drifts while a signal runs through it: what air and ground do to a source that moves."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.lab.world.overlap_add import add, cut, frame_count, hann

FloatArray = npt.NDArray[np.float64]

_FRAME = 1024
_HOP = 512
_FFT = 2048
_CHUNK = 512


@lru_cache(maxsize=1)
def filter_frequencies_hz() -> FloatArray:
    """(bins,) frequencies at which a filter is given: 0 to 8 kHz in steps of 7.8 Hz."""
    frequencies = np.asarray(np.fft.rfftfreq(_FFT, 1.0 / SAMPLE_RATE_HZ), np.float64)
    frequencies.flags.writeable = False
    return frequencies


def frame_times_s(length: int) -> FloatArray:
    """(frames,) middle of each frame of a signal of `length` samples, in seconds from its start; 32 ms apart."""
    first = _FRAME / 2 - (_FRAME - _HOP)
    return (first + _HOP * np.arange(frame_count(length, _FRAME, _HOP), dtype=np.float64)) / SAMPLE_RATE_HZ


def slow_filter(signal: FloatArray, response: npt.NDArray[np.inexact]) -> FloatArray:
    """Signal (n,) through a response (bins,), or (frames, bins) that drifts from frame to frame → (n,).

    Frames of 64 ms are cross-faded with Hann windows at half overlap. Impulse responses may reach 32 ms to either side;
    smooth responses such as those of air and ground are far shorter.
    """
    if not signal.any():
        return np.zeros_like(signal)
    frames = cut(signal, _FRAME, _HOP)
    responses = np.broadcast_to(response, (len(frames), response.shape[-1]))
    window = hann(_FRAME)
    quarter = (_FFT - _FRAME) // 2
    filtered = np.empty((len(frames), _FFT))
    for start in range(0, len(frames), _CHUNK):  # spectra of an hour would not fit in memory
        part = slice(start, start + _CHUNK)
        padded = np.pad(frames[part] * window, ((0, 0), (quarter, quarter)))
        filtered[part] = np.fft.irfft(np.fft.rfft(padded, axis=1) * responses[part], n=_FFT, axis=1)
    begin = quarter + _FRAME - _HOP
    return add(filtered, _HOP)[begin : begin + len(signal)]
