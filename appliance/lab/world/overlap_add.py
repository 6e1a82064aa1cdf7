"""Signals cut into overlapping frames and put together again: the ground of every filter and noise that drifts."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def frame_count(length: int, size: int, hop: int) -> int:
    """Frames that `cut` makes of `length` samples: each sample lies in size/hop of them."""
    return (length + size - hop - 1) // hop + 1


def cut(signal: FloatArray, size: int, hop: int) -> FloatArray:
    """Signals (..., n) → frames (..., frames, size), a read-only view where it can be; `hop` divides `size`.

    Frame k begins with sample k·hop − (size − hop); what lies outside the signal is silence.
    """
    length = signal.shape[-1]
    frames = frame_count(length, size, hop)
    before = size - hop
    after = frames * hop - length
    padded = np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(before, after)])
    return np.lib.stride_tricks.sliding_window_view(padded, size, axis=-1)[..., ::hop, :]


def add(frames: FloatArray, hop: int) -> FloatArray:
    """Frames (..., frames, size) laid over each other at multiples of `hop` → (..., (frames − 1)·hop + size)."""
    *lead, count, size = frames.shape
    parts = size // hop
    total = np.zeros((*lead, count + parts - 1, hop))
    for part in range(parts):
        total[..., part : part + count, :] += frames[..., part * hop : (part + 1) * hop]
    return total.reshape(*lead, -1)


def hann(size: int) -> FloatArray:
    """Periodic Hann window (size,); at half overlap its shifts add up to one."""
    return np.hanning(size + 1)[:-1]
