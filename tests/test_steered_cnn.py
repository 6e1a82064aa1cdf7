"""The steered baseline: its beam points where the sound is, its loss names what the beam is on, and it learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from plane_waves import at_array, hum
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from appliance.angles import arc_distance_deg, azimuth_elevation_deg, unit_vector
from appliance.dsp.features import BANDS, FEATURE_NAMES, FEATURES, INTENSITY, FeatureExtractor
from appliance.dsp.stft import HOPS_PER_LABEL
from appliance.geometry import load_array
from appliance.lab.baselines.steered_cnn import (
    NONE,
    SteeredCnn,
    SteeredCnnSystem,
    SteeredSettings,
    load_steered_cnn,
    steered_cnn_loss,
    training_directions,
)
from appliance.lab.baselines.steering import PEAKS, steered_level, strongest, strongest_target
from appliance.lab.baselines.training import save_baseline, steered_cnn_step
from appliance.lab.hear import hear
from appliance.lab.pack import CLASSES
from appliance.lab.scenes.maker import TARGETS
from appliance.types import AudioBlock

_SMALL = SteeredSettings(channels=(8, 8), width=16, label_frames=3)
_DOG, _DRONE = CLASSES.index("dog"), CLASSES.index("drone")
_LEVEL = FEATURE_NAMES.index("level")


def nothing(scenes: int = 1) -> Tensor:
    return torch.zeros(scenes, 3, 1, PEAKS)


def plane_waves(*waves: tuple[float, float, float, slice], labels: int = 4) -> Tensor:
    """Features of one scene: (azimuth, elevation, level in bels, bands) of each plane wave; other bands are silent."""
    features = torch.zeros(1, FEATURES, labels * HOPS_PER_LABEL, BANDS)
    features[:, _LEVEL] = -3.0
    features[:, FEATURE_NAMES.index("validity_xy")] = features[:, FEATURE_NAMES.index("validity_z")] = 1.0
    for azimuth_deg, elevation_deg, level, bands in waves:
        features[:, _LEVEL, :, bands] = level
        towards = torch.from_numpy(unit_vector(azimuth_deg, elevation_deg).astype(np.float32))
        features[:, INTENSITY, :, bands] = towards[None, :, None, None]
    return features


def truth_of(*targets: tuple[int, float, float], labels: int = 4) -> dict[str, Tensor]:
    """One scene in which these (class, azimuth, elevation) sound throughout."""
    truth = {
        "activity": torch.zeros(1, TARGETS, labels),
        "class_index": torch.full((1, TARGETS), -1),
        "direction": torch.zeros(1, TARGETS, labels, 3),
    }
    for slot, (class_index, azimuth_deg, elevation_deg) in enumerate(targets):
        truth["activity"][0, slot], truth["class_index"][0, slot] = 1.0, class_index
        truth["direction"][0, slot] = torch.from_numpy(unit_vector(azimuth_deg, elevation_deg))
    return truth


def apart_deg(vector: Tensor, azimuth_deg: float, elevation_deg: float) -> float:
    return arc_distance_deg(*azimuth_elevation_deg(vector.numpy()), azimuth_deg, elevation_deg)


# --- the beam ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("azimuth_deg", "elevation_deg"), [(0.0, 0.0), (-178.0, 13.0), (47.0, 71.0), (120.0, -9.0)])
def test_the_peak_of_a_plane_wave_is_where_it_comes_from(azimuth_deg: float, elevation_deg: float) -> None:
    towards, _ = strongest(plane_waves((azimuth_deg, elevation_deg, 1.0, slice(5, 25))), nothing())
    assert apart_deg(towards[0, -1], azimuth_deg, elevation_deg) < 0.1


def test_of_two_sounds_it_is_the_stronger_and_not_the_middle() -> None:
    loud, faint = (100.0, 0.0, 1.0, slice(10, 20)), (10.0, 0.0, 0.0, slice(20, 30))
    towards, _ = strongest(plane_waves(loud, faint), nothing())
    assert apart_deg(towards[0, -1], 100.0, 0.0) < 1.0


def test_it_finds_a_hum_from_the_microphones_of_a_planar_array() -> None:
    geometry = load_array("respeaker_usb_4mic")
    block = AudioBlock(at_array(hum(1.0), geometry, -75.0).astype(np.float32), 16_000, 0, 0)
    values = np.stack([frame.values for frame in FeatureExtractor(geometry).push(block)], axis=1)[None]
    towards, _ = strongest(torch.from_numpy(values), nothing())
    assert apart_deg(towards[0, -1], -75.0, 0.0) < 4.0


def test_a_cardioid_lets_the_front_through_half_of_what_is_diffuse_and_nothing_from_behind() -> None:
    features = plane_waves((0.0, 0.0, 0.0, slice(0, 1)), (180.0, 0.0, 0.0, slice(1, 2)), (90.0, 0.0, 0.0, slice(2, 3)))
    features[:, _LEVEL, :, 3] = 0.0
    front = torch.tensor([1.0, 0.0, 0.0]).expand(1, 4, 3)
    steered = steered_level(features, front)
    assert steered.shape == (1, 1, 4 * HOPS_PER_LABEL, BANDS)
    assert steered[0, 0, 0, :4].tolist() == pytest.approx([0.0, -3.0, np.log10(0.5), np.log10(0.5)], abs=1e-4)


def test_the_strongest_target_is_the_one_that_sends_most_while_it_sounds() -> None:
    features = plane_waves((100.0, 0.0, 1.0, slice(10, 20)), (10.0, 0.0, 0.0, slice(20, 30)))
    truth = truth_of((_DOG, 10.0, 0.0), (_DRONE, 100.0, 0.0))
    truth["activity"][0, 1, 2:] = 0.0
    truth["activity"][0, 0, 3] = 0.0
    direction, sounding = strongest_target(features, truth)
    assert sounding[0].tolist() == [True, True, True, False]
    assert [apart_deg(direction[0, frame], 100.0, 0.0) < 1.0 for frame in range(3)] == [True, True, False]
    assert apart_deg(direction[0, 2], 10.0, 0.0) < 1e-3


def test_training_aims_a_few_degrees_beside_the_truth_and_at_the_peak_where_nothing_sounds() -> None:
    torch.manual_seed(0)
    features = plane_waves((-60.0, 0.0, 1.0, slice(10, 20))).expand(200, -1, -1, -1)
    truth = {name: value.expand(200, *value.shape[1:]).clone() for name, value in truth_of((_DOG, 30.0, 10.0)).items()}
    truth["activity"][:, :, 3] = 0.0
    towards = training_directions(features, truth)
    off_deg = np.array([apart_deg(one, 30.0, 10.0) for one in towards[:, 0]])
    assert 3.0 < np.median(off_deg) < 7.0
    assert torch.equal(towards[:, 0], towards[:, 2])
    assert all(apart_deg(one, -60.0, 0.0) < 1.0 for one in towards[:, 3])


# --- the network ------------------------------------------------------------------------------------------------------


def test_it_costs_about_what_tiny_does() -> None:
    network = SteeredCnn(SteeredSettings()).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, FEATURES, 50, BANDS), network.initial_state())
    assert 50e6 < counter.get_total_flops() / 2 < 200e6


@pytest.fixture(scope="module")
def network() -> SteeredCnn:
    torch.manual_seed(3)
    return SteeredCnn(_SMALL).eval()


@pytest.fixture(scope="module")
def features() -> Tensor:
    values = np.random.default_rng(2).uniform(-1.0, 1.0, (1, FEATURES, 8 * HOPS_PER_LABEL, BANDS))
    return torch.from_numpy(values.astype(np.float32))


def test_streaming_equals_offline(network: SteeredCnn, features: Tensor) -> None:
    with torch.no_grad():
        whole, _ = network(features, network.initial_state())
        state, parts = network.initial_state(), []
        for first, end in ((0, 1), (1, 4), (4, 8)):
            part, state = network(features[:, :, first * HOPS_PER_LABEL : end * HOPS_PER_LABEL], state)
            parts.append(part)
    assert whole["class_logits"].shape == (1, 8, len(CLASSES) + 1)
    for name in ("class_logits", "towards"):
        joined = torch.cat([part[name] for part in parts], dim=1)
        torch.testing.assert_close(joined, whole[name], atol=1e-5, rtol=0.0)


def test_the_future_changes_nothing_now(network: SteeredCnn, features: Tensor) -> None:
    changed = features.clone()
    changed[:, :, 5 * HOPS_PER_LABEL :] *= -1.0
    with torch.no_grad():
        one, other = (network(values, network.initial_state())[0]["class_logits"] for values in (features, changed))
    torch.testing.assert_close(one[:, :5], other[:, :5], atol=1e-6, rtol=0.0)
    assert (one[:, 5:] - other[:, 5:]).abs().max() > 1e-4


# --- its loss ---------------------------------------------------------------------------------------------------------


def said(class_index: int, azimuth_deg: float, labels: int = 4) -> dict[str, Tensor]:
    """Outputs that are sure of a class, steered at an azimuth."""
    logits = torch.zeros(1, labels, len(CLASSES) + 1)
    logits[..., class_index] = 20.0
    towards = torch.from_numpy(unit_vector(azimuth_deg, 0.0).astype(np.float32))
    return {"class_logits": logits, "towards": towards.expand(1, labels, 3)}


def test_the_beam_is_to_name_the_target_it_is_on_and_nothing_else() -> None:
    truth = truth_of((_DOG, 90.0, 0.0), (_DRONE, 50.0, 0.0))
    for class_index, azimuth_deg in ((_DOG, 75.0), (_DRONE, 65.0), (_DRONE, 31.0), (NONE, 29.0), (NONE, -90.0)):
        for other in (_DOG, _DRONE, NONE):
            loss = float(steered_cnn_loss(said(other, azimuth_deg), truth))
            assert loss == pytest.approx(0.0 if other == class_index else 20.0, abs=1e-3)


def test_a_pause_and_an_empty_slot_are_none() -> None:
    truth = truth_of((_DOG, 90.0, 0.0))
    truth["activity"][0, 0, :] = 0.0
    truth["activity"][0, 1, :] = 1.0  # no class: an empty slot
    truth["direction"][0, 1] = truth["direction"][0, 0]
    assert float(steered_cnn_loss(said(NONE, 90.0), truth)) == pytest.approx(0.0, abs=1e-3)


def test_one_frame_of_a_scene_that_sounds_weighs_as_the_root_of_all_frames() -> None:
    """Of four frames one sounds and is missed: it weighs 2 of 2 + 3."""
    truth = truth_of((_DOG, 90.0, 0.0))
    truth["activity"][0, 0, 1:] = 0.0
    assert float(steered_cnn_loss(said(NONE, 90.0), truth)) == pytest.approx(20.0 * 2.0 / 5.0, rel=1e-4)


# --- its training, and its place in the pipeline ----------------------------------------------------------------------


def batch_of_two_sounds() -> dict[str, Tensor]:
    """Four scenes: a low sound is a drone, a high one a dog, both also where nothing is to be named (no target)."""
    low, high = slice(2, 12), slice(25, 35)
    waves = [(30.0, 0.0, 1.0, low), (-100.0, 20.0, 1.0, high), (150.0, 0.0, 1.0, slice(14, 22)), (0.0, 0.0, -2.9, low)]
    truths = [truth_of((_DRONE, 30.0, 0.0)), truth_of((_DOG, -100.0, 20.0)), truth_of(), truth_of()]
    batch = {name: torch.cat([truth[name] for truth in truths]) for name in truths[0]}
    return batch | {"features": torch.cat([plane_waves(wave) for wave in waves])}


def test_it_learns_to_name_two_sounds_and_to_be_silent_on_others() -> None:
    torch.manual_seed(1)
    batch, network = batch_of_two_sounds(), SteeredCnn(_SMALL)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    losses = [float(steered_cnn_step(network, optimiser, batch)) for _ in range(60)]
    assert losses[-1] < 0.1 * losses[0]
    with torch.no_grad():
        outputs, _ = network.eval()(batch["features"], network.initial_state(4))
    assert outputs["class_logits"][:, -1].argmax(dim=1).tolist() == [_DRONE, _DOG, NONE, NONE]


def test_a_checkpoint_is_heard_as_one_object_in_the_pipeline(network: SteeredCnn, tmp_path: Path) -> None:
    path = tmp_path / "steered_cnn.pt"
    save_baseline(network, path, step=7)
    assert [file.name for file in tmp_path.iterdir()] == ["steered_cnn.pt"]
    assert load_steered_cnn(path).settings == _SMALL
    geometry = load_array("respeaker_usb_4mic")
    samples = at_array(hum(1.0), geometry, 30.0).astype(np.float32)
    extractor, model = SteeredCnnSystem(str(path), thresholds={"drone": 0.7}).stages(geometry)
    assert model.thresholds == {"drone": 0.7}
    frames = extractor.push(AudioBlock(samples, 16_000, 0, 0))
    (thing,) = [model.step(frames[at : at + 5]) for at in range(0, 50, 5)][-1].objects
    assert 0.0 < thing.activity < 1.0
    assert thing.class_probs.sum() == pytest.approx(1.0, abs=1e-5)
    assert (thing.doa.azimuth_deg, thing.doa.elevation_deg) == pytest.approx((30.0, 0.0), abs=4.0)
    assert not thing.doa.elevation_valid

    heard = hear(samples, geometry, SteeredCnnSystem(str(path)))
    expected = thing.activity * float(thing.class_probs[_DRONE])
    assert heard.target_score[-1] == pytest.approx(expected, abs=1e-5)
