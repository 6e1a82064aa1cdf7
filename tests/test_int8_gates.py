"""INT8 may cost at most 2 points of F20 and 1 degree of localisation against FP32 (the gates of the shipped model).

Both hear the same streamed scenes of fold 4; a slot counts where its best class is more likely than not.
"""

from functools import reduce
from operator import add

import numpy as np
import pytest

from appliance.angles import azimuth_elevation_deg
from appliance.lab.dcase_csv import SeldRow
from appliance.lab.pack import CLASSES
from appliance.lab.parity import Outputs, step_graph_outputs
from appliance.lab.scenes import Scene, SceneMaker, SceneSettings
from appliance.lab.seld_metrics import SeldCounts, SeldScores, count_seld, seld_scores
from appliance.model.meta import find_model

_SCENES = 60


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    settings = SceneSettings(folds=(4,), synthetic_drones=0.0, snr_db=(0.0, 20.0), arrays=16)
    maker = SceneMaker(settings, seed=88)
    return [maker.scene((88, index), difficulty=0.5) for index in range(_SCENES)]


def test_int8_hears_as_well_as_fp32(scenes: list[Scene]) -> None:
    int8, fp32 = (_scores(f"deepasa-edge-tiny-{precision}", scenes) for precision in ("int8", "fp32"))
    assert fp32.f20 > 0.1  # else the comparison says nothing
    assert int8.f20 >= fp32.f20 - 0.02
    assert int8.le_cd_deg <= fp32.le_cd_deg + 1.0


def _scores(name: str, scenes: list[Scene]) -> SeldScores:
    path = find_model(name)
    return seld_scores(reduce(add, (_counts(scene, step_graph_outputs(path, scene.features)) for scene in scenes)))


def _counts(scene: Scene, heard: Outputs) -> SeldCounts:
    reference: dict[int, list[SeldRow]] = {}
    for target, label in enumerate(scene.class_index):
        for frame in np.flatnonzero(scene.activity[target]).tolist():
            place = azimuth_elevation_deg(scene.direction[target, frame])
            reference.setdefault(frame, []).append(SeldRow(int(label), target, *place))
    found: dict[int, list[SeldRow]] = {}
    scores = heard["activity"][..., None] * heard["class_probs"]
    for frame, slot in np.argwhere(scores.max(axis=2) > 0.5).tolist():
        place = azimuth_elevation_deg(heard["doa"][frame, slot])
        found.setdefault(frame, []).append(SeldRow(int(scores[frame, slot].argmax()), slot, *place))
    return count_seld(reference, found, len(CLASSES))
