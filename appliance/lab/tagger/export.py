"""From the tagger's checkpoints to its ONNX file, and into the meta of the models that it hears beside."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from appliance.dsp.steered import EARS
from appliance.errors import ModelError
from appliance.lab.checkpoint import REMEDY
from appliance.lab.edge.export import OPSET
from appliance.lab.edge.ship import NOTICE
from appliance.lab.pack import SOUNDS
from appliance.lab.tagger.train import load_tagger
from appliance.model.meta import TaggerReference, file_sha256

DETECTION_ACTIVITY = 0.5
"""Of a model beside a tagger. What a network reports faintly it reports in the wrong place, twice and as several classes; what has
power is found by that, and the tagger names it."""


class _Probabilities(nn.Module):
    """What all ears together say: the product of what each does."""

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(networks)

    def forward(self, *levels: Tensor) -> Tensor:
        said = [
            torch.log_softmax(network(heard), dim=1)
            for network, heard in zip(self.networks.values(), levels, strict=True)
        ]
        return torch.softmax(torch.stack(said).sum(dim=0), dim=1)


def export_tagger(run: Path, path: Path) -> TaggerReference:
    """Write the FP32 graph of the checkpoints in a run's folder, one for each of `EARS`: one file, nothing beside it.

    It carries the names of its sounds and where it comes from.
    """
    loaded = {name: load_tagger(run / f"{name}.pt") for name in EARS}
    for name, (network, _) in loaded.items():
        if network.settings.ear != name:
            raise ModelError(f"{run / f'{name}.pt'}: a network for the ear {network.settings.ear!r}; {REMEDY}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # As in `export`: JetPack's runtimes read opset 17, which only the older exporter writes.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Probabilities({name: network for name, (network, _) in loaded.items()}).eval(),
            tuple(torch.zeros(1, 1, ear.hops, ear.bands) for ear in EARS.values()),
            str(path),
            input_names=list(EARS),
            output_names=["probabilities"],
            opset_version=OPSET,
            dynamo=False,
        )
    training: dict[str, Any] = {
        name: {key: saved[key] for key in ("settings", "commit", "step")} | {"hours": round(saved["seconds"] / 3600, 2)}
        for name, (_, saved) in loaded.items()
    }
    training["notice"] = NOTICE
    graph = onnx.load(str(path))
    onnx.helper.set_model_props(graph, {"sounds": json.dumps(SOUNDS), "training": json.dumps(training)})
    onnx.save(graph, str(path))
    return TaggerReference(file=path.name, sha256=file_sha256(path))


def name_in_meta(reference: TaggerReference, models: Sequence[Path]) -> None:
    """Enter the tagger in the meta of models, and what they have to report beside it. What was tuned and scored without it is taken out."""
    for model in models:
        meta = model.with_suffix(".meta.json")
        document = json.loads(meta.read_text(encoding="utf-8"))
        document |= {"tagger": reference.model_dump(), "detection_activity": DETECTION_ACTIVITY}
        document |= {"thresholds": {}, "calibration": {}, "scores": {}}
        meta.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
