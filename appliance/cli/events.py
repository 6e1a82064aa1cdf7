"""`appliance events`: list, filter and export the event log."""

import csv
import json
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from appliance import wire
from appliance.config import StoreSettings, load_site
from appliance.errors import ConfigError, StoreError, WireError
from appliance.store import EventLog, chain
from appliance.types import EventState, Severity

_SPAN = re.compile(r"(\d{1,18})([smhd])")
_SPAN_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# SQLite holds no larger number, and in nanoseconds the year 2262 ends with it.
_LARGEST = 2**63 - 1


Format = Literal["table", "jsonl", "csv"]


def events(
    action: Annotated[
        Literal["verify"] | None,
        typer.Argument(
            help="verify: check the hash chain and name the first row that was altered.", metavar="[verify]"
        ),
    ] = None,
    db: Annotated[Path | None, typer.Option(help="Event log (SQLite file).", metavar="PATH")] = None,
    site: Annotated[Path | None, typer.Option(help="Site file that names the event log.", metavar="FILE")] = None,
    class_label: Annotated[str | None, typer.Option("--class", help="Only this class, such as drone.")] = None,
    severity: Annotated[Severity | None, typer.Option(help="Only this severity.")] = None,
    state: Annotated[EventState | None, typer.Option(help="Only this state of the lifecycle.")] = None,
    event_id: Annotated[str | None, typer.Option(help="Only the event with this id.")] = None,
    since: Annotated[
        str | None,
        typer.Option(help="From this time on: RFC 3339 in UTC (2026-09-21T14:00:00Z), or 30s, 15m, 2h, 7d ago."),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before this time; spelt like --since.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the latest so many.")] = None,
    output: Annotated[Format, typer.Option("--format", help="table for eyes, jsonl or csv for programs.")] = "table",
    known: Annotated[
        str | None,
        typer.Option(help="With verify: a head noted earlier, which the chain must contain.", metavar="HASH"),
    ] = None,
) -> None:
    """List, filter and export the event log: one line per state change (new, update, end), oldest first.

    Rows that cannot be read are left out and counted; the exit status is 74 then.
    `appliance events verify` walks its hash chain instead, and takes only --db, --site and --known.
    """
    path = log_path(db, site)
    if action == "verify":
        listing = {
            "--class": class_label,
            "--severity": severity,
            "--state": state,
            "--event-id": event_id,
            "--since": since,
            "--until": until,
            "--limit": limit,
            "--format": None if output == "table" else output,
        }
        if given := next((option for option, value in listing.items() if value is not None), None):
            raise ConfigError(f"{given}: events verify walks the whole chain; leave {given} out")
        _verify(path, known)
        return
    if known is not None:
        raise ConfigError("--known: only events verify takes it; say appliance events verify --known HASH")
    with EventLog(path, read_only=True) as log:
        found = log.messages(
            class_label=class_label,
            severity=severity,
            state=state,
            event_id=event_id,
            since_utc_ns=_utc_ns("--since", since),
            until_utc_ns=_utc_ns("--until", until),
            limit=None if limit is None else min(limit, _LARGEST),
        )
        # As it went out, in the unit's own words.
        _PRINTERS[output](message for _, message in found)
        if log.unreadable:
            raise StoreError(
                f"{path}: {log.unreadable} rows cannot be read and are left out; run appliance db check --db {path}"
            )


def log_path(db: Path | None, site: Path | None) -> Path:
    """The event log that these options name; raises `ConfigError` where both do."""
    if db is not None and site is not None:
        raise ConfigError("--db and --site: both name an event log; give one of them")
    return db or (load_site(site).store.path if site else StoreSettings().path)


def _verify(path: Path, known: str | None) -> None:
    verdict = chain.verify(path, known=known)
    if verdict.fault:
        raise StoreError(f"{path}: {verdict.fault}; the {verdict.rows} rows before it are as they were written")
    typer.echo(f"{path}: {verdict.rows} rows as they were written, {verdict.removed} removed by retention")
    typer.echo(f"head {verdict.head}")


def _utc_ns(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        if span := _SPAN.fullmatch(text):
            utc_ns = time.time_ns() - int(span[1]) * _SPAN_S[span[2]] * 1_000_000_000
        else:
            utc_ns = wire.utc_ns_of(text)
    except WireError:
        raise ConfigError(
            f"{option} {text!r:.80}: not a time; give 2026-09-21T14:00:00Z (UTC), or 30s, 15m, 2h or 7d"
        ) from None
    # Before or after all that can be logged, and as good.
    return max(-_LARGEST, min(utc_ns, _LARGEST))


def _print_table(messages: Iterable[str]) -> None:
    table = Table("time (UTC)", "state", "severity", "what", "event", "clock", box=None, pad_edge=False)
    for message in map(json.loads, messages):
        when = message["time"][:19].replace("T", " ")
        cells = (message[key] for key in ("state", "severity", "text", "event_id", "clock"))
        table.add_row(when, *cells, style="bold red" if message["severity"] == "alert" else "")
    # Lines that go to a file or a pager are not folded to the 80 columns of a terminal that is not there.
    Console(width=None if sys.stdout.isatty() else 200, markup=False, emoji=False).print(table)


def _print_jsonl(messages: Iterable[str]) -> None:
    for message in messages:
        sys.stdout.write(message + "\n")


def _print_csv(messages: Iterable[str]) -> None:
    # The columns stand there for an empty log too, so that a script need not care.
    writer = csv.DictWriter(sys.stdout, wire.MESSAGE_KEYS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for message in map(json.loads, messages):
        writer.writerow(message | {"nearest": json.dumps(message.get("nearest", []))})


_PRINTERS = {"table": _print_table, "jsonl": _print_jsonl, "csv": _print_csv}
