"""Baseline: a causal CRNN with multi-ACCDOA output, as most entries to DCASE task 3 are, at the MACs of our `tiny`.

Per label frame, class and track it gives a vector towards the source whose length is the activity (Shimada et al.,
arXiv 2110.07124). It hears the features that our network hears, so that what differs is the network alone.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from appliance.angles import azimuth_elevation_deg
from appliance.dsp.features import BANDS, FEATURE_NAMES, FEATURES, FeatureExtractor
from appliance.dsp.stft import HOPS_PER_LABEL
from appliance.geometry import ArrayGeometry
from appliance.lab.baselines.files import read_baseline
from appliance.lab.checkpoint import rebuilt
from appliance.lab.edge.layers import CausalConv, State
from appliance.lab.hear import BareModel
from appliance.lab.pack import CLASSES
from appliance.lab.scenes.maker import TARGETS
from appliance.lab.world.dcase_csv import SeldRow
from appliance.types import Direction, FeatureFrame, Float32Array, SceneFrame, SceneObject

_ACTIVE_LENGTH = 0.5
_SAME_SOURCE_COSINE = float(np.cos(np.radians(15.0)))
"""Two tracks of one class that are nearer than this are one source: training gives a lone source to all tracks."""
_AUDIBLE_LENGTH = 0.05
_SIGMA_DEG = 5.0
_VALIDITY_Z = FEATURE_NAMES.index("validity_z")


@dataclass(frozen=True, slots=True)
class AccdoaSettings:
    """Size of the network; kept in its checkpoint."""

    channels: tuple[int, ...] = (48, 96, 160)
    """Channels of the convolution blocks; each halves the bands, the first makes hops into label frames too."""
    hidden: int = 256
    """Width of the recurrence and of the layer after it."""
    layers: int = 2
    """Layers of the recurrence."""
    tracks: int = TARGETS
    """Sources of one class at a time; no fewer than scenes have."""
    classes: int = len(CLASSES)
    """C."""


class AccdoaCrnn(nn.Module):
    """Features (N, features, T, bands) and state → `accdoa` (N, L, tracks, C, 3), and the state after T hops.

    T is a multiple of 5, L = T / 5. State is a dictionary of named tensors as `network.DeepAsaEdge` has it.
    """

    def __init__(self, settings: AccdoaSettings) -> None:
        super().__init__()
        self.settings = settings
        blocks, inputs, bands = [], FEATURES, BANDS
        for index, outputs in enumerate(settings.channels):
            blocks.append(ConvBlock(f"conv{index}", inputs, outputs, bands, HOPS_PER_LABEL if index == 0 else 1))
            inputs, bands = outputs, bands // 2
        self.blocks = nn.ModuleList(blocks)
        self.recurrence = nn.GRU(inputs * bands, settings.hidden, settings.layers, batch_first=True)
        self.head = nn.Sequential(
            nn.Linear(settings.hidden, settings.hidden),
            nn.ReLU(),
            nn.Linear(settings.hidden, 3 * settings.tracks * settings.classes),
            nn.Tanh(),
        )

    def initial_state(self, batch: int = 1) -> State:
        """Zeros: nothing heard yet."""
        device = next(self.parameters()).device
        shapes = {module.name: module.state_shape for module in self.modules() if isinstance(module, CausalConv)}
        shapes["gru"] = (self.settings.layers, 1, self.settings.hidden)
        return {name: torch.zeros((batch, *shape), device=device) for name, shape in shapes.items()}

    def forward(self, features: Tensor, state: State) -> tuple[dict[str, Tensor], State]:
        """As the class says."""
        new_state: State = {}
        x = features
        for block in self.blocks:
            x = block(x, state, new_state)
        n, channels, labels, bands = x.shape
        hidden = state["gru"][:, :, 0].transpose(0, 1).contiguous()
        x, hidden = self.recurrence(x.permute(0, 2, 1, 3).reshape(n, labels, channels * bands), hidden)
        new_state["gru"] = hidden.transpose(0, 1).unsqueeze(2)
        s = self.settings
        return {"accdoa": self.head(x).reshape(n, labels, s.tracks, s.classes, 3)}, new_state


class ConvBlock(nn.Module):
    """Causal convolution, normalisation, ReLU, greatest of so many hops and of two bands."""

    def __init__(self, name: str, inputs: int, outputs: int, bands: int, hops: int) -> None:
        super().__init__()
        self.conv = CausalConv(name, inputs, outputs, (3, 3), bands)
        self.rest = nn.Sequential(nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d((hops, 2)))

    def forward(self, x: Tensor, state: State, new_state: State) -> Tensor:
        """(N, inputs, T, bands) → (N, outputs, T / hops, bands / 2)."""
        return self.rest(self.conv(x, state, new_state))


def adpit_loss(accdoa: Tensor, truth: Mapping[str, Tensor]) -> Tensor:
    """Mean squared error with auxiliary duplicates, permutation-invariant per label frame and class.

    `accdoa` (N, L, tracks, C, 3); `truth` as `losses.scene_loss` takes it. Where k sources of a class sound, every way to
    give each track one of them and each of them a track is tried, and the cheapest counts: all tracks follow a lone source,
    and with none sounding all tracks are held at zero.
    """
    tracks, classes = accdoa.shape[2:4]
    slots = truth["activity"].shape[1]
    is_class = truth["class_index"].unsqueeze(2) == torch.arange(classes, device=accdoa.device)  # (N, J, C)
    active = truth["activity"].transpose(1, 2).unsqueeze(3) * is_class.unsqueeze(1)  # (N, L, J, C)
    target = active.unsqueeze(4) * truth["direction"].transpose(1, 2).unsqueeze(3)  # (N, L, J, C, 3)
    error = (accdoa.unsqueeze(3) - target.unsqueeze(2)).square().mean(dim=5)  # (N, L, tracks, J, C)
    ways = torch.tensor(
        list(product(range(slots), repeat=tracks)), device=accdoa.device
    )  # (W, tracks): slot of a track
    cost = torch.stack([error[:, :, track, ways[:, track]] for track in range(tracks)], dim=0).mean(
        dim=0
    )  # (N, L, W, C)
    used = torch.stack([(ways == slot).any(dim=1) for slot in range(slots)], dim=1)  # (W, J)
    sounding = (active > 0).unsqueeze(2)  # (N, L, 1, J, C)
    fits = (used.unsqueeze(2) == sounding).all(dim=3) | ~sounding.any(dim=3)
    return cost.masked_fill(~fits, float("inf")).amin(dim=2).mean()


@dataclass(frozen=True, slots=True)
class Source:
    """What the tracks of one class say of one source."""

    class_index: int
    length: float
    """Activity, 0 to about 1."""
    vector: npt.NDArray[np.float64]
    """(3,) towards it, of any length."""


_NOTHING = Source(0, 0.0, np.zeros(3))


def sources(accdoa: npt.NDArray[np.floating], threshold: float = _ACTIVE_LENGTH) -> list[Source]:
    """Sources of one label frame from (tracks, C, 3), loudest first: tracks that agree on a class and place are one."""
    lengths = np.linalg.norm(accdoa, axis=-1)
    found = []
    for class_index in np.flatnonzero((lengths >= threshold).any(axis=0)).tolist():
        tracks = [track for track in np.argsort(-lengths[:, class_index]) if lengths[track, class_index] >= threshold]
        while tracks:
            first = accdoa[tracks[0], class_index]
            along = accdoa[tracks, class_index] @ first
            limits = _SAME_SOURCE_COSINE * lengths[tracks, class_index] * lengths[tracks[0], class_index]
            same = [track for track, near in zip(tracks, along > limits, strict=True) if near]
            vector = accdoa[same, class_index].mean(axis=0, dtype=np.float64)
            found.append(Source(class_index, float(lengths[tracks[0], class_index]), vector))
            tracks = [track for track in tracks if track not in same]
    return sorted(found, key=lambda source: -source.length)


def rows_by_frame(accdoa: npt.NDArray[np.floating], threshold: float = _ACTIVE_LENGTH) -> dict[int, list[SeldRow]]:
    """A recording's (L, tracks, C, 3) as the judge of SELD takes it; silent frames are absent."""
    frames: dict[int, list[SeldRow]] = {}
    for frame, vectors in enumerate(accdoa):
        instances: defaultdict[int, int] = defaultdict(int)
        for source in sources(vectors, threshold):
            row = SeldRow(source.class_index, instances[source.class_index], *azimuth_elevation_deg(source.vector))
            instances[source.class_index] += 1
            frames.setdefault(frame, []).append(row)
    return frames


