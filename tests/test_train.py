"""Training: any size of the network learns a few steps, and a run that was interrupted goes on as if it had not been."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from appliance.errors import ConfigError
from appliance.lab.edge.batches import drawn_batch
from appliance.lab.edge.experiment import load_experiment
from appliance.lab.edge.network import NetworkSettings
from appliance.lab.edge.settings import TrainSettings, learning_rate
from appliance.lab.edge.shards import read_shards, write_shards
from appliance.lab.edge.train import Learner, load_checkpoint, train
from appliance.lab.scenes.maker import SceneMaker, SceneSettings

_SCENES = SceneSettings(folds=(4,), seconds=1.0, synthetic_drones=0.0, synthetic_machines=0.0, arrays=2)
_TINY = TrainSettings(
    batch=4,
    uses=2,
    steps=4,
    warmup_steps=1,
    validate_every=2,
    validation_scenes=2,
    network=NetworkSettings(width=16, blocks=1, head=16, object_width=8),
    scenes=_SCENES,
)


def _weights(path: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["network"]
    return weights


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    halves = tmp_path / "halves"
    schedule = replace(_TINY, bfloat16=False, decay_share=0.0)
    first = train(replace(schedule, steps=2), halves, workers=0, log=lambda _: None)
    assert torch.load(first, weights_only=True)["step"] == 2
    second = train(schedule, halves, workers=0, log=lambda _: None)
    straight = train(schedule, tmp_path / "straight", workers=0, log=lambda _: None)
    for name, expected in _weights(straight).items():
        torch.testing.assert_close(_weights(second)[name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps_before", [0, 2])
def test_a_rehearsal_leaves_nothing_behind(steps_before: int) -> None:
    """On a GPU a step has to be taken before it can be a graph; what is learned must not depend on it."""
    settings = replace(_TINY, bfloat16=False)
    maker = SceneMaker(_SCENES)
    batches = [drawn_batch(maker, settings, number) for number in range(steps_before + 2)]
    rehearsed, straight = Learner(settings, "cpu"), Learner(settings, "cpu")
    for number, batch in enumerate(batches):
        if number == steps_before:
            rehearsed.rehearse(batch)
        for learner in (rehearsed, straight):
            torch.manual_seed(number)
            learner.learn(batch, 1e-2)
    learned, expected = rehearsed.checkpoint(), straight.checkpoint()
    for part in ("network", "state"):
        for name, values in expected[part].items():
            torch.testing.assert_close(learned[part][name], values, rtol=0.0, atol=0.0)
    for number, moments in expected["optimiser"]["state"].items():
        for name, values in moments.items():
            torch.testing.assert_close(learned["optimiser"]["state"][number][name], values, rtol=0.0, atol=0.0)


def test_the_checkpoint_carries_its_experiment(tmp_path: Path) -> None:
    path = train(replace(_TINY, steps=2), tmp_path, workers=0, log=lambda _: None)
    network, saved = load_checkpoint(path)
    assert network.settings == _TINY.network
    assert saved["settings"]["batch"] == 4
    assert saved["settings"]["scenes"]["folds"] == (4,)


@pytest.mark.parametrize("name", ["tiny", "small", "small-long", "base"])
def test_every_size_learns(name: str, tmp_path: Path) -> None:
    experiment = load_experiment(name)
    scenes = replace(_SCENES, seconds=experiment.scenes.seconds)
    settings = replace(experiment, batch=2, uses=1, steps=1, minutes=0.0, validation_scenes=0, scenes=scenes)
    path = train(settings, tmp_path, workers=0, log=lambda _: None)
    assert all(torch.isfinite(weight).all() for weight in _weights(path).values() if weight.is_floating_point())


def test_a_run_by_the_clock_ends_and_its_rate_falls_to_zero(tmp_path: Path) -> None:
    settings = replace(_TINY, minutes=0.02, decay_share=1.0, validation_scenes=0)
    said: list[str] = []
    train(settings, tmp_path, workers=0, log=said.append)
    assert learning_rate(settings, 100, 0.0) == settings.learning_rate
    assert learning_rate(settings, 100, 0.6) == pytest.approx(settings.learning_rate / 2)
    assert learning_rate(settings, 100, 60.0) == 0.0


def test_an_experiment_with_a_wrong_key_names_the_likely_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[network]\nwidht = 3\n")
    with pytest.raises(ConfigError, match=r'mine\.toml: \[network\] widht: unknown key; did you mean "width"\?'):
        load_experiment(str(path))
    path.write_text('steps = "many"\n')
    with pytest.raises(ConfigError, match=r"mine\.toml: steps: .*integer"):
        load_experiment(str(path))
    path.write_text("batch = 6\nuses = 4\n")
    with pytest.raises(ConfigError, match=r"mine\.toml: batch: 6 scenes cannot be 4 equal parts; see uses"):
        load_experiment(str(path))
    with pytest.raises(ConfigError, match="one of: base, full, small, small-final, small-judged, small-long, tiny"):
        load_experiment("huge")


def test_shards_are_the_scenes_that_would_be_drawn_and_a_run_learns_from_them(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    settings = replace(_TINY, bfloat16=False, validation_scenes=0)
    assert write_shards(settings, folder, 2, workers=1, log=lambda _: None) == 2
    (folder / "batch-000001.pt").unlink()
    assert write_shards(settings, folder, 2, workers=1, log=lambda _: None) == 1
    made, drawn = next(read_shards(settings, folder, 1)), drawn_batch(SceneMaker(_SCENES), settings, 1)
    for name, values in drawn.items():
        torch.testing.assert_close(made[name], values, rtol=2e-3, atol=2e-3)
    train(settings, tmp_path / "run", shards=folder, log=lambda _: None)  # four steps, two uses of each
    with pytest.raises(ConfigError, match=r"shards\.json: seed: these shards are of other scenes"):
        next(read_shards(replace(settings, seed=3), folder, 0))
    with pytest.raises(ConfigError, match="no shards here; make some"):
        next(read_shards(settings, tmp_path, 0))
