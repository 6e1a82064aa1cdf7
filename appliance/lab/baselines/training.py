"""One step of training of each baseline, so that one loop can teach them and our network from the same batches.

A batch is a dictionary of tensors on the network's device, at least `features` (N, features, T, bands), `activity`
(N, J, L), `class_index` (N, J), -1 for an empty slot, and `direction` (N, J, L, 3). The loop sets the rate.
"""

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from appliance.lab.baselines.accdoa import AccdoaCrnn, adpit_loss
from appliance.lab.baselines.files import write_baseline
from appliance.lab.baselines.steered_cnn import SteeredCnn, steered_cnn_loss, training_directions

Batch = dict[str, Tensor]
_LONGEST_GRADIENT = 2.0


def accdoa_step(network: AccdoaCrnn, optimiser: Optimizer, batch: Batch) -> Tensor:
    """Learn one batch; the mean loss over it comes back, detached."""
    network.train()
    outputs, _ = network(batch["features"], network.initial_state(len(batch["features"])))
    return _descend(network, optimiser, adpit_loss(outputs["accdoa"], batch))


def steered_cnn_step(network: SteeredCnn, optimiser: Optimizer, batch: Batch) -> Tensor:
    """Learn one batch, steered near the truth; the mean loss over it comes back, detached."""
    network.train()
    towards = training_directions(batch["features"], batch)
    outputs, _ = network(batch["features"], network.initial_state(len(batch["features"])), towards)
    return _descend(network, optimiser, steered_cnn_loss(outputs, batch))


def save_baseline(network: AccdoaCrnn | SteeredCnn, path: Path, **facts: Any) -> None:
    """Write its checkpoint, `facts` (step, seed …) in it."""
    write_baseline(path, network, network.settings, **facts)


def _descend(network: nn.Module, optimiser: Optimizer, loss: Tensor) -> Tensor:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), _LONGEST_GRADIENT)
    optimiser.step()
    return loss.detach()
