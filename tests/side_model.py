"""A real ONNX model that separates without training: what comes from the left is one object, from the right the other.

Its mask of a band is how far the intensity there points to that side; what points to neither side is noise. The left
object is a "drone", the right one a "glass_break". It speaks the protocol of the shipped models, masks and meta included.
Where asked to it gives direct masks too: of each object's mask as much as its intensity there is long, for what is diffuse
is not direct.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from appliance.dsp.features import BANDS, FEATURE_NAMES, FEATURES
from appliance.dsp.stft import HOPS_PER_LABEL
from appliance.model.meta import file_sha256, front_end

CLASSES = ("drone", "glass_break")
_STEEP = 8.0


def write_side_model(path: Path, *, direct: bool = False) -> Path:
    """Write the .onnx file and its .meta.json; `direct`: with direct masks."""
    onnx.save(_graph(direct=direct), path)
    meta = {
        "name": path.stem,
        "sha256": file_sha256(path),
        "precision": "fp32",
        "opset": 17,
        "classes": CLASSES,
        "objects": 2,
        **front_end(),
        "states": {"frames_heard": [1, 1]},
    }
    path.with_suffix(".meta.json").write_text(json.dumps(meta), encoding="utf-8")
    return path


def _graph(*, direct: bool) -> onnx.ModelProto:
    assert FEATURE_NAMES[:5] == ("level", "intensity_x", "intensity_y", "intensity_z", "diffuseness")
    side = np.zeros((3, 3, 1, 1), np.float32)  # (slots, axes): left, right, and the noise slot that has no side
    side[0, 1], side[1, 1] = _STEEP, -_STEEP
    constants = {
        "parts": np.array([1, 3, 1, FEATURES - 5], np.int64),
        "side": side,
        "towards_noise": np.array([0.0, 0.0, 0.5 * _STEEP], np.float32),
        "bels": np.float32(2.3),
        "flat": np.array([1, -1], np.int64),
        "as_level": np.array([1, 1, HOPS_PER_LABEL, BANDS], np.int64),
        "slots": np.array([2, 1], np.int64),
        "enough": np.float32(0.15),
        "steep": np.float32(40.0),
        "frame": np.array([2, 3], np.int64),
        "slot_axis": np.array([2], np.int64),
        "object_axis": np.array([1], np.int64),
        "tiny": np.float32(1e-6),
        "class_probs_value": np.array([[[0.97, 0.0, 0.03], [0.0, 0.97, 0.03]]], np.float32),
        "sigma": np.full((1, 2), 5.0, np.float32),
        "one": np.ones((1, 1), np.float32),
        "whole": np.float32(1.0),
    }
    nodes = [
        helper.make_node("Split", ["features", "parts"], ["level", "intensity", "diffuseness", "others"], axis=1),
        helper.make_node("Conv", ["intensity", "side", "towards_noise"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["mask"], axis=1),
        helper.make_node("Mul", ["level", "bels"], ["log_energy"]),
        helper.make_node("Reshape", ["log_energy", "flat"], ["log_energy_flat"]),
        helper.make_node("Softmax", ["log_energy_flat"], ["share_flat"], axis=1),
        helper.make_node("Reshape", ["share_flat", "as_level"], ["share"]),
        helper.make_node("Split", ["mask", "slots"], ["objects", "noise"], axis=1),
        helper.make_node("Mul", ["objects", "share"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "frame"], ["loud"], keepdims=0),
        helper.make_node("Sub", ["loud", "enough"], ["loud_enough"]),
        helper.make_node("Mul", ["loud_enough", "steep"], ["activity_logit"]),
        helper.make_node("Sigmoid", ["activity_logit"], ["activity"]),
        helper.make_node("Unsqueeze", ["weighted", "slot_axis"], ["weighted_object"]),
        helper.make_node("Unsqueeze", ["intensity", "object_axis"], ["intensity_object"]),
        helper.make_node("Mul", ["weighted_object", "intensity_object"], ["pulled"]),
        helper.make_node("ReduceSum", ["pulled", "last_axes"], ["vector"], keepdims=0),
        helper.make_node("ReduceL2", ["vector"], ["length"], axes=[2], keepdims=1),
        helper.make_node("Add", ["length", "tiny"], ["length_safe"]),
        helper.make_node("Div", ["vector", "length_safe"], ["doa"]),
        helper.make_node("Identity", ["class_probs_value"], ["class_probs"]),
        helper.make_node("Identity", ["sigma"], ["doa_sigma_deg"]),
        helper.make_node("Add", ["frames_heard", "one"], ["next_frames_heard"]),
    ]
    constants["last_axes"] = np.array([3, 4], np.int64)
    inputs = {"features": (1, FEATURES, HOPS_PER_LABEL, BANDS), "frames_heard": (1, 1)}
    outputs = {
        "mask": (1, 3, HOPS_PER_LABEL, BANDS),
        "activity": (1, 2),
        "class_probs": (1, 2, 3),
        "doa": (1, 2, 3),
        "doa_sigma_deg": (1, 2),
        "next_frames_heard": (1, 1),
    }
    if direct:
        nodes.append(helper.make_node("Sub", ["whole", "diffuseness"], ["directness"]))
        nodes.append(helper.make_node("Mul", ["objects", "directness"], ["direct_mask"]))
        outputs["direct_mask"] = (1, 2, HOPS_PER_LABEL, BANDS)
    graph = helper.make_graph(
        nodes,
        "side",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
