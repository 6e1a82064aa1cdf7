"""The judge: the perimeter benchmark through `pipeline.run`, for networks and baselines alike, into one report.

Render a scene, let every system hear it (`hear`), hold that against the truth (`judged`), and count (`figures`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from appliance.errors import ConfigError
from appliance.geometry import load_array
from appliance.lab.baselines.detectors import BaselineSystem
from appliance.lab.baselines.trained import CHECKPOINTS, TrainedBaseline, checkpoint_facts, trained_baselines
from appliance.lab.commit import current_commit
from appliance.lab.hear import TARGET, System, hear
from appliance.lab.judge.calibrate import calibrated, quiet_scene
from appliance.lab.judge.figures import EMPTY_PARTS, system_figures
from appliance.lab.judge.judged import JudgedScene, judge_scene
from appliance.lab.judge.perimeter import TEST_FOLDS, perimeter_suite
from appliance.lab.judge.separation import separation_suite
from appliance.lab.judge.separation_figures import judge_separation
from appliance.lab.judge.timeline import scene_timeline
from appliance.lab.judge.tune import FALSE_ALARMS_PER_HOUR
from appliance.lab.metrics.cramer_rao import mean_azimuth_crb_deg
from appliance.lab.metrics.plain import plain
from appliance.lab.systems import OnnxSystem, onnx_systems
from appliance.lab.workers import Log, each
from appliance.lab.world.recipe import Recipe
from appliance.lab.world.render import render
from appliance.model.meta import load_meta

CALIBRATION_FOLDS = (4,)
CRB_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Suite:
    """How much of the perimeter benchmark is run."""

    name: str
    """As the report and the model's meta say it."""
    sizes: dict[str, int]
    """Arguments of `perimeter_suite`."""
    calibration_minutes: int
    """Length of each target-free part of fold 4 that sets the baselines' thresholds."""
    separation_per_snr: int = 0
    """Scenes at each SNR in which the models' stems are judged."""
    seed: int = 2026
    """Of the suite; calibration uses the next."""

    def recipes(self) -> list[Recipe]:
        """The scenes of fold 5. Raises `ConfigError` where there is no audio pack."""
        return list(perimeter_suite(self.seed, folds=TEST_FOLDS, **self.sizes))

    def calibration_recipes(self) -> list[Recipe]:
        """Scenes of fold 4 without drones."""
        nothing = dict.fromkeys(("per_snr", "per_distance", "per_class", "overlaps", "per_fault"), 0)
        minutes = self.calibration_minutes
        return list(perimeter_suite(self.seed + 1, folds=CALIBRATION_FOLDS, minutes=minutes, **nothing))

    def scaled(self, share: float) -> "Suite":
        """So much of every part, at least one scene of each."""
        sizes = {name: max(1, round(share * size)) for name, size in self.sizes.items()}
        minutes, each_snr = (
            max(2, round(share * size)) for size in (self.calibration_minutes, self.separation_per_snr)
        )
        return Suite(f"{self.name}, {share:.0%} of it", sizes, minutes, each_snr, self.seed)


FULL = Suite(
    "perimeter",
    {"per_snr": 24, "per_distance": 12, "per_class": 10, "overlaps": 36, "minutes": 60, "per_fault": 12},
    calibration_minutes=20,
    separation_per_snr=24,
)
QUICK = Suite(
    "perimeter quick",
    {"per_snr": 6, "per_distance": 2, "per_class": 2, "overlaps": 8, "minutes": 4, "per_fault": 1},
    calibration_minutes=3,
    separation_per_snr=4,
)


def evaluate(
    models: Sequence[Path],
    suite: Suite,
    *,
    checkpoints: Path = CHECKPOINTS,
    workers: int = 2,
    log: Log = print,
) -> dict[str, Any]:
    """The whole report, JSON-able. The same models, suite and code give the same report.

    `checkpoints` holds the trained baselines. Raises `ConfigError` where there is no audio pack, `ModelError` where a
    model or a checkpoint is not whole.
    """
    networks = onnx_systems(models)
    trained, missing = trained_baselines(checkpoints)
    recipes = suite.recipes()
    quiet = suite.calibration_recipes()
    log(
        f"{suite.name}: {len(recipes)} scenes of {_hours(recipes):.2f} h; thresholds on {_hours(quiet):.2f} h of fold 4"
    )
    baselines = calibrated(trained, each(partial(quiet_scene, trained), quiet, workers, log))
    systems: tuple[System, ...] = (*networks, *baselines)
    judged = judge(recipes, systems, workers=workers, log=log)
    figures = {name: system_figures(scenes) for name, scenes in judged.items()}
    separation = list(separation_suite(suite.seed, per_snr=suite.separation_per_snr))
    separated, without_masks = judge_separation(networks, separation, workers=workers, log=log)
    for name, recovered in separated.items():
        figures[name]["si_sdri_db"] = recovered
    return {
        "suite": _suite_facts(suite, recipes),
        "commit": current_commit(),
        "models": {network.name: model_facts(network) for network in networks},
        "baselines": _baseline_facts(baselines, quiet),
        "crb_deg": _bounds(recipes),
        "crb_assumes": f"azimuth of a still source at the horizon, {CRB_SECONDS:g} s, 100–7500 Hz, spectra of one shape, "
        "diffuse noise with 30 dB less self-noise; Stoica & Nehorai 1990; root mean square over azimuths",
        "systems": figures,
        "timeline": scene_timeline(_shown(recipes), systems),
        "missing": [*missing, *without_masks],
    }


