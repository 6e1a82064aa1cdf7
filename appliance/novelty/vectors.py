"""What a stretch of sound is like, as one vector: alike for like sounds, whatever their level."""

import numpy as np

from appliance.types import Float32Array


def level_vector(levels: Float32Array) -> Float32Array:
    """Band levels (hops, bands) in bels → (2·bands,): mean and standard deviation of each band over the stretch.

    The mean over all is taken out: a louder sound is the same sound. It needs no network, so it is what a network's
    embedding has to beat.
    """
    mean = levels.mean(axis=0)
    vector: Float32Array = np.concatenate([mean - mean.mean(), levels.std(axis=0)]).astype(np.float32)
    return vector
