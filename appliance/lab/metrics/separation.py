"""How well objects were separated: SDR, SI-SDR, their improvement, and the class-aware SDRi of DCASE task 4.

Signals are (…, n) on the last axis; all figures are decibels. No mean is subtracted: the signals are band-limited.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Signals = npt.NDArray[np.floating]
Decibels = npt.NDArray[np.float64]

LIMIT_DB = 120.0
"""Ratios are cut to ±120 dB, about what 20 bits hold, so that a perfect or a silent estimate has a finite score."""


@dataclass(frozen=True, slots=True)
class ObjectScore:
    """One reference object and the estimate associated with it."""

    reference: int
    """Index of the reference."""
    estimate: int
    """Index of the estimate."""
    si_sdr_db: float
    """SI-SDR of the estimate."""
    si_sdri_db: float
    """Its improvement over the mixture."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSignal:
    """A separated object, or the true one, and its class."""

    label: str
    """Its class."""
    samples: Signals
    """(n,)."""


def sdr_db(estimate: Signals, reference: Signals) -> Decibels:
    """‖s‖² / ‖s − ŝ‖², (…): what DCASE task 4 means by SDR; within ±`LIMIT_DB`.

    Raises `ValueError` where a reference is silent, for then no ratio is defined.
    """
    signal = _energy(reference)
    _refuse_silence(signal)
    return _ratio_db(signal, _energy(_wide(reference) - _wide(estimate)))


def si_sdr_db(estimate: Signals, reference: Signals) -> Decibels:
    """Scale-invariant SDR, (…): ‖αs‖² / ‖αs − ŝ‖² with α = ⟨ŝ, s⟩ / ‖s‖².

    Le Roux, Wisdom, Erdogan & Hershey, *SDR – half-baked or well done?*, ICASSP 2019; within ±`LIMIT_DB`:
    an estimate that is silent or orthogonal to the reference has the least. Raises `ValueError` where a
    reference is silent.
    """
    true, heard = _wide(reference), _wide(estimate)
    power = _energy(true)
    _refuse_silence(power)
    scale = (heard * true).sum(axis=-1) / power
    target = scale[..., None] * true
    return _ratio_db(scale**2 * power, _energy(target - heard))


def si_sdri_db(estimate: Signals, reference: Signals, mixture: Signals) -> Decibels:
    """SI-SDR improvement over doing nothing, (…): SI-SDR(ŝ, s) − SI-SDR(mixture, s)."""
    return si_sdr_db(estimate, reference) - si_sdr_db(mixture, reference)


def score_objects(estimates: Signals, references: Signals, mixture: Signals) -> tuple[ObjectScore, ...]:
    """Associate estimates (k, n) with references (m, n) so that the total SI-SDR is greatest; min(k, m) scores.

    In the order of references; one that no estimate is left for is absent. `mixture` is (n,): the channel that the
    references were taken from.
    """
    if len(estimates) == 0 or len(references) == 0:
        return ()
    table = si_sdr_db(estimates[None, :, :], references[:, None, :])
    gain = table - si_sdr_db(mixture, references)[:, None]
    return tuple(ObjectScore(r, e, float(table[r, e]), float(gain[r, e])) for r, e in _best_pairs(table))


def ca_sdri_db(
    estimates: Sequence[LabelledSignal], references: Sequence[LabelledSignal], mixture: Signals
) -> float | None:
    """Class-aware SDR improvement of one mixture (n,); None where nothing was there and nothing was found.

    The mean, over found, invented and missed objects, of SDR(ŝ, s) − SDR(mixture, s) where a class was found and 0 where
    it was invented or missed: DCASE 2025 task 4 (Yasuda et al., *Description and discussion on DCASE 2025 challenge task
    4*, arXiv 2506.10676; `ca_metric` in nttcslab/dcase2025_task4_baseline). Several objects of one class are associated
    so that their total SDR is greatest, as in DCASE 2026 (CAPI-SDRi, arXiv 2601.22504); with one per class both agree.
    """
    found, there = _by_label(estimates), _by_label(references)
    gains: list[float] = []
    for label in sorted(found.keys() | there.keys()):
        heard, true = found[label], there[label]
        gains += [0.0] * abs(len(heard) - len(true))
        if heard and true:
            table = sdr_db(np.stack(heard)[None, :, :], np.stack(true)[:, None, :])
            gain = table - sdr_db(mixture, np.stack(true))[:, None]
            gains += [float(gain[pair]) for pair in _best_pairs(table)]
    return float(np.mean(gains)) if gains else None


def _by_label(signals: Sequence[LabelledSignal]) -> defaultdict[str, list[Signals]]:
    labelled: defaultdict[str, list[Signals]] = defaultdict(list)
    for signal in signals:
        labelled[signal.label].append(signal.samples)
    return labelled


def _best_pairs(table_db: Decibels) -> list[tuple[int, int]]:
    """Pairs (row, column) of the greatest total, in the order of rows."""
    rows, columns = linear_sum_assignment(table_db, maximize=True)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _wide(signal: Signals) -> npt.NDArray[np.float64]:
    return np.asarray(signal, np.float64)


def _energy(signal: Signals) -> npt.NDArray[np.float64]:
    return np.asarray((_wide(signal) ** 2).sum(axis=-1))


def _refuse_silence(power: npt.NDArray[np.float64]) -> None:
    if not (power > 0.0).all():
        raise ValueError("a reference is silent: its signal-to-distortion ratio is not defined")


def _ratio_db(target: npt.NDArray[np.float64], distortion: npt.NDArray[np.float64]) -> Decibels:
    floor, ceiling = (10.0 ** (limit / 10.0) for limit in (-LIMIT_DB, LIMIT_DB))
    ratio = np.divide(target, distortion, out=np.full_like(distortion, ceiling), where=distortion > target / ceiling)
    # A silent estimate has neither target nor distortion; nothing of the reference is in it.
    return np.asarray(10.0 * np.log10(np.where(target > 0.0, np.maximum(ratio, floor), floor)), np.float64)
