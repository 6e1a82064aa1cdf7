"""The tagger learns, goes on where it was interrupted, and what is exported says what was trained."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from appliance.cli.main import app
from appliance.dsp.steered import EARS
from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.errors import ModelError
from appliance.lab.edge.average import average_checkpoints
from appliance.lab.pack import CLASSES, SOUNDS
from appliance.lab.scenes.dice import Dice
from appliance.lab.scenes.maker import SceneSettings
from appliance.lab.tagger.beams import BeamMaker, _relative_levels, beam_band_power
from appliance.lab.tagger.export import export_tagger, name_in_meta
from appliance.lab.tagger.network import NETWORKS, TaggerCnn
from appliance.lab.tagger.train import load_tagger, train_tagger
from appliance.model.meta import TaggerReference
from appliance.model.tagger import TaggerNetwork

pytestmark = pytest.mark.usefixtures("small_pack")
ears = pytest.mark.parametrize("name", list(EARS))
_REFERENCE = TaggerReference(file="some-tagger.onnx", sha256="0")
_SCENES = SceneSettings(folds=(1,), arrays=4, synthetic_drones=0.5, synthetic_machines=0.0, synthetic_count=2)


@ears
def test_the_same_key_gives_the_same_beams(name: str) -> None:
    ear = EARS[name]
    maker = BeamMaker(_SCENES, ear)
    levels, label = maker.batch((1, 2), 64)
    again, same = maker.batch((1, 2), 64)
    assert torch.equal(levels, again)
    assert torch.equal(label, same)
    assert not torch.equal(levels, maker.batch((1, 3), 64)[0])
    assert levels.shape == (64, 1, ear.hops, ear.bands)
    assert torch.isfinite(levels).all()
    assert levels.abs().max() <= 4.0
    assert levels.mean(dim=(1, 2, 3)).abs().median() < 1e-3


def test_several_processes_prepare_the_same_recordings() -> None:
    alone, together = (BeamMaker(_SCENES, EARS["long"], workers=workers).batch((1, 2), 16) for workers in (1, 2))
    assert torch.equal(alone[0], together[0])
    assert torch.equal(alone[1], together[1])


def test_levels_are_those_of_the_unit() -> None:
    ear = EARS["middle"]
    powers = np.random.default_rng(0).gamma(0.3, size=(3, 16, ear.bands)).astype(np.float32)
    powers[1, :, 5] = 0.0
    levels = _relative_levels(torch.from_numpy(powers), torch.from_numpy(ear.bins_in_band))
    np.testing.assert_allclose(levels.numpy(), ear.relative_levels(powers), atol=1e-5)


def test_targets_and_other_sounds_are_drawn() -> None:
    maker = BeamMaker(_SCENES, EARS["long"])
    _, label = maker.batch((5,), 400)
    drawn = {SOUNDS[number] for number in label.tolist()}
    assert drawn & set(CLASSES)
    assert drawn - set(CLASSES)
    assert (label == SOUNDS.index("drone")).float().mean() > 0.1


def test_music_is_learned_where_no_recording_has_any() -> None:
    recorded = replace(_SCENES, without=("here:music",))
    synthetic = replace(recorded, synthetic_drones=0.0, synthetic_machines=0.2)
    music = [
        bool((BeamMaker(scenes, EARS["long"]).batch((5,), 400)[1] == SOUNDS.index("music")).any())
        for scenes in (recorded, synthetic)
    ]
    assert music == [False, True]


@ears
def test_ground_and_air_change_what_passes_while_it_is_heard(name: str) -> None:
    """Nothing at times; else a comb, which stands or moves, and bands that sway, by as much upwards as downwards."""
    maker = BeamMaker(_SCENES, EARS[name])
    ground, air = (made(Dice((1,), maker.device), 400) for made in (maker._ground, maker._turbulence))
    for gain, untouched in ((ground, 0.4), (air, 0.5)):
        assert (gain.flatten(1) == 1.0).all(dim=1).float().mean() == pytest.approx(untouched, abs=0.1)
        assert gain.min() > 0.0
    comb = ground[(ground.flatten(1) != 1.0).any(dim=1)]
    assert (comb.std(dim=1).amax(dim=1) < 1e-4).float().mean() == pytest.approx(0.5, abs=0.1)
    sway_db = 10.0 * torch.log10(air)
    assert sway_db.mean() == pytest.approx(0.0, abs=0.2)
    assert 1.0 < sway_db.std() < 4.0


@ears
def test_some_beams_are_of_young_tracks_whose_first_hop_stands_for_what_came_before(name: str) -> None:
    levels = BeamMaker(_SCENES, EARS[name]).batch((6,), 300)[0][:, 0]
    still = (levels == levels[:, :1]).all(dim=2).sum(dim=1)
    young = still > 1
    assert 0.45 < young.float().mean() < 0.75
    assert still[young].float().mean() > 0.23 * EARS[name].hops


@ears
@pytest.mark.usefixtures("late_bark")
def test_each_loud_moment_of_a_short_sound_is_drawn_as_often(name: str) -> None:
    """No beam is cut from what is silent between them."""
    ear = EARS[name]
    maker = BeamMaker(_SCENES, ear)
    dogs = torch.full((400,), SOUNDS.index("dog"))
    powers = maker._bank.draw(Dice((1,), maker.device), dogs, torch.zeros_like(dogs))
    high_bands = torch.from_numpy(ear.band_frequencies_hz() > 500.0)
    parts = torch.stack([powers[..., bands].sum(dim=2).amax(dim=1) for bands in (~high_bands, high_bands)])
    heard = parts > 0.1 * parts.amax()
    assert heard.any(dim=0).all()
    early, late = heard.float().mean(dim=1).tolist()
    assert 0.4 < late < 0.6
    assert 0.5 < early < 0.75  # what is heard twice begins again


@ears
def test_beams_are_levels_as_the_unit_takes_them(name: str) -> None:
    """A tone stands in its own band, on the unit's time axis, and far above all else."""
    ear = EARS[name]
    time_s = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    powers = beam_band_power(np.sin(2 * np.pi * 250.0 * time_s).astype(np.float32), ear)
    assert powers.shape == (ear.hops_in(2.0), ear.bands)
    own = int(np.argmin(np.abs(ear.band_frequencies_hz() - 250.0)))
    steady = slice(ear.hops_in(0.3), None)
    assert (powers[steady].argmax(axis=1) == own).all()
    assert (ear.relative_levels(powers)[steady, own] > 3.0).all()


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    train_tagger(_SCENES, tmp_path / "halves", "middle", steps=2, decay_share=1e-9, log=lambda _: None)
    second = train_tagger(_SCENES, tmp_path / "halves", "middle", steps=4, decay_share=1e-9, log=lambda _: None)
    straight = train_tagger(_SCENES, tmp_path / "straight", "middle", steps=4, decay_share=1e-9, log=lambda _: None)
    weights, expected = (load_tagger(path)[0].state_dict() for path in (second, straight))
    for name, values in expected.items():
        torch.testing.assert_close(weights[name], values, rtol=1e-4, atol=1e-5)


