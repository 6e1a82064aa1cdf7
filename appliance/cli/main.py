"""The `appliance` command. Errors of ours are one line on stderr; each command is imported only when it is called."""

import errno
import importlib
import io
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from appliance import __version__
from appliance.errors import DENIED, ApplianceError, ConfigError, StoreError
from appliance.telemetry import set_up_logging

COMMANDS = {
    "run": "Run the sensor: microphones to event log.",
    "publish": "Publish logged events over MQTT.",
    "replay": "Hear a recording as the unit would, and print, log or score what it says.",
    "scene": "Edit a recording object by object, from the stems that replay wrote.",
    "events": "List, filter and export the event log.",
    "db": "Check, repair, shrink and save the event log, and keep it within its quotas.",
    "novelty": "Show or forget what the unit has learned of how its site sounds.",
    "listen": "Watch the microphones, or a recording, in a live terminal view.",
    "watch": "Watch the events of many units at a broker, live.",
    "demo": "Replay a recording with known truth through everything, down to an MQTT subscriber.",
    "model": "Prove that the models are whole and run here.",
    "bench": "Time the shipped models, or prove that no alert is lost.",
    "arrays": "List the microphone arrays that are known, or show one.",
}
"""Command → what `appliance --help` says of it; `cli/<command>.py` is the command."""


_PLUGIN_HELP = "The laboratory: train, export and judge models (needs `make lab`)."


class _Commands(TyperGroup):
    """Imports no command to list them: ONNX Runtime must not slow `--help`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of `COMMANDS`, then plug-ins."""
        del ctx
        return [*COMMANDS, *_plugins()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command where it has been imported, else its entry in the list."""
        if cmd_name in self.commands or cmd_name not in (*COMMANDS, *_plugins()):
            return super().get_command(ctx, cmd_name)
        return TyperCommand(cmd_name, help=COMMANDS.get(cmd_name, _PLUGIN_HELP))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, imported now."""
        if args[0] in COMMANDS:
            self.commands[args[0]] = _command(args[0])
        elif args[0] in _plugins():
            self.commands[args[0]] = _plugin(args[0])
        return super().resolve_command(ctx, args)


def _command(name: str) -> Any:
    """The command of `cli/<name>.py`: its function of that name, or its `app` where it has commands of its own."""
    module = importlib.import_module(f"appliance.cli.{name}")
    if hasattr(module, "app"):
        return typer.main.get_command(module.app)
    one = typer.Typer(add_completion=False)
    one.command(name)(getattr(module, name))
    return typer.main.get_command(one)


def _plugins() -> dict[str, EntryPoint]:
    """Commands that other distributions (the laboratory of a checkout) add, by name."""
    return {point.name: point for point in entry_points(group="appliance.commands")}


def _plugin(name: str) -> Any:
    """The command of a plug-in. Raises `ConfigError` where what it needs is not installed."""
    try:
        return typer.main.get_command(_plugins()[name].load())
    except ImportError as error:
        raise ConfigError(
            f"appliance {name}: {error.name} is not installed here; `make {name}` sets it up in .venv-lab"
        ) from error


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"appliance {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """An open acoustic surveillance appliance: hear, know, locate, log, alert."""
    del version


def main() -> None:
    """Run the command line; an error of ours is one line on stderr, and its own exit status."""
    set_up_logging()
    # A terminal that has no "°" shows "?", rather than end what is under way; stderr is never that strict.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        app()
    except ApplianceError as error:
        sys.stderr.write(f"appliance: {error}\n")
        sys.exit(error.exit_status)
    except PermissionError as error:
        # Of whatever file: only a person can give access, and systemd need not try again.
        sys.stderr.write(f"appliance: {error.filename or error}: {DENIED}\n")
        sys.exit(ConfigError.exit_status)
    except OSError as error:
        # What was exported is cut off; whoever called must not take it for the whole.
        if error.errno != errno.ENOSPC:
            raise
        sys.stderr.write(f"appliance: {error.filename or 'the output'}: the disk is full; free space on it\n")
        sys.exit(StoreError.exit_status)
