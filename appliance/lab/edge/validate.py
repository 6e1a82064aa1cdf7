"""A quick look at a network during training, on scenes of fold 4: the figures that steer, not the ones we publish."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from appliance.lab.edge.network import DeepAsaEdge
from appliance.lab.pack import CLASSES
from appliance.lab.scenes.maker import Batch, SceneMaker, SceneSettings

_FOLDS = (4,)
_DRONES_DB = (0.0, -5.0, -10.0)
_BATCH = 32
_SUSTAINED = 15
"""Label frames whose mean score is a scene's."""
_FALSE_ALARMS = 0.03
"""Share of scenes without a drone that may score higher than the threshold."""


@lru_cache(maxsize=8)
def _fixed_scenes(seed: int, snr_db: float | None, count: int, device: str) -> tuple[Batch, ...]:
    """Scenes of drones at one SNR, or without an SNR of everything but drones."""
    drones = snr_db is not None
    settings = SceneSettings(
        folds=_FOLDS,
        target_free=0.0 if drones else 0.3,
        drone_share=1.0 if drones else 0.0,
        synthetic_drones=0.0,
        synthetic_machines=0.0,
        snr_db=(-5.0, 25.0) if snr_db is None else (snr_db, snr_db),
        arrays=12,
    )
    maker = SceneMaker(settings, seed + 7, device=device)
    return tuple(maker.batch((seed, 4, first), min(_BATCH, count - first)) for first in range(0, count, _BATCH))


@torch.no_grad()
def validate(network: DeepAsaEdge, scenes: int, seed: int = 0) -> dict[str, float]:
    """Drone Pd per scene at 3 % false alarms, class accuracy of active frames, median DoA error in degrees; by `scenes` each."""
    if scenes == 0:
        return {}
    network.eval()
    device = str(network.prior_weight.device)
    others = [_listen(network, batch) for batch in _fixed_scenes(seed, None, 4 * scenes, device)]
    threshold = float(np.quantile(np.concatenate([drone for drone, _, _ in others]), 1.0 - _FALSE_ALARMS))
    scores = {"class_accuracy": float(np.concatenate([right for _, right, _ in others]).mean())}
    for snr_db in _DRONES_DB:
        heard = [_listen(network, batch) for batch in _fixed_scenes(seed, snr_db, scenes, device)]
        drones, _, errors = (np.concatenate(parts) for parts in zip(*heard, strict=True))
        scores[f"drone_pd_{snr_db:.0f}db"] = float((drones > threshold).mean())
        scores[f"doa_median_deg_{snr_db:.0f}db"] = float(np.median(errors))
    return scores


Floats = npt.NDArray[np.float32]


def _listen(network: DeepAsaEdge, batch: Batch) -> tuple[Floats, npt.NDArray[np.bool_], Floats]:
    """Drone score of each scene; rightness of the class and DoA error (degrees) of each active frame of a target.

    Slots are associated with targets by the nearest direction among active slots: from predictions alone.
    """
    outputs, _ = network(batch["features"], network.initial_state(len(batch["features"])))
    activity = torch.sigmoid(outputs["activity_logits"])  # (N, slots, L)
    classes = torch.softmax(outputs["class_logits"], dim=3)[..., : len(CLASSES)]
    drone = (activity * classes[..., CLASSES.index("drone")]).amax(dim=1)
    sustained = drone.topk(min(_SUSTAINED, drone.shape[1]), dim=1).values.mean(dim=1)
    cosine = torch.einsum("njlx,nklx->njkl", batch["direction"], outputs["doa"])
    slot = (activity[:, None] + 0.5 * cosine).argmax(dim=2, keepdim=True)  # (N, targets, 1, L)
    named = classes.argmax(dim=3)[:, None].expand(-1, slot.shape[1], -1, -1).gather(2, slot)[:, :, 0]
    error_deg = torch.rad2deg(torch.arccos(cosine.gather(2, slot)[:, :, 0].clamp(-1.0, 1.0)))
    active = batch["activity"] > 0.0
    right = (named == batch["class_index"][..., None])[active]
    return sustained.cpu().numpy(), right.cpu().numpy(), error_deg[active].cpu().numpy()
