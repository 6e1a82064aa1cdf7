"""Arrays as they may be anywhere: those that ship, and random ones."""

import numpy as np

from appliance.geometry import ArrayGeometry, load_array, shipped_arrays


def draw_geometry(rng: np.random.Generator) -> ArrayGeometry:
    """A shipped array half of the time, else a random ring, square grid or solid of 4–16 microphones."""
    if rng.random() < 0.5:
        return load_array(str(rng.choice(shipped_arrays())))
    kind = rng.choice(["ring", "ring", "grid", "solid", "solid", "solid"])
    if kind == "grid":
        side, pitch_m = int(rng.integers(2, 5)), rng.uniform(0.02, 0.045)
        axis = (np.arange(side) - (side - 1) / 2) * pitch_m
        positions = np.array([(x, y, 0.0) for x in axis for y in axis])
    else:
        mics, radius_m = int(rng.integers(4, 9)), rng.uniform(0.025, 0.07)
        azimuth = 2 * np.pi * (np.arange(mics) + rng.random()) / mics
        positions = radius_m * np.stack([np.cos(azimuth), np.sin(azimuth), np.zeros(mics)], axis=1)
        if kind == "solid":
            height = np.where(np.arange(mics) % 2 == 0, 1.0, -1.0) * rng.uniform(0.4, 0.8)
            positions[:, :2] *= np.sqrt(1 - height**2)[:, None]
            positions[:, 2] = height * radius_m
    positions = positions - positions.mean(axis=0)
    return ArrayGeometry("random", positions, tuple(range(len(positions))))
