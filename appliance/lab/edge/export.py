"""Torch → ONNX: the step graph of one label frame, with fixed shapes and named states, and its meta file."""

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from appliance.dsp.features import BANDS, FEATURES
from appliance.dsp.stft import HOPS_PER_LABEL
from appliance.lab.edge.network import DeepAsaEdge
from appliance.lab.pack import CLASSES
from appliance.model.meta import file_sha256, front_end

OPSET = 17
"""Every onnxruntime that a Jetson can have reads it."""


OUTPUTS = ("activity", "class_probs", "doa", "doa_sigma_deg", "mask", "direct_mask", "scene_embedding")
"""What a graph can say, each for one label frame: `mask` (1, J, 5, bands) is each object's share of W, `direct_mask` that of
its direct sound alone. A unit that only alerts needs neither of them nor the embedding."""
NEEDED = OUTPUTS[:4]


class StepGraph(nn.Module):
    """One label frame: features (1, features, 5, bands) and states in order → probabilities, directions, next states."""

    def __init__(self, network: DeepAsaEdge, outputs: Sequence[str] = OUTPUTS) -> None:
        super().__init__()
        self.network = network
        self.state_names = list(network.initial_state())
        self.output_names = [name for name in OUTPUTS if name in outputs or name in NEEDED]

    def forward(self, features: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Outputs in the order of `output_names`, then the next states in the order of `state_names`."""
        out, new_state = self.network(features, dict(zip(self.state_names, states, strict=True)))
        objects = self.network.settings.objects
        share = torch.softmax(out["mask_logits"], dim=1)
        said = {
            "activity": torch.sigmoid(out["activity_logits"])[:, :, 0],
            "class_probs": torch.softmax(out["class_logits"], dim=3)[:, :, 0],
            "doa": out["doa"][:, :, 0],
            "doa_sigma_deg": (180.0 / math.pi) * torch.exp(out["doa_log_sigma"].clamp(-5.0, 1.5))[:, :, 0],
            "mask": share[:, :objects] + share[:, objects:-1],
            "direct_mask": share[:, :objects],
            "scene_embedding": out["scene_embedding"][:, :, 0],
        }
        return (*(said[name] for name in self.output_names), *(new_state[name] for name in self.state_names))


def export_step_graph(network: DeepAsaEdge, path: Path, outputs: Sequence[str] = OUTPUTS) -> None:
    """Write the FP32 step graph with these of `OUTPUTS`; batch normalisation is folded into the convolutions."""
    graph = StepGraph(network.eval(), outputs)
    states = network.initial_state()
    features = torch.zeros(1, FEATURES, HOPS_PER_LABEL, BANDS)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # The newer exporter writes opset 18 and up; JetPack's runtimes read 17.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            (features, *states.values()),
            str(path),
            input_names=["features", *states],
            output_names=[*graph.output_names, *(f"next_{name}" for name in states)],
            opset_version=OPSET,
            dynamo=False,
        )


def write_meta(
    model_path: Path, network: DeepAsaEdge, *, precision: str, training: dict[str, Any], scores: dict[str, Any]
) -> Path:
    """Write the meta file beside a model: its front end, states, hash, and where it comes from."""
    meta = {
        "name": model_path.stem,
        "sha256": file_sha256(model_path),
        "precision": precision,
        "opset": OPSET,
        "classes": CLASSES,
        "objects": network.settings.objects,
        **front_end(),
        "states": {name: list(state.shape) for name, state in network.initial_state().items()},
        "training": training,
        "scores": scores,
    }
    path = model_path.with_suffix(".meta.json")
    path.write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    return path
