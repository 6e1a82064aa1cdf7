"""One scene in full: where each sound was, and what each system tracked and announced."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from appliance.lab.hear import HeardScene, System, hear
from appliance.lab.metrics.events import FRAME_S
from appliance.lab.metrics.plain import plain
from appliance.lab.world.recipe import Recipe
from appliance.lab.world.render import SourceTruth, render


def scene_timeline(recipe: Recipe, systems: Sequence[System]) -> dict[str, Any]:
    """Points are [seconds, azimuth in degrees], one per label frame."""
    scene, geometry = render(recipe), recipe.geometry()
    return {
        "array": recipe.array,
        "part": recipe.notes.get("part", ""),
        "seconds": recipe.seconds,
        "truth": [{"label": source.label, "points": _true_points(source)} for source in scene.sources],
        "systems": {
            system.name: _heard(hear(scene.samples, geometry, system, gaps=scene.gaps, ground=recipe.ground))
            for system in systems
        },
    }


def _true_points(source: SourceTruth) -> list[list[float]]:
    frames = np.flatnonzero(source.active).tolist()
    return [[plain(frame * FRAME_S), plain(float(source.azimuth_deg[frame]))] for frame in frames]


def _heard(heard: HeardScene) -> dict[str, Any]:
    tracks: dict[tuple[int, str], list[list[float]]] = {}
    for entry in heard.frames:
        point = [plain(entry.frame * FRAME_S), plain(entry.azimuth_deg)]
        tracks.setdefault((entry.track_id, entry.label), []).append(point)
    announced = [
        {"label": event.class_label, "at": [plain(sent_s), plain(event.azimuth_deg)]}
        for sent_s, event in heard.events
        if event.state == "new"
    ]
    return {
        "tracks": [{"track": number, "label": label, "points": points} for (number, label), points in tracks.items()],
        "announced": announced,
    }
