"""`appliance db`: the event log as a file: whole, small, saved elsewhere, and within its quotas."""

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, get_args

import typer
from sqlite_utils import Database

from appliance import wire
from appliance.cli.events import log_path
from appliance.config import SiteSettings, load_site
from appliance.errors import ConfigError, StoreError
from appliance.store import chain, reserve
from appliance.store.copies import copy_database, free_name
from appliance.store.database import WAL_LIMIT_BYTES, integrity_faults, is_there, open_database, store_error, translated
from appliance.store.ladder import free_bytes
from appliance.store.quarantine import CorruptError
from appliance.store.repair import repair as repair_log
from appliance.store.repair import unreadable_rows
from appliance.store.retention import retain as retain_now
from appliance.store.retention import used_bytes, wal_bytes
from appliance.telemetry import clock_quality
from appliance.types import MessageOutcome

app = typer.Typer(no_args_is_help=True, add_completion=False)

_DB = Annotated[Path | None, typer.Option(help="Event log (SQLite file).", metavar="PATH")]
_SITE = Annotated[Path | None, typer.Option(help="Site file that names the event log.", metavar="FILE")]

# What a person must know of each count in `removals`.
_KINDS = {
    "clips": "clips",
    "tracks": "recorded tracks",
    "copies": "copies of the event log",
    "detections": "detections",
    "undelivered": "detections that were not delivered",
    "alerts": "alerts",
}


@app.callback()
def _root() -> None:
    """Check, repair, shrink and save the event log, and keep it within its quotas."""


@app.command()
def check(db: _DB = None, site: _SITE = None) -> None:
    """Is the event log whole, is there room, does anything wait? One line each, "ok" or "FAIL" with what to do.

    Changes nothing, and may run beside the services. Exit status 74 where anything failed.
    """
    path = _existing(db, site)
    failed = False
    for fault, text in _findings(path):
        failed |= fault
        typer.echo(f"{'FAIL' if fault else 'ok  '}  {text}")
    if failed:
        raise typer.Exit(StoreError.exit_status)


@app.command()
def repair(db: _DB = None, site: _SITE = None) -> None:
    """Make a sound event log of a damaged one, with every row that can still be read. The old one is kept beside it.

    Stop the services first: systemctl stop appliance-sensor appliance-publisher
    """
    path = _existing(db, site)
    if not _faults(path):
        # A sound file may still be no event log; this says so.
        with closing(open_database(path, synchronous="NORMAL", read_only=True)) as opened, translated(path):
            damaged = unreadable_rows(opened)
        if not damaged:
            typer.echo(f"{path}: nothing to repair")
            return
    done = repair_log(path)
    typer.echo(
        f"{path}: {done.saved} state changes saved, {done.lost} lost; {done.waiting} messages wait to be delivered\n"
        f"the damaged file is kept as {done.kept_as}"
    )
    if done.broken_chain:
        typer.echo(f"the hash chain was begun anew ({done.broken_chain}); the damaged file holds the former one")


@app.command()
def vacuum(db: _DB = None, site: _SITE = None) -> None:
    """Give the room that removed events left inside the event log back to the disk.

    The services may run: what they hear meanwhile waits in their memory. Needs twice the room that the log holds.
    """
    path = _existing(db, site)
    before_bytes = path.stat().st_size
    # SQLite sorts in the system's folder for temporary files, which may be small, or memory.
    os.environ["SQLITE_TMPDIR"] = str(path.parent.absolute())
    with closing(open_database(path, synchronous="FULL")) as opened, translated(path):
        opened.execute("PRAGMA temp_store = FILE")
        needed_bytes = 2 * used_bytes(opened)
        if free_bytes(path) < needed_bytes:
            raise StoreError(
                f"{path}: needs {_mb(needed_bytes)} free and there are {_mb(free_bytes(path))}; the room inside the "
                "event log is used for new events in any case"
            )
        opened.execute("VACUUM")
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    typer.echo(f"{path}: {_mb(before_bytes)} → {_mb(path.stat().st_size)}")


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="Folder, or file that does not exist yet.", metavar="FOLDER|FILE")],
    db: _DB = None,
    site: _SITE = None,
) -> None:
    """Copy the event log as it is at this moment, and check the copy. The services may run.

    To go back to it: stop the services, put it in the place of the event log (remove its -wal and -shm), start them.
    """
    path = _existing(db, site)
    if target.is_dir():
        stamp = wire.utc_text(time.time_ns())[:19].replace(":", "")
        target = free_name(target / f"{path.stem}-{stamp}{path.suffix}")
    if target.exists():
        raise ConfigError(f"{target}: exists; give another name, or a folder")
    if not target.parent.is_dir():
        raise ConfigError(f"{target.parent}: no such folder; make it, or plug the disk in")
    try:
        copy_database(path, target)
    except OSError as error:
        raise StoreError(f"{target}: {error.strerror}; give a folder that you may write") from error
    except sqlite3.Error as error:
        full = shutil.disk_usage(target.parent).free < path.stat().st_size
        raise store_error(target if full else path, error) from error
    if faults := integrity_faults(target):
        target.unlink()
        raise StoreError(f"{target}: not kept, as the event log is damaged ({faults[0]}); run appliance db repair")
    typer.echo(f"{target}: {_mb(target.stat().st_size)}, checked")


