"""INT8 may cost at most 2 points of F20 and 1 degree of localisation against FP32 (the gates of the shipped model), and its tagger as little.

Both networks hear the same streamed scenes of fold 4; a slot counts where its best class is more likely than not. Both taggers hear the
same recordings of that fold as an array would.
"""

from functools import reduce
from operator import add

import numpy as np
import pytest
from plane_waves import RATE_HZ, at_array

from appliance.angles import azimuth_elevation_deg
from appliance.dsp.steered import EARS, BeamHistory
from appliance.geometry import ArrayGeometry, load_array
from appliance.lab.edge.parity import Outputs, step_graph_outputs
from appliance.lab.metrics.seld import SeldCounts, SeldScores, count_seld, seld_scores
from appliance.lab.pack import CLASSES, Clip, load_clips, read_clip
from appliance.lab.scenes.maker import Batch, SceneMaker, SceneSettings
from appliance.lab.world.dcase_csv import SeldRow
from appliance.model.meta import find_model, find_tagger, load_meta
from appliance.model.tagger import TaggerNetwork
from appliance.types import Float32Array

_SCENES, _CLIPS = 60, 12
_HEARD_S = 2.8
"""More than a tagger hears at once."""


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


def test_the_int8_tagger_names_as_well_as_fp32() -> None:
    geometry, rng = load_array("tetrahedron_4cm2"), np.random.default_rng(8)
    by_class: dict[str, list[Clip]] = {}
    for clip in load_clips((4,)):
        by_class.setdefault(clip.label, []).append(clip)
    clips = [clip for label in CLASSES for clip in by_class[label][:_CLIPS]]
    beams = [_beam(clip, geometry, rng) for clip in clips]
    told = {}
    for precision in ("int8", "fp32"):
        path = find_model(f"deepasa-edge-small-{precision}")
        reference = load_meta(path).tagger
        assert reference is not None
        tagger = TaggerNetwork.load(find_tagger(path, reference), CLASSES)
        told[precision] = np.stack([tagger.of_classes(tagger.probabilities(beam)) for beam in beams])
    right = np.array([CLASSES.index(clip.label) for clip in clips])
    named = {precision: float((said.argmax(axis=1) == right).mean()) for precision, said in told.items()}
    assert named["fp32"] > 0.5  # else the comparison says nothing
    assert named["int8"] >= named["fp32"] - 0.02
    assert np.abs(told["int8"] - told["fp32"]).max(axis=1).mean() < 0.02


def _beam(clip: Clip, geometry: ArrayGeometry, rng: np.random.Generator) -> dict[str, Float32Array]:
    """By ear the levels of what comes from a recording's direction, 10 dB above noise of the microphones' own."""
    azimuth_deg = rng.uniform(-180.0, 180.0)
    sound = np.resize(read_clip(clip), round(_HEARD_S * RATE_HZ)).astype(np.float64)
    samples = at_array(sound, geometry, azimuth_deg)
    samples += 10.0 ** (-10.0 / 20.0) * sound.std() * rng.standard_normal(samples.shape)
    history = BeamHistory(geometry, 0.0)
    history.push(samples.astype(np.float32))
    powers = history.powers((azimuth_deg, 0.0))
    return {name: ear.relative_levels(powers[name][-ear.hops :]) for name, ear in EARS.items()}
