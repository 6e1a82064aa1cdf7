"""Many scenes into a folder: in parallel, and resumable at any moment.

Of scene NAME there is `NAME.flac` (`NAME.wav` for more than eight microphones), its DCASE metadata `NAME.csv`, what each
source did `NAME.truth.json`, where asked for `NAME.stems.npz`, and last of all the recipe `NAME.json`: where that is,
the scene is whole. Files are written under another name and renamed, so none is ever half there.
"""

import dataclasses
import json
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.errors import ApplianceError, ConfigError
from appliance.lab.pack import CLASSES
from appliance.lab.world.dcase_csv import frames_of_sources, save_dcase_csv
from appliance.lab.world.draw import SceneDraw
from appliance.lab.world.random_scenes import random_recipe
from appliance.lab.world.recipe import Recipe, load_recipe, save_recipe
from appliance.lab.world.render import RenderedScene, Stems, render

_PART = ".part"
_FLAC_CHANNELS = 8
_LOG_EVERY_S = 5.0
_WAITING_PER_WORKER = 4

Log = Callable[[str], None]
NamedRecipe = tuple[str, Recipe]


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a run did."""

    scenes: int
    """Rendered by it."""
    kept: int
    """Found whole."""
    audio_s: float
    """Length of what it rendered."""
    wall_s: float
    """Time it took."""
    cpu_s: float
    """Time that processors spent on scenes, starting workers not included."""


def drawn_recipes(count: int, seed: int, *, folds: tuple[int, ...], seconds: float) -> Iterator[NamedRecipe]:
    """`count` random scenes of a seed to learn from; the first ones are the same whatever the count.

    Raises `ConfigError` where there is no audio pack.
    """
    draw = SceneDraw(np.random.default_rng(seed), folds, to_learn=True)
    for index in range(count):
        yield f"scene-{index:06d}", random_recipe(draw, seed, index, seconds=seconds)


def read_recipes(paths: Sequence[Path]) -> Iterator[NamedRecipe]:
    """Recipes by the name of their files; a folder stands for all recipes in it.

    Raises `ConfigError` where a file is no recipe, a folder holds none, or two have one name.
    """
    files: dict[str, Path] = {}
    for path in paths:
        found = sorted(path.glob("*.json")) if path.is_dir() else [path]
        found = [file for file in found if not file.name.endswith(".truth.json")]
        if not found:
            raise ConfigError(f"{path}: no recipe (*.json) in this folder")
        for file in found:
            if file.stem in files:
                raise ConfigError(f"{file}: {files[file.stem]} has the same name; rename one of them")
            files[file.stem] = file
    for name, file in files.items():
        yield name, load_recipe(file)


def render_all(
    recipes: Sequence[NamedRecipe], folder: Path, *, workers: int = 2, stems: bool = False, log: Log = print
) -> Rendered:
    """Render what is not whole yet.

    Raises `ConfigError` where the folder cannot be written or holds other scenes under these names, and what `render`
    raises; scenes that were finished until then stay.
    """
    began_s = time.monotonic()
    _prepare(folder)
    missing = [(name, recipe) for name, recipe in recipes if not _is_whole(folder, name, recipe, stems=stems)]
    kept, done, audio_s, cpu_s, told_s = len(recipes) - len(missing), 0, 0.0, 0.0, began_s
    if kept:
        log(f"{kept} of {len(recipes)} scenes are there already")
    for seconds, busy_s in _each(partial(_render_one, folder, stems), missing, workers):
        done, audio_s, cpu_s = done + 1, audio_s + seconds, cpu_s + busy_s
        now_s = time.monotonic()
        if now_s - told_s >= _LOG_EVERY_S or done == len(missing):
            log(_progress(done, len(missing), audio_s, now_s - began_s))
            told_s = now_s
    return Rendered(done, kept, audio_s, time.monotonic() - began_s, cpu_s)


def _progress(done: int, scenes: int, audio_s: float, wall_s: float) -> str:
    left_s = wall_s / done * (scenes - done)
    minutes, seconds = divmod(round(left_s), 60)
    return (
        f"{done}/{scenes} scenes, {done / wall_s:.2f} scenes/s, {audio_s / wall_s:.0f} × real time, "
        f"{minutes} min {seconds:02d} s left"
    )


def _prepare(folder: Path) -> None:
    """Make the folder, sweep away what an interrupted run left half written, and say what the class numbers mean."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob(f".*{_PART}*"):
            part.unlink()
        (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error}); give --out a writable folder") from error


