"""A model exported with or without its masks hears the same; what it cannot do is refused, or left out, and said."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from plane_waves import at_array, hum, write_flac
from typer.testing import CliRunner

from appliance.cli.main import app
from appliance.geometry import load_array
from appliance.lab.edge.export import NEEDED, export_step_graph, write_meta
from appliance.lab.edge.network import DeepAsaEdge, NetworkSettings
from appliance.lab.pack import CLASSES
from appliance.model.scene import SceneModel
from appliance.separation.manifest import read_manifest

ARRAY = "tetrahedron_4cm2"
EXPORTS = {"bare": (), "masks": ("mask",), "direct": ("direct_mask",), "whole": ("mask", "direct_mask")}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One network in four exports. Untrained, but one that says of its first slot that a drone is there."""
    torch.manual_seed(2)
    network = DeepAsaEdge(NetworkSettings(width=16, blocks=1, head=16, object_width=8)).eval()
    assert network.label_head.bias is not None
    with torch.no_grad():
        network.label_head.bias[0] = 6.0
        network.label_head.bias[1 + CLASSES.index("drone")] = 8.0
    folder, models = tmp_path_factory.mktemp("models"), {}
    for name, outputs in EXPORTS.items():
        models[name] = folder / f"{name}.onnx"
        export_step_graph(network, models[name], (*NEEDED, *outputs))
        write_meta(models[name], network, precision="fp32", training={}, scores={})
    return models


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    geometry = load_array(ARRAY)
    return write_flac(tmp_path_factory.mktemp("recording") / "hum.flac", at_array(hum(2.0), geometry, 40.0))


def replay(recording: Path, model: Path, *more: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(
        app, ["replay", str(recording), "--array", ARRAY, "--model", str(model), "--jsonl", *more]
    )
    return done.exit_code, done.stdout, str(done.exception)


def test_what_is_heard_does_not_depend_on_the_masks(models: dict[str, Path], recording: Path) -> None:
    """Event by event, but for ids, which are drawn from the hash of the model."""
    said = {}
    for name, model in models.items():
        code, out, _ = replay(recording, model)
        assert code == 0
        events = [json.loads(line) for line in out.splitlines()]
        said[name] = [{key: value for key, value in event.items() if key not in ("id", "event_id")} for event in events]
    assert len(said["bare"]) >= 2
    assert all(events == said["bare"] for events in said.values())


@pytest.mark.parametrize("name", ["bare", "direct"])
def test_stems_need_masks(models: dict[str, Path], recording: Path, tmp_path: Path, name: str) -> None:
    assert not SceneModel.load(models[name]).gives_direct_masks
    code, _, error = replay(recording, models[name], "--stems", str(tmp_path / "stems"))
    assert code != 0
    assert f"--stems: model {name} gives no masks; name one that was exported with them" in error
    assert not (tmp_path / "stems").exists()


@pytest.mark.parametrize(("name", "reverberation"), [("masks", "together"), ("whole", "apart")])
def test_stems_say_whether_reverberation_is_apart(
    models: dict[str, Path], recording: Path, tmp_path: Path, name: str, reverberation: str
) -> None:
    code, _, error = replay(recording, models[name], "--stems", str(tmp_path))
    assert code == 0, error
    manifest = read_manifest(tmp_path)
    assert manifest.reverberation == reverberation
    assert manifest.objects
    for stem in manifest.objects:
        files = [file for file in (stem.foa, stem.foa_reverb) if file is not None]
        assert len(files) == (2 if reverberation == "apart" else 1)
        assert all(np.abs(soundfile.read(tmp_path / file)[0]).max() > 1e-4 for file in files)
