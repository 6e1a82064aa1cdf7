"""Batches of scenes for training, one a step: made ahead, each scene used more than once, the same for the same step.

Scenes cost more than learning from them, so each is used `uses` times (data echoing, arXiv 1907.05550): new, then turned
and through another equaliser. A batch holds scenes of every age, so that no two steps in a row learn from the same ones.
"""

from collections import deque
from collections.abc import Callable, Iterator

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from appliance.dsp.features import INTENSITY, LEVEL_RANGE
from appliance.lab.edge.settings import TrainSettings
from appliance.lab.scenes.dice import Dice
from appliance.lab.scenes.maker import Batch, SceneMaker

_EQUALISER_BELS = 0.2
_LATER_STEPS = 8
"""Steps from one use of a scene to the next."""


class SceneBatches(IterableDataset[Batch]):
    """Batches by number, without end; worker i of W makes those with number ≡ i (mod W)."""

    def __init__(self, settings: TrainSettings, first: int, device: str = "cpu", helpers: int = 1) -> None:
        """`helpers`: processes that synthesise recordings before the first batch, where this is none of several workers itself."""
        self._settings, self._first, self._device, self._helpers = settings, first, device, helpers

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        this, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        settings = self._settings
        maker = SceneMaker(settings.scenes, settings.seed, device=self._device, workers=self._helpers)
        number = self._first + this
        while True:
            yield drawn_batch(maker, settings, number)
            number += workers


def drawn_batch(maker: SceneMaker, settings: TrainSettings, number: int) -> Batch:
    """New scenes of this number, as hard as the curriculum is by then."""
    # Never all hard: what cannot be told in a din still has to be learned from what can.
    hardest = min(1.0, number * settings.uses / max(1, settings.curriculum_steps))
    share = Dice((settings.seed, number, 1), maker.device).uniform(settings.batch, low=0.1)
    return maker.batch((settings.seed, number), settings.batch, hardest * share)


def batches_from(
    settings: TrainSettings,
    step: int,
    device: str,
    workers: int,
    made_before: Callable[[int], Iterator[Batch]] | None = None,
) -> Iterator[Batch]:
    """Batches on the device, one a step: their scenes made on the GPU, or by so many processes (0: this one).

    On a GPU the processes only synthesise, before the first.

    `made_before` gives batches of new scenes from a number on instead: shards.
    """
    number = step // settings.uses
    made: Iterator[Batch]
    if made_before is not None:
        made = ({name: values.to(device) for name, values in batch.items()} for batch in made_before(number))
    elif device.startswith("cuda"):
        made = _made_ahead(SceneBatches(settings, number, device, max(1, workers)))
    else:
        ahead = 4 if workers else None
        dataset = SceneBatches(settings, number)
        made = iter(DataLoader(dataset, batch_size=None, num_workers=workers, prefetch_factor=ahead))
    return _of_every_age(settings, step, made)


def _of_every_age(settings: TrainSettings, step: int, made: Iterator[Batch]) -> Iterator[Batch]:
    """A step learns from one part of the new scenes, and from the parts of some steps before.

    Part p is new at step p − (uses − 1)·`_LATER_STEPS`, so that the first steps have older ones too.
    """
    ages = [age * _LATER_STEPS for age in range(settings.uses)]
    size = settings.batch // settings.uses
    parts: deque[Batch] = deque(maxlen=ages[-1] + 1)
    skipped = step % settings.uses
    for batch in made:
        for part in range(skipped, settings.uses):
            parts.append({name: values[part * size : (part + 1) * size] for name, values in batch.items()})
            if len(parts) <= ages[-1]:
                continue
            new, *old = (parts[-1 - age] for age in ages)
            if old:
                again = {name: torch.cat([each[name] for each in old]) for name in new}
                again = heard_otherwise(again, Dice((settings.seed, step, 2), again["features"].device))
                new = {name: torch.cat([values, again[name]]) for name, values in new.items()}
            yield new
            step += 1
        skipped = 0


def _made_ahead(batches: SceneBatches) -> Iterator[Batch]:
    """The same, each made on a stream of its own while the one before is learned from."""
    stream, making = torch.cuda.Stream(), iter(batches)  # type: ignore[no-untyped-call]

    def make() -> tuple[Batch, torch.cuda.Event]:
        with torch.cuda.stream(stream):
            batch = next(making)
            return batch, stream.record_event()

    coming = make()
    while True:
        batch, made = coming
        coming = make()
        learning = torch.cuda.current_stream()
        learning.wait_event(made)
        for tensor in batch.values():
            tensor.record_stream(learning)
        yield batch


def heard_otherwise(batch: Batch, dice: Dice) -> Batch:
    """The same scenes turned about the vertical by any angle, half of them mirrored, through another equaliser."""
    features, n = batch["features"].clone(), len(batch["features"])
    angle = 2.0 * torch.pi * dice.uniform(n)
    mirror = torch.where(dice.uniform(n) < 0.5, -1.0, 1.0)
    turn = torch.zeros((n, 3, 3), device=features.device)
    turn[:, 0, 0], turn[:, 0, 1] = torch.cos(angle), -mirror * torch.sin(angle)
    turn[:, 1, 0], turn[:, 1, 1] = torch.sin(angle), mirror * torch.cos(angle)
    turn[:, 2, 2] = 1.0
    features[:, INTENSITY] = torch.einsum("nxy,nytb->nxtb", turn, features[:, INTENSITY])
    bands = features.shape[3]
    colour = _EQUALISER_BELS * dice.curve(n, bands, bands / 6)
    features[:, 0] = (features[:, 0] + colour[:, None]).clamp(-LEVEL_RANGE, LEVEL_RANGE)
    return {**batch, "features": features, "direction": torch.einsum("nxy,njly->njlx", turn, batch["direction"])}
