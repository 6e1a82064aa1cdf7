"""What the report says of separation: SI-SDRi of the mono stems by SNR and by number of objects, and CA-SDRi of scenes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from appliance.geometry import load_array
from appliance.lab.judge.perimeter import ARRAYS
from appliance.lab.judge.separation import METHODS, Recovered, recover
from appliance.lab.metrics.plain import plain
from appliance.lab.systems import OnnxSystem
from appliance.lab.workers import Log
from appliance.lab.world.recipe import Recipe

_STEM = len(METHODS) - 1


def judge_separation(
    systems: Sequence[OnnxSystem], recipes: Sequence[Recipe], *, workers: int = 2, log: Log = print
) -> tuple[dict[str, Any], list[str]]:
    """System → its figures over scenes of `separation_suite`, and a line for each that separates nothing."""
    figures, missing = {}, []
    for system in systems:
        if not system.stages(load_array(ARRAYS[0]))[1].gives_masks:
            missing.append(f"si_sdri_db of {system.name}: it was exported without masks")
        elif recipes:
            figures[system.name] = separation_figures(recover(Path(system.path), recipes, workers=workers, log=log))
    return figures, missing


def separation_figures(recovered: Sequence[Recovered]) -> dict[str, Any]:
    """JSON-able: `method`, and the figures of objects by SNR and by how many sound at once."""
    return {
        "method": METHODS[_STEM],
        "by_snr_db": _grouped(recovered, lambda one: f"{one.snr_db:g}"),
        "by_objects": _grouped(recovered, lambda one: str(one.objects)),
    }


def _grouped(recovered: Sequence[Recovered], name: Callable[[Recovered], str]) -> Mapping[str, Any]:
    groups: dict[str, list[Recovered]] = {}
    for one in recovered:
        groups.setdefault(name(one), []).append(one)
    return {key: _figures(own) for key, own in groups.items()}


def _figures(recovered: Sequence[Recovered]) -> dict[str, Any]:
    """Mean SI-SDRi with ideal masks and of what was tracked, of the direct sound and of the image; mean CA-SDRi, in which a
    lost or an invented sound is 0 dB.
    """
    ideal = [one.ideal for one in recovered]
    tracked = [one.tracked for one in recovered if one.tracked is not None]
    # Every object of a scene carries its scene's figure.
    scenes = [(one.ca_sdri_db, 1.0 / one.objects) for one in recovered if one.ca_sdri_db is not None]
    ca_db, weights = np.array(scenes).reshape(-1, 2).T
    return plain(
        {
            "ideal": np.mean([one.direct_db[_STEM] for one in ideal]),
            "ideal_image": np.mean([one.image_db[_STEM] for one in ideal]),
            "tracked": np.mean([one.direct_db[_STEM] for one in tracked]) if tracked else None,
            "tracked_image": np.mean([one.image_db[_STEM] for one in tracked]) if tracked else None,
            "ca_sdri_db": np.average(ca_db, weights=weights) if len(ca_db) else None,
            "tracked_objects": len(tracked),
            "of": len(recovered),
        }
    )
