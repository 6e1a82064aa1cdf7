"""Many scenes: whole or not there, the same however they are made, and resumed where a run was killed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from appliance.errors import ConfigError, RecordingError
from appliance.lab.commands import app
from appliance.lab.pack import CLASSES, load_clips
from appliance.lab.world.dcase_csv import frames_of_sources, load_dcase_csv
from appliance.lab.world.demo_scene import RECIPE, write_demo
from appliance.lab.world.recipe import Recipe, load_recipe, save_recipe
from appliance.lab.world.render import render
from appliance.lab.world.render_many import drawn_recipes, read_recipes, render_all

SECONDS = 1.5


def scenes(count: int, seed: int = 5) -> list[tuple[str, Recipe]]:
    return list(drawn_recipes(count, seed, folds=(4,), seconds=SECONDS))


def quiet(_: str) -> None:
    """No progress."""


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scenes by one process."""
    folder = tmp_path_factory.mktemp("scenes")
    render_all(scenes(6), folder, workers=1, log=quiet)
    return folder


def test_a_scene_is_its_samples_truth_metadata_and_recipe(rendered: Path) -> None:
    assert (rendered / "classes.txt").read_text(encoding="utf-8").split() == list(CLASSES)
    for name, recipe in scenes(6):
        assert load_recipe(rendered / f"{name}.json") == recipe
        scene = render(recipe)
        (audio,) = [path for path in rendered.glob(f"{name}.*") if path.suffix in (".flac", ".wav")]
        samples, rate_hz = soundfile.read(audio, dtype="float32", always_2d=True)
        assert rate_hz == 16_000
        assert (scene.samples == samples.T).all()
        rows = load_dcase_csv(rendered / f"{name}.csv", len(CLASSES))
        assert rows == frames_of_sources(scene.sources, CLASSES)
        truth = json.loads((rendered / f"{name}.truth.json").read_text(encoding="utf-8"))
        for told, source in zip(truth["sources"], scene.sources, strict=True):
            assert told["class"] == source.label
            assert told["active"] == source.active.astype(int).tolist()
            assert source.distance_m is not None
            assert told["distance_m"] == pytest.approx(source.distance_m, abs=0.006)


def test_random_scenes_are_those_of_their_seed_and_folds_whatever_their_number() -> None:
    few, many, other = scenes(3), scenes(12), scenes(3, seed=6)
    assert many[:3] == few
    assert other != few
    fold = {clip.path: clip.fold for clip in load_clips(range(1, 6))}
    used = {clip for _, recipe in many for clip in (*recipe.bed, *recipe.rain, *(s.clip for s in recipe.sources))}
    assert {fold[clip] for clip in used} == {4}


def test_two_hundred_random_scenes_can_all_be() -> None:
    """No draw is refused, and they hold what they should: rooms, moving sources, faults, random arrays, every class."""
    recipes = [recipe for _, recipe in drawn_recipes(200, 1, folds=(1, 2, 3), seconds=10.0)]
    assert {source.label for recipe in recipes for source in recipe.sources} >= set(CLASSES)
    assert 15 < sum(recipe.room is not None for recipe in recipes) < 55
    assert sum(bool(recipe.mics_m) for recipe in recipes) > 50
    assert any(recipe.sensors.dead for recipe in recipes)
    assert any(recipe.sensors.swapped for recipe in recipes)
    assert any(len(source.positions_m) > 1 for recipe in recipes for source in recipe.sources)


def test_two_processes_write_the_same_bytes_as_one(rendered: Path, tmp_path: Path) -> None:
    done = render_all(scenes(6), tmp_path, workers=2, log=quiet)
    assert (done.scenes, done.kept, done.audio_s) == (6, 0, 6 * SECONDS)
    assert content(tmp_path) == content(rendered)


