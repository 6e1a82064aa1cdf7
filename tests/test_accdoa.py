"""The multi-ACCDOA baseline: of the size it claims, causal, its loss and its decoding right on cases worked by hand."""

from itertools import permutations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from plane_waves import at_array, hum
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from appliance.angles import arc_distance_deg, unit_vector
from appliance.cli.main import app
from appliance.dsp.features import BANDS, FEATURES
from appliance.dsp.stft import HOP_SAMPLES, HOPS_PER_LABEL
from appliance.geometry import load_array
from appliance.lab.baselines.accdoa import (
    AccdoaCrnn,
    AccdoaModel,
    AccdoaSettings,
    AccdoaSystem,
    adpit_loss,
    load_accdoa,
    rows_by_frame,
    sources,
)
from appliance.lab.baselines.paired import CONTESTANTS
from appliance.lab.edge.network import DeepAsaEdge, NetworkSettings
from appliance.lab.edge.settings import TrainSettings
from appliance.lab.edge.train import load_checkpoint
from appliance.lab.hear import hear
from appliance.lab.pack import CLASSES
from appliance.lab.scenes.maker import TARGETS, SceneMaker, SceneSettings
from appliance.types import FeatureFrame

_SMALL = AccdoaSettings(channels=(8, 8), hidden=16, layers=1)
_DOG, _DRONE = CLASSES.index("dog"), CLASSES.index("drone")
Vectors = npt.NDArray[np.float64]


def silent_tracks(labels: int = 1) -> Vectors:
    """Output (L, tracks, C, 3) in which nothing sounds."""
    return np.zeros((labels, TARGETS, len(CLASSES), 3))


def truth_of(*targets: tuple[int, float, float]) -> dict[str, Tensor]:
    """One label frame in which these (class, azimuth, elevation) sound."""
    truth = {
        "activity": torch.zeros(1, TARGETS, 1),
        "class_index": torch.full((1, TARGETS), -1),
        "direction": torch.zeros(1, TARGETS, 1, 3),
    }
    for slot, (class_index, azimuth_deg, elevation_deg) in enumerate(targets):
        truth["activity"][0, slot], truth["class_index"][0, slot] = 1.0, class_index
        truth["direction"][0, slot, 0] = torch.from_numpy(unit_vector(azimuth_deg, elevation_deg))
    return truth


def loss_of(accdoa: Vectors, *targets: tuple[int, float, float]) -> float:
    return float(adpit_loss(torch.from_numpy(accdoa[None].astype(np.float32)), truth_of(*targets)))


# --- the network ------------------------------------------------------------------------------------------------------


