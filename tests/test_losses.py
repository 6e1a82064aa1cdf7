"""The loss serves every head with one permutation."""

import itertools

import torch

from appliance.dsp.features import BANDS, FEATURES
from appliance.lab.edge.losses import scene_loss
from appliance.lab.pack import CLASSES
from appliance.lab.scenes.maker import TARGETS

_LABELS, _HOPS = 6, 30


def truth_and_perfect_outputs() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], torch.Tensor]:
    torch.manual_seed(0)
    activity = torch.zeros(1, TARGETS, _LABELS)
    activity[0, 0], activity[0, 1, 2:4] = 1.0, 1.0
    class_index = torch.tensor([[0, 5, -1]])
    direction = torch.nn.functional.normalize(torch.randn(1, TARGETS, _LABELS, 3), dim=3)
    share = torch.zeros(1, 2 * TARGETS + 1, _HOPS, BANDS)
    share[:, 0, :, :20], share[:, 1, :, 20:30], share[:, -1, :, 30:] = 1.0, 1.0, 1.0
    share[:, TARGETS, :, 15:20], share[:, 0, :, 15:20] = 1.0, 0.0
    truth = {"activity": activity, "class_index": class_index, "direction": direction, "ratio_mask": share}
    class_logits = torch.full((1, TARGETS, _LABELS, len(CLASSES) + 1), -9.0)
    class_logits[..., -1] = 9.0 * (1.0 - activity)
    class_logits[0, 0, :, 0] = 9.0
    class_logits[0, 1, 2:4, 5] = 9.0
    outputs = {
        "mask_logits": 18.0 * share,
        "activity_logits": 18.0 * activity - 9.0,
        "class_logits": class_logits,
        "doa": direction,
        "doa_log_sigma": torch.full((1, TARGETS, _LABELS), -3.0),
    }
    return truth, outputs, torch.zeros(1, FEATURES, _HOPS, BANDS)


def test_perfect_outputs_cost_nearly_nothing() -> None:
    truth, outputs, features = truth_and_perfect_outputs()
    _, parts = scene_loss(outputs, truth, features)
    assert all(parts[name] < 1e-2 for name in ("mask", "activity", "class", "doa")), parts


def test_slots_are_places_and_not_identities() -> None:
    truth, outputs, features = truth_and_perfect_outputs()
    expected, _ = scene_loss(outputs, truth, features)
    for order in itertools.permutations(range(TARGETS)):
        moved = {name: value[:, list(order)] for name, value in outputs.items() if name != "mask_logits"}
        moved["mask_logits"] = outputs["mask_logits"][:, [*order, *(TARGETS + slot for slot in order), 2 * TARGETS]]
        torch.testing.assert_close(scene_loss(moved, truth, features)[0], expected)


def test_each_head_is_missed_when_wrong() -> None:
    truth, outputs, features = truth_and_perfect_outputs()
    for name, part in (
        ("mask_logits", "mask"),
        ("activity_logits", "activity"),
        ("class_logits", "class"),
        ("doa", "doa"),
    ):
        _, parts = scene_loss({**outputs, name: -outputs[name]}, truth, features)
        assert parts[part] > 0.3, name
