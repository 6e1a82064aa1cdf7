"""`appliance bench`: what this machine can do, and the proofs that no alert is lost. Each prints what it measured."""

import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(add_completion=False, help="Time the models, or prove on this machine that no alert is lost.")

_Events = Annotated[int, typer.Option(min=1, help="Events to send.")]
_Seed = Annotated[int, typer.Option(help="Of ids, lifecycles and moments; printed with the result.")]
_Folder = Annotated[
    Path | None, typer.Option("--dir", help="Keep event log, broker and logs here (an empty folder).", metavar="FOLDER")
]


@app.callback(invoke_without_command=True)
def _default(context: typer.Context) -> None:
    """Without a command of its own: `speed`."""
    if context.invoked_subcommand is None:
        speed()


@app.command()
def speed(
    models: Annotated[list[str] | None, typer.Argument(help="Models by name or path; empty: all shipped.")] = None,
    rounds: Annotated[int, typer.Option(help="Times the sound is heard by each.", min=1)] = 3,
    array: Annotated[
        str | None,
        typer.Option(help="Hear two drones that circle this array: a shipped name or a file.", metavar="NAME|FILE"),
    ] = None,
) -> None:
    """Time the pipeline from samples to events on one thread, on the demonstration recording or for another array."""
    from appliance.cli.bench_speed import measure_speed

    measure_speed(models, rounds, array)


@app.command()
def delivery(
    events: _Events = 1000,
    kills: Annotated[int, typer.Option(min=0, help="Times each process is killed with SIGKILL.")] = 50,
    outages: Annotated[int, typer.Option(min=0, help="Times the broker is stopped and started.")] = 50,
    rate: Annotated[float, typer.Option(min=0.1, help="State changes committed per second, on average.")] = 20.0,
    seed: _Seed = 1,
    folder: _Folder = None,
) -> None:
    """Send events while writer, publisher and broker fall over at random moments; one JSON line.

    Status 1 where an event is lost, invented, altered or out of order. Needs Mosquitto.
    """
    from appliance.cli.bench_delivery import prove_delivery

    with _workplace(folder) as place:
        _report(prove_delivery(place, events=events, kills=kills, outages=outages, rate_hz=rate, seed=seed))


@app.command()
def powercut(
    kills: Annotated[int, typer.Option(min=1, help="Times the writing process is killed with SIGKILL.")] = 200,
    seed: _Seed = 1,
    folder: _Folder = None,
) -> None:
    """Kill a process that writes the event log, again and again; one JSON line.

    Status 1 where the file fails SQLite's `integrity_check`, or lacks what was acknowledged.
    """
    from appliance.cli.bench_powercut import prove_powercut

    with _workplace(folder) as place:
        _report(prove_powercut(place, kills=kills, seed=seed))


@app.command()
def throughput(
    events: _Events = 2000,
    backlog: Annotated[int, typer.Option(min=2, help="Events that wait before the publisher starts.")] = 100_000,
    rate: Annotated[float, typer.Option(min=0.1, help="Events per second while latency is measured.")] = 20.0,
    seed: _Seed = 1,
    folder: _Folder = None,
) -> None:
    """Latency and events per second to a subscriber, beside a bare paho publisher; then a backlog. One JSON line.

    Status 1 where an event does not arrive. Needs Mosquitto.
    """
    from appliance.cli.bench_throughput import measure_throughput

    with _workplace(folder) as place:
        _report(measure_throughput(place, events=events, backlog=backlog, rate_hz=rate, seed=seed))


@contextmanager
def _workplace(folder: Path | None) -> Iterator[Path]:
    # Ended from outside, it must not leave a broker behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise typer.BadParameter(f"{folder}: not empty; give a new folder", param_hint="--dir")
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="appliance-bench-") as temporary:
        yield Path(temporary)


def _report(result: dict[str, Any]) -> None:
    """Print the result; `passed` in it decides the exit status."""
    typer.echo(json.dumps(result))
    if not result["passed"]:
        raise typer.Exit(1)
