"""A teacher's say in what the network that ships learns: the full DeepASA's soft class, activity and direction.

The teacher hears a clip as a whole and says a distribution where the truth says one class: what it takes for half an engine and
half a tool, the student may too (Hinton, Vinyals & Dean, arXiv 1503.02531). Add it to `losses.scene_loss` of the same scenes:

    loss = scene_loss(outputs, truth, features)[0] + 0.5 * teacher_loss(outputs, soft_targets(teacher(mixture)[-1]))
"""

from collections.abc import Mapping

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from appliance.lab.edge.losses import WEIGHTS

_TINY = 1e-6


def soft_targets(said: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the last round of `DeepAsa` says, for a student: K objects and L label frames, with no gradient.

    `activity` (N, K, L) 0..1; `class_probs` (N, K, C); `direction` (N, K, L, 3) unit vectors.
    """
    there = torch.sigmoid(said["on_logits"]).unsqueeze(2)
    activity = there * torch.sigmoid(said["sed_logits"]).amax(dim=3)
    direction = functional.normalize(said["doa"], dim=3, eps=_TINY)
    targets = {
        "activity": activity,
        "class_probs": torch.softmax(said["class_logits"], dim=2),
        "direction": direction,
    }
    return {name: value.detach() for name, value in targets.items()}


def teacher_loss(outputs: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
    """How far a student is from its teacher, mean over a batch.

    `outputs` as `network.DeepAsaEdge` gives them, with J slots; `teacher` as `soft_targets` gives it, with K objects. The cheapest
    pairing of slots and objects counts. With K < J a slot without an object is to be silent; with K > J the objects that are left
    over say nothing. Weights are those of `scene_loss`.
    """
    activity, log_class = outputs["activity_logits"], functional.log_softmax(outputs["class_logits"], dim=3)
    taught = _at_least(teacher, activity.shape[1])
    sounding, labels = taught["activity"], activity.shape[2]
    on, off = functional.logsigmoid(activity), functional.logsigmoid(-activity)
    of_class = torch.einsum("nkc,njlc->nkjl", taught["class_probs"], log_class[..., :-1])
    cosine = torch.einsum("nklx,njlx->nkjl", taught["direction"], outputs["doa"])
    costs = {  # (N, K, J), means over the label frames
        "activity": -torch.einsum("nkl,njl->nkj", sounding, on) - torch.einsum("nkl,njl->nkj", 1.0 - sounding, off),
        "class": -torch.einsum("nkl,nkjl->nkj", sounding, of_class)
        - torch.einsum("nkl,njl->nkj", 1.0 - sounding, log_class[..., -1]),
        "doa": torch.einsum("nkl,nkjl->nkj", sounding, 1.0 - cosine),
    }
    total = torch.stack([WEIGHTS[name] * cost for name, cost in costs.items()]).sum(dim=0) / labels
    pairs = [linear_sum_assignment(one) for one in total.detach().float().cpu().numpy()]
    objects, slots = (torch.from_numpy(np.stack(side)).to(total.device) for side in zip(*pairs, strict=True))
    return total[torch.arange(len(total), device=total.device).unsqueeze(1), objects, slots].sum(dim=1).mean()


def _at_least(teacher: Mapping[str, Tensor], slots: int) -> dict[str, Tensor]:
    """The teacher's objects, and silent ones up to so many."""
    missing = max(0, slots - teacher["activity"].shape[1])
    return {
        name: torch.cat([value, value.new_zeros(len(value), missing, *value.shape[2:])], dim=1)
        for name, value in teacher.items()
    }
