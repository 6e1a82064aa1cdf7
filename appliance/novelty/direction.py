"""Where the sound of a while came from: by the strongest active object, or else by where the sound's energy flows from."""

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from appliance.angles import azimuth_elevation_deg, unit_vector
from appliance.dsp.features import FEATURE_NAMES, INTENSITY
from appliance.types import Direction, FeatureFrame, SceneFrame

ACTIVE = 0.5
"""A slot is active from this activity on."""
_LEVEL, _VALIDITY_XY, _VALIDITY_Z = (FEATURE_NAMES.index(name) for name in ("level", "validity_xy", "validity_z"))
_LEAST_DIRECTED = 0.2
"""Length of the summed intensity (0 diffuse, 1 one plane wave) below which it points nowhere."""
_LEAST_RESULTANT = 0.35
"""Mean resultant length of a while's directions below which they have nothing in common: a scatter of 83 degrees."""
_LEAST_SIGMA_DEG = 5.0

Vector = npt.NDArray[np.float64]


class WindowDirection:
    """Direction over the latest label frames, each weighing as much as it is loud."""

    def __init__(self, frames: int) -> None:
        self._vectors: deque[tuple[float, Vector | None]] = deque(maxlen=frames)
        self._elevation_valid = False

    def reset(self) -> None:
        """Forget what was heard."""
        self._vectors.clear()

    def push(self, hops: Sequence[FeatureFrame], scene: SceneFrame) -> None:
        """Take in a label frame: its features and what the model said of them."""
        values = np.stack([hop.values for hop in hops]).astype(np.float64)
        energy = 10.0 ** values[:, _LEVEL]
        self._elevation_valid = bool(values[:, _VALIDITY_Z].max() > 0.0)
        self._vectors.append((float(energy.sum()), self._frame_vector(values, energy, scene)))

    def direction(self) -> tuple[Direction | None, float]:
        """(direction, circular standard deviation in degrees); (None, 180) where the sound comes from nowhere in particular."""
        pointing = [(weight, vector) for weight, vector in self._vectors if vector is not None]
        total = sum(weight for weight, _ in self._vectors)
        if not pointing or total <= 0.0:
            return None, 180.0
        # Frames that point nowhere weigh too: a whisper from the left in a diffuse roar is no direction of the roar.
        summed: Vector = np.sum([weight * vector for weight, vector in pointing], axis=0) / total
        length = float(np.linalg.norm(summed))
        if length < _LEAST_RESULTANT:
            return None, 180.0
        sigma_deg = math.degrees(math.sqrt(max(-2.0 * math.log(length), 0.0)))
        azimuth_deg, elevation_deg = azimuth_elevation_deg(summed / length)
        valid = self._elevation_valid
        return Direction(azimuth_deg, elevation_deg if valid else 0.0, valid), max(sigma_deg, _LEAST_SIGMA_DEG)

    def _frame_vector(self, values: Vector, energy: Vector, scene: SceneFrame) -> Vector | None:
        strongest = max(scene.objects, key=lambda slot: slot.activity, default=None)
        if strongest is not None and strongest.activity >= ACTIVE:
            return np.asarray(unit_vector(strongest.doa.azimuth_deg, strongest.doa.elevation_deg), np.float64)
        x, y, z = np.moveaxis(values[:, INTENSITY], 1, 0)
        # Squared, so that bands in which the array is half blind have little say.
        weight = energy * values[:, _VALIDITY_XY] ** 2
        upright = (energy * values[:, _VALIDITY_Z] ** 2 * z).sum()
        total = float(weight.sum())
        vector: Vector = np.array([(weight * x).sum(), (weight * y).sum(), upright]) / max(total, 1e-12)
        length = float(np.linalg.norm(vector))
        return vector / length if total > 0.0 and length >= _LEAST_DIRECTED else None
