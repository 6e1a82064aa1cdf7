"""A checkpoint that is missing, cut short or another network's is refused with its name and a remedy, whoever reads it."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import appliance.lab
from appliance.errors import ApplianceError, ModelError
from appliance.lab.checkpoint import read_checkpoint, write_checkpoint
from appliance.lab.commands import app
from appliance.lab.edge.train import load_checkpoint
from appliance.lab.full.train import load_full
from appliance.lab.tagger.network import TaggerCnn, TaggerSettings
from appliance.lab.tagger.train import load_tagger

SHIPPED = Path(appliance.lab.__file__).parent / "checkpoints"


@pytest.mark.parametrize(
    "command",
    [
        ["export", "gone.pt"],
        ["export-tagger", "gone", "deepasa-edge-small-int8"],
        ["train", "run", "--experiment", "tiny", "--from", "gone.pt"],
        ["train-tagger", "run", "middle", "--experiment", "small-judged", "--from", "gone.pt"],
    ],
)
def test_every_command_says_which_file_is_missing(command: list[str], tmp_path: Path) -> None:
    gone = tmp_path / "gone.pt"
    places = {"gone.pt": str(gone), "gone": str(tmp_path / "gone"), "run": str(tmp_path / "run")}
    missing = tmp_path / "gone" / "middle.pt" if "gone" in command else gone
    ran = CliRunner().invoke(app, [places.get(word, word) for word in command])
    assert isinstance(ran.exception, ApplianceError), ran.output
    assert str(ran.exception) == f"{missing}: no such checkpoint; give the last .pt of a training, or train it again"


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    write_checkpoint(path, {"network": {}, "settings": {}})
    whole = path.read_bytes()
    for wrong in (b"", b"not a file of PyTorch", whole[: len(whole) // 2]):
        path.write_bytes(wrong)
        with pytest.raises(ModelError, match=r"last\.pt: not a checkpoint \(.+\); give the last \.pt"):
            read_checkpoint(path)
    torch.save([1], path)
    with pytest.raises(ModelError, match="it holds no network and settings"):
        read_checkpoint(path)


def test_another_kind_of_network_is_refused() -> None:
    with pytest.raises(ModelError, match=r"middle\.pt: another kind of network .*"):
        load_checkpoint(SHIPPED / "tagger" / "middle.pt")
    with pytest.raises(ModelError, match=r"small\.pt: another kind of network"):
        load_tagger(SHIPPED / "small.pt")
    with pytest.raises(ModelError, match=r"small\.pt: another kind of network .*give the last \.pt"):
        load_full(SHIPPED / "small.pt")


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    settings = {"network": {"channels": [8, 8, 8, 8], "head": 8, "dropout": 0.0}}
    write_checkpoint(path, {"network": TaggerCnn(TaggerSettings()).state_dict(), "settings": settings})
    with pytest.raises(ModelError, match=r"last\.pt: weights of another network .*train it again"):
        load_tagger(path)


def test_an_older_checkpoint_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    write_checkpoint(path, {"network": {}, "settings": {"a": 1}})
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        write_checkpoint(path, {"network": {}, "settings": lambda: None})
    assert read_checkpoint(path)["settings"] == {"a": 1}
