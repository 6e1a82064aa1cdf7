"""Scenes made by PyTorch are the scenes that NumPy makes, tensor by tensor."""

from collections.abc import Iterator

import pytest
import torch

from appliance.lab.pack import CLASSES
from appliance.lab.scenes import SceneSettings
from appliance.lab.torch_scenes import Batch, TorchSceneMaker
from appliance.lab.train import collate

SETTINGS = SceneSettings(folds=(4,), arrays=5, seconds=1.0, synthetic_drones=0.0)
SEEDS = [(3, index) for index in range(32)]
DIFFICULTIES = [1.0 if index % 2 else index / 32 for index in range(32)]
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on busy cores take most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def expected() -> Batch:
    maker = TorchSceneMaker(SETTINGS, 1)
    return collate([maker.scene(seed, difficulty) for seed, difficulty in zip(SEEDS, DIFFICULTIES, strict=True)])


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
def test_a_batch_is_the_scenes_of_numpy(expected: Batch, device: str) -> None:
    found = TorchSceneMaker(SETTINGS, 1, device=device).batch(SEEDS, DIFFICULTIES)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].device.type == device
        torch.testing.assert_close(found[name].cpu(), tensor, rtol=1e-3, atol=2e-4)


def test_the_scenes_compared_hold_all_that_can_happen(expected: Batch) -> None:
    """Else the comparison proves little: none, one and more targets, planar arrays and others, many classes, motion."""
    targets = (expected["class_index"] >= 0).sum(dim=1)
    assert {0, 1, 2} <= set(targets.tolist())
    assert len(set(expected["class_index"].flatten().tolist())) > len(CLASSES) // 2
    there = expected["class_index"] >= 0
    up = expected["direction"][..., 2].abs().amax(dim=2)[there] > 1e-3
    assert up.any()
    assert not up.all()
    moving = (expected["direction"] - expected["direction"][:, :, :1]).abs().amax(dim=(2, 3))[there] > 1e-3
    assert moving.any()
    assert not moving.all()


def test_a_scene_does_not_depend_on_its_batch() -> None:
    maker = TorchSceneMaker(SETTINGS, 1)
    alone, among = maker.batch(SEEDS[5:6]), maker.batch(SEEDS[3:8])
    for name, tensor in alone.items():
        torch.testing.assert_close(among[name][2], tensor[0], rtol=1e-4, atol=1e-5)
