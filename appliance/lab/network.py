"""DeepASA-Edge: one causal network whose objects carry mask, on/off, class and direction.

After the object-oriented idea of DeepASA (Lee, Kwon & Choi, NeurIPS 2025, arXiv 2509.17247), rebuilt for streaming:
a stem at full resolution, a trunk pooled to one step per label frame and a quarter of the bands (as IPDnet2,
arXiv 2509.21900, pools early), an object splitter with a noise slot, and heads that share weights between slots.
The recurrence is minGRU (Feng et al., arXiv 2410.01201). All tensors are (N, channels, time, bands).

State is a dictionary of named tensors that goes in and comes out; zeros are the state of a network that heard nothing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from appliance.dsp.features import BANDS, FEATURE_NAMES, FEATURES
from appliance.dsp.stft import HOPS_PER_LABEL
from appliance.lab.pack import CLASSES, SOUNDS

State = dict[str, Tensor]

_VALIDITY = FEATURE_NAMES.index("validity_xy")
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


class CausalConv(nn.Module):
    """Convolution whose kernel reaches into the past only; its state holds the last inputs."""

    def __init__(self, name: str, inputs: int, outputs: int, kernel: tuple[int, int], bands: int) -> None:
        super().__init__()
        self.name = name
        self.context = kernel[0] - 1
        self.state_shape = (inputs, self.context, bands)
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=(0, kernel[1] // 2), bias=False)

    def forward(self, x: Tensor, state: State, new_state: State) -> Tensor:
        x = torch.cat([state[self.name], x], dim=2)
        new_state[self.name] = x[:, :, -self.context :]
        return self.conv(x)


class MinGru(nn.Module):
    """minGRU over time: h ← h + z·(h̃ − h), gate and candidate from the input alone, so all products come first."""

    def __init__(self, name: str, inputs: int, outputs: int, bands: int) -> None:
        super().__init__()
        self.name = name
        self.state_shape = (outputs, 1, bands)
        self.gate_and_candidate = nn.Conv2d(inputs, 2 * outputs, 1)

    def forward(self, x: Tensor, state: State, new_state: State) -> Tensor:
        gate, candidate = self.gate_and_candidate(x).float().chunk(2, dim=1)
        h, new_state[self.name] = _follow(torch.sigmoid(gate), candidate, state[self.name])
        return h


def _follow(gate: Tensor, candidate: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """H ← h + gate·(candidate − h) along time, from `last` (N, channels, 1, bands); all of h, and its end."""
    if candidate.shape[2] == 1:  # the step graph of the export: no loop
        h = last + gate * (candidate - last)
        return h, h
    h = last[:, :, 0]
    steps = []
    for gate_t, candidate_t in zip(gate.expand_as(candidate).unbind(2), candidate.unbind(2), strict=True):
        h = torch.lerp(h, candidate_t, gate_t)
        steps.append(h)
    return torch.stack(steps, dim=2), h.unsqueeze(2)


def _pointwise(inputs: int, outputs: int, *, relu: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU()) if relu else nn.Sequential(*layers)


class FullBand(nn.Module):
    """Every band hears every band: squeeze channels, mix over bands, expand."""

    def __init__(self, width: int, bands: int, squeezed: int = 8) -> None:
        super().__init__()
        self.squeeze = _pointwise(width, squeezed, relu=True)
        self.mix = nn.Conv2d(squeezed * bands, squeezed * bands, 1)
        self.expand = _pointwise(squeezed, width, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.squeeze(x)
        n, channels, time, bands = y.shape
        y = y.permute(0, 1, 3, 2).reshape(n, channels * bands, time, 1)
        y = functional.relu(self.mix(y))
        y = y.reshape(n, channels, bands, time).permute(0, 1, 3, 2)
        return self.expand(y)


class Block(nn.Module):
    """Frequency (gated conv, full band, FFN), then time (gated causal conv, minGRU, FFN); each part is a residual."""

    def __init__(self, name: str, width: int, bands: int) -> None:
        super().__init__()
        self.frequency = nn.Sequential(
            nn.Conv2d(width, 2 * width, (1, 3), padding=(0, 1), bias=False), nn.BatchNorm2d(2 * width), nn.GLU(dim=1)
        )
        self.full_band = FullBand(width, bands)
        self.ffn_frequency = nn.Sequential(
            _pointwise(width, 2 * width, relu=True), _pointwise(2 * width, width, relu=False)
        )
        self.time = CausalConv(f"{name}_time", width, 2 * width, (3, 1), bands)
        self.time_gate = nn.Sequential(nn.BatchNorm2d(2 * width), nn.GLU(dim=1))
        self.recurrence = MinGru(f"{name}_gru", width, width, bands)
        self.recurrence_out = _pointwise(width, width, relu=False)
        self.ffn_time = nn.Sequential(_pointwise(width, 2 * width, relu=True), _pointwise(2 * width, width, relu=False))

    def forward(self, x: Tensor, state: State, new_state: State) -> Tensor:
        x = x + self.frequency(x)
        x = x + self.full_band(x)
        x = x + self.ffn_frequency(x)
        x = x + self.time_gate(self.time(x, state, new_state))
        x = x + self.recurrence_out(self.recurrence(x, state, new_state))
        return x + self.ffn_time(x)


class DeepAsaEdge(nn.Module):
    """Features (N, features, T, bands) and state → logits and directions, and the state after T hops.

    T is a multiple of 5. Outputs, with L = T / 5 label frames and J object slots:
    `mask_logits` (N, J + 1, T, bands), `activity_logits` (N, J, L), `class_logits` (N, J, L, C + 1),
    `doa` (N, J, L, 3) unit vectors, `doa_log_sigma` (N, J, L), natural logarithm of the expected error in radians;
    `scene_embedding` (N, 2·width, L), from which every sound of the scene is named; in training also `sound_logits`
    (N, L, sounds).
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
        slots = s.objects + 1
        self.splitter = nn.Sequential(
            nn.Conv2d(s.width, slots * s.object_width, (1, 3), padding=(0, 1), bias=False),
            nn.BatchNorm2d(slots * s.object_width),
            nn.ReLU(),
        )
        self.mask_query = nn.Conv2d(s.object_width, s.stem, 1)
        self.prior_weight = nn.Parameter(torch.zeros(1, 1, 1, BANDS))
        squeezed = 16
        self.head_squeeze = _pointwise(s.object_width, squeezed, relu=True)
        self.head_in = _pointwise(squeezed * bands + 4, s.head, relu=True)
        self.head_gru = MinGru("head_gru", s.head, s.head, 1)
        self.head_gru.state_shape = (s.objects * s.head, 1, 1)
        self.head_out = _pointwise(2 * s.head, s.head, relu=True)
        self.label_head = nn.Conv2d(s.head, 1 + s.classes + 1, 1)
        self.doa_head = nn.Conv2d(s.head, 3 + 1 + 1, 1)
        # Training only: names every sound there is, confusers too, with no permutation in the way. It teaches the
        # trunk; nothing of it is exported.
        self.sound_head = nn.Conv2d(2 * s.width, len(SOUNDS), 1)

    def initial_state(self, batch: int = 1) -> State:
        """Zeros: nothing heard yet. Names are stable; they are the names in the ONNX graph."""
        stateful = [m for m in self.modules() if isinstance(m, CausalConv | MinGru)]
        device = self.prior_weight.device
        shapes = {m.name: m.state_shape for m in stateful} | {"doa_memory": (self.settings.objects * 3, 1, 1)}
        return {name: torch.zeros((batch, *shape), device=device) for name, shape in shapes.items()}

    def forward(self, features: Tensor, state: State) -> tuple[dict[str, Tensor], State]:
        s = self.settings
        new_state: State = {}
        skip = self.stem_norm(self.stem(features, state, new_state))
        z = self.pool(skip) + self.band_place
        for block in self.trunk:
            z = block(z, state, new_state)
        n, _, labels, bands = z.shape
        objects = self.splitter(z).reshape(n * (s.objects + 1), s.object_width, labels, bands)
        mask_logits = self._masks(objects, skip)
        prior = self._doa_prior(mask_logits, features)
        sounding = objects.reshape(n, s.objects + 1, s.object_width, labels, bands)[:, : s.objects]
        sounding = sounding.reshape(n * s.objects, s.object_width, labels, bands)
        head = self.head_squeeze(sounding).permute(0, 1, 3, 2).reshape(n * s.objects, -1, labels, 1)
        length = torch.sqrt((prior**2).sum(dim=1, keepdim=True) + 1e-8)
        head = self.head_in(torch.cat([head, prior, length], dim=1))
        head_state = {"head_gru": state["head_gru"].reshape(n * s.objects, s.head, 1, 1)}
        remembered = self.head_gru(head, head_state, head_state)
        new_state["head_gru"] = head_state["head_gru"].reshape(n, s.objects * s.head, 1, 1)
        head = self.head_out(torch.cat([head, remembered], dim=1))
        label = self.label_head(head)
        doa = self.doa_head(head)
        # The prior is exact but brief; the head says how far to trust this moment over the last ones. (Adding a full
        # regressed vector to it, as first tried, cost 5 degrees of median error.)
        last = state["doa_memory"].reshape(n * s.objects, 3, 1, 1)
        gate = _LEAST_GATE + (1.0 - _LEAST_GATE) * torch.sigmoid(doa[:, 3:4].float())
        direction, last = _follow(gate, prior.float(), last)
        new_state["doa_memory"] = last.reshape(n, s.objects * 3, 1, 1)
        direction = direction + _DOA_CORRECTION * doa[:, :3]
        direction = direction / torch.sqrt((direction**2).sum(dim=1, keepdim=True) + 1e-8)
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
            outputs["sound_logits"] = self.sound_head(over_bands)[..., 0].transpose(1, 2)
        return outputs, new_state

    def _masks(self, objects: Tensor, skip: Tensor) -> Tensor:
        """Each object's query (one per label frame and pooled band) meets the stem's channels there: (N, J + 1, T, bands)."""
        s = self.settings
        n, hops, slots = skip.shape[0], skip.shape[2], s.objects + 1
        labels, bands = objects.shape[2], objects.shape[3]
        query = self.mask_query(objects).reshape(n, slots, s.stem, labels, bands).permute(0, 3, 4, 1, 2)
        fine = skip.reshape(n, s.stem, labels, HOPS_PER_LABEL, bands, s.pool_bands)
        fine = fine.permute(0, 2, 4, 1, 3, 5).reshape(n, labels, bands, s.stem, HOPS_PER_LABEL * s.pool_bands)
        logits = torch.matmul(query, fine).reshape(n, labels, bands, slots, HOPS_PER_LABEL, s.pool_bands)
        return logits.permute(0, 3, 1, 4, 2, 5).reshape(n, slots, hops, bands * s.pool_bands)

    def _doa_prior(self, mask_logits: Tensor, features: Tensor) -> Tensor:
        """Mask-weighted intensity of each object where the array is valid: (N·J, 3, L, 1). It ties separation to localisation."""
        s = self.settings
        n, _, hops, bands = features.shape
        labels = hops // HOPS_PER_LABEL
        level = torch.exp(features[:, :1] + self.prior_weight)  # in bels: between amplitude and its root
        weight = level * (features[:, _VALIDITY : _VALIDITY + 1] ** 2 + 1e-4)
        weighted = torch.softmax(mask_logits, dim=1)[:, : s.objects] * weight  # (N, J, T, bands)
        total = weighted.reshape(n, s.objects, labels, HOPS_PER_LABEL * bands).sum(dim=3)
        sums = [
            (weighted * features[:, 1 + axis : 2 + axis])
            .reshape(n, s.objects, labels, HOPS_PER_LABEL * bands)
            .sum(dim=3)
            for axis in range(3)
        ]
        prior = torch.stack(sums, dim=2) / (total.unsqueeze(2) + 1e-6)
        return prior.reshape(n * s.objects, 3, labels, 1)