def _is_whole(folder: Path, name: str, recipe: Recipe, *, stems: bool) -> bool:
    path = folder / f"{name}.json"
    if not path.exists():
        return False
    if load_recipe(path) != recipe:
        raise ConfigError(f"{path}: is the recipe of another scene; give --out an empty folder")
    return not stems or (folder / f"{name}.stems.npz").exists()


def _render_one(folder: Path, stems: bool, named: NamedRecipe) -> tuple[float, float]:
    """Seconds of audio rendered, and of a processor."""
    began_s = time.process_time()
    name, recipe = named
    scene = render(recipe, stems=stems)
    audio = ".flac" if len(scene.samples) <= _FLAC_CHANNELS else ".wav"
    subtype = f"PCM_{recipe.sensors.bits}"
    _write(folder, name + audio, lambda path: _save_audio(scene, path, subtype))
    _write(folder, f"{name}.csv", lambda path: save_dcase_csv(frames_of_sources(scene.sources, CLASSES), path))
    _write(folder, f"{name}.truth.json", lambda path: path.write_text(json.dumps(_truth(scene)), encoding="utf-8"))
    if scene.stems is not None:
        parts = scene.stems
        _write(folder, f"{name}.stems.npz", lambda path: _save_stems(parts, path))
    _write(folder, f"{name}.json", lambda path: save_recipe(recipe, path))
    return scene.samples.shape[1] / SAMPLE_RATE_HZ, time.process_time() - began_s


def _write(folder: Path, name: str, save: Callable[[Path], Any]) -> None:
    # The suffix stays last: by it soundfile and NumPy know the format.
    part = folder / f".{name}{_PART}{Path(name).suffix}"
    try:
        save(part)
        part.replace(folder / name)
    except (OSError, soundfile.LibsndfileError) as error:
        raise ConfigError(f"{folder / name}: cannot be written ({error}); free some space and run it again") from error


def _save_audio(scene: RenderedScene, path: Path, subtype: str) -> None:
    # As integers: libsndfile scales floats by one step less, and the samples would not be those rendered.
    steps = (scene.samples.T.astype(np.float64) * 2.0**31).astype(np.int32)
    soundfile.write(path, steps, SAMPLE_RATE_HZ, subtype=subtype)


def _save_stems(stems: Stems, path: Path) -> None:
    np.savez(path, **{field.name: getattr(stems, field.name) for field in dataclasses.fields(stems)})


def _truth(scene: RenderedScene) -> dict[str, Any]:
    """Label frames of 0.1 s; places are where a source was when it made what is heard, in the array frame."""
    return {
        "gaps_s": [[first / SAMPLE_RATE_HZ, end / SAMPLE_RATE_HZ] for first, end in scene.gaps],
        "sources": [
            {
                "class": source.label,
                "active": source.active.astype(int).tolist(),
                "azimuth_deg": np.round(source.azimuth_deg, 2).tolist(),
                "elevation_deg": np.round(source.elevation_deg, 2).tolist(),
                "distance_m": None if source.distance_m is None else np.round(source.distance_m, 2).tolist(),
            }
            for source in scene.sources
        ],
    }


def _each(
    function: Callable[[NamedRecipe], tuple[float, float]], tasks: Sequence[NamedRecipe], workers: int
) -> Iterator[tuple[float, float]]:
    """Results as they come; one worker is this process itself. After an error no further scene is begun."""
    if workers == 1:
        yield from map(function, tasks)
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_leave_ctrl_c)
    waiting: set[Future[tuple[float, float]]] = set()
    try:
        for task in tasks:
            if len(waiting) >= workers * _WAITING_PER_WORKER:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
            waiting.add(pool.submit(function, task))
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)
    except BrokenProcessPool as error:
        raise ApplianceError(
            "render: a worker was killed (out of memory?); give fewer --workers and run it again, it goes on from here"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_ctrl_c() -> None:
    """The parent hears Ctrl-C and lets workers finish the scene in hand."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
