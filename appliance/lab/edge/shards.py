"""Training scenes made beforehand: a file per batch, so that a slow processor or another machine can make them ahead.

Shards belong to an experiment's scenes, seed and batch size; a run that goes on with them takes them in the order of its
batches and begins anew when it has had all.
"""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from appliance.errors import ConfigError
from appliance.lab.edge.batches import drawn_batch
from appliance.lab.edge.settings import TrainSettings
from appliance.lab.scenes.maker import Batch, SceneMaker

_FACTS = "shards.json"


def write_shards(
    settings: TrainSettings,
    folder: Path,
    batches: int,
    *,
    workers: int = 2,
    device: str = "cpu",
    log: Callable[[str], None] = print,
) -> int:
    """Make the first `batches` batches of an experiment as files; those that are there are kept. How many were made.

    Raises `ConfigError` where the folder holds shards of other scenes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _same_scenes(settings, folder)
    (folder / _FACTS).write_text(json.dumps(_facts(settings), indent=1) + "\n", encoding="utf-8")
    missing = [number for number in range(batches) if not _path(folder, number).exists()]
    began = time.monotonic()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = pool.map(_write, *zip(*((settings, folder, number, device) for number in missing), strict=True))
        for done, _ in enumerate(jobs if missing else (), 1):
            rate = done * settings.batch / (time.monotonic() - began)
            left_min = (len(missing) - done) * settings.batch / rate / 60.0
            log(f"{done}/{len(missing)} shards, {rate:.1f} scenes/s, ETA {left_min:.0f} min")
    return len(missing)


def read_shards(settings: TrainSettings, folder: Path, first: int) -> Iterator[Batch]:
    """Batches from number `first` on, without end.

    Raises `ConfigError` where there are none, or where they are of other scenes.
    """
    count = len(list(folder.glob("batch-*.pt")))
    if count == 0 or not (folder / _FACTS).exists():
        raise ConfigError(f"{folder}: no shards here; make some with appliance lab shards {folder}")
    _same_scenes(settings, folder)
    number = first
    while True:
        path = _path(folder, number % count)
        try:
            saved: Batch = torch.load(path, weights_only=True)
        except (OSError, RuntimeError, EOFError) as error:
            raise ConfigError(
                f"{path}: cannot be read ({error}); delete it and make it again with lab shards"
            ) from error
        yield {name: values.float() if values.is_floating_point() else values for name, values in saved.items()}
        number += 1


def _write(settings: TrainSettings, folder: Path, number: int, device: str) -> None:
    torch.set_num_threads(1)
    batch = drawn_batch(_maker(settings, device), settings, number)
    half = {name: (values.half() if values.is_floating_point() else values).cpu() for name, values in batch.items()}
    aside = _path(folder, number).with_suffix(".part")
    torch.save(half, aside)
    aside.replace(_path(folder, number))


@lru_cache(maxsize=1)
def _maker(settings: TrainSettings, device: str) -> SceneMaker:
    return SceneMaker(settings.scenes, settings.seed, device=device)


def _path(folder: Path, number: int) -> Path:
    return folder / f"batch-{number:06d}.pt"


def _facts(settings: TrainSettings) -> dict[str, Any]:
    scenes = json.loads(json.dumps(asdict(settings.scenes)))
    return {"scenes": scenes, "seed": settings.seed, "batch": settings.batch}


def _same_scenes(settings: TrainSettings, folder: Path) -> None:
    path = folder / _FACTS
    if not path.exists():
        return
    found, wanted = json.loads(path.read_text(encoding="utf-8")), _facts(settings)
    for key, value in wanted.items():
        if found.get(key) != value:
            raise ConfigError(
                f"{path}: {key}: these shards are of other scenes than the experiment's; use another folder"
            )
