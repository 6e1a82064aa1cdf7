"""What the site sounds like, over restarts: read as the sensor starts, written as it goes on, begun anew where it must be."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from appliance.config import SiteSettings
from appliance.errors import StoreError
from appliance.model.scene import SceneModel
from appliance.novelty.keep import OtherVectorsError, load_memory, memory_path, save_memory
from appliance.novelty.memory import SiteMemory
from appliance.pipeline import Moment
from appliance.stages import new_memory
from appliance.types import Event

_LOG = logging.getLogger(__name__)

_SAVE_S = 600.0
_LOOK_S = 2.0


class MemoryKeeper:
    """Holds the memory and its file; as an observer it saves every ten minutes and at the end, in the pipeline's thread.

    A file that is removed meanwhile (`appliance novelty reset`) makes it forget the site.
    """

    def __init__(self, settings: SiteSettings, model: SceneModel, site_file: Path | None = None) -> None:
        """Raises `StoreError` where a damaged file cannot be moved aside, `ConfigError` as `new_memory` does."""
        self.path = memory_path(settings.store.path)
        self.faults: list[str] = []
        """A sentence for a memory that was lost, or cannot be written."""
        self._vectors = model.meta.tagger.sha256 if model.meta.tagger else ""
        self._lost: list[str] = []
        self.memory = self._opened(new_memory(settings, model, site_file))
        self._look_s = 0.0
        self._save()

    def state(self) -> dict[str, Any]:
        """What `health` says of it."""
        memory = self.memory
        return {
            "state": "watching" if memory.learned else "learning",
            "heard_s": round(memory.heard_s),
            "learning_s": round(memory.settings.learning_s),
            "sounds": memory.prototypes,
        }

    def frame(self, moment: Moment) -> None:
        """Save when it is time to; forget the site where its file is gone."""
        del moment
        now_s = time.monotonic()
        if now_s < self._look_s:
            return
        self._look_s = now_s + _LOOK_S
        if self._forget_if_removed() or now_s >= self._save_s:
            self._save()

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        """Keep what was learned last."""
        del events, stream_s
        self._forget_if_removed()
        self._save()

    def _forget_if_removed(self) -> bool:
        removed = self._saved and not self.path.exists()
        if removed:
            self.memory.reset()
            _LOG.warning("%s was removed: the site is learned anew", self.path)
        return removed

    def _save(self) -> None:
        self._save_s = time.monotonic() + _SAVE_S
        try:
            save_memory(self.memory, self.path, vectors=self._vectors)
            self._saved, self.faults = True, [*self._lost]
        except StoreError as error:
            # What is gone because the disk is full was not removed by anybody.
            self._saved, self.faults = self.path.exists(), [*self._lost, str(error)]
            _LOG.error("%s", error)

    def _opened(self, empty: SiteMemory) -> SiteMemory:
        try:
            return load_memory(self.path, empty.dimensions, vectors=self._vectors, settings=empty.settings)
        except OtherVectorsError as error:
            kept = self._keep_as("other-model")
            _LOG.warning("%s; it is kept as %s, and the site is learned anew", error, kept)
        except StoreError as error:
            kept = self._keep_as("corrupt")
            self._lost.append(f"the site's memory was corrupt and begun anew; the old one is kept as {kept}")
            _LOG.error("%s", error)
        return empty

    def _keep_as(self, sort: str) -> Path:
        """Move the file aside, in the place of an earlier one of its sort, so that they never become many."""
        kept = self.path.with_name(f"{self.path.name}.{sort}")
        try:
            self.path.replace(kept)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be moved away: {error.strerror}; move it by hand") from error
        return kept
