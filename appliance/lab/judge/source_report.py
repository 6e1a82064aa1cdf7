"""The figures of `source_suite` for some models: computed, written as JSON, and as a table for the terminal."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from appliance.errors import ConfigError
from appliance.lab.commit import current_commit
from appliance.lab.judge.evaluate import judge, model_facts
from appliance.lab.judge.source_suite import SNRS_DB, recordings, repository, source_figures
from appliance.lab.systems import onnx_systems
from appliance.lab.workers import Log
from appliance.lab.world.recipe import Recipe


def judge_sources(
    models: Sequence[Path], recipes: Sequence[Recipe], folds: Sequence[int], *, workers: int = 2, log: Log = print
) -> dict[str, Any]:
    """All figures, JSON-able. Raises `ModelError` where a model is not whole."""
    systems = onnx_systems(models)
    log(f"{len(recipes)} scenes, {sum(recipe.seconds for recipe in recipes) / 3600.0:.2f} h of folds {folds}")
    judged = judge(recipes, systems, workers=workers, log=log)
    return {
        "folds": list(folds),
        "commit": current_commit(),
        "models": {system.name: model_facts(system) for system in systems},
        "recordings": recordings(recipes),
        "systems": {name: source_figures(scenes) for name, scenes in judged.items()},
    }


def write_sources(report: Mapping[str, Any], path: Path) -> None:
    """Write it; raises `ConfigError` where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error}); give --out a writable file") from error


def source_table(report: Mapping[str, Any], system: str) -> Table:
    """Pd of one system: a line per repository, and under it one per subclass."""
    figures, counts = report["systems"][system], report["recordings"]
    false = figures["false_alarms_per_hour"]
    folds = ", ".join(str(fold) for fold in report["folds"])
    table = Table(
        title=f"{system}: drone Pd by source, folds {folds}",
        caption="as announced / at {:g} false alarm per hour; announced with {:.1f} false drones per hour".format(
            figures["fixed_rate_per_hour"], false["drone"]["value"]
        ),
    )
    for heading in ("", "recordings", *(f"{snr_db:g} dB" for snr_db in SNRS_DB)):
        table.add_column(heading, justify="right" if heading else "left", overflow="fold")
    for repo, by_snr in figures["repositories"].items():
        own = {group: found for group, found in figures["subclasses"].items() if repository(group) == repo}
        table.add_row(repo, str(sum(counts[group] for group in own)), *_cells(by_snr), style="bold")
        for group, found in own.items():
            table.add_row(f"  {group.partition(':')[2]}", str(counts[group]), *_cells(found))
    return table


def _cells(by_snr: Mapping[str, Any]) -> list[str]:
    cells = []
    for snr_db in SNRS_DB:
        found = by_snr.get(f"{snr_db:g}")
        cells.append(
            "–"
            if found is None
            else f"{found['announced']['value']:.2f} / {found['fixed_rate']['value']:.2f} of {found['of']}"
        )
    return cells
