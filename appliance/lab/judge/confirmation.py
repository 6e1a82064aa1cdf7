"""K of N, as `events.evidence` counts it, turned round: the highest threshold at which scores would have been confirmed."""

import numpy as np
import numpy.typing as npt


def confirmed_score(scores: npt.NDArray[np.floating], frames: int, of: int) -> float:
    """The greatest value that `frames` of any `of` consecutive scores (n,) reach; -inf where there are too few.

    A stretch shorter than `of` has what it has, as the policy counts from a track's first frame on.
    """
    padded = np.concatenate([np.full(of, -np.inf), scores])
    windows = np.lib.stride_tricks.sliding_window_view(padded, of)
    return float(np.sort(windows, axis=1)[:, of - frames].max())
