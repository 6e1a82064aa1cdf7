"""Many scenes, several processes: results come in the order of the tasks, so that a report never depends on the number."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

_LOG_EVERY = 25

Task = TypeVar("Task")
Result = TypeVar("Result")
Log = Callable[[str], None]


def silent(_: str) -> None:
    """A log that nobody reads."""


def each(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int, log: Log = silent
) -> Iterator[Result]:
    """Results in the order of tasks; one worker is this process itself."""
    if workers == 1:
        yield from map(function, tasks)
        return
    # Forking a process that runs threads (ONNX Runtime has them) may hang.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done, result in enumerate(pool.map(function, tasks, chunksize=2), 1):
            if done % _LOG_EVERY == 0:
                log(f"  {done}/{len(tasks)} scenes")
            yield result