def test_a_killed_run_goes_on_with_nothing_lost_and_nothing_half_written(rendered: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def recipes() -> list[Path]:
        """What ends a scene; its truth is written before."""
        return [path for path in out.glob("scene-*.json") if "truth" not in path.name]

    command = [sys.executable, "-c", "from appliance.cli.main import main; main()", "lab", "render"]
    command += ["--count", "6", "--seed", "5", "--folds", "4", "--seconds", str(SECONDS), "--out", str(out)]
    with subprocess.Popen([*command, "--workers", "1"], stdout=subprocess.PIPE) as process:
        while process.poll() is None and not recipes():
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    (out / ".scene-000005.flac.part.flac").write_bytes(b"half")
    whole = {path.name: path.stat().st_mtime_ns for path in recipes()}
    assert whole
    done = render_all(scenes(6), out, workers=1, log=quiet)
    assert (done.kept, done.scenes) == (len(whole), 6 - len(whole))
    assert content(out) == content(rendered)
    assert {name: (out / name).stat().st_mtime_ns for name in whole} == whole


def test_scenes_of_another_seed_are_not_mixed_in(rendered: Path) -> None:
    before = content(rendered)
    with pytest.raises(ConfigError, match=r"scene-000000\.json: is the recipe of another scene; give --out an empty"):
        render_all(scenes(6, seed=6), rendered, workers=1, log=quiet)
    assert content(rendered) == before


def test_stems_come_where_they_are_asked_for_later(rendered: Path, tmp_path: Path) -> None:
    name, recipe = scenes(6)[1]
    for stems in (False, True):
        assert render_all([(name, recipe)], tmp_path, workers=1, stems=stems, log=quiet).scenes == 1
    with np.load(tmp_path / f"{name}.stems.npz") as stored:
        assert stored["direct"].shape == (len(recipe.sources), 4, int(SECONDS * 16_000))
        assert stored["noise"].any()
    assert (tmp_path / f"{name}.csv").read_bytes() == (rendered / f"{name}.csv").read_bytes()


def test_what_fails_is_told_and_what_was_finished_stays(tmp_path: Path) -> None:
    (name, recipe), (bad_name, other) = scenes(2)
    bad = other.model_copy(update={"bed": ("nowhere.flac",)})
    with pytest.raises(RecordingError, match=r"nowhere\.flac: cannot be read"):
        render_all([(name, recipe), (bad_name, bad)], tmp_path, workers=1, log=quiet)
    assert (tmp_path / f"{name}.json").exists()
    assert not list(tmp_path.glob(f"{bad_name}*"))


def test_recipes_are_read_from_files_and_folders(rendered: Path, tmp_path: Path) -> None:
    assert dict(read_recipes([rendered])) == dict(scenes(6))
    save_recipe(scenes(1)[0][1], tmp_path / "mine.json")
    assert [name for name, _ in read_recipes([tmp_path / "mine.json"])] == ["mine"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty: no recipe"):
        list(read_recipes([tmp_path / "empty"]))
    with pytest.raises(ConfigError, match="has the same name"):
        list(read_recipes([tmp_path / "mine.json", tmp_path]))


def test_the_command_renders_recipes_and_says_how_fast(rendered: Path, tmp_path: Path) -> None:
    recipe = str(rendered / "scene-000001.json")
    result = CliRunner().invoke(app, ["render", recipe, "--out", str(tmp_path), "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert "1/1 scenes" in result.output
    assert "scenes/s" in result.output
    assert (tmp_path / "scene-000001.csv").read_bytes() == (rendered / "scene-000001.csv").read_bytes()
    again = CliRunner().invoke(app, ["render", recipe, "--out", str(tmp_path), "--workers", "1"])
    assert "0 scenes rendered, 1 kept" in again.output


@pytest.mark.parametrize("arguments", [[], ["some.json", "--count", "3"]])
def test_the_command_wants_recipes_or_a_number(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["render", *arguments])
    assert isinstance(result.exception, ConfigError)
    assert "either recipe files or --count" in str(result.exception)


def test_the_demo_can_be_rendered_again(tmp_path: Path) -> None:
    write_demo(tmp_path)
    audio = soundfile.info(tmp_path / "fence.flac")
    assert (audio.channels, audio.frames, audio.subtype) == (4, 60 * 16_000, "PCM_16")
    told = json.loads((tmp_path / "fence.json").read_text(encoding="utf-8"))
    assert [sound["class"] for sound in told["objects"]] == [source.label for source in RECIPE.sources]
    assert Recipe.model_validate(told["recipe"]) == RECIPE
    drone = told["objects"][0]
    assert drone["start_s"] == pytest.approx(6.0, abs=0.5)
    assert drone["path"][0][1:] == pytest.approx([-80.0, 12.0], abs=2.0)
    assert len((tmp_path / "ATTRIBUTION.md").read_text(encoding="utf-8").splitlines()) == 7 + len(RECIPE.bed) + 5
