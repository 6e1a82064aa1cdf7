"""DeepASA-Edge: one causal network whose objects carry mask, on/off, class and direction.

After the object-oriented idea of DeepASA (Lee, Kwon & Choi, NeurIPS 2025, arXiv 2509.17247), rebuilt for streaming:
a stem at full resolution, a trunk pooled to one step per label frame and a quarter of the bands (as IPDnet2,
arXiv 2509.21900, pools early), an object splitter with a noise slot, and heads that share weights between slots.
The recurrence is minGRU (Feng et al., arXiv 2410.01201). All tensors are (N, channels, time, bands).

State is a dictionary of named tensors that goes in and comes out; zeros are the state of a network that heard nothing.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from appliance.dsp.features import BANDS, FEATURE_NAMES, FEATURES
from appliance.dsp.stft import HOPS_PER_LABEL
from appliance.lab.edge.coherence import CoherenceMatching
from appliance.lab.edge.layers import Block, CausalConv, MinGru, State, follow, pointwise
from appliance.lab.pack import CLASSES, SOUNDS

_VALIDITY = FEATURE_NAMES.index("validity_xy")
_HARMONICITY = FEATURE_NAMES.index("harmonicity")
_DOA_CORRECTION = 0.2
"""Weight of what the head regresses against the mask-weighted intensity, whose length is at most 1."""
_LEAST_GATE = 0.4
"""Weight of this moment in the direction, at the least: left free the head learned 0.1, which lagged a passing drone by
10 degrees at 20 dB where its intensity errs by 1.5. The tracker smooths better, for it knows of motion."""


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Size of the network; kept in checkpoint and meta."""

    stem: int = 16
    """Channels of the stem at full resolution."""
    width: int = 64
    """Channels D of the trunk."""
    blocks: int = 3
    """Blocks of the trunk."""
    objects: int = 3
    """J: object slots, the noise slot not counted."""
    object_width: int = 48
    """Channels of each object's feature map."""
    head: int = 128
    """Width of the label heads' recurrence."""
    pool_bands: int = 4
    """Bands pooled into one band of the trunk."""
    classes: int = len(CLASSES)
    """C; the class head has one more for *none*."""
    coi_rounds: int = 1
    """Rounds of the chain of inference; 0 leaves it out."""
    long_window: bool = True
    """Listen to the harmonicity of the long window; False only to measure what it is worth."""
    dropout: float = 0.1
    """Share of the trunk's channels, and of each head's inputs, that a training scene goes without."""


