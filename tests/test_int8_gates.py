"""INT8 may cost at most 2 points of F20 and 1 degree of localisation against FP32 (the gates of the shipped model).

Both hear the same streamed scenes of fold 4; a slot counts where its best class is more likely than not.
"""

from functools import reduce
from operator import add

import numpy as np
import pytest

from appliance.angles import azimuth_elevation_deg
from appliance.lab.edge.parity import Outputs, step_graph_outputs
from appliance.lab.metrics.seld import SeldCounts, SeldScores, count_seld, seld_scores
from appliance.lab.pack import CLASSES
from appliance.lab.scenes.maker import Batch, SceneMaker, SceneSettings
from appliance.lab.world.dcase_csv import SeldRow
from appliance.model.meta import find_model

_SCENES = 60


@pytest.fixture(scope="module")
def scenes() -> Batch:
    settings = SceneSettings(folds=(4,), synthetic_drones=0.0, synthetic_machines=0.0, snr_db=(0.0, 20.0), arrays=16)
    return SceneMaker(settings, seed=88).batch((88,), _SCENES, 0.5)


def test_int8_hears_as_well_as_fp32(scenes: Batch) -> None:
    int8, fp32 = (_scores(f"deepasa-edge-small-{precision}", scenes) for precision in ("int8", "fp32"))
    assert fp32.f20 > 0.1  # else the comparison says nothing
    assert int8.f20 >= fp32.f20 - 0.02
    assert int8.le_cd_deg <= fp32.le_cd_deg + 1.0


def _scores(name: str, scenes: Batch) -> SeldScores:
    path = find_model(name)
    features = scenes["features"].numpy()
    return seld_scores(
        reduce(add, (_counts(scenes, at, step_graph_outputs(path, own)) for at, own in enumerate(features)))
    )


def _counts(scenes: Batch, at: int, heard: Outputs) -> SeldCounts:
    reference: dict[int, list[SeldRow]] = {}
    for target, label in enumerate(scenes["class_index"][at].tolist()):
        for frame in np.flatnonzero(scenes["activity"][at, target]).tolist():
            place = azimuth_elevation_deg(scenes["direction"][at, target, frame].numpy())
            reference.setdefault(frame, []).append(SeldRow(label, target, *place))
    found: dict[int, list[SeldRow]] = {}
    scores = heard["activity"][..., None] * heard["class_probs"]
    for frame, slot in np.argwhere(scores.max(axis=2) > 0.5).tolist():
        place = azimuth_elevation_deg(heard["doa"][frame, slot])
        found.setdefault(frame, []).append(SeldRow(int(scores[frame, slot].argmax()), slot, *place))
    return count_seld(reference, found, len(CLASSES))
