"""Baseline: steer at the strongest sound, then let a small CNN name what the beam hears, one sound at a time.

This is how a unit is built that localises first and classifies what it points at. It hears the features that our network
hears (`steering` says what the beam is), but of them only the beam's level: neither the array nor the rest of the sphere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from appliance.angles import azimuth_elevation_deg
from appliance.dsp.features import BANDS, FEATURE_NAMES, FeatureExtractor
from appliance.dsp.stft import HOPS_PER_LABEL
from appliance.geometry import ArrayGeometry
from appliance.lab.baselines.accdoa import ConvBlock
from appliance.lab.baselines.files import read_baseline
from appliance.lab.baselines.steering import PEAKS, steered_level, strongest, strongest_target
from appliance.lab.checkpoint import rebuilt
from appliance.lab.edge.layers import CausalConv, State
from appliance.lab.hear import BareModel
from appliance.lab.pack import CLASSES
from appliance.types import Direction, FeatureFrame, Float32Array, SceneFrame, SceneObject

NONE = len(CLASSES)
"""Index of *none of these*."""
_JITTER_DEG = 4.0
"""1 sigma along each axis: in training the beam is aimed about as well as the peak is right."""
_SAME_SOURCE_DEG = 20.0
_SIGMA_DEG = 5.0
_VALIDITY_Z = FEATURE_NAMES.index("validity_z")


@dataclass(frozen=True, slots=True)
class SteeredSettings:
    """Size of the network; kept in its checkpoint."""

    channels: tuple[int, ...] = (48, 96, 160, 160)
    """Channels of the convolution blocks; each halves the bands, the second makes hops into label frames too."""
    width: int = 256
    """Channels of the two convolutions over time that follow."""
    label_frames: int = 9
    """How far each of them reaches back: together 1.7 s."""
    classes: int = len(CLASSES)
    """C; one more is *none*."""


class SteeredCnn(nn.Module):
    """Features (N, features, T, bands) and state → `class_logits` (N, L, C + 1), `towards` (N, L, 3), and the new state.

    T is a multiple of 5, L = T / 5. State is a dictionary of named tensors as `network.DeepAsaEdge` has it. Where `towards`
    (N, L, 3) is given, the beam points there and no peak is looked for; else it points at the strongest one.
    """

    def __init__(self, settings: SteeredSettings) -> None:
        super().__init__()
        self.settings = settings
        blocks, inputs, bands = [], 1, BANDS
        for index, outputs in enumerate(settings.channels):
            blocks.append(ConvBlock(f"conv{index}", inputs, outputs, bands, HOPS_PER_LABEL if index == 1 else 1))
            inputs, bands = outputs, bands // 2
        self.blocks = nn.ModuleList(blocks)
        kernel = (settings.label_frames, 1)
        self.time = nn.ModuleList(
            [
                CausalConv("time0", inputs * bands, settings.width, kernel, 1),
                CausalConv("time1", settings.width, settings.width, kernel, 1),
            ]
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(settings.width) for _ in self.time])
        self.head = nn.Conv2d(settings.width, settings.classes + 1, 1)

    def initial_state(self, batch: int = 1) -> State:
        """Zeros: nothing heard yet."""
        device = self.head.weight.device
        shapes = {module.name: module.state_shape for module in self.modules() if isinstance(module, CausalConv)}
        shapes["steering"] = (3, 1, PEAKS)
        return {name: torch.zeros((batch, *shape), device=device) for name, shape in shapes.items()}

    def forward(self, features: Tensor, state: State, towards: Tensor | None = None) -> tuple[dict[str, Tensor], State]:
        """As the class says."""
        new_state: State = {}
        if towards is None:
            with torch.no_grad():
                towards, new_state["steering"] = strongest(features, state["steering"])
        x = steered_level(features, towards)
        for block in self.blocks:
            x = block(x, state, new_state)
        n, channels, labels, bands = x.shape
        x = x.permute(0, 1, 3, 2).reshape(n, channels * bands, labels, 1)
        for convolve, norm in zip(self.time, self.norms, strict=True):
            x = functional.relu(norm(convolve(x, state, new_state)))
        return {"class_logits": self.head(x)[..., 0].transpose(1, 2), "towards": towards}, new_state


def training_directions(features: Tensor, truth: dict[str, Tensor]) -> Tensor:
    """Where the beam points in training (N, L, 3): a few degrees beside the strongest target, else at the strongest peak.

    The error is one per scene, of `_JITTER_DEG` along each axis, from PyTorch's global dice.
    """
    direction, sounding = strongest_target(features, truth)
    error = np.tan(np.radians(_JITTER_DEG)) * torch.randn(len(features), 1, 3, device=features.device)
    aimed = functional.normalize(direction + error, dim=2)
    nothing = torch.zeros(len(features), 3, 1, PEAKS, device=features.device)
    peak, _ = strongest(features, nothing)
    return torch.where(sounding.unsqueeze(2), aimed, peak)


def steered_cnn_loss(outputs: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> Tensor:
    """Mean cross entropy: a label frame is of the target nearest to where the beam points, if within 20°, else *none*.

    `outputs` as `SteeredCnn` gives them; `truth` holds `activity` (N, J, L), `class_index` (N, J), -1 for an empty slot,
    and `direction` (N, J, L, 3). A gunshot's three frames weigh nearly as much as a drone's fifty.
    """
    active = (truth["activity"] > 0.0) & (truth["class_index"] >= 0).unsqueeze(2)
    cosine = torch.einsum("njlx,nlx->njl", truth["direction"], outputs["towards"])
    nearest, slot = cosine.masked_fill(~active, -2.0).max(dim=1)  # (N, L)
    hit = nearest >= np.cos(np.radians(_SAME_SOURCE_DEG))
    label = torch.where(hit, truth["class_index"].gather(1, slot), NONE)
    frames = label.shape[1]
    sounding = hit.sum(dim=1, keepdim=True).clamp(min=1)
    weight = torch.where(hit, torch.sqrt(frames / sounding), 1.0)
    cost = functional.cross_entropy(outputs["class_logits"].transpose(1, 2), label, reduction="none")
    return (weight * cost).sum() / weight.sum()


class SteeredCnnModel(BareModel):
    """The network in the place of the pipeline's model: one object, active by 1 − P(none)."""

    frames_per_step = HOPS_PER_LABEL
    classes = CLASSES

    def __init__(self, network: SteeredCnn, thresholds: Mapping[str, float] | None = None) -> None:
        super().__init__(thresholds)
        self._network = network.eval()
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self._state = self._network.initial_state()

    def step(self, frames: Sequence[FeatureFrame]) -> SceneFrame:
        """Hear one label frame: exactly `frames_per_step` hops."""
        features: Float32Array = np.stack([frame.values for frame in frames], axis=1)[None]
        with torch.inference_mode():
            outputs, self._state = self._network(torch.from_numpy(features), self._state)
        probabilities = torch.softmax(outputs["class_logits"][0, 0], dim=0).numpy()
        activity = float(1.0 - probabilities[NONE])
        elevation_valid = bool(features[:, _VALIDITY_Z].max() > 0.0)
        azimuth_deg, elevation_deg = azimuth_elevation_deg(outputs["towards"][0, 0].numpy())
        doa = Direction(azimuth_deg, elevation_deg if elevation_valid else 0.0, elevation_valid)
        classes = (probabilities[:NONE] / max(activity, 1e-9)).astype(np.float32)
        return SceneFrame((SceneObject(0, activity, classes, doa, _SIGMA_DEG),), frames[-1].end_s, frames[-1].utc_ns)


@dataclass(frozen=True, slots=True)
class SteeredCnnSystem:
    """A checkpoint of the steered CNN as a `hear.System`."""

    path: str
    """Of the checkpoint."""
    name: str = "steered-cnn"
    """Its name in the report."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Class → score from which it counts as heard (`lab.judge.calibrate`)."""

    def stages(self, geometry: ArrayGeometry) -> tuple[FeatureExtractor, SteeredCnnModel]:
        """As `hear.System` says."""
        return FeatureExtractor(geometry), SteeredCnnModel(_loaded(self.path), self.thresholds)


@lru_cache(maxsize=4)
def _loaded(path: str) -> SteeredCnn:
    torch.set_num_threads(1)  # scenes are judged side by side, one per core
    return load_steered_cnn(Path(path))


def load_steered_cnn(path: Path) -> SteeredCnn:
    """The network of a checkpoint, ready to listen; raises `ModelError` as `read_baseline` does."""
    return rebuilt(read_baseline(path), path, SteeredCnn, SteeredSettings)
