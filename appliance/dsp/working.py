"""Which microphones of an array still give sound. Hearing goes on with those; one that is dead makes up bearings.

Three of four microphones hear a drone as well as four do, as long as the front end knows which three.
"""

import numpy as np
import numpy.typing as npt

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.geometry import ArrayGeometry
from appliance.types import Float32Array

ONE_VALUE = 1e-6
"""What stays within so much is one value: resamplers leave some rounding of it, and no converter is so quiet."""
_STUCK_S = 0.5
"""One value for so long is no sound."""
_WEAK_S = 10.0
"""So long a gust may be, or a bird before one microphone."""
_BACK_S = 10.0
"""So long it has to give sound again: with a loose contact the array would change all the time."""
_WEAK_DB = 20.0
AUDIBLE_DBFS = -70.0
"""Below this there is nothing to be weak against but the noise of the converters."""
_FLOOR_DBFS = -120.0


class WorkingMicrophones:
    """Hears along, and tells which microphones count. State: how long each has been broken and well."""

    def __init__(self, geometry: ArrayGeometry) -> None:
        self._all = self._mics = tuple(range(geometry.mics))
        self._last = np.full(geometry.mics, np.nan, np.float32)
        self._second: list[Float32Array] = []
        self._stuck_s, self._weak_s = np.zeros(geometry.mics), np.zeros(geometry.mics)
        self._well_s = np.full(geometry.mics, _BACK_S)

    def push(self, samples: Float32Array) -> tuple[int, ...]:
        """Hear (mics, n) samples; which microphones, counted from 0, count from here on.

        Two, or a line, tell no directions, and the front end's validity says so; a dead one beside them would make some up. All of
        them where none works.
        """
        seconds = samples.shape[1] / SAMPLE_RATE_HZ
        stuck = (np.abs(samples - self._last[:, None]) <= ONE_VALUE).all(axis=1)
        self._last = samples[:, -1]
        self._stuck_s = np.where(stuck, self._stuck_s + seconds, 0.0)
        self._second.append(samples)
        if sum(each.shape[1] for each in self._second) >= SAMPLE_RATE_HZ:
            weak = is_weak(swing_dbfs(np.concatenate(self._second, axis=1)))
            self._second.clear()
            self._weak_s = np.where(weak, self._weak_s + 1.0, 0.0)
        broken = (self._stuck_s >= _STUCK_S) | (self._weak_s >= _WEAK_S)
        self._well_s = np.where(broken, 0.0, self._well_s + seconds)
        working = tuple(int(mic) for mic in np.flatnonzero(self._well_s >= _BACK_S))
        if working != self._mics:
            self._mics = working or self._all
        return self._mics


def swing_dbfs(samples: Float32Array) -> npt.NDArray[np.float64]:
    """(mics,) RMS level of what swings in (mics, n) samples, without the offset, at least -120."""
    least = 10.0 ** (_FLOOR_DBFS / 20.0)
    return np.asarray(20.0 * np.log10(np.maximum(samples.std(axis=1, dtype=np.float64), least)))


def is_weak(levels_dbfs: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """(mics,) far weaker than the others, given the levels (mics,) of all: blocked, wet or dead."""
    others = np.array([np.median(np.delete(levels_dbfs, mic)) for mic in range(len(levels_dbfs))])
    weak: npt.NDArray[np.bool_] = (others > AUDIBLE_DBFS) & (levels_dbfs < others - _WEAK_DB)
    return weak
