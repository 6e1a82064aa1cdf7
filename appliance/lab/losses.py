"""Permutation-invariant loss: one permutation, found over mask, class, on/off and direction together, serves all."""

from itertools import permutations

import torch
from torch import Tensor
from torch.nn import functional

from appliance.lab.scenes import TARGETS

_PERMUTATIONS = torch.tensor(list(permutations(range(TARGETS))))
WEIGHTS = {"mask": 1.0, "activity": 1.5, "class": 1.5, "doa": 1.0}
_SIGMA_WEIGHT = 0.1
_NONE_WEIGHT = 0.3
_SOUND_WEIGHT = 0.5


def scene_loss(
    outputs: dict[str, Tensor], truth: dict[str, Tensor], features: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Mean loss over a batch, and its parts for the log.

    `outputs` as `DeepAsaEdge` gives them, J = `TARGETS`; `truth` holds `ratio_mask` (N, J + 1, T, bands),
    `activity` (N, J, L), `class_index` (N, J), `direction` (N, J, L, 3), and with `sound_logits` among the
    outputs `sounds` (N, L, sounds).
    """
    activity, class_index = truth["activity"], truth["class_index"]
    n, targets, labels = activity.shape
    # A gunshot's three frames must weigh nearly as much as a drone's fifty.
    sounding = activity.sum(dim=2, keepdim=True)
    frame_weight = activity * torch.sqrt(labels / sounding.clamp(min=1.0)) / labels

    level_weight = torch.exp(0.7 * features[:, 0])
    level_weight = level_weight / level_weight.sum(dim=(1, 2), keepdim=True)
    log_mask = functional.log_softmax(outputs["mask_logits"], dim=1)
    weighted = (truth["ratio_mask"] * level_weight.unsqueeze(1)).flatten(2)
    cost_mask = -torch.bmm(weighted[:, :targets], log_mask[:, :targets].flatten(2).transpose(1, 2))
    noise_mask = -(weighted[:, targets] * log_mask[:, targets].flatten(1)).sum(dim=1)

    log_class = functional.log_softmax(outputs["class_logits"], dim=3)  # (N, slots, L, C + 1)
    index = class_index.clamp(min=0)[:, :, None, None].expand(n, targets, labels, 1)
    of_class = torch.stack(
        [
            log_class[:, slot : slot + 1].expand(n, targets, labels, -1).gather(3, index)[..., 0]
            for slot in range(targets)
        ],
        dim=2,
    )  # (N, targets, slots, L)
    cost_class = -(frame_weight.unsqueeze(2) * of_class).sum(dim=3)
    cost_class = cost_class - _NONE_WEIGHT / labels * torch.einsum("njl,nkl->njk", 1.0 - activity, log_class[..., -1])

    on = functional.logsigmoid(outputs["activity_logits"])
    off = functional.logsigmoid(-outputs["activity_logits"])
    cost_activity = -torch.einsum("njl,nkl->njk", frame_weight, on)
    cost_activity = cost_activity - torch.einsum("njl,nkl->njk", 1.0 - activity, off) / labels

    cosine = torch.einsum("njlx,nklx->njkl", truth["direction"], outputs["doa"])
    cost_doa = (frame_weight.unsqueeze(2) * (1.0 - cosine)).sum(dim=3)

    costs = {"mask": cost_mask, "class": cost_class, "activity": cost_activity, "doa": cost_doa}
    total = sum(WEIGHTS[name] * cost for name, cost in costs.items())
    assert isinstance(total, Tensor)
    rows = torch.arange(targets, device=total.device)
    permutations_ = _PERMUTATIONS.to(total.device)
    per_permutation = torch.stack([total[:, rows, columns].sum(dim=1) for columns in permutations_], dim=1)
    best = permutations_[per_permutation.detach().argmin(dim=1)]  # (N, targets): slot of each target

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
    loss = sum(
        (WEIGHTS.get(name, _SIGMA_WEIGHT) * part for name, part in parts.items()), torch.zeros((), device=total.device)
    )
    if "sound_logits" in outputs:
        per_sound = functional.binary_cross_entropy_with_logits(
            outputs["sound_logits"], truth["sounds"], reduction="none"
        )
        parts["sounds"] = per_sound.sum(dim=2).mean()
        loss = loss + _SOUND_WEIGHT * parts["sounds"]
    return loss, {name: float(part.detach()) for name, part in parts.items()}
