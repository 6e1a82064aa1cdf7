"""The memory of a site as a file: written whole or not at all, and taken only for the vectors that it was made of."""

import contextlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.errors import StoreError
from appliance.novelty.memory import MemorySettings, SiteMemory

Arrays = dict[str, npt.NDArray[np.generic]]


class OtherVectorsError(StoreError):
    """The memory is whole, but was learned with another model, which hears another site."""


def memory_path(event_log: Path) -> Path:
    """Where the site's memory lies: beside the event log, under its name."""
    return event_log.with_name(f"{event_log.stem}.site-memory.npz")


def save_memory(memory: SiteMemory, path: Path, *, vectors: str) -> None:
    """Write it; `vectors` names what its vectors are, such as the hash of the model they come from.

    Raises `StoreError` where the file cannot be written; the one that was there then stays.
    """
    content: dict[str, Any] = {"vectors": np.array(vectors), **memory.arrays()}
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            np.savez_compressed(file, **content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        # Half a memory is of no use, and takes room on a disk that may be full.
        with contextlib.suppress(OSError):
            partial.unlink()
        raise StoreError(
            f"{path}: the site's memory cannot be written ({error.strerror}); free or mend the disk"
        ) from None


def load_memory(path: Path, dimensions: int, *, vectors: str, settings: MemorySettings | None = None) -> SiteMemory:
    """Read it; an empty memory where there is no file.

    Raises `OtherVectorsError` where it is one of other vectors, `StoreError` where the file is not whole.
    """
    if not path.exists():
        return SiteMemory(dimensions, settings)
    own, arrays = _read(path)
    if own != vectors:
        raise OtherVectorsError(f"{path}: the site was learned with another model ({own:.12}…)")
    return _memory(path, arrays, dimensions, settings)


def read_memory(path: Path, settings: MemorySettings | None = None) -> tuple[SiteMemory, str]:
    """A memory of whatever vectors, and their name. Raises `StoreError` where there is no file or it is not whole."""
    vectors, arrays = _read(path)
    dimensions = arrays["mean"].size if "mean" in arrays else 0
    return _memory(path, arrays, dimensions, settings), vectors


def _read(path: Path) -> tuple[str, Arrays]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays: Arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise StoreError(f"{path}: no memory of a site yet; the sensor writes it where [novelty] is enabled") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from None
    return str(arrays.pop("vectors", "")), arrays


def _memory(
    path: Path, arrays: Mapping[str, npt.NDArray[np.generic]], dimensions: int, settings: MemorySettings | None
) -> SiteMemory:
    try:
        return SiteMemory.from_arrays(arrays, dimensions, settings)
    except ValueError as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(f"{path}: no memory of a site ({error}); remove it, and the site is learned anew")
