"""Is every channel the microphone that the array file says? Told by sound itself, from wherever it comes.

A wave from far away reaches the microphones in an order that only the right positions explain. The phases of all pairs
are compared with those of waves from many directions (SRP-PHAT, DiBiase 2000), once for the array as it should be, and
once for each pair of channels exchanged and each channel's sign turned. What explains the sound better than the array
itself, and does so again and again, is how it is wired. An exchange that only mirrors the array explains nothing better
and is never found: the diagonal of a square, any pair of a tetrahedron.

A channel that is no microphone of this array, or comes late, fits no wave that explains the others.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from appliance.dsp.directional_power import coherence
from appliance.dsp.foa import fibonacci_sphere, steering
from appliance.dsp.stft import bin_frequencies_hz, stft
from appliance.geometry import ArrayGeometry
from appliance.types import Float32Array

_DIRECTIONS = 120
_LOWEST_HZ, _HIGHEST_HZ = 200.0, 4000.0
_EVERY_BIN = 2
_LEAST_AGREEMENT = 0.1
_LEAST_TO_AGREE = 4
_NEAR = 0.5
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Fault:
    """A way in which an array may be wired wrongly."""

    inverted: tuple[int, ...] = ()
    """Microphones, counted from 0, whose sign is turned."""
    swapped: tuple[int, ...] = ()
    """Two microphones, counted from 0, that stand in each other's place."""

    def __str__(self) -> str:
        if self.inverted:
            return f"microphone {self.inverted[0] + 1} is wired with the wrong polarity"
        first, second = (mic + 1 for mic in self.swapped)
        return f"microphones {first} and {second} look exchanged; compare the array file with the wiring"


class WiringCheck:
    """Scores each fault by how much better than the array itself it explains a second of sound, and each microphone by how
    well it fits the others. No state.
    """

    def __init__(self, geometry: ArrayGeometry) -> None:
        frequencies_hz = bin_frequencies_hz()
        self._bins = np.flatnonzero((frequencies_hz >= _LOWEST_HZ) & (frequencies_hz <= _HIGHEST_HZ))[::_EVERY_BIN]
        self._waves = steering(geometry.positions_m, fibonacci_sphere(_DIRECTIONS))[self._bins]
        self._mics = geometry.mics
        # Of three, two agree with some wave whatever they hear.
        ambience = coherence(geometry.positions_m, frequencies_hz[self._bins]).astype(np.complex64)
        self._is_near = (self._mics >= _LEAST_TO_AGREE) & (self._agreement(ambience) >= _NEAR)
        pairs = itertools.combinations(range(geometry.mics), 2)
        self.faults = (
            *(Fault(swapped=pair) for pair in pairs),
            *(Fault(inverted=(mic,)) for mic in range(geometry.mics)),
        )

    def gains(self, samples: Float32Array) -> npt.NDArray[np.float64]:
        """(mics, n) at 16 kHz → (faults,): what each explains more than the array as it should be, of a whole of 1."""
        pairs = self._pairs(samples)
        right = self._explained(pairs)
        return np.array([self._explained(self._mended(pairs, fault)) - right for fault in self.faults])

    def agreement(self, samples: Float32Array) -> npt.NDArray[np.float64]:
        """(mics, n) at 16 kHz → (mics,): how well each agrees with the wave that explains the others best, of how well these do.

        About 1 of a right array, also in wind and ambience, at least .6; 0 where a channel hears something else. NaN where the
        others do not agree themselves, and of a microphone too far from them to hear the same ambience.
        """
        return np.where(self._is_near, self._agreement(self._pairs(samples)), np.nan)

    def _agreement(self, pairs: npt.NDArray[np.complex64]) -> npt.NDArray[np.float64]:
        # (mics, mics, directions): how well each pair agrees with each wave.
        each = np.einsum("bid,bij,bjd->ijd", self._waves.conj(), pairs, self._waves, optimize=True).real / len(
            self._bins
        )
        told = np.full(self._mics, np.nan)
        for mic in range(self._mics):
            others = np.delete(np.arange(self._mics), mic)
            apart = each[np.ix_(others, others)].sum(axis=(0, 1)) - each[others, others].sum(axis=0)
            among = apart / (len(others) * (len(others) - 1))
            best = int(among.argmax())
            if among[best] >= _LEAST_AGREEMENT:
                told[mic] = each[mic, others, best].mean() / among[best]
        return told

    def _pairs(self, samples: Float32Array) -> npt.NDArray[np.complex64]:
        """(bins, mics, mics): mean phase between each pair."""
        spectrum = stft(samples)[..., self._bins]
        phases = spectrum / np.maximum(np.abs(spectrum), _TINY)
        pairs: npt.NDArray[np.complex64] = np.einsum("tib,tjb->bij", phases, phases.conj()) / max(1, len(phases))
        return pairs

    def _mended(self, pairs: npt.NDArray[np.complex64], fault: Fault) -> npt.NDArray[np.complex64]:
        order = np.arange(self._mics)
        order[list(fault.swapped)] = fault.swapped[::-1]
        sign = np.ones(self._mics, np.float32)
        sign[list(fault.inverted)] = -1.0
        mended: npt.NDArray[np.complex64] = pairs[:, order][:, :, order] * sign[:, None] * sign
        return mended

    def _explained(self, pairs: npt.NDArray[np.complex64]) -> float:
        """Share of all phases that one wave explains at best, 0..1."""
        power = (self._waves.conj() * (pairs @ self._waves)).sum(axis=(0, 1)).real
        return float(power.max()) / (self._mics**2 * len(self._bins))