class DeepAsaEdge(nn.Module):
    """Features (N, features, T, bands) and state → logits and directions, and the state after T hops.

    T is a multiple of 5. Outputs, with L = T / 5 label frames and J object slots:
    `mask_logits` (N, 2·J + 1, T, bands): each object's direct sound, then each one's reflections, then the noise;
    `activity_logits` (N, J, L), `class_logits` (N, J, L, C + 1), `doa` (N, J, L, 3) unit vectors, `doa_log_sigma`
    (N, J, L), natural logarithm of the expected error in radians; `scene_embedding` (N, 2·width, L), from which every
    sound of the scene is named; in training also `sound_logits` (N, L, sounds), and what the first heads said, before
    the chain of inference: `first_activity_logits`, `first_class_logits`.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = s = settings
        bands = BANDS // s.pool_bands
        self.stem = CausalConv("stem", FEATURES, s.stem, (3, 3), BANDS)
        self.stem_norm = nn.Sequential(nn.BatchNorm2d(s.stem), nn.ReLU())
        pool = (HOPS_PER_LABEL, s.pool_bands)
        self.pool = nn.Sequential(
            nn.Conv2d(s.stem, s.width, pool, stride=pool, bias=False), nn.BatchNorm2d(s.width), nn.ReLU()
        )
        self.band_place = nn.Parameter(0.02 * torch.randn(1, s.width, 1, bands))
        self.trunk = nn.ModuleList([Block(f"block{index}", s.width, bands) for index in range(s.blocks)])
        self.drop = nn.Dropout2d(s.dropout)
        self.splitter = _splitter(s)
        self.mask_query = nn.Conv2d(s.object_width, 2 * s.stem, 1)
        self.prior_weight = nn.Parameter(torch.zeros(1, 1, 1, BANDS))
        squeezed = 16
        self.head_squeeze = pointwise(s.object_width, squeezed, relu=True)
        self.head_in = pointwise(squeezed * bands + 4, s.head, relu=True)
        self.head_gru = MinGru("head_gru", s.head, s.head, 1)
        self.head_gru.state_shape = (s.objects * s.head, 1, 1)
        self.head_out = pointwise(2 * s.head, s.head, relu=True)
        self.label_head = nn.Conv2d(s.head, 1 + s.classes + 1, 1)
        self.doa_head = nn.Conv2d(s.head, 3 + 1 + 1, 1)
        self.refinements = nn.ModuleList([Refinement(f"coi{index}", s, bands) for index in range(s.coi_rounds)])
        # Training only: names every sound there is, confusers too, with no permutation in the way. It teaches the
        # trunk; nothing of it is exported.
        self.sound_head = nn.Conv2d(2 * s.width, len(SOUNDS), 1)

    def initial_state(self, batch: int = 1) -> State:
        """Zeros: nothing heard yet. Names are stable; they are the names in the ONNX graph."""
        stateful = [m for m in self.modules() if isinstance(m, CausalConv | MinGru)]
        device = self.prior_weight.device
        shapes = {m.name: m.state_shape for m in stateful} | {"doa_memory": (self.settings.objects * 3, 1, 1)}
        for module in self.modules():
            if isinstance(module, CoherenceMatching):
                shapes |= module.state_shapes()
        return {name: torch.zeros((batch, *shape), device=device) for name, shape in shapes.items()}

    def cut_chain(self, rounds: int) -> None:
        """Leave out all but the first rounds of the chain of inference."""
        self.refinements = self.refinements[:rounds]
        self.settings = replace(self.settings, coi_rounds=len(self.refinements))

    def forward(self, features: Tensor, state: State) -> tuple[dict[str, Tensor], State]:
        s = self.settings
        new_state: State = {}
        if not s.long_window:
            features = torch.cat([features[:, :_HARMONICITY], torch.zeros_like(features[:, _HARMONICITY:])], dim=1)
        skip = self.stem_norm(self.stem(features, state, new_state))
        z = self.drop(self.pool(skip)) + self.band_place
        for block in self.trunk:
            z = block(z, state, new_state)
        n, _, labels, bands = z.shape
        objects = self.splitter(z).reshape(n * (s.objects + 1), s.object_width, labels, bands)
        mask_logits = self._masks(objects, skip)
        prior = self._doa_prior(mask_logits, features)
        head = self.head_squeeze(_sounding(objects, s)).permute(0, 1, 3, 2).reshape(n * s.objects, -1, labels, 1)
        length = torch.sqrt((prior**2).sum(dim=1, keepdim=True) + 1e-8)
        head = self.drop(self.head_in(torch.cat([head, prior, length], dim=1)))
        head_state = {"head_gru": state["head_gru"].reshape(n * s.objects, s.head, 1, 1)}
        remembered = self.head_gru(head, head_state, head_state)
        new_state["head_gru"] = head_state["head_gru"].reshape(n, s.objects * s.head, 1, 1)
        head = self.head_out(torch.cat([head, remembered], dim=1))
        label = self.label_head(head).float()
        doa = self.doa_head(head).float()
        first = label
        for refinement in self.refinements:
            direction = _normalised(prior + _DOA_CORRECTION * doa[:, :3])
            more = refinement(z, label, direction, state, new_state).float()
            label, doa = label + more[:, : label.shape[1]], doa + more[:, label.shape[1] :]
        # The prior is exact but brief; the head says how far to trust this moment over the last ones. (Adding a full
        # regressed vector to it, as first tried, cost 5 degrees of median error.)
        last = state["doa_memory"].reshape(n * s.objects, 3, 1, 1)
        gate = _LEAST_GATE + (1.0 - _LEAST_GATE) * torch.sigmoid(doa[:, 3:4])
        direction, last = follow(1.0 - gate, gate * prior.float(), last)
        new_state["doa_memory"] = last.reshape(n, s.objects * 3, 1, 1)
        direction = _normalised(direction + _DOA_CORRECTION * doa[:, :3])
        shape = (n, s.objects, -1, labels)
        outputs = {
            "mask_logits": mask_logits,
            "activity_logits": label[:, 0].reshape(n, s.objects, labels),
            "class_logits": label[:, 1:].reshape(shape).permute(0, 1, 3, 2),
            "doa": direction.reshape(shape).permute(0, 1, 3, 2),
            "doa_log_sigma": doa[:, 4].reshape(n, s.objects, labels),
        }
        over_bands = torch.cat([z.mean(dim=3, keepdim=True), z.amax(dim=3, keepdim=True)], dim=1)
        outputs["scene_embedding"] = over_bands[..., 0]
        if self.training:
            outputs["sound_logits"] = self.sound_head(self.drop(over_bands))[..., 0].transpose(1, 2)
            if self.refinements:
                outputs["first_activity_logits"] = first[:, 0].reshape(n, s.objects, labels)
                outputs["first_class_logits"] = first[:, 1:].reshape(shape).permute(0, 1, 3, 2)
        return outputs, new_state

    def _masks(self, objects: Tensor, skip: Tensor) -> Tensor:
        """Each object's queries (per label frame and pooled band) meet the stem's channels there: (N, 2·J + 1, T, bands)."""
        s = self.settings
        n, hops, slots = skip.shape[0], skip.shape[2], s.objects + 1
        labels, bands = objects.shape[2], objects.shape[3]
        query = self.mask_query(objects).reshape(n, slots, 2, s.stem, labels, bands).transpose(1, 2)
        query = query.reshape(n, 2 * slots, s.stem, labels, bands)
        query = torch.cat([query[:, : s.objects], query[:, slots:-1], query[:, s.objects : slots]], dim=1)
        fine = skip.reshape(n, s.stem, labels, HOPS_PER_LABEL, bands, s.pool_bands)
        fine = fine.permute(0, 2, 4, 1, 3, 5).reshape(n, labels, bands, s.stem, HOPS_PER_LABEL * s.pool_bands)
        logits = torch.matmul(query.permute(0, 3, 4, 1, 2), fine)
        logits = logits.reshape(n, labels, bands, 2 * s.objects + 1, HOPS_PER_LABEL, s.pool_bands)
        return logits.permute(0, 3, 1, 4, 2, 5).reshape(n, 2 * s.objects + 1, hops, bands * s.pool_bands)

    def _doa_prior(self, mask_logits: Tensor, features: Tensor) -> Tensor:
        """Mask-weighted intensity of each object's direct sound where the array is valid: (N·J, 3, L, 1).

        It ties separation to localisation: reflections come from elsewhere.
        """
        s = self.settings
        n, _, hops, bands = features.shape
        labels = hops // HOPS_PER_LABEL
        level = torch.exp(features[:, :1] + self.prior_weight)  # in bels: between amplitude and its root
        weight = level * (features[:, _VALIDITY : _VALIDITY + 1] ** 2 + 1e-4)
        weighted = torch.softmax(mask_logits.float(), dim=1)[:, : s.objects] * weight  # (N, J, T, bands)
        total = weighted.reshape(n, s.objects, labels, HOPS_PER_LABEL * bands).sum(dim=3)
        sums = [
            (weighted * features[:, 1 + axis : 2 + axis])
            .reshape(n, s.objects, labels, HOPS_PER_LABEL * bands)
            .sum(dim=3)
            for axis in range(3)
        ]
        prior = torch.stack(sums, dim=2) / (total.unsqueeze(2) + 1e-6)
        return prior.reshape(n * s.objects, 3, labels, 1)


class Refinement(nn.Module):
    """One round of the chain of inference: shared features, modulated by coherence, to corrections of all labels.

    `z` (N, width, L, bands), `label` (N·J, 1 + C + 1, L, 1) logits, `direction` (N·J, 3, L, 1) → (N·J, 2 + C + 5, L, 1).
    """

    def __init__(self, name: str, settings: NetworkSettings, bands: int) -> None:
        super().__init__()
        self.settings = s = settings
        self.coherence = CoherenceMatching(name, s.objects * s.classes, s.objects * 3, s.width)
        self.splitter = _splitter(s)
        squeezed = 8
        self.head_squeeze = pointwise(s.object_width, squeezed, relu=True)
        self.head_in = pointwise(squeezed * bands + s.classes + 5, s.head // 2, relu=True)
        self.head_correction = nn.Conv2d(s.head // 2, 2 + s.classes + 5, 1)
        nn.init.zeros_(self.head_correction.weight)
        assert self.head_correction.bias is not None
        nn.init.zeros_(self.head_correction.bias)

    def forward(self, z: Tensor, label: Tensor, direction: Tensor, state: State, new_state: State) -> Tensor:
        s = self.settings
        n, _, labels, bands = z.shape
        heard = torch.sigmoid(label[:, :1])
        named = torch.softmax(label[:, 1:], dim=1)[:, :-1] * heard
        sed = named.reshape(n, s.objects * s.classes, labels)
        doa = (direction * heard).reshape(n, s.objects * 3, labels)
        shift, scale = self.coherence(sed, doa, state, new_state)
        objects = self.splitter(z * (1.0 + scale) + shift)
        objects = objects.reshape(n * (s.objects + 1), s.object_width, labels, bands)
        head = self.head_squeeze(_sounding(objects, s)).permute(0, 1, 3, 2).reshape(n * s.objects, -1, labels, 1)
        said = torch.cat([heard, named, direction, label[:, -1:]], dim=1)
        return self.head_correction(self.head_in(torch.cat([head, said], dim=1)))


def _splitter(s: NetworkSettings) -> nn.Sequential:
    """Shared features to one feature map per object, and one for the noise."""
    outputs = (s.objects + 1) * s.object_width
    conv = nn.Conv2d(s.width, outputs, (1, 3), padding=(0, 1), bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def _sounding(objects: Tensor, s: NetworkSettings) -> Tensor:
    """(N·(J + 1), …) → (N·J, …): without the noise."""
    _, width, labels, bands = objects.shape
    split = objects.reshape(-1, s.objects + 1, width, labels, bands)[:, : s.objects]
    return split.reshape(-1, width, labels, bands)


def _normalised(vector: Tensor) -> Tensor:
    """Unit vectors along dimension 1."""
    return vector / torch.sqrt((vector**2).sum(dim=1, keepdim=True) + 1e-8)
