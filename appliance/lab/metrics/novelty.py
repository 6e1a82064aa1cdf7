"""How DCASE Task 2 judges anomaly scores: AUC, and pAUC over the false-positive rates that a user bears."""

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Scores = npt.NDArray[np.floating]


def auc(normal: Scores, anomalous: Scores) -> float:
    """Probability that an anomalous sound scores higher than a normal one; a tie counts half (Mann–Whitney U).

    Raises `ValueError` where either is empty.
    """
    _refuse_empty(normal, anomalous)
    ranks = rankdata(np.concatenate([anomalous, normal]))
    count = len(anomalous)
    return float((ranks[:count].sum() - count * (count + 1) / 2.0) / (count * len(normal)))


def partial_auc(normal: Scores, anomalous: Scores, max_fpr: float = 0.1) -> float:
    """AUC against the highest-scoring share of normal sounds alone: what counts where false alarms are dear.

    As the task defines it (Koizumi et al., *DCASE2020 Challenge Task 2*): the mean over the ⌊p·N⌋ normal sounds of the
    highest scores; not the standardised form of McClish that scikit-learn gives. Raises `ValueError` where either is empty
    or there are too few normal sounds for one false alarm.
    """
    _refuse_empty(normal, anomalous)
    count = int(max_fpr * len(normal) + 1e-9)
    if count == 0:
        raise ValueError(f"{len(normal)} normal scores are too few for a false-positive rate of {max_fpr}")
    return auc(np.sort(normal)[-count:], anomalous)


def _refuse_empty(normal: Scores, anomalous: Scores) -> None:
    if len(normal) == 0 or len(anomalous) == 0:
        raise ValueError("AUC needs normal and anomalous scores")
