"""Is this unit fit? What the running sensor can say of itself, one line for each part."""

from collections.abc import Iterator

from appliance.config import SiteSettings
from appliance.daemon.hearing import HearingCheck
from appliance.errors import ModelError
from appliance.model.meta import find_model, load_meta
from appliance.store import EventLog
from appliance.store.ladder import free_bytes
from appliance.telemetry import clock_quality

# Enough for weeks of events; the log of a unit that hears much grows by some megabytes a day.
_LEAST_FREE_BYTES = 64 * 1024 * 1024


def checks(settings: SiteSettings, log: EventLog, hearing: HearingCheck) -> Iterator[tuple[str, bool, str]]:
    """Name, whether it passed, and a sentence. The answer itself proves that the event log can be written.

    That the microphones deliver is no proof that a drone would be heard, so one is played into a second path.
    """
    states = log.states()
    faults: list[str] = states["sensor"].value["faults"] if "sensor" in states else ["nothing was heard yet"]
    yield "hearing", not faults, "; ".join(faults) or "audio comes from all microphones"
    try:
        meta = load_meta(find_model(settings.model.file))
    except ModelError as error:
        yield "model", False, str(error)
    else:
        yield "model", True, f"{meta.name} is whole ({meta.sha256[:12]})"
    if hearing.knows_target:
        verdict = hearing.check()
        yield "detection", verdict.heard, verdict.text
    clock = clock_quality()
    yield "clock", clock == "synchronised", f"UTC is {clock}"
    try:
        room = free_bytes(settings.store.path)
    except OSError as error:
        yield "disk", False, f"{settings.store.path.parent}: its free space cannot be told: {error.strerror}"
    else:
        yield "disk", room >= _LEAST_FREE_BYTES, f"{room / 2**20:.0f} MiB free where the event log lies"
