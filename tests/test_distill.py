"""A teacher's term in the loss of the network that ships: least where both agree, blind to the order of slots, and learned from."""

import pytest
import torch
from torch import Tensor

from appliance.dsp.features import BANDS, FEATURES
from appliance.lab.edge.distill import soft_targets, teacher_loss
from appliance.lab.edge.network import DeepAsaEdge, NetworkSettings
from appliance.lab.full.network import DeepAsa, FullNetworkSettings
from appliance.lab.pack import CLASSES

_LABELS = 4


def teaching(objects: int = 3) -> dict[str, Tensor]:
    """Object 0 all the time, half drone and half helicopter; object 1 in the second half, surely a dog; the others silent."""
    activity = torch.zeros(1, objects, _LABELS)
    activity[0, 0], activity[0, 1, 2:] = 1.0, 1.0
    probs = torch.full((1, objects, len(CLASSES)), 1.0 / len(CLASSES))
    probs[0, :2] = 0.0
    probs[0, 0, :2], probs[0, 1, CLASSES.index("dog")] = 0.5, 1.0
    direction = torch.zeros(1, objects, _LABELS, 3)
    direction[0, 0, :, 0], direction[0, 1, :, 1] = 1.0, 1.0
    return {"activity": activity, "class_probs": probs, "direction": direction}


def student(teacher: dict[str, Tensor], order: list[int], sure: float = 12.0) -> dict[str, Tensor]:
    """What `DeepAsaEdge` says that has learned it all, its slots in another order."""
    activity = teacher["activity"]
    of_class = teacher["class_probs"].unsqueeze(2) * activity.unsqueeze(3)
    probs = torch.cat([of_class, 1.0 - activity.unsqueeze(3)], dim=3)
    said = {
        "activity_logits": sure * (2.0 * activity - 1.0),
        "class_logits": torch.log(probs + 1e-6),
        "doa": teacher["direction"],
    }
    return {name: value[:, order] for name, value in said.items()}


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_the_order_of_slots_is_free_and_only_its_own_doubt_is_left(order: list[int]) -> None:
    """The teacher's doubt between two classes, ln 2 in all label frames, is what no student can do better than: 1.5 · ln 2."""
    teacher = teaching()
    assert float(teacher_loss(student(teacher, order), teacher)) == pytest.approx(1.5 * 0.6931, abs=1e-3)


@pytest.mark.parametrize("what", ["activity_logits", "class_logits", "doa"])
def test_each_that_is_said_otherwise_costs(what: str) -> None:
    teacher = teaching()
    said = student(teacher, [0, 1, 2])
    wrong = said | {what: -said[what]}
    assert float(teacher_loss(wrong, teacher)) > float(teacher_loss(said, teacher)) + 0.5


def test_half_a_class_is_half_learned() -> None:
    """Surely a drone, where the teacher doubts, is worse than the same doubt: that is what a soft target is for."""
    teacher, sure = teaching(), teaching()
    sure["class_probs"][0, 0, 0], sure["class_probs"][0, 0, 1] = 1.0, 0.0
    doubting, certain = (student(one, [0, 1, 2]) for one in (teacher, sure))
    assert float(teacher_loss(certain, teacher)) > float(teacher_loss(doubting, teacher)) + 1.0


@pytest.mark.parametrize("objects", [2, 5])
def test_a_teacher_may_have_fewer_or_more_objects(objects: int) -> None:
    """What it lacks is silence; what it has over is silent here, and cheapest to leave out."""
    three = student(teaching(3), [0, 1, 2])
    assert float(teacher_loss(three, teaching(objects))) == pytest.approx(1.5 * 0.6931, abs=1e-3)
    loud = three | {"activity_logits": three["activity_logits"].abs()}
    assert float(teacher_loss(loud, teaching(objects))) > 10.0


def test_a_real_student_learns_from_a_real_teacher() -> None:
    torch.manual_seed(0)
    settings = FullNetworkSettings(width=8, blocks=1, heads=2, recurrence=8, objects=2, series=8)
    teacher = soft_targets(DeepAsa(settings).eval()(0.1 * torch.randn(2, 4, 1600 * _LABELS))[-1])
    assert not any(value.requires_grad for value in teacher.values())
    assert teacher["activity"].shape == (2, 2, _LABELS)
    torch.testing.assert_close(teacher["class_probs"].sum(dim=2), torch.ones(2, 2))
    torch.testing.assert_close(teacher["direction"].norm(dim=3), torch.ones(2, 2, _LABELS))
    network = DeepAsaEdge(NetworkSettings(width=16, blocks=1, head=16, object_width=8))
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    features, course = torch.randn(2, FEATURES, 5 * _LABELS, BANDS), []
    for _ in range(30):
        loss = teacher_loss(network(features, network.initial_state(2))[0], teacher)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        course.append(float(loss.detach()))
    assert course[-1] < course[0] - 1.0, course