@app.command()
def retain(
    site: Annotated[Path | None, typer.Option(help="Site file with the quotas.", metavar="FILE")] = None,
) -> None:
    """Remove what is beyond its quota, and what must make room; the timer calls it.

    On a nearly full disk clips go first, then tracks, then copies of the log, then detections; alerts never.
    """
    settings = load_site(site) if site else SiteSettings()
    removals = retain_now(settings.store.path, settings.retention, clock_is_set=clock_quality() == "synchronised")
    if not settings.store.path.exists():
        typer.echo(f"{settings.store.path}: no event log yet; the sensor makes it at its first start")
    elif not removals:
        typer.echo("nothing to remove")
    for removal in removals:
        typer.echo(f"{removal.items} {_KINDS[removal.kind]} ({_mb(removal.size_bytes)}): {removal.cause}")


def _existing(db: Path | None, site: Path | None) -> Path:
    path = log_path(db, site)
    if not is_there(path):
        raise StoreError(f"{path}: no such event log; the sensor makes it at its first start")
    return path


def _findings(path: Path) -> Iterator[tuple[bool, str]]:
    """(is it a fault, what to say) of each check."""
    if faults := _faults(path):
        yield True, f"integrity: {_to_repair(faults)}"
    else:
        yield False, f"integrity: no fault in {_mb(path.stat().st_size)}"
    try:
        with closing(open_database(path, synchronous="NORMAL", read_only=True)) as opened, translated(path):
            yield from _contents(opened)
            held_bytes = reserve.held_bytes(path) + reserve.free_inside(opened)
            yield False, f"disk: {_mb(free_bytes(path))} free, {_mb(held_bytes)} held back for alerts"
            chained = opened.execute("SELECT 1 FROM chain LIMIT 1").fetchone()
        if chained:
            yield _chain(path)
    except StoreError as error:
        yield True, f"contents: {error}"
    size_bytes = wal_bytes(path)
    if size_bytes > 4 * WAL_LIMIT_BYTES:
        yield True, f"write-ahead log: {_mb(size_bytes)}; somebody reads without an end: fuser -v {path} names who"
    else:
        yield False, f"write-ahead log: {_mb(size_bytes)}"


def _to_repair(faults: list[str]) -> str:
    return f"{faults[0]} ({len(faults)} in all); stop the services, then run appliance db repair"


def _faults(path: Path) -> list[str]:
    try:
        return integrity_faults(path)
    except CorruptError as error:
        return [str(error)]


def _contents(opened: Database) -> Iterator[tuple[bool, str]]:
    (version,) = opened.execute("SELECT max(name) FROM _sqlite_migrations").fetchone()
    states, alerts = opened.execute(
        "SELECT count(*), count(DISTINCT CASE severity WHEN 'alert' THEN event_id END) FROM events"
    ).fetchone()
    yield False, f"events: {states} state changes, {alerts} alerts; schema {version}"
    if damaged := unreadable_rows(opened):
        yield True, f"events: {_to_repair(damaged)}"
    counts = dict(opened.execute("SELECT coalesce(outcome, 'waiting'), count(*) FROM outbox GROUP BY 1").fetchall())
    told = ", ".join(f"{counts.get(outcome, 0)} {outcome}" for outcome in ("waiting", *get_args(MessageOutcome)))
    yield False, f"messages: {told}"
    for kind, cause, items, size_bytes, last_utc_ns in opened.execute(
        "SELECT kind, cause, items, bytes, last_utc_ns FROM removals ORDER BY kind, cause"
    ).fetchall():
        when = wire.utc_text(last_utc_ns)[:19]
        why = "as the disk was full" if cause == "full" else f"by {cause}"
        yield False, f"removed: {items} {_KINDS[kind]} ({_mb(size_bytes)}) {why}, last {when}Z"


def _chain(path: Path) -> tuple[bool, str]:
    verdict = chain.verify(path)
    if verdict.fault:
        return True, f"hash chain: {verdict.fault}"
    return False, f"hash chain: {verdict.rows} rows as they were written, head {verdict.head}"


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
