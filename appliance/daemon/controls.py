"""What operators have asked of the sensor, followed once a second: mutes, thresholds, self-test, restart.

The sensor has no network. It reads what the publisher has put into the event log, in a thread of its own, so that a
unit that has gone deaf can still be restarted.
"""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from appliance import wire
from appliance.config import UnitSettings
from appliance.errors import StoreError
from appliance.pipeline import EventSink, Moment
from appliance.store.commands import CommandLog
from appliance.types import Adjustments, Event, Job

_LOG = logging.getLogger(__name__)

_PERIOD_S = 1.0

Check = tuple[str, bool, str]
"""Name, whether it passed, and a sentence."""


class Thresholds(Protocol):
    """What can be changed while the policy runs: `events.EventPolicy`."""

    def set_thresholds(self, thresholds: Mapping[str, float]) -> None:
        """Put these in place of the site file's; classes that are not named keep or get back theirs."""


class Controls:
    """Follows the commands in the event log while it is open."""

    def __init__(
        self,
        path: Path,
        unit: UnitSettings,
        policy: Thresholds,
        checks: Callable[[], Sequence[Check]],
        restart: Callable[[], None],
        mended: Callable[[Callable[[], None]], None] = lambda read: read(),
    ) -> None:
        """`checks` is the self-test; `restart` ends the process in good order; `mended` is that of the event log."""
        self._path = path
        self._unit = unit
        self._policy = policy
        self._checks = checks
        self._restart = restart
        self._mended = mended
        self._log: CommandLog | None = None
        self._inode = 0
        self._adjustments = Adjustments()
        self._read_s = self._began_s = time.monotonic()
        self._applied: Mapping[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="controls", daemon=True)

    def __enter__(self) -> "Controls":
        # Before the first frame: what was muted before a restart is muted after it.
        self.look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._close()

    @property
    def faults(self) -> list[str]:
        """Why commands are not followed."""
        if self._thread.is_alive() or self._stop.is_set() or self._thread.ident is None:
            return []
        return ["commands are not followed any more: the thread has died; restart the sensor"]

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Those that hold in place of the site file's."""
        return self._adjustments.thresholds

    def mutes(self, event: Event) -> bool:
        """True where a mute covers the event now, also while the event log cannot be read."""
        passed_s = time.monotonic() - self._read_s
        return any(
            mute.left_s > passed_s and mute.covers(event.class_label, event.bearing_true_deg)
            for mute in self._adjustments.mutes
        )

    def frame(self, moment: Moment) -> None:
        """Change the policy between two frames, in the thread that runs it."""
        del moment
        if (wanted := self._adjustments.thresholds) != self._applied:
            self._policy.set_thresholds(wanted)
            self._applied = wanted
            _LOG.info("thresholds changed by command: %s", wanted)

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        """Nothing is left to follow."""

    def look(self) -> None:
        """Read what holds, and do what waits; a failure keeps what was read last."""
        try:
            self._mended(self._read)
        except StoreError as error:
            self._close()
            _LOG.warning("commands: %s", error)

    def _read(self) -> None:
        log = self._opened()
        self._adjustments, self._read_s = log.adjustments(), time.monotonic()
        for job in log.jobs():
            self._do(log, job)

    def _do(self, log: CommandLog, job: Job) -> None:
        if job.name == "selftest":
            log.answer(job.row, self._tested(job))
        elif job.name == "restart":
            # Asked of the run before this one: it is done.
            if job.age_s > time.monotonic() - self._began_s:
                log.answer(job.row, self._answer(job, "the sensor has just started"))
            # Only where the answer was ours to give: after half a minute the publisher has said that nothing came of it.
            elif log.answer(job.row, self._answer(job, "the sensor restarts")):
                _LOG.warning("restart by command")
                self._restart()

    def _tested(self, job: Job) -> str:
        try:
            checks = self._checks()
        except Exception as error:  # noqa: BLE001 (whatever is tested may raise; a restart must be followed all the same)
            _LOG.exception("self-test")
            checks = [("selftest", False, f"the self-test itself failed: {error!r}")]
        failed = [text for _, passed, text in checks if not passed]
        told = [{"name": name, "passed": passed, "text": text} for name, passed, text in checks]
        return self._answer(job, "; ".join(failed) or "all checks passed", {"passed": not failed, "checks": told})

    def _answer(self, job: Job, text: str, result: dict[str, Any] | None = None) -> str:
        return wire.answer_to_json(
            site=self._unit.site,
            node=self._unit.node,
            command=job.name,
            command_id=job.command_id,
            utc_ns=time.time_ns(),
            text=text,
            result=result,
        )

    def _opened(self) -> CommandLog:
        """The log, opened anew where a corrupt one was replaced."""
        try:
            inode = self._path.stat().st_ino
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}") from error
        if self._log is None or inode != self._inode:
            self._close()
            self._log, self._inode = CommandLog(self._path), inode
        return self._log

    def _close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _follow(self) -> None:
        while not self._stop.wait(_PERIOD_S):
            self.look()


class MutingSink:
    """Between policy and event log: what would be an alert is a detection while a mute covers it, and says so.

    An event that has raised its alert stays one to its end, so that whoever was woken is told how it ends. One that is
    muted becomes an alert with its next update should it outlast the mute.
    """

    def __init__(self, sink: EventSink, controls: Controls) -> None:
        self._sink = sink
        self._controls = controls
        self._alerted: set[str] = set()

    def append(self, event: Event) -> None:
        """Pass the event on, muted or not."""
        alerted = event.event_id in self._alerted
        if event.severity == "alert" and not alerted and (event.state == "end" or self._controls.mutes(event)):
            event = dataclasses.replace(event, severity="detection", muted=True)
        self._sink.append(event)
        if event.state == "end":
            self._alerted.discard(event.event_id)
        elif event.severity == "alert":
            self._alerted.add(event.event_id)