def test_trainings_that_began_from_one_another_are_averaged(tmp_path: Path) -> None:
    def trained(name: str, seed: int, steps: int, start: Path | None = None) -> Path:
        folder = tmp_path / name
        return train_tagger(_SCENES, folder, "short", steps=steps, start=start, seed=seed, log=lambda _: None)

    begin = trained("begin", 0, 1)
    members = [trained("one", 1, 3, begin), trained("other", 2, 2, begin)]
    result = CliRunner().invoke(app, ["lab", "average", str(tmp_path / "mean.pt"), *map(str, members)])
    assert result.exit_code == 0, result.output
    mean, saved = load_tagger(tmp_path / "mean.pt")
    one, other = (load_tagger(path)[0].state_dict() for path in members)
    assert any(not torch.equal(values, other[name]) for name, values in one.items())
    for name, values in mean.state_dict().items():
        if values.is_floating_point():
            torch.testing.assert_close(values, 0.5 * (one[name] + other[name]))
    assert (saved["step"], len(saved["averaged"])) == (3, 2)

    stranger = train_tagger(_SCENES, tmp_path / "begin", "long", steps=1, log=lambda _: None)
    with pytest.raises(ModelError, match=r"long\.pt: another network than that of .*short\.pt"):
        average_checkpoints([begin, stranger], tmp_path / "no.pt")


def test_the_rate_of_a_run_by_steps_falls_from_where_it_began(tmp_path: Path) -> None:
    """What the run before has learned is not taken for done: the first step, of a hundred to warm up, is as long as any first one."""
    begin = train_tagger(_SCENES, tmp_path / "begin", "short", steps=4, log=lambda _: None)
    known = load_tagger(begin)[0].state_dict()
    path = train_tagger(
        _SCENES, tmp_path / "on", "short", steps=5, start=begin, rate=1e-2, decay_share=1.0, log=lambda _: None
    )
    learned = dict(load_tagger(path)[0].named_parameters())
    moved = max(float((values - known[name]).abs().max().detach()) for name, values in learned.items())
    assert moved == pytest.approx(1e-2 / 100, rel=0.1)


