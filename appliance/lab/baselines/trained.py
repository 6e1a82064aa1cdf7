"""The baselines that were trained, as far as their checkpoints are there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from appliance.lab.baselines.accdoa import AccdoaSystem, load_accdoa
from appliance.lab.baselines.files import read_baseline
from appliance.lab.baselines.steered_cnn import SteeredCnnSystem, load_steered_cnn
from appliance.model.meta import file_sha256

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
"""Where the checkpoints that ship lie."""

TrainedBaseline = AccdoaSystem | SteeredCnnSystem


def trained_baselines(folder: Path = CHECKPOINTS) -> tuple[list[TrainedBaseline], list[str]]:
    """The systems of `accdoa.pt` and `steered_cnn.pt`, and a line for each that is missing.

    Raises `ModelError` where one is not whole, or was taught other features.
    """
    systems: list[TrainedBaseline] = []
    missing = []
    accdoa, steered = folder / "accdoa.pt", folder / "steered_cnn.pt"
    if accdoa.exists():
        load_accdoa(accdoa)
        systems.append(AccdoaSystem(str(accdoa)))
    else:
        missing.append(f"baseline: causal multi-ACCDOA CRNN; no {accdoa.name} among the checkpoints")
    if steered.exists():
        load_steered_cnn(steered)
        systems.append(SteeredCnnSystem(str(steered)))
    else:
        missing.append(f"baseline: CNN on the steered signal; no {steered.name} among the checkpoints")
    return systems, missing


def checkpoint_facts(system: TrainedBaseline) -> Mapping[str, Any]:
    """Where the weights of a system come from, for the report."""
    path = Path(system.path)
    saved = read_baseline(path)
    training = {key: saved[key] for key in ("step", "commit") if key in saved}
    return {"file": path.name, "sha256": file_sha256(path), "training": training}
