"""`appliance bench speed`: speed and memory of the shipped models on this machine, INT8 and FP32 in one run."""

import resource
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from appliance.audio.replay import ReplaySource
from appliance.cli.demo import DEMO_DIR
from appliance.cli.demo_truth import read_truth
from appliance.config import SiteSettings
from appliance.events import seeded_ulids
from appliance.geometry import load_array
from appliance.model.meta import shipped_models
from appliance.model.scene import SceneModel
from appliance.pipeline import Moment, run
from appliance.stages import build_stages
from appliance.types import Event


class _Stopwatch:
    """An observer that keeps the time of each step."""

    def __init__(self) -> None:
        self.step_ms: list[float] = []

    def frame(self, moment: Moment) -> None:
        self.step_ms.append(moment.step_s * 1e3)

    def finished(self, events: object, stream_s: float) -> None:
        """Nothing to time."""


def measure_speed(models: Sequence[str] | None, rounds: int) -> None:
    """Print a table of the models, all shipped ones where none is named, each hearing the recording `rounds` times."""
    array, _ = read_truth(DEMO_DIR / "fence.json")
    geometry, settings = load_array(array), SiteSettings()
    table = Table("model", "× real time", "p50 ms", "p99 ms", "share of a core", title="per 100-ms step, one thread")
    for name in models or shipped_models():
        model, watch, audio_s = SceneModel.load(name), _Stopwatch(), 0.0
        for _ in range(rounds):
            model.reset()
            stages = build_stages(settings, geometry, model, ulids=seeded_ulids(b"bench"), clock=lambda: "replay")
            sink: list[Event] = []
            with ReplaySource(DEMO_DIR / "fence.flac", geometry) as source:
                audio_s += run(source, stages, sink, [watch]).audio_s
        busy_s = sum(watch.step_ms) / 1e3
        p50, p99 = np.percentile(watch.step_ms, (50, 99))
        table.add_row(
            model.meta.name, f"{audio_s / busy_s:.0f}", f"{p50:.2f}", f"{p99:.2f}", f"{100 * busy_s / audio_s:.1f} %"
        )
    console = Console()
    console.print(table)
    resident_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    console.print(f"largest resident memory: {resident_mb:.0f} MB")