def test_what_is_trained_by_command_is_exported_named_and_heard(tmp_path: Path) -> None:
    experiment = tmp_path / "short.toml"
    experiment.write_text(
        "[scenes]\nfolds = [1]\narrays = 4\nsynthetic_drones = 0.0\nsynthetic_machines = 0.0\n", encoding="utf-8"
    )
    run = tmp_path / "run"
    for name in EARS:
        command = ["lab", "train-tagger", str(run), name, "--experiment", str(experiment), "--steps", "1"]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    models = {precision: tmp_path / f"some-{precision}.onnx" for precision in ("int8", "fp32")}
    for precision, model in models.items():
        model.write_bytes(b"")
        tuned = {"precision": precision, "thresholds": {"drone": 0.5}, "scores": {"f1": 1.0}}
        model.with_suffix(".meta.json").write_text(json.dumps(tuned), encoding="utf-8")
    result = CliRunner().invoke(app, ["lab", "export-tagger", str(run), *map(str, models.values())])
    assert result.exit_code == 0, result.output

    rng, levels, said = np.random.default_rng(0), {}, torch.zeros(1, len(SOUNDS))
    for name, ear in EARS.items():
        network, saved = load_tagger(run / f"{name}.pt")
        assert saved["settings"]["scenes"]["folds"] == (1,)
        levels[name] = rng.normal(size=(ear.hops, ear.bands)).astype(np.float32)
        with torch.no_grad():
            told = torch.log_softmax(network(torch.from_numpy(levels[name])[None, None]), dim=1)
        said = said + told
    expected = torch.softmax(said, dim=1)[0].numpy()
    classes = [SOUNDS.index(label) for label in CLASSES]
    for precision, off in (("fp32", 1e-5), ("int8", 2e-3)):
        named = json.loads(models[precision].with_suffix(".meta.json").read_text(encoding="utf-8"))
        assert named["tagger"]["file"] == f"object-tagger-{precision}.onnx"
        assert (named["thresholds"], named["scores"]) == ({}, {})
        tagger = TaggerNetwork.load(tmp_path / named["tagger"]["file"], CLASSES)
        assert tagger.sounds == SOUNDS
        np.testing.assert_allclose(tagger.probabilities(levels), expected, atol=off)
        np.testing.assert_allclose(tagger.of_classes(tagger.probabilities(levels)), expected[classes], atol=off)


def test_the_file_says_where_it_comes_from(tmp_path: Path) -> None:
    for ear in EARS:
        train_tagger(_SCENES, tmp_path, ear, steps=1, log=lambda _: None)
    references = export_tagger(tmp_path, tmp_path)
    assert set(references) == {"fp32", "int8"}
    for reference in references.values():
        session = onnxruntime.InferenceSession(str(tmp_path / reference.file), providers=["CPUExecutionProvider"])
        told = session.get_modelmeta().custom_metadata_map
        assert json.loads(told["sounds"]) == list(SOUNDS)
        training = json.loads(told["training"])
        assert {"notice", *EARS} == set(training)
        assert all({"commit", "settings", "step", "hours"} == set(training[ear]) for ear in EARS)


def test_a_model_of_no_such_precision_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    meta = tmp_path / "some.meta.json"
    meta.write_text('{"precision": "fp16"}', encoding="utf-8")
    with pytest.raises(ModelError, match=r"some\.meta\.json: precision: 'fp16' is none of fp32, int8; export"):
        name_in_meta(dict.fromkeys(("fp32", "int8"), _REFERENCE), [tmp_path / "some.onnx"])
    assert meta.read_text(encoding="utf-8") == '{"precision": "fp16"}'


def test_an_ear_that_is_missing_or_another_s_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"middle\.pt: no such checkpoint"):
        export_tagger(tmp_path, tmp_path)
    for ear in ("middle", "long"):
        train_tagger(_SCENES, tmp_path, ear, steps=1, log=lambda _: None)
    shutil.copy(tmp_path / "long.pt", tmp_path / "short.pt")
    with pytest.raises(ModelError, match=r"short\.pt: a network for the ear 'long'"):
        export_tagger(tmp_path, tmp_path)
    result = CliRunner().invoke(app, ["lab", "train-tagger", "run", "nose", "--experiment", "small-judged"])
    assert result.exit_code != 0


@ears
def test_a_network_fits_its_ear(name: str) -> None:
    ear, network = EARS[name], TaggerCnn(NETWORKS[name])
    assert network(torch.zeros(2, 1, ear.hops, ear.bands)).shape == (2, len(SOUNDS))
