"""Parity: the same network must say the same offline and streamed, in torch and in ONNX Runtime."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from appliance.dsp.stft import HOP_SAMPLES, HOPS_PER_LABEL
from appliance.lab.edge.network import DeepAsaEdge
from appliance.model.scene import SceneModel
from appliance.types import FeatureFrame

Outputs = dict[str, npt.NDArray[np.float32]]
"""`activity` (labels, J), `class_probs` (labels, J, classes), `doa` (labels, J, 3), `mask` and `direct_mask` (J, hops, bands)."""


@torch.no_grad()
def torch_outputs(network: DeepAsaEdge, features: npt.NDArray[np.float32], chunks: list[int]) -> Outputs:
    """Outputs for features (features, hops, bands), heard in chunks of so many label frames each."""
    state = network.eval().initial_state(1)
    parts: list[dict[str, torch.Tensor]] = []
    start = 0
    for labels in chunks:
        hops = labels * HOPS_PER_LABEL
        heard = torch.from_numpy(features[None, :, start : start + hops])
        out, state = network(heard, state)
        parts.append(out)
        start += hops
    joined = {name: torch.cat([part[name] for part in parts], dim=2)[0] for name in parts[0]}
    share, objects = torch.softmax(joined["mask_logits"], dim=0), network.settings.objects
    return {
        "activity": torch.sigmoid(joined["activity_logits"]).T.numpy(),
        "class_probs": torch.softmax(joined["class_logits"], dim=2)[..., :-1].transpose(0, 1).numpy(),
        "doa": joined["doa"].transpose(0, 1).numpy(),
        "mask": (share[:objects] + share[objects:-1]).numpy(),
        "direct_mask": share[:objects].numpy(),
    }


def step_graph_outputs(path: Path, features: npt.NDArray[np.float32]) -> Outputs:
    """The same from an ONNX model, step by step, through the runtime's own wrapper."""
    model = SceneModel.load(path)
    silent = np.zeros((4, HOP_SAMPLES), np.float32)
    frames = [FeatureFrame(features[:, hop], silent, (0, 1, 2, 3), 0.0, 0) for hop in range(features.shape[1])]
    scenes = [model.hear(frames[start : start + HOPS_PER_LABEL]) for start in range(0, len(frames), HOPS_PER_LABEL)]
    return {
        "activity": np.stack([scene["activity"][0] for scene in scenes]),
        "class_probs": np.stack([scene["class_probs"][0, :, :-1] for scene in scenes]),
        "doa": np.stack([scene["doa"][0] for scene in scenes]),
        **{name: np.concatenate([scene[name][0] for scene in scenes], axis=1) for name in ("mask", "direct_mask")},
    }


def largest_difference(one: Outputs, other: Outputs) -> dict[str, float]:
    """Largest absolute difference per output."""
    return {name: float(np.abs(one[name] - other[name]).max()) for name in one}
