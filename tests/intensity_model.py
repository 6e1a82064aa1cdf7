"""A real ONNX model that needs no training: where the sound's intensity points is where the object is.

Energy below 1 kHz makes a "drone", energy above it a "glass_break"; directed sound is active, diffuse sound is not.
One object, one state (label frames heard). It speaks the protocol of the shipped models, meta file included.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from appliance.dsp.features import BAND_EDGES, BANDS, FEATURES
from appliance.dsp.stft import HOPS_PER_LABEL, bin_frequencies_hz
from appliance.model.meta import file_sha256, front_end

CLASSES = ("drone", "glass_break")


def write_intensity_model(path: Path, **changes: Any) -> Path:
    """Write the .onnx file and its .meta.json; `changes` replace fields of the meta."""
    onnx.save(_graph(), path)
    meta = {
        "name": path.stem,
        "sha256": file_sha256(path),
        "precision": "fp32",
        "opset": 17,
        "classes": CLASSES,
        "objects": 1,
        **front_end(),
        "states": {"frames_heard": [1, 1]},
    }
    path.with_suffix(".meta.json").write_text(json.dumps(meta | changes), encoding="utf-8")
    return path


def _graph() -> onnx.ModelProto:
    band_hz = bin_frequencies_hz()[BAND_EDGES[:-1]]
    low = (band_hz < 1000.0).astype(np.float32)
    constants = {
        "parts": np.array([1, 3, 1, 1, FEATURES - 6], np.int64),
        "tilt": (low / low.sum() - (1.0 - low) / (1.0 - low).sum()).reshape(1, 1, 1, BANDS),
        "steep": np.float32(20.0),
        "half": np.float32(0.5),
        "tiny": np.float32(1e-6),
        "one": np.ones((1, 1), np.float32),
        "bands": np.float32(BANDS),
        "mix": np.array([[[0.97, -0.97, 0.0]]], np.float32),
        "base": np.array([[[0.0, 0.97, 0.03]]], np.float32),
        "as_object": np.array([1, 1, 3], np.int64),
        "as_class": np.array([1, 1, 1], np.int64),
        "sigma": np.full((1, 1), 5.0, np.float32),
    }
    nodes = [
        helper.make_node(
            "Split", ["features", "parts"], ["level", "intensity", "diffuseness", "validity", "others"], axis=1
        ),
        helper.make_node("Mul", ["intensity", "validity"], ["weighted"]),
        helper.make_node("ReduceMean", ["weighted"], ["weighted_mean"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["validity"], ["validity_mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Div", ["weighted_mean", "validity_mean"], ["vector"]),
        helper.make_node("ReduceL2", ["vector"], ["length"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["length", "half"], ["directed"]),
        helper.make_node("Mul", ["directed", "steep"], ["activity_logit"]),
        helper.make_node("Sigmoid", ["activity_logit"], ["activity"]),
        helper.make_node("Add", ["length", "tiny"], ["length_safe"]),
        helper.make_node("Div", ["vector", "length_safe"], ["unit"]),
        helper.make_node("Reshape", ["unit", "as_object"], ["doa"]),
        helper.make_node("Mul", ["level", "tilt"], ["tilted"]),
        helper.make_node("ReduceMean", ["tilted"], ["tilt_mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["tilt_mean", "bands"], ["tilt_sum"]),
        helper.make_node("Sigmoid", ["tilt_sum"], ["lowness"]),
        helper.make_node("Reshape", ["lowness", "as_class"], ["lowness_object"]),
        helper.make_node("Mul", ["lowness_object", "mix"], ["mixed"]),
        helper.make_node("Add", ["mixed", "base"], ["class_probs"]),
        helper.make_node("Identity", ["sigma"], ["doa_sigma_deg"]),
        helper.make_node("Add", ["frames_heard", "one"], ["next_frames_heard"]),
    ]
    inputs = {"features": (1, FEATURES, HOPS_PER_LABEL, BANDS), "frames_heard": (1, 1)}
    outputs = {
        "activity": (1, 1),
        "class_probs": (1, 1, 3),
        "doa": (1, 1, 3),
        "doa_sigma_deg": (1, 1),
        "next_frames_heard": (1, 1),
    }
    graph = helper.make_graph(
        nodes,
        "intensity",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