class AccdoaModel(BareModel):
    """The network in the place of the pipeline's model: its three loudest sources are the objects, silent ones among them."""

    frames_per_step = HOPS_PER_LABEL
    classes = CLASSES

    def __init__(self, network: AccdoaCrnn, thresholds: Mapping[str, float] | None = None) -> None:
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
        elevation_valid = bool(features[:, _VALIDITY_Z].max() > 0.0)
        heard = sources(outputs["accdoa"][0, 0].numpy(), _AUDIBLE_LENGTH)[:TARGETS]
        heard += [_NOTHING] * (TARGETS - len(heard))
        objects = tuple(
            SceneObject(
                slot,
                min(1.0, source.length),
                np.eye(len(CLASSES), dtype=np.float32)[source.class_index],
                _direction(source.vector, elevation_valid),
                _SIGMA_DEG,
            )
            for slot, source in enumerate(heard)
        )
        return SceneFrame(objects, frames[-1].end_s, frames[-1].utc_ns)


def _direction(vector: npt.NDArray[np.float64], elevation_valid: bool) -> Direction:
    azimuth_deg, elevation_deg = azimuth_elevation_deg(vector)
    return Direction(azimuth_deg, elevation_deg if elevation_valid else 0.0, elevation_valid)


@dataclass(frozen=True, slots=True)
class AccdoaSystem:
    """A checkpoint of `paired` as a `hear.System`."""

    path: str
    """Of the checkpoint."""
    name: str = "accdoa-crnn"
    """Its name in the report."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Class → score from which it counts as heard (`lab.judge.calibrate`)."""

    def stages(self, geometry: ArrayGeometry) -> tuple[FeatureExtractor, AccdoaModel]:
        """As `hear.System` says."""
        return FeatureExtractor(geometry), AccdoaModel(_loaded(self.path), self.thresholds)


@lru_cache(maxsize=4)
def _loaded(path: str) -> AccdoaCrnn:
    torch.set_num_threads(1)  # scenes are judged side by side, one per core
    return load_accdoa(Path(path))


def load_accdoa(path: Path) -> AccdoaCrnn:
    """The network of a checkpoint, ready to listen; raises `ModelError` as `read_baseline` does."""
    return rebuilt(read_baseline(path), path, AccdoaCrnn, AccdoaSettings)
