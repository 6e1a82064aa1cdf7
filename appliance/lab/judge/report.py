"""Where the judge's report goes: `report.json`, its page, the models' meta files, and a table for the terminal."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from appliance.errors import ConfigError
from appliance.lab.judge.report_page import page
from appliance.lab.judge.summary import summary_rows
from appliance.lab.systems import onnx_systems

_NOT_IN_META = ("drone_scores", "confusion", "azimuth_error_by_sector_deg", "confidence")


def write_report(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write `report.json` and `report.html`; raises `ConfigError` where the folder cannot be written."""
    as_json, as_page = folder / "report.json", folder / "report.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        as_json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        as_page.write_text(page(report), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder}: the report cannot be written ({error}); give --out a writable folder") from error
    return as_json, as_page


def keep_scores(models: Sequence[Path], report: Mapping[str, Any]) -> None:
    """Write each model's figures into the meta file beside it, with the suite and commit they come from."""
    for network in onnx_systems(models):
        figures = report["systems"][network.name]
        path = Path(network.path).with_suffix(".meta.json")
        meta = json.loads(path.read_text(encoding="utf-8"))
        meta["scores"] = {
            "suite": report["suite"]["name"],
            "commit": report["commit"],
            **{name: value for name, value in figures.items() if name not in _NOT_IN_META},
        }
        path.write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def summary_table(report: Mapping[str, Any]) -> Table:
    """The short table that the command prints."""
    suite = report["suite"]
    table = Table(
        title=f"{suite['name']}, {suite['hours']:.2f} h of fold {suite['folds'][0]}, commit {report['commit']}"
    )
    table.add_column("")
    for name in report["systems"]:
        table.add_column(name, justify="right")
    for title, values in summary_rows(report):
        table.add_row(title, *values.values())
    return table
