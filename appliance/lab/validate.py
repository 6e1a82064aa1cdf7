"""A quick look at a network during training, on scenes of fold 4: the figures that steer, not the ones we publish."""

from functools import lru_cache

import numpy as np
import torch

from appliance.lab.network import DeepAsaEdge
from appliance.lab.pack import CLASSES
from appliance.lab.scenes import Scene, SceneMaker, SceneSettings

_SCENES = 64
_FOLDS = (4,)


@lru_cache(maxsize=4)
def _fixed_scenes(seed: int, snr_db: float | None, drones: bool) -> tuple[Scene, ...]:
    settings = SceneSettings(
        folds=_FOLDS,
        target_free=0.0 if drones or snr_db is not None else 0.3,
        drone_share=1.0 if drones else 0.0,
        synthetic_drones=0.0,
        snr_db=(snr_db, snr_db) if snr_db is not None else (-5.0, 25.0),
        arrays=12,
    )
    maker = SceneMaker(settings, seed + 7)
    return tuple(maker.scene((seed, 4, index)) for index in range(_SCENES * (1 if drones else 4)))


@torch.no_grad()
def validate(network: DeepAsaEdge, seed: int = 0) -> dict[str, float]:
    """Drone Pd per scene at 5 % false alarms (0, −5 dB), class accuracy of active frames, median DoA error in degrees."""
    network.eval()
    without = [_listen(network, scene) for scene in _fixed_scenes(seed, None, drones=False)]
    threshold = float(np.quantile([heard[0] for heard in without], 0.95))
    scores = {}
    for snr_db in (0.0, -5.0):
        heard = [_listen(network, scene) for scene in _fixed_scenes(seed, snr_db, drones=True)]
        scores[f"drone_pd_{snr_db:.0f}db"] = float(np.mean([score > threshold for score, _, _ in heard]))
        scores[f"doa_median_deg_{snr_db:.0f}db"] = float(np.median(np.concatenate([error for _, _, error in heard])))
    scores["class_accuracy"] = float(np.mean(np.concatenate([right for _, right, _ in without])))
    return scores


def _listen(network: DeepAsaEdge, scene: Scene) -> tuple[float, np.ndarray, np.ndarray]:
    """Drone score of a scene, rightness of the class per active frame, DoA error (degrees) per active frame.

    Slots are associated with targets by the nearest direction among active slots: from predictions alone.
    """
    state = network.initial_state(1)
    outputs, _ = network(torch.from_numpy(scene.features)[None].to(state["doa_memory"].device), state)
    outputs = {name: output.cpu() for name, output in outputs.items()}
    activity = torch.sigmoid(outputs["activity_logits"])[0].numpy()
    classes = torch.softmax(outputs["class_logits"], dim=3)[0].numpy()
    doa = outputs["doa"][0].numpy()
    drone = np.sort((activity * classes[:, :, CLASSES.index("drone")]).max(axis=0))[-15:].mean()
    right, errors = [], []
    for target, label in enumerate(scene.class_index):
        for frame in np.flatnonzero(scene.activity[target]):
            slot = int(np.argmax(activity[:, frame] + 0.5 * (doa[:, frame] @ scene.direction[target, frame])))
            right.append(classes[slot, frame, : len(CLASSES)].argmax() == label)
            cosine = np.clip(doa[slot, frame] @ scene.direction[target, frame], -1.0, 1.0)
            errors.append(np.degrees(np.arccos(cosine)))
    return float(drone), np.array(right, bool), np.array(errors)
