"""Two processes that `torchrun` starts hold the same weights, learn from different scenes, and go on where they stopped."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from appliance.errors import ConfigError
from appliance.lab.edge.ranks import Ranks
from appliance.lab.edge.settings import TrainSettings

_EXPERIMENT = """
batch = 4
uses = 1
warmup_steps = 1
validate_every = 1
validation_scenes = 0
bfloat16 = false
decay_share = 1e-9
[network]
width = 16
blocks = 1
head = 16
object_width = 8
dropout = 0.0
[scenes]
folds = [1]
seconds = 1.0
synthetic_drones = 0.0
synthetic_machines = 0.0
arrays = 2
"""
_EACH = """
import sys, torch
from appliance.lab.edge.experiment import load_experiment
from appliance.lab.edge.ranks import Ranks
from appliance.lab.edge.batches import batches_from
from appliance.lab.edge.train import Learner
settings, ranks = load_experiment(sys.argv[1]), Ranks.joined("cpu")
learner, batches = Learner(settings, "cpu", ranks), batches_from(ranks.share(settings), 0, "cpu", 0)
heard = []
for _ in range(2):
    batch = next(batches)
    learner.learn(batch, 1e-3)
    heard.append(batch["features"])
saved = learner.checkpoint()
first = ranks.of_first(float(ranks.rank + 7))
kept = {"network": saved["network"], "heard": heard, "state": saved["state"], "first": first}
torch.save(kept, f"{sys.argv[2]}/{ranks.rank}.pt")
ranks.leave()
"""


@pytest.fixture
def experiment(small_pack: None, tmp_path: Path) -> Path:  # noqa: ARG001 (it is the pack that is drawn from)
    path = tmp_path / "short.toml"
    path.write_text(_EXPERIMENT, encoding="utf-8")
    return path


def torchrun(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_all_hold_the_same_weights_though_each_hears_scenes_of_its_own(experiment: Path, tmp_path: Path) -> None:
    script = tmp_path / "each.py"
    script.write_text(_EACH, encoding="utf-8")
    torchrun(script, experiment, tmp_path)
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one["first"] == other["first"] == 7.0
    learned = [name for name in one["network"] if "running" not in name and "num_batches" not in name]
    assert len(learned) > 20
    for name in learned:
        torch.testing.assert_close(one["network"][name], other["network"][name], rtol=0.0, atol=0.0)
    for mine, theirs in zip(one["heard"], other["heard"], strict=True):
        assert mine.shape[0] == 2
        assert not torch.allclose(mine, theirs)
    for name, values in one["state"].items():
        assert len(values) == 4
        torch.testing.assert_close(values, other["state"][name])


def test_a_run_goes_on_where_it_stopped(experiment: Path, tmp_path: Path) -> None:
    run = (Path(sys.executable).with_name("appliance"), "lab", "train")
    options = ("--experiment", experiment, "--workers", "0")
    assert torchrun(*run, tmp_path / "halves", *options, "--steps", "1").count('"step": 1') == 1
    assert "going on from" in torchrun(*run, tmp_path / "halves", *options, "--steps", "2")
    torchrun(*run, tmp_path / "straight", *options, "--steps", "2")
    halves, straight = (torch.load(tmp_path / n / "last.pt", weights_only=True) for n in ("halves", "straight"))
    assert halves["settings"]["batch"] == 4
    for name, expected in straight["network"].items():
        torch.testing.assert_close(halves["network"][name], expected, rtol=1e-4, atol=1e-5)


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch: 6 scenes cannot be shared by 2 processes with 2 uses each"):
        Ranks("cpu", 0, 2).share(TrainSettings(batch=6, uses=2))


def test_alone_nothing_changes() -> None:
    settings, alone = TrainSettings(batch=6, uses=2), Ranks("cpu")
    assert alone.share(settings) == settings
    assert alone.of_first(3.5) == 3.5
    values = torch.arange(6.0)
    assert alone.gathered(values) is values
    assert torch.equal(alone.own_part(values), values)
