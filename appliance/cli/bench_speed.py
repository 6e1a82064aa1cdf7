"""`appliance bench speed`: speed and memory of the shipped models on this machine, INT8 and FP32 in one run."""

import resource
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from appliance.audio.replay import ReplaySource
from appliance.audio.source import SAMPLE_RATE_HZ
from appliance.audio.target import TargetSource, at_array, drone
from appliance.cli.demo import DEMO_DIR
from appliance.cli.demo_truth import read_truth
from appliance.config import SiteSettings
from appliance.events import seeded_ulids
from appliance.geometry import ArrayGeometry, load_array
from appliance.model.meta import shipped_models
from appliance.model.scene import SceneModel
from appliance.pipeline import Moment, run
from appliance.stages import build_stages
from appliance.types import Event, Float32Array

_SECONDS = 15.0
_PIECE_S = 0.5


@dataclass(frozen=True, slots=True)
class Circling:
    """A synthetic drone that goes round the array."""

    blade_hz: float
    first_deg: float
    """Azimuth where it begins."""
    deg_per_s: float
    elevation_deg: float


DRONES = (Circling(160.0, 0.0, 25.0, 20.0), Circling(220.0, 180.0, -15.0, 40.0))
"""One each way: tracks that never stay where they are cost most."""


class _Stopwatch:
    """An observer that keeps the time of each step."""

    def __init__(self) -> None:
        self.step_ms: list[float] = []

    def frame(self, moment: Moment) -> None:
        self.step_ms.append(moment.step_s * 1e3)

    def finished(self, events: object, stream_s: float) -> None:
        """Nothing to time."""


def measure_speed(models: Sequence[str] | None, rounds: int, array: str | None = None) -> None:
    """Print a table of the models, all shipped ones where none is named, each hearing the same sound `rounds` times.

    That is the demonstration recording, or where an `array` is named, two drones that circle it. Raises `ConfigError` for an
    array that cannot be loaded, `ModelError` for such a model.
    """
    recorded_with, _ = read_truth(DEMO_DIR / "fence.json")
    geometry = load_array(array or recorded_with)
    circling = around(geometry) if array else None
    table = Table("model", "× real time", "p50 ms", "p99 ms", "share of a core", title="per 100-ms step, one thread")
    for name in models or shipped_models():
        model, watch = SceneModel.load(name), _Stopwatch()
        audio_s = sum(_hear(model, geometry, circling, watch) for _ in range(rounds))
        busy_s = sum(watch.step_ms) / 1e3
        p50, p99 = np.percentile(watch.step_ms, (50, 99))
        table.add_row(
            model.meta.name, f"{audio_s / busy_s:.0f}", f"{p50:.2f}", f"{p99:.2f}", f"{100 * busy_s / audio_s:.1f} %"
        )
    console = Console()
    console.print(table)
    resident_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    console.print(f"{geometry.name}, {geometry.mics} microphones; largest resident memory: {resident_mb:.0f} MB")


def _hear(model: SceneModel, geometry: ArrayGeometry, samples: Float32Array | None, watch: _Stopwatch) -> float:
    """Seconds heard, of the samples or else of the demonstration recording."""
    model.reset()
    stages = build_stages(SiteSettings(), geometry, model, ulids=seeded_ulids(b"bench"), clock=lambda: "replay")
    sink: list[Event] = []
    with ReplaySource(DEMO_DIR / "fence.flac", geometry) if samples is None else TargetSource(samples) as source:
        return run(source, stages, sink, [watch]).audio_s


def around(geometry: ArrayGeometry, drones: Sequence[Circling] = DRONES, seconds: float = _SECONDS) -> Float32Array:
    """(mics, n): drones that circle the array."""
    n, piece = round(seconds * SAMPLE_RATE_HZ), round(_PIECE_S * SAMPLE_RATE_HZ)
    window = np.hanning(piece + 1)[:-1]  # half a piece apart they add up to one
    samples = np.zeros((geometry.mics, n), np.float32)
    for seed, own in enumerate(drones):
        sound = drone(seconds, own.blade_hz, seed)
        for start in range(0, n - piece + 1, piece // 2):
            heard = slice(start, start + piece)
            azimuth_deg = own.first_deg + own.deg_per_s * start / SAMPLE_RATE_HZ
            samples[:, heard] += at_array(window * sound[heard], geometry, azimuth_deg, own.elevation_deg, start)
    return samples
