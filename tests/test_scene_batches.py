"""Batches of training scenes: each scene comes back at another age, and a run that goes on gets the same batches."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise

import torch

from appliance.dsp.features import BANDS, FEATURES
from appliance.lab.edge.batches import batches_from
from appliance.lab.edge.settings import TrainSettings
from appliance.lab.scenes.maker import Batch

_USES, _BATCH = 4, 8
_SETTINGS = TrainSettings(batch=_BATCH, uses=_USES)


def _numbered(first: int) -> Iterator[Batch]:
    """Scenes that carry their number as their class."""
    number = first
    while True:
        index = torch.arange(number * _BATCH, (number + 1) * _BATCH)
        yield {
            "features": torch.zeros(_BATCH, FEATURES, 5, BANDS),
            "direction": torch.zeros(_BATCH, 1, 1, 3),
            "class_index": index,
        }
        number += 1


def _batches(step: int, count: int) -> list[Batch]:
    return list(islice(batches_from(_SETTINGS, step, "cpu", 0, _numbered), count))


def test_each_scene_is_used_so_often_and_never_twice_in_a_row() -> None:
    steps = [batch["class_index"].tolist() for batch in _batches(0, 60)]
    used = Counter(scene for step in steps for scene in step)
    assert all(len(set(step)) == _BATCH for step in steps)
    assert not any(set(now) & set(after) for now, after in pairwise(steps))
    assert {used[scene] for scene in steps[24][: _BATCH // _USES]} == {_USES}


def test_a_scene_is_new_once_and_coloured_otherwise_after() -> None:
    batch = _batches(30, 1)[0]
    coloured = [bool(level.std() > 0.0) for level in batch["features"][:, 0]]
    assert coloured == [False] * (_BATCH // _USES) + [True] * (_BATCH - _BATCH // _USES)


def test_a_run_that_goes_on_gets_the_batches_it_would_have_had() -> None:
    for after, straight in zip(_batches(13, 3), _batches(0, 16)[13:], strict=True):
        for name, values in straight.items():
            torch.testing.assert_close(after[name], values)
