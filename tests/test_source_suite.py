"""Drone Pd by source: the scenes are of the sources asked for, the figures right, the command whole."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeEvent
from intensity_model import write_intensity_model
from rich.console import Console
from typer.testing import CliRunner

from appliance.cli.main import app
from appliance.errors import ConfigError
from appliance.lab.hear import HeardScene
from appliance.lab.judge.judged import JudgedScene, judge_scene
from appliance.lab.judge.source_report import source_table
from appliance.lab.judge.source_suite import recordings, source_figures, source_suite
from appliance.lab.pack import load_clips
from appliance.lab.world.recipe import Recipe
from appliance.lab.world.render import SourceTruth

CLIPS = {clip.path: clip for clip in load_clips(range(1, 6))}
PISTON = "poltechmil/drone-audio"


def test_every_subclass_of_the_folds_has_its_scenes_and_nothing_else_is_heard() -> None:
    recipes = list(source_suite(folds=(4, 5), per_source=2, minutes=2))
    drones = [recipe for recipe in recipes if "source" in recipe.notes]
    there = {clip.group for clip in CLIPS.values() if clip.label == "drone" and clip.fold in (4, 5)}
    assert {(recipe.notes["source"], recipe.notes["snr_db"]) for recipe in drones} == {
        (group, snr_db) for group in there for snr_db in (0.0, -5.0)
    }
    assert len(drones) == 2 * 2 * len(there)
    for recipe in drones:
        assert CLIPS[recipe.sources[0].clip].group == recipe.notes["source"]
    heard = {clip for recipe in recipes for clip in (*recipe.bed, *(plan.clip for plan in recipe.sources))}
    assert {CLIPS[clip].fold for clip in heard} == {4, 5}
    assert [recipe.notes["part"] for recipe in recipes[len(drones) :]] == ["hard_negatives"] * 2
    assert not any(plan.label == "drone" for recipe in recipes[len(drones) :] for plan in recipe.sources)


def test_any_one_fold_will_do() -> None:
    for fold in range(1, 6):
        assert {len(recipe.bed) for recipe in source_suite(folds=(fold,), per_source=1, minutes=1)} == {2}


def test_only_the_sources_asked_for() -> None:
    recipes = list(source_suite(folds=(1, 2, 3), sources=[PISTON, "omp33"], per_source=4, minutes=1))
    groups = recordings(recipes)
    assert {group.partition("/")[0] for group in groups} == {"poltechmil", "omp33"}
    assert groups[f"{PISTON}:fixed_wing_piston_shahed_136"] == 4
    with pytest.raises(ConfigError, match=r"--source omp33/Drones: no drone .* there are: .*DJI_FPV"):
        next(source_suite(folds=(5,), sources=["omp33/Drones"]))


def test_the_same_seed_gives_the_same_scenes() -> None:
    """Two models that are compared on a source hear the same."""
    one, other = (list(source_suite(folds=(5,), sources=[PISTON], per_source=2, minutes=1)) for _ in range(2))
    assert one == other


def scene(make_event: MakeEvent, source: str, snr_db: float, *, score: float, announced: bool) -> JudgedScene:
    active = np.zeros(120, bool)
    active[20:100] = True
    truth = SourceTruth("drone", active, np.full(120, 40.0), np.zeros(120))
    event = make_event(class_label="drone", azimuth_deg=40.0, elevation_deg=0.0, onset_utc_ns=2_000_000_000)
    heard = HeardScene(((3.0, event),) if announced else (), (), (), np.full(120, score), np.zeros((120, 2)))
    notes = {"part": "drone_source", "source": source, "snr_db": snr_db}
    return judge_scene(Recipe(seed=0, seconds=12.0, array="respeaker_usb_4mic", notes=notes), [truth], heard)


def negatives(scores: list[float]) -> JudgedScene:
    heard = HeardScene((), (), (), np.repeat(scores, 120), np.zeros((120 * len(scores), 2)))
    recipe = Recipe(seed=0, seconds=12.0 * len(scores), array="respeaker_usb_4mic", notes={"part": "hard_negatives"})
    return judge_scene(recipe, [], heard)


def test_pd_is_told_by_subclass_and_by_repository_at_both_thresholds(make_event: MakeEvent) -> None:
    """An hour of negatives allows one trial: the threshold lies above the second best, 0.6."""
    scenes = [
        scene(make_event, "here:small", 0.0, score=0.65, announced=False),
        scene(make_event, "here:small", 0.0, score=0.55, announced=True),
        scene(make_event, "here:large", 0.0, score=0.9, announced=True),
        scene(make_event, "there:small", -5.0, score=0.1, announced=False),
        negatives([0.7, 0.6] + [0.2] * 298),
    ]
    figures = source_figures(scenes)
    small, large = (figures["subclasses"][f"here:{size}"]["0"] for size in ("small", "large"))
    assert (small["announced"]["value"], small["fixed_rate"]["value"], small["of"]) == (0.5, 0.5, 2)
    assert (large["announced"]["value"], large["fixed_rate"]["value"], large["of"]) == (1.0, 1.0, 1)
    here = figures["repositories"]["here"]["0"]
    assert (here["announced"]["value"], here["of"]) == (0.6667, 3)
    assert list(figures["repositories"]["there"]) == ["-5"]
    assert figures["repositories"]["there"]["-5"]["announced"]["value"] == 0.0
    assert figures["false_alarms_per_hour"]["hours"] == 1.0


def test_the_command_writes_and_shows_what_it_found(tmp_path: Path) -> None:
    model, out = write_intensity_model(tmp_path / "deepasa-like.onnx"), tmp_path / "sources.json"
    options = ["--folds", "5", "--source", PISTON, "--per-source", "1", "--minutes", "1", "--workers", "1"]
    result = CliRunner().invoke(app, ["lab", "sources", str(model), *options, "--out", str(out)])
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text(encoding="utf-8"))
    assert list(report["systems"]) == ["deepasa-fp32"]
    assert list(report["systems"]["deepasa-fp32"]["subclasses"]) == [f"{PISTON}:fixed_wing_piston_geran_3"]
    console = Console(width=200, record=True)
    console.print(source_table(report, "deepasa-fp32"))
    assert "fixed_wing_piston_geran_3" in console.export_text()


@pytest.mark.parametrize("folds", ["", "0", "4;5", "4,6"])
def test_folds_that_are_none_are_refused(folds: str, tmp_path: Path) -> None:
    model = write_intensity_model(tmp_path / "deepasa-like.onnx")
    result = CliRunner().invoke(app, ["lab", "sources", str(model), "--folds", folds])
    assert isinstance(result.exception, ConfigError)
    assert "--folds" in str(result.exception)
