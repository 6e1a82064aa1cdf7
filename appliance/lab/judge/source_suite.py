"""How well drones of each source are heard, so that a model taught without a source can be judged on exactly that one.

A source is a repository of recordings, `repo`, and within it a subclass, `repo:subclass`: what shares place, microphone
and mostly the drone itself. Scenes are the perimeter benchmark's; recordings of any folds may be asked for, since what a
model was not taught on is the caller's to say.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from appliance.errors import ConfigError
from appliance.lab.hear import TARGET
from appliance.lab.judge.figures import false_alarm_figures
from appliance.lab.judge.judged import WINDOW_S, JudgedScene
from appliance.lab.judge.perimeter import ARRAYS, HARD_NEGATIVES, drone_plan, suite_scene, target_free
from appliance.lab.metrics.detection import detection_curve, pd_by
from appliance.lab.metrics.plain import plain
from appliance.lab.pack import Clip
from appliance.lab.world.draw import SceneDraw
from appliance.lab.world.recipe import Recipe

SNRS_DB = (0.0, -5.0)
FALSE_ALARMS_PER_HOUR = 1.0
"""Of drones, at the fixed rate."""
_PART, _NEGATIVES = "drone_source", "hard_negatives"


def source_suite(
    seed: int = 2026,
    *,
    folds: tuple[int, ...],
    sources: Sequence[str] = (),
    per_source: int = 12,
    minutes: int = 60,
) -> Iterator[Recipe]:
    """`per_source` scenes of each subclass at each SNR, and `minutes` of hard negatives, all from recordings of `folds`.

    `sources` are beginnings of `repo:subclass`; none: all. Raises `ConfigError` where they name no drone in these folds.
    """
    draw = SceneDraw(np.random.default_rng(seed), folds)
    for group, clips in _groups(draw, sources).items():
        for snr_db in SNRS_DB:
            for index in range(per_source):
                clip = clips[index % len(clips)]
                manoeuvre = ("hover", "orbit", "transit")[index // len(ARRAYS) % 3]
                plan = drone_plan(draw.rng, clip, manoeuvre, float(draw.rng.uniform(30.0, 120.0)), snr_db=snr_db)
                notes = {"source": group, "snr_db": snr_db}
                yield suite_scene(draw, index, _PART, sources=(plan,), notes=notes)
    yield from target_free(draw, _NEGATIVES, [label for label in HARD_NEGATIVES if label in draw.labels], minutes)


def source_figures(scenes: Sequence[JudgedScene]) -> dict[str, Any]:
    """Drone Pd of one system by repository and by subclass at each SNR: as announced, and at the fixed rate of false alarms.

    False alarms of the fixed rate are trials of `judged.WINDOW_S` in the hard negatives; a rate below one in all their
    hours allows none.
    """
    drones = [scene for scene in scenes if scene.part == _PART]
    others = np.concatenate([np.zeros(0), *(scene.drone_scores for scene in scenes if scene.part == _NEGATIVES)])
    by_group: dict[str, list[JudgedScene]] = {}
    by_repo: dict[str, list[JudgedScene]] = {}
    for scene in drones:
        by_group.setdefault(scene.notes["source"], []).append(scene)
        by_repo.setdefault(repository(scene.notes["source"]), []).append(scene)
    found = false_alarm_figures(scenes, _NEGATIVES)
    return {
        "false_alarms_per_hour": None if found is None else {name: found[name] for name in ("hours", "all", TARGET)},
        "fixed_rate_per_hour": FALSE_ALARMS_PER_HOUR,
        "repositories": {name: _by_snr(own, others) for name, own in by_repo.items()},
        "subclasses": {name: _by_snr(own, others) for name, own in by_group.items()},
    }


def repository(group: str) -> str:
    """`repo:subclass` → `repo`."""
    return group.partition(":")[0]


def recordings(recipes: Sequence[Recipe]) -> dict[str, int]:
    """How many recordings the drones of each subclass come from."""
    clips = {
        (recipe.notes["source"], plan.clip) for recipe in recipes for plan in recipe.sources if "source" in recipe.notes
    }
    return dict(sorted(Counter(group for group, _ in clips).items()))


def _groups(draw: SceneDraw, sources: Sequence[str]) -> dict[str, list[Clip]]:
    groups: dict[str, list[Clip]] = {}
    for clip in draw.clips(TARGET) if TARGET in draw.labels else []:
        groups.setdefault(clip.group, []).append(clip)
    for wanted in sources:
        if not any(group.startswith(wanted) for group in groups):
            known = ", ".join(groups) or "none"
            raise ConfigError(f"--source {wanted}: no drone in these folds is from there; there are: {known}")
    return {group: clips for group, clips in groups.items() if not sources or group.startswith(tuple(sources))}


def _by_snr(scenes: Sequence[JudgedScene], others: np.ndarray) -> dict[str, Any]:
    figures = {}
    for snr_db in SNRS_DB:
        own = [scene for scene in scenes if scene.notes["snr_db"] == snr_db and scene.drone_sounds]
        if not own:
            continue
        (announced,) = pd_by([TARGET] * len(own), [bool(scene.events.only(TARGET).pairs) for scene in own]).values()
        fixed = None
        if len(others):
            curve = detection_curve([scene.drone_scores.max() for scene in own], others)
            hours = len(others) * WINDOW_S / 3600.0
            fixed = plain(curve.at_false_alarms_per_hour(FALSE_ALARMS_PER_HOUR, hours).pd)
        figures[f"{snr_db:g}"] = {"announced": plain(announced), "fixed_rate": fixed, "of": len(own)}
    return figures