def judge(
    recipes: Iterable[Recipe], systems: Sequence[System], *, workers: int = 2, log: Log = print
) -> dict[str, list[JudgedScene]]:
    """Every scene heard by every system, in the order of the recipes."""
    scenes: dict[str, list[JudgedScene]] = {system.name: [] for system in systems}
    for judged in each(partial(_judge_recipe, tuple(systems)), list(recipes), workers, log):
        for name, scene in zip(scenes, judged, strict=True):
            scenes[name].append(scene)
    return scenes


def _judge_recipe(systems: Sequence[System], recipe: Recipe) -> list[JudgedScene]:
    scene, geometry = render(recipe), recipe.geometry()
    heard = (hear(scene.samples, geometry, system, gaps=scene.gaps, ground=recipe.ground) for system in systems)
    return [judge_scene(recipe, scene.sources, one) for one in heard]


def _hours(recipes: Iterable[Recipe]) -> float:
    return sum(recipe.seconds for recipe in recipes) / 3600.0


def _suite_facts(suite: Suite, recipes: Sequence[Recipe]) -> dict[str, Any]:
    parts: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        parts.setdefault(str(recipe.notes["part"]), []).append(recipe)
    return {
        "name": suite.name,
        "seed": suite.seed,
        "folds": list(TEST_FOLDS),
        "hours": plain(_hours(recipes)),
        "parts": {part: {"scenes": len(own), "hours": plain(_hours(own))} for part, own in parts.items()},
    }


def model_facts(network: OnnxSystem) -> dict[str, Any]:
    """Where a network comes from."""
    meta = load_meta(Path(network.path))
    training = {key: meta.training[key] for key in ("step", "commit", "hours") if key in meta.training}
    return {"file": f"{meta.name}.onnx", "sha256": meta.sha256, "precision": meta.precision, "training": training}


def _baseline_facts(baselines: Sequence[TrainedBaseline | BaselineSystem], quiet: Sequence[Recipe]) -> dict[str, Any]:
    thresholds = {
        baseline.name: {TARGET: baseline.threshold} if isinstance(baseline, BaselineSystem) else baseline.thresholds
        for baseline in baselines
    }
    trained = [baseline for baseline in baselines if not isinstance(baseline, BaselineSystem)]
    return {
        "thresholds": plain(thresholds),
        "checkpoints": {baseline.name: checkpoint_facts(baseline) for baseline in trained},
        "false_alarms_per_hour": FALSE_ALARMS_PER_HOUR,
        "folds": list(CALIBRATION_FOLDS),
        "hours": plain(_hours(quiet)),
    }


def _bounds(recipes: Sequence[Recipe]) -> dict[str, dict[str, float]]:
    """Array → SNR → bound in degrees, for what the suite holds."""
    arrays = sorted({recipe.array for recipe in recipes})
    snrs_db = sorted({float(recipe.notes["snr_db"]) for recipe in recipes if "snr_db" in recipe.notes})
    return {
        array: {
            f"{snr_db:g}": plain(mean_azimuth_crb_deg(load_array(array), snr_db, seconds=CRB_SECONDS, diffuse=True))
            for snr_db in snrs_db
        }
        for array in arrays
    }


def _shown(recipes: Sequence[Recipe]) -> Recipe:
    """The scene of the timeline: the first with two targets, else the first with any source."""
    for wanted in (2, 1):
        for recipe in recipes:
            if len(recipe.sources) >= wanted and recipe.notes["part"] not in EMPTY_PARTS:
                return recipe
    raise ConfigError("the suite has no scene with a source: nothing can be judged; give it larger sizes")
