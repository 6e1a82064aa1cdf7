"""What a sensor that was cut off left behind: clips that it had promised, events that it could not end."""

import contextlib
import dataclasses
import functools
import logging
import time
from collections.abc import Iterator

from appliance.daemon.clips import settle_cut_off, with_clip
from appliance.errors import ApplianceError
from appliance.store import EventLog
from appliance.store.clips import ClipLog
from appliance.telemetry import clock_quality
from appliance.types import Event

_LOG = logging.getLogger(__name__)


def settle_books(log: EventLog) -> None:
    """Settle the clips and end the events of an earlier run, as far as that can be done; raises nothing."""
    with _hearing_first():
        # What is damaged is found now, or clips would be settled in a log that is then replaced.
        log.open_events()
        log.mended(lambda: settle_cut_off(log.path))
    with _hearing_first():
        end_cut_off_events(log)


def end_cut_off_events(log: EventLog) -> None:
    """End what an earlier run of the sensor began and, cut off, could not end itself; the end tells what became of its clip."""
    for event in log.open_events():
        _LOG.warning("event %s (%s) was cut off; ending it", event.event_id, event.class_label)
        with _hearing_first():
            log.mended(functools.partial(_end, log, event))


def _end(log: EventLog, event: Event) -> None:
    end = dataclasses.replace(
        event, sequence=event.sequence + 1, state="end", utc_ns=time.time_ns(), clock=clock_quality()
    )
    with ClipLog(log.path) as clips:
        clip = clips.of(event.event_id)
    log.append(with_clip(end, clip) if clip else end)


@contextlib.contextmanager
def _hearing_first() -> Iterator[None]:
    """The past may stay in disorder: a sensor that ended over it would end over it at each start, and hear nothing."""
    try:
        yield
    except ApplianceError as error:
        _LOG.error("what an earlier run left behind: %s", error)
    except Exception:  # noqa: BLE001 (whatever damage makes of a row)
        _LOG.exception("what an earlier run left behind")
