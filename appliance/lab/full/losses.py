"""What the full DeepASA learns from: one permutation, found by the separation, serves sound, class, activity and direction.

Terms and permutation as in the paper (arXiv 2509.17247): source-aggregated SDR (von Neumann et al., ICASSP 2022) of the objects,
of their direct and of their reverberant sound; SI-SDR of the noise at 0.01; cross-entropy of the class, where an empty slot wants
every class alike; squared error of activity per class and of direction; cross-entropy of on/off. The weights of the last four are
ours.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from appliance.lab.pack import CLASSES

WEIGHTS = {
    "separation": 1.0,
    "direct": 1.0,
    "reverb": 1.0,
    "noise": 0.01,
    "class": 1.0,
    "sed": 10.0,
    "doa": 10.0,
    "on": 1.0,
}
_FLOOR = 1e-3
"""Of the energy of all sound, added to both sides of a ratio: 30 dB below it nothing is to be gained, and silence has a ratio."""


def asa_loss(rounds: Sequence[Mapping[str, Tensor]], truth: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Mean loss over a batch and over the rounds of `DeepAsa`, and the parts of the last round for the log, in their own units.

    `truth` as `scenes` makes it: `direct`, `reverb` (N, J, 4, n), `noise` (N, 4, n), `class_index` (N, J), -1 for an empty
    slot, `activity` (N, J, L) and `direction` (N, J, L, 3). The last round's separation finds the permutation of all rounds, for
    they add up.
    """
    last = rounds[-1]
    slots = assignment(last["direct"] + last["reverb"], truth["direct"] + truth["reverb"])
    parts = [_parts({name: _in_order(name, value, slots) for name, value in one.items()}, truth) for one in rounds]
    total = torch.stack([sum_of(WEIGHTS, one) for one in parts]).mean()
    return total, {name: float(part.detach()) for name, part in parts[-1].items()}


def sum_of(weights: Mapping[str, float], parts: Mapping[str, Tensor]) -> Tensor:
    """The weighted sum of a loss's parts."""
    return torch.stack([weights[name] * part for name, part in parts.items()]).sum()


def assignment(estimates: Tensor, references: Tensor) -> Tensor:
    """(N, J) index of the estimate that is each reference, by the least squared error of all together; both (N, J, 4, n).

    Of a source-aggregated SDR this is the best permutation: only the error depends on it, and it is a sum over pairs.
    """
    said, true = estimates.detach().float().flatten(2), references.float().flatten(2)
    error = said.square().sum(dim=2).unsqueeze(1) - 2.0 * torch.bmm(true, said.transpose(1, 2))
    pairs = [linear_sum_assignment(one)[1] for one in error.cpu().numpy()]
    return torch.from_numpy(np.stack(pairs)).to(estimates.device)


def sa_sdr_db(estimates: Tensor, references: Tensor, floor: Tensor) -> Tensor:
    """Source-aggregated SDR (N,) of (N, J, 4, n): energy of all references over that of all errors, `floor` (N,) on both."""
    error = (references - estimates).square().flatten(1).sum(dim=1)
    return 10.0 * torch.log10((references.square().flatten(1).sum(dim=1) + floor) / (error + floor))


def si_sdr_db(estimate: Tensor, reference: Tensor, floor: Tensor) -> Tensor:
    """Scale-invariant SDR (N,) of (N, 4, n), one scale for all channels, `floor` (N,) on both sides."""
    said, true = estimate.flatten(1), reference.flatten(1)
    scale = ((said * true).sum(dim=1) + floor) / (true.square().sum(dim=1) + floor)
    target = scale.unsqueeze(1) * true
    error = (target - said).square().sum(dim=1)
    return 10.0 * torch.log10((target.square().sum(dim=1) + floor) / (error + floor))


def _in_order(name: str, output: Tensor, slots: Tensor) -> Tensor:
    """An output with its objects in the order of the truth; the noise has none."""
    if name == "noise":
        return output
    index = slots.reshape(*slots.shape, *[1] * (output.ndim - 2)).expand(-1, -1, *output.shape[2:])
    return output.gather(1, index)


def _parts(said: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> dict[str, Tensor]:
    direct, reverb, noise, index = (truth[name] for name in ("direct", "reverb", "noise", "class_index"))
    sound = torch.cat([direct + reverb, noise.unsqueeze(1)], dim=1)
    floor = _FLOOR * sound.square().flatten(1).sum(dim=1) + 1e-12
    there = (index >= 0).float()
    one_hot = functional.one_hot(index.clamp(min=0), len(CLASSES)) * there.unsqueeze(2)
    wanted = one_hot + (1.0 - there).unsqueeze(2) / len(CLASSES)
    activity = truth["activity"].unsqueeze(3)
    return {
        "separation": -sa_sdr_db(said["direct"] + said["reverb"], direct + reverb, floor).mean(),
        "direct": -sa_sdr_db(said["direct"], direct, floor).mean(),
        "reverb": -sa_sdr_db(said["reverb"], reverb, floor).mean(),
        "noise": -si_sdr_db(said["noise"], noise, floor).mean(),
        "class": -(wanted * functional.log_softmax(said["class_logits"], dim=2)).sum(dim=2).mean(),
        "sed": functional.mse_loss(torch.sigmoid(said["sed_logits"]), activity * one_hot.unsqueeze(2)),
        "doa": functional.mse_loss(said["doa"], activity * truth["direction"]),
        "on": functional.binary_cross_entropy_with_logits(said["on_logits"], there),
    }
