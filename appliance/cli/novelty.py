"""`appliance novelty`: what the unit knows of how its site sounds, and how to make it forget."""

from pathlib import Path
from typing import Annotated

import typer

from appliance.config import load_site
from appliance.errors import StoreError
from appliance.novelty.keep import memory_path, read_memory
from appliance.novelty.memory import MemorySettings

app = typer.Typer(no_args_is_help=True, add_completion=False)

_SITE = Annotated[Path, typer.Option(help="Site file that names the event log, beside which the memory lies.")]


@app.callback()
def _root() -> None:
    """What the unit knows of how its site sounds, as [novelty] lets it learn."""


@app.command()
def show(site: _SITE) -> None:
    """How much of the site was learned; up to ten minutes old while the sensor runs."""
    settings = load_site(site)
    path = memory_path(settings.store.path)
    learning = MemorySettings(learning_s=settings.novelty.learning_hours * 3600.0)
    memory, vectors = read_memory(path, learning)
    state = "learned" if memory.learned else "being learned"
    typer.echo(
        f"{path}: {state}, {memory.heard_s / 3600.0:.1f} of {settings.novelty.learning_hours:g} h heard, "
        f"{memory.prototypes} sounds, by tagger {vectors[:12]}"
    )
    if memory.heard_s >= learning.learning_s and memory.sounds_missing:
        typer.echo(f"a quiet site: {memory.sounds_missing} more sounds of two seconds or longer until it is learned")
    if not settings.novelty.enabled:
        typer.echo(f"{site}: [novelty] enabled is false: nothing comes of it")


@app.command()
def reset(site: _SITE) -> None:
    """Forget how the site sounds; it is learned anew. A sensor that runs does so within seconds."""
    path = memory_path(load_site(site).store.path)
    try:
        path.unlink()
    except FileNotFoundError:
        typer.echo(f"{path}: nothing to forget")
        return
    except OSError as error:
        raise StoreError(f"{path}: cannot be removed ({error.strerror}); ask as the user who owns it") from None
    typer.echo(f"{path}: forgotten")
