"""Muon: its steps are orthogonal, and with AdamW for the rest a network learns and goes on as if it had not stopped."""

import torch
from torch import nn

from appliance.lab.muon import Muon, orthogonal
from appliance.lab.optimisers import Optimisers, is_hidden


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(8, 48, 3), nn.ReLU(), nn.Conv2d(48, 40, 1), nn.ReLU(), nn.Conv2d(40, 5, 1))


def _learn(network: nn.Module, optimisers: Optimisers, steps: int) -> list[float]:
    losses = []
    for step in range(steps):
        x = torch.randn(4, 8, 6, 6, generator=torch.Generator().manual_seed(step))
        loss = (network(x)[:, 0] - x[:, 0, 1:-1, 1:-1].abs()).square().mean()
        optimisers.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimisers.step()
        losses.append(float(loss.detach()))
    return losses


def test_what_is_made_orthogonal_keeps_its_directions_and_loses_its_sizes() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, 40, 64) * torch.logspace(-2, 0, 40)[:, None]
    values = torch.linalg.svdvals(orthogonal(matrices))
    assert float(values.min()) > 0.4
    assert float(values.max()) < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    kept = torch.einsum("nij,nij->n", orthogonal(matrices), left @ right) / 40.0
    assert float(kept.min()) > 0.7


def test_a_step_is_as_long_as_one_of_adamw() -> None:
    weight = nn.Parameter(torch.zeros(48, 96, 1, 3))
    weight.grad = 1e-3 * torch.randn_like(weight)
    Muon([weight], 0.01, 0.0).step()
    assert 0.1 < float(weight.detach().square().mean().sqrt()) / 0.01 < 0.3


def test_only_what_is_wide_on_both_sides_is_hidden() -> None:
    network = _network()
    assert [name for name, weight in network.named_parameters() if is_hidden(weight)] == ["0.weight", "2.weight"]


def test_a_network_learns_and_goes_on_as_if_it_had_not_stopped() -> None:
    rate = torch.tensor(1e-2)
    network = _network()
    optimisers = Optimisers(network, rate, 0.01)
    losses = _learn(network, optimisers, 120)
    assert sum(losses[-10:]) < 0.3 * sum(losses[:10])
    other = _network()
    other.load_state_dict(network.state_dict())
    resumed = Optimisers(other, rate, 0.01)
    resumed.load_state_dict(optimisers.state_dict())
    assert _learn(other, resumed, 3) == _learn(network, optimisers, 3)
