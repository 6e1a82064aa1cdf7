"""The memory of a site as a file: written whole or not at all, and taken only for the vectors that it was made of."""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from appliance.errors import StoreError
from appliance.novelty.memory import MemorySettings, SiteMemory


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
        raise StoreError(
            f"{path}: the site's memory cannot be written ({error.strerror}); free or mend the disk"
        ) from None


def load_memory(path: Path, dimensions: int, *, vectors: str, settings: MemorySettings | None = None) -> SiteMemory:
    """Read it; an empty memory where there is no file, or one of other vectors: another model hears another site.

    Raises `StoreError` where the file is not whole.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if str(arrays.pop("vectors", "")) != vectors:
            return SiteMemory(dimensions, settings)
        return SiteMemory.from_arrays(arrays, dimensions, settings)
    except FileNotFoundError:
        return SiteMemory(dimensions, settings)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path}: no memory of a site ({error}); remove it, and the site is learned anew") from None
