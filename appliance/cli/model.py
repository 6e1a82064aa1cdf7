"""`appliance model`: is what hears whole, and what does it run on?"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from appliance.errors import ModelError
from appliance.model.meta import find_model, load_meta, shipped_models
from appliance.model.providers import trials
from appliance.model.scene import SceneModel

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def _root() -> None:
    """Prove that the models are whole and run here."""


@app.command()
def verify(
    models: Annotated[list[str] | None, typer.Argument(help="Names or paths; empty: all that are shipped.")] = None,
) -> None:
    """Check hash and front end of models, and run each on every execution provider that this machine may have.

    On a unit with TensorRT this builds the engine, which takes minutes, and keeps it.
    """
    table = Table(box=None)
    for column in ("model", "precision", "provider", "a step", ""):
        table.add_column(column)
    for name in models or shipped_models():
        path = find_model(name)
        SceneModel.load(path)
        meta = load_meta(path)
        heard_by = f"ok, with {Path(meta.tagger.file).stem}" if meta.tagger else "ok"
        for trial in trials(path, meta):
            time = "" if trial.step_ms != trial.step_ms else f"{trial.step_ms:.2f} ms"
            table.add_row(path.stem, meta.precision, trial.provider, time, trial.fault or heard_by)
    if not table.row_count:
        raise ModelError("no model is shipped here; install the appliance again")
    Console(markup=False, emoji=False).print(table)
