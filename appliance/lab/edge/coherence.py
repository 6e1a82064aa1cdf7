"""Chain of inference: what was heard when, held against where it was, mends what the first heads said.

Temporal coherence matching after DeepASA (arXiv 2509.17247), made causal: each object's soft activity per class, and each
object's direction, is a token whose embedding is its time series over the last two seconds. Tokens of activity attend to
tokens of direction and the other way round; what they find modulates the shared features (FiLM), which a second splitter
and second heads turn into corrections.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from appliance.lab.edge.layers import State

CONTEXT_LABELS = 20
"""Two seconds."""
_EMBEDDED = 24
_TOLD = 4
"""Numbers that each token tells the modulation."""


class CoherenceMatching(nn.Module):
    """Series of activity (N, A, L) and of direction (N, D, L) → shift and scale (N, width, L, 1) each."""

    def __init__(self, name: str, activities: int, directions: int, width: int) -> None:
        super().__init__()
        self.name = name
        self.tokens = {"sed": activities, "doa": directions}
        self.embed = nn.ModuleDict({kind: nn.Linear(CONTEXT_LABELS, _EMBEDDED) for kind in self.tokens})
        self.place = nn.ParameterDict(
            {kind: nn.Parameter(0.1 * torch.randn(count, _EMBEDDED)) for kind, count in self.tokens.items()}
        )
        self.ask = nn.ModuleDict({kind: nn.Linear(_EMBEDDED, _EMBEDDED, bias=False) for kind in self.tokens})
        self.tell = nn.ModuleDict({kind: nn.Linear(_EMBEDDED, _TOLD) for kind in self.tokens})
        self.modulate = nn.Linear(_TOLD * (activities + directions), 2 * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def state_shapes(self) -> dict[str, tuple[int, int, int]]:
        """Names and shapes of the series that are remembered."""
        return {f"{self.name}_{kind}": (count, CONTEXT_LABELS - 1, 1) for kind, count in self.tokens.items()}

    def forward(self, sed: Tensor, doa: Tensor, state: State, new_state: State) -> tuple[Tensor, Tensor]:
        """As the class says."""
        tokens = {
            kind: self.embed[kind](self._windows(kind, series, state, new_state)) + self.place[kind]
            for kind, series in (("sed", sed), ("doa", doa))
        }
        told = [self._match(one, tokens[one], tokens[other]) for one, other in (("sed", "doa"), ("doa", "sed"))]
        shift, scale = self.modulate(functional.relu(torch.cat(told, dim=2))).transpose(1, 2).chunk(2, dim=1)
        return shift.unsqueeze(3), scale.unsqueeze(3)

    def _windows(self, kind: str, series: Tensor, state: State, new_state: State) -> Tensor:
        """(N, L, tokens, context) the last two seconds at each label frame."""
        name = f"{self.name}_{kind}"
        series = torch.cat([state[name][..., 0], series], dim=2)
        new_state[name] = series[:, :, 1 - CONTEXT_LABELS :].unsqueeze(3)
        if series.shape[2] == CONTEXT_LABELS:  # the step graph of the export
            return series.unsqueeze(1)
        return series.unfold(2, CONTEXT_LABELS, 1).transpose(1, 2)

    def _match(self, kind: str, mine: Tensor, theirs: Tensor) -> Tensor:
        """(N, L, tokens · told) what my tokens found in theirs."""
        score = torch.matmul(self.ask[kind](mine), theirs.transpose(2, 3)) / _EMBEDDED**0.5
        found = torch.matmul(torch.softmax(score.float(), dim=3).to(theirs.dtype), theirs)
        return self.tell[kind](mine + found).flatten(2)
