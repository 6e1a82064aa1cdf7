"""Permutation-invariant loss: one permutation, found over mask, class, on/off and direction together, serves all."""

from functools import lru_cache
from itertools import permutations

import torch
from torch import Tensor
from torch.nn import functional

from appliance.lab.scenes.maker import TARGETS

WEIGHTS = {"mask": 1.0, "activity": 1.5, "class": 1.5, "doa": 1.0, "sigma": 0.1, "first": 0.3, "sounds": 0.5}
_NONE_WEIGHT = 0.3
_LOUDNESS = 1.15
"""The masks count by amplitude (levels are in bels): what is loud in a sound is what one hears of it."""


def scene_loss(
    outputs: dict[str, Tensor], truth: dict[str, Tensor], features: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean loss over a batch, and its parts for the log.

    `outputs` as `DeepAsaEdge` gives them, J = `TARGETS`; `truth` as `scenes.maker.Batch`.
    """
    activity, class_index = truth["activity"], truth["class_index"]
    n, targets, labels = activity.shape
    # A gunshot's three frames must weigh nearly as much as a drone's fifty.
    sounding = activity.sum(dim=2, keepdim=True)
    frame_weight = activity * torch.sqrt(labels / sounding.clamp(min=1.0)) / labels

    level_weight = torch.exp(_LOUDNESS * features[:, 0])
    level_weight = level_weight / level_weight.sum(dim=(1, 2), keepdim=True)
    log_mask = functional.log_softmax(outputs["mask_logits"], dim=1)
    weighted = (truth["ratio_mask"] * level_weight.unsqueeze(1)).flatten(2)
    cost_mask = torch.zeros((), device=activity.device)
    for part in (slice(targets), slice(targets, 2 * targets)):  # direct sound, reflections
        cost_mask = cost_mask - torch.bmm(weighted[:, part], log_mask[:, part].flatten(2).transpose(1, 2))
    noise_mask = -(weighted[:, -1] * log_mask[:, -1].flatten(1)).sum(dim=1)

    cost_class = _class_cost(outputs["class_logits"], class_index, activity, frame_weight)
    cost_activity = _activity_cost(outputs["activity_logits"], activity, frame_weight)

    cosine = torch.einsum("njlx,nklx->njkl", truth["direction"], outputs["doa"])
    cost_doa = (frame_weight.unsqueeze(2) * (1.0 - cosine)).sum(dim=3)

    costs = {"mask": cost_mask, "class": cost_class, "activity": cost_activity, "doa": cost_doa}
    total = sum(WEIGHTS[name] * cost for name, cost in costs.items())
    assert isinstance(total, Tensor)
    orders = _permutations(total.device)
    rows = torch.arange(targets, device=total.device)
    per_order = torch.stack([total[:, rows, columns].sum(dim=1) for columns in orders], dim=1)
    best = orders[per_order.detach().argmin(dim=1)]  # (N, targets): slot of each target

    def pick(cost: Tensor) -> Tensor:
        return cost.gather(2, best.unsqueeze(2)).sum(dim=(1, 2))

    chosen = cosine.detach().gather(2, best[:, :, None, None].expand(n, targets, 1, labels))[:, :, 0]
    error = torch.arccos(chosen.clamp(-0.99999, 0.99999))
    log_sigma = outputs["doa_log_sigma"].gather(1, best.unsqueeze(2).expand(n, targets, labels)).clamp(-5.0, 1.5)
    # Laplace's law: a wrong object's 90 degrees must not make every other bearing look uncertain.
    sigma = (frame_weight * (log_sigma + error * torch.exp(-log_sigma))).sum(dim=(1, 2))

    parts = {name: pick(cost).mean() for name, cost in costs.items()}
    parts["mask"] = parts["mask"] + noise_mask.mean()
    parts["sigma"] = sigma.mean()
    if "first_class_logits" in outputs:
        first = WEIGHTS["class"] * _class_cost(outputs["first_class_logits"], class_index, activity, frame_weight)
        first = first + WEIGHTS["activity"] * _activity_cost(outputs["first_activity_logits"], activity, frame_weight)
        parts["first"] = pick(first).mean()
    loss = sum((WEIGHTS[name] * part for name, part in parts.items()), torch.zeros((), device=total.device))
    if "sound_logits" in outputs:
        per_sound = functional.binary_cross_entropy_with_logits(
            outputs["sound_logits"], truth["sounds"], reduction="none"
        )
        parts["sounds"] = per_sound.sum(dim=2).mean()
        loss = loss + WEIGHTS["sounds"] * parts["sounds"]
    return loss, {name: part.detach() for name, part in parts.items()}


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
@lru_cache(maxsize=4)
def _permutations(device: torch.device) -> Tensor:
    """(permutations, targets), kept on the device: a copy would not be allowed while a GPU's graph is taken."""
    return torch.tensor(list(permutations(range(TARGETS))), device=device)


def _class_cost(logits: Tensor, class_index: Tensor, activity: Tensor, frame_weight: Tensor) -> Tensor:
    """(N, targets, slots): cross-entropy of each target's class in each slot, *none* where it is silent."""
    n, targets, labels = activity.shape
    log_class = functional.log_softmax(logits, dim=3)  # (N, slots, L, C + 1)
    index = class_index.clamp(min=0)[:, :, None, None].expand(n, targets, labels, 1)
    of_class = torch.stack(
        [
            log_class[:, slot : slot + 1].expand(n, targets, labels, -1).gather(3, index)[..., 0]
            for slot in range(targets)
        ],
        dim=2,
    )  # (N, targets, slots, L)
    cost = -(frame_weight.unsqueeze(2) * of_class).sum(dim=3)
    return cost - _NONE_WEIGHT / labels * torch.einsum("njl,nkl->njk", 1.0 - activity, log_class[..., -1])


def _activity_cost(logits: Tensor, activity: Tensor, frame_weight: Tensor) -> Tensor:
    """(N, targets, slots): binary cross-entropy of each target's activity in each slot."""
    on = torch.einsum("njl,nkl->njk", frame_weight, functional.logsigmoid(logits))
    off = torch.einsum("njl,nkl->njk", 1.0 - activity, functional.logsigmoid(-logits))
    return -on - off / activity.shape[2]