def macs(network: torch.nn.Module, state: dict[str, Tensor]) -> float:
    """Multiplications with addition in a second of sound."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, FEATURES, 50, BANDS), state)
    return float(counter.get_total_flops()) / 2


def test_it_costs_what_our_tiny_costs() -> None:
    crnn, tiny = AccdoaCrnn(AccdoaSettings()).eval(), DeepAsaEdge(NetworkSettings()).eval()
    """Within a seventh: the chain of inference came after the baseline had been trained."""
    assert macs(crnn, crnn.initial_state()) == pytest.approx(macs(tiny, tiny.initial_state()), rel=0.15)


@pytest.fixture(scope="module")
def network() -> AccdoaCrnn:
    torch.manual_seed(3)
    return AccdoaCrnn(_SMALL).eval()


@pytest.fixture(scope="module")
def features() -> Tensor:
    values = np.random.default_rng(2).uniform(-1.0, 1.0, (1, FEATURES, 8 * HOPS_PER_LABEL, BANDS))
    return torch.from_numpy(values.astype(np.float32))


def test_streaming_equals_offline(network: AccdoaCrnn, features: Tensor) -> None:
    with torch.no_grad():
        whole, _ = network(features, network.initial_state())
        state, parts = network.initial_state(), []
        for first, end in ((0, 1), (1, 4), (4, 8)):
            part, state = network(features[:, :, first * HOPS_PER_LABEL : end * HOPS_PER_LABEL], state)
            parts.append(part["accdoa"])
    assert whole["accdoa"].shape == (1, 8, TARGETS, len(CLASSES), 3)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole["accdoa"], atol=1e-6, rtol=0.0)


def test_the_future_changes_nothing_now(network: AccdoaCrnn, features: Tensor) -> None:
    changed = features.clone()
    changed[:, :, 5 * HOPS_PER_LABEL :] *= -1.0
    with torch.no_grad():
        one, other = (network(values, network.initial_state())[0]["accdoa"] for values in (features, changed))
    torch.testing.assert_close(one[:, :5], other[:, :5], atol=1e-7, rtol=0.0)
    assert (one[:, 5:] - other[:, 5:]).abs().max() > 1e-4


# --- its loss ---------------------------------------------------------------------------------------------------------


def test_silence_wants_every_track_at_zero() -> None:
    accdoa = silent_tracks()
    assert loss_of(accdoa) == 0.0
    accdoa[0, 1, _DOG] = [0.6, 0.0, 0.0]
    # 0.36 in one of three axes, one of three tracks and one of twelve classes.
    assert loss_of(accdoa) == pytest.approx(0.36 / 3 / 3 / 12)


def test_a_lone_source_wants_every_track() -> None:
    accdoa = silent_tracks()
    accdoa[0, :, _DOG] = unit_vector(40.0, 10.0)
    assert loss_of(accdoa, (_DOG, 40.0, 10.0)) == pytest.approx(0.0, abs=1e-7)
    accdoa[0, 2, _DOG] = 0.0
    assert loss_of(accdoa, (_DOG, 40.0, 10.0)) == pytest.approx(1.0 / 3 / 3 / 12)


@pytest.mark.parametrize("order", list(permutations(range(TARGETS))))
def test_two_of_one_class_may_share_the_tracks_as_they_like(order: tuple[int, ...]) -> None:
    here, there = (_DRONE, -30.0, 0.0), (_DRONE, 100.0, 45.0)
    accdoa = silent_tracks()
    accdoa[0, order[0], _DRONE] = accdoa[0, order[1], _DRONE] = unit_vector(-30.0, 0.0)
    accdoa[0, order[2], _DRONE] = unit_vector(100.0, 45.0)
    assert loss_of(accdoa, here, there) == pytest.approx(0.0, abs=1e-7)
    assert loss_of(accdoa, there, here) == pytest.approx(0.0, abs=1e-7)


def test_no_source_may_be_left_without_a_track() -> None:
    """Two at right angles, all tracks on one: the cheapest way costs one track the squared distance of 2."""
    accdoa = silent_tracks()
    accdoa[0, :, _DRONE] = unit_vector(0.0, 0.0)
    assert loss_of(accdoa, (_DRONE, 0.0, 0.0), (_DRONE, 90.0, 0.0)) == pytest.approx(2.0 / 3 / 3 / 12)


def test_three_of_one_class_take_a_track_each_and_classes_do_not_mix() -> None:
    accdoa = silent_tracks()
    targets = [(_DRONE, 0.0, 0.0), (_DRONE, 120.0, 0.0), (_DRONE, -120.0, 0.0)]
    for track, (_, azimuth_deg, _) in enumerate(targets):
        accdoa[0, (track + 1) % TARGETS, _DRONE] = unit_vector(azimuth_deg, 0.0)
    assert loss_of(accdoa, *targets) == pytest.approx(0.0, abs=1e-7)
    assert loss_of(accdoa, targets[0], targets[1], (_DOG, -120.0, 0.0)) > 0.01


# --- its decoding -----------------------------------------------------------------------------------------------------


def test_tracks_that_agree_are_one_source_at_their_mean() -> None:
    accdoa = silent_tracks()
    for track, azimuth_deg in enumerate((-4.0, 0.0, 4.0)):
        accdoa[0, track, _DOG] = 0.8 * unit_vector(azimuth_deg, 20.0)
    (row,) = rows_by_frame(accdoa)[0]
    assert (row.class_index, row.source_index) == (_DOG, 0)
    assert (row.azimuth_deg, row.elevation_deg) == pytest.approx((0.0, 20.0), abs=0.1)


def test_tracks_of_one_class_that_are_apart_are_sources_apart() -> None:
    accdoa = silent_tracks(2)
    accdoa[1, 0, _DRONE] = 0.9 * unit_vector(-170.0, 0.0)
    accdoa[1, 1, _DRONE] = 0.7 * unit_vector(60.0, -10.0)
    accdoa[1, 2, _DRONE] = 0.8 * unit_vector(-178.0, 0.0)  # beside the first
    frames = rows_by_frame(accdoa)
    assert list(frames) == [1]
    assert [(row.source_index, round(row.azimuth_deg), round(row.elevation_deg)) for row in frames[1]] == [
        (0, -174, 0),
        (1, 60, -10),
    ]


def test_what_is_shorter_than_the_threshold_is_silent_and_the_loudest_comes_first() -> None:
    accdoa = silent_tracks()
    accdoa[0, 0, _DRONE] = 0.49 * unit_vector(0.0, 0.0)
    accdoa[0, 1, _DOG] = 0.51 * unit_vector(90.0, 0.0)
    assert [source.class_index for source in sources(accdoa[0])] == [_DOG]
    heard = sources(accdoa[0], 0.1)
    assert [(source.class_index, round(source.length, 2)) for source in heard] == [(_DOG, 0.51), (_DRONE, 0.49)]


class _Says(AccdoaCrnn):
    """The network with a bias so great that it always says the same."""

    def __init__(self, accdoa: Vectors) -> None:
        super().__init__(_SMALL)
        last = self.head[-2]
        assert isinstance(last, torch.nn.Linear)
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(torch.atanh(torch.from_numpy(accdoa.reshape(-1).astype(np.float32))))


def test_in_the_pipeline_its_sources_are_objects_in_fixed_slots() -> None:
    accdoa = silent_tracks()
    accdoa[0, :, _DRONE] = 0.9 * unit_vector(75.0, 30.0)
    values, silent = np.ones((FEATURES, BANDS), np.float32), np.zeros((4, HOP_SAMPLES), np.float32)
    frames = [FeatureFrame(values, silent, (0, 1, 2, 3), 0.02 * hop, hop) for hop in range(HOPS_PER_LABEL)]
    scene = AccdoaModel(_Says(accdoa[0])).step(frames)
    assert [(thing.slot, round(thing.activity, 2)) for thing in scene.objects] == [(0, 0.9), (1, 0.0), (2, 0.0)]
    assert scene.objects[0].class_probs.argmax() == _DRONE
    doa = scene.objects[0].doa
    assert arc_distance_deg(doa.azimuth_deg, doa.elevation_deg, 75.0, 30.0) < 0.1


# --- its training -----------------------------------------------------------------------------------------------------


def training(steps: int) -> TrainSettings:
    scenes = SceneSettings(
        folds=(1,), seconds=1.0, synthetic_drones=0.0, synthetic_machines=0.0, arrays=2, target_free=0.0
    )
    return TrainSettings(batch=4, steps=steps, warmup_steps=1, learning_rate=5e-3, scenes=scenes)


@pytest.mark.usefixtures("small_pack")
def test_it_can_learn_a_few_scenes_by_heart() -> None:
    """To say nothing is what it learns first; it must come far below that."""
    batch = SceneMaker(training(1).scenes).batch((7,), 4)
    torch.manual_seed(0)
    network = AccdoaCrnn(_SMALL)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    silence = torch.zeros(4, 10, TARGETS, len(CLASSES), 3)
    for _ in range(150):
        outputs, _ = network(batch["features"], network.initial_state(4))
        loss = adpit_loss(outputs["accdoa"], batch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert float(loss.detach()) < 0.25 * float(adpit_loss(silence, batch))


@pytest.mark.usefixtures("small_pack")
def test_networks_learn_the_same_scenes_in_one_loop_and_are_heard(tmp_path: Path) -> None:
    experiment = tmp_path / "short.toml"
    scenes = "[scenes]\nfolds = [1]\nseconds = 1.0\nsynthetic_drones = 0.0\nsynthetic_machines = 0.0\narrays = 1\n"
    network = "[network]\nwidth = 16\nblocks = 1\nhead = 16\nobject_width = 8\n"
    experiment.write_text(f"batch = 2\nuses = 2\nsteps = 9\n{network}{scenes}", encoding="utf-8")
    run = ["lab", "compare", str(tmp_path / "run")]
    options = ["--experiment", str(experiment), "--steps", "2", "--workers", "0"]
    result = CliRunner().invoke(app, [*run, *CONTESTANTS, *options])
    assert result.exit_code == 0, result.output
    assert {path.stem for path in (tmp_path / "run").iterdir()} == set(CONTESTANTS)
    assert load_accdoa(tmp_path / "run" / "accdoa.pt").settings == AccdoaSettings()
    changed = {name: load_checkpoint(tmp_path / "run" / f"{name}.pt")[0].settings for name in list(CONTESTANTS)[:3]}
    assert [settings.long_window for settings in changed.values()] == [True, False, True]
    assert [settings.coi_rounds for settings in changed.values()] == [1, 1, 0]

    geometry = load_array("tetrahedron_4cm2")
    system = AccdoaSystem(str(tmp_path / "run" / "accdoa.pt"))
    heard = hear(at_array(hum(1.0), geometry, 30.0).astype(np.float32), geometry, system)
    assert heard.target_score.shape == (10,)
    assert np.isfinite(heard.target_direction_deg).all()
    result = CliRunner().invoke(app, [*run, "edgy", *options])
    assert result.exit_code != 0
    assert "edgy: no such network" in str(result.exception) + result.output
