"""Where recordings of short sounds are loud: a scene or a beam is cut around such a moment, not only from their beginnings."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from appliance.lab.scenes.dice import Dice

_LOUD_SHARE = 0.01
"""Of its greatest power: where a recording has so much, its sound is in it."""


class LoudMoments:
    """The loud moments of many recordings, on a device."""

    def __init__(self, powers: Iterable[npt.NDArray[np.floating]], device: torch.device) -> None:
        """`powers`: of each recording, moment by moment (moments,)."""
        loud = [np.flatnonzero(power >= _LOUD_SHARE * power.max()) for power in powers]
        self._moments = torch.from_numpy(np.concatenate(loud)).to(device)
        self._ends = torch.from_numpy(np.cumsum([0, *map(len, loud)])).to(device)
        """(recordings + 1,): those of recording k lie between k and k + 1."""

    def draw(self, dice: Dice, recording: Tensor) -> Tensor:
        """(n,) a moment of each of these recordings (n,), each of its loud ones as likely."""
        first, end = self._ends[recording], self._ends[recording + 1]
        return self._moments[first + (dice.uniform(len(recording)) * (end - first)).long()]
