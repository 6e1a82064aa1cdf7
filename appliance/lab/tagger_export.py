"""From the tagger's checkpoint to its ONNX file, and into the meta of the models that it hears beside."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from appliance.dsp.steered import BEAM_BANDS
from appliance.lab.export import OPSET
from appliance.lab.pack import SOUNDS
from appliance.lab.ship import NOTICE
from appliance.lab.tagger_network import TAGGER_HOPS, TaggerCnn
from appliance.lab.tagger_train import load_tagger
from appliance.model.meta import TaggerReference, file_sha256


class _Probabilities(nn.Module):
    def __init__(self, network: TaggerCnn) -> None:
        super().__init__()
        self.network = network

    def forward(self, levels: Tensor) -> Tensor:
        return torch.softmax(self.network(levels), dim=1)


def export_tagger(checkpoint: Path, path: Path) -> TaggerReference:
    """Write the FP32 graph, which carries the names of its sounds and where it comes from: one file, nothing beside it."""
    network, saved = load_tagger(checkpoint)
    levels = torch.zeros(1, 1, TAGGER_HOPS, BEAM_BANDS)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # As in `export`: JetPack's runtimes read opset 17, which only the older exporter writes.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Probabilities(network).eval(),
            (levels,),
            str(path),
            input_names=["levels"],
            output_names=["probabilities"],
            opset_version=OPSET,
            dynamo=False,
        )
    training = {key: saved[key] for key in ("settings", "commit", "step")}
    training |= {"hours": round(saved["seconds"] / 3600, 2), "notice": NOTICE}
    graph = onnx.load(str(path))
    onnx.helper.set_model_props(graph, {"sounds": json.dumps(SOUNDS), "training": json.dumps(training)})
    onnx.save(graph, str(path))
    return TaggerReference(file=path.name, sha256=file_sha256(path))


def name_in_meta(reference: TaggerReference, models: Sequence[Path]) -> None:
    """Enter the tagger in the meta of models. What was tuned and scored without it holds no longer, and is taken out."""
    for model in models:
        meta = model.with_suffix(".meta.json")
        document = json.loads(meta.read_text(encoding="utf-8"))
        document |= {"tagger": reference.model_dump(), "thresholds": {}, "calibration": {}, "scores": {}}
        meta.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
