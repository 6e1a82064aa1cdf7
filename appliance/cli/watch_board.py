"""What a command centre knows: units, their status, open events. Nothing from the network can break it or make it grow."""

import json
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from appliance import wire
from appliance.errors import WireError
from appliance.publish.presence import HEALTH_PERIOD_S, HEALTH_SCHEMA
from appliance.types import Event

UnitStatus = Literal["quiet", "active", "degraded", "deaf", "gone", "unknown"]
"""quiet: it hears, and there is nothing; active: it hears something; degraded: it does not do all of its work; deaf: it is there, and hears nothing."""

_STATES = ("online", "degraded", "offline")
_MOST_BYTES = 64 * 1024
_MOST_UNITS = 10_000
_MOST_EVENTS = 1_000
_MOST_ENDED = 20
_MOST_REASONS = 8
_MOST_REMEMBERED = 100_000
_LONGEST_TEXT = 160
# Where unit and broker lose their power together nobody is left to say the last will, and `online` stays: a unit that
# has left out its health three times is gone, whatever it said.
_SILENT_S = 3 * HEALTH_PERIOD_S + 10.0
# A unit says its tracks at least twice a second.
_LIVE_S = 2.0


@dataclass(frozen=True, slots=True)
class Unit:
    """What is known of one unit."""

    site: str
    """As its topic names it."""
    node: str
    """As its topic names it."""
    state: Literal["online", "degraded", "offline", ""] = ""
    """What it said last of itself; empty where it has said nothing."""
    reasons: tuple[str, ...] = ()
    """Why it is not online."""
    hearing: bool = True
    """Whether sound comes from its microphones; True too where it does not say."""
    says_health: bool = False
    """Its health has been heard, so that its silence means something; an access list may keep that from a watcher."""
    heard_s: float = 0.0
    """When anything came from it last, on the watcher's own clock."""
    client_ids: tuple[str, ...] = ()
    """Of the two that spoke last under its name, the latest last."""
    shared_s: float | None = None
    """When one of those spoke again although another one had spoken after it: there are two."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An event on the screen."""

    event: Event
    """Its latest state."""
    since_s: float
    """When it began, on the watcher's own clock; when it was first seen here, where the unit's clock is not set."""
    now_deg: tuple[float, float] | None = None
    """True bearing and sigma of its track at this moment; None where the unit does not say."""


class Board:
    """Takes messages one by one; each `id` counts once."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic, utc_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_s = clock_s
        self._utc_ns = utc_ns
        self._units: OrderedDict[tuple[str, str], Unit] = OrderedDict()
        self._open: OrderedDict[str, Shown] = OrderedDict()
        self._seen = _Recent()
        self._latest = _Recent()
        self._live: dict[str, tuple[float, float, float]] = {}
        self.ended: deque[Shown] = deque(maxlen=_MOST_ENDED)
        """Events that have ended, the latest last."""
        self.rejected: Counter[str] = Counter()
        """Messages that broke the contract, by cause."""
        self.repeats = 0
        """Messages whose id was known."""

    def take(self, topic: str, payload: bytes) -> dict[str, Any] | None:
        """The message where it is news; None for a repeat, and for what breaks the contract, which is counted."""
        try:
            return self._take(topic, payload)
        except _RejectedError as rejected:
            self.rejected[rejected.cause] += 1
            return None

    def units(self) -> list[tuple[Unit, UnitStatus]]:
        """All units, by site and name."""
        busy = {(shown.event.site, shown.event.node) for shown in self._open.values()}
        found = sorted(self._units.items())
        now_s = self._clock_s()
        return [
            (unit, _status(unit, active=key in busy))
            for key, unit in ((key, _shared(_silent(unit, now_s), now_s)) for key, unit in found)
        ]

    def open_events(self) -> list[Shown]:
        """Events without an end, the newest first."""
        return [replace(shown, now_deg=self._now_deg(key)) for key, shown in reversed(self._open.items())]

    def _now_deg(self, key: str) -> tuple[float, float] | None:
        if (live := self._live.get(key)) is None or self._clock_s() - live[2] > _LIVE_S:
            return None
        return live[:2]

    def _take(self, topic: str, payload: bytes) -> dict[str, Any] | None:
        levels = topic.split("/")
        if levels[:2] != ["acoustic", "v1"] or len(levels) < 5:
            raise _RejectedError("topic")
        if len(payload) > _MOST_BYTES:
            raise _RejectedError("size")
        site, node, kind = levels[2:5]
        if kind == "status" and not payload:
            # So a retained message is cleared: the unit was taken away, or has another name now.
            self._drop(site, node)
            return None
        try:
            message = json.loads(payload)
            json.dumps(message, allow_nan=False)  # what Python reads beyond JSON, no other program should have to
        except (ValueError, RecursionError):
            raise _RejectedError("json") from None
        # The broker's access list vouches for the topic, nobody for the payload.
        if not isinstance(message, dict) or (message.get("site"), message.get("node")) != (site, node):
            raise _RejectedError("unit")
        if not _is_plain(f"{site}/{node}"):
            raise _RejectedError("unit")
        if kind == "status":
            self._take_status(site, node, message)
            return message
        if kind == "health":
            if message.get("schema") != HEALTH_SCHEMA:
                raise _RejectedError("health")
            self._take_health(site, node, message)
            return None
        if kind in ("events", "alerts"):
            return message if self._take_event(site, node, payload) else None
        if kind == "tracks":
            self._take_tracks(f"{site}/{node}", message)
            return None
        raise _RejectedError("topic")

    def _take_status(self, site: str, node: str, message: dict[str, Any]) -> None:
        state, reasons = message.get("state"), message.get("reasons")
        if message.get("schema") != wire.STATUS_SCHEMA or state not in _STATES or not isinstance(reasons, list):
            raise _RejectedError("status")
        told = tuple(_plain(str(reason)) for reason in reasons[:_MOST_REASONS])
        hearing = message.get("hearing") is not False
        self._note(replace(self._units.get((site, node), Unit(site, node)), state=state, reasons=told, hearing=hearing))

    def _take_health(self, site: str, node: str, message: dict[str, Any]) -> None:
        unit = replace(self._units.get((site, node), Unit(site, node)), says_health=True)
        publisher = message.get("publisher")
        spoke = publisher.get("client_id") if isinstance(publisher, dict) else None
        if isinstance(spoke, str) and _is_plain(spoke) and spoke != (unit.client_ids or ("",))[-1]:
            # One that another has taken the place of does not speak again.
            if spoke in unit.client_ids:
                unit = replace(unit, shared_s=self._clock_s())
            unit = replace(unit, client_ids=(*unit.client_ids[-1:], spoke))
        self._note(unit)

    def _take_tracks(self, unit: str, message: dict[str, Any]) -> None:
        """Note where the tracks of open events are; the others are not on this screen."""
        tracks = message.get("tracks")
        if message.get("schema") != wire.TRACKS_SCHEMA or not isinstance(tracks, list):
            raise _RejectedError("tracks")
        for track in tracks:
            try:
                key, told = f"{unit}/{track['event_id']}", (track["bearing_true_deg"], track["bearing_sigma_deg"])
                bearing_deg, sigma_deg = (float(value) for value in told)
            except (TypeError, KeyError, ValueError, OverflowError):
                raise _RejectedError("tracks") from None
            if not (0.0 <= bearing_deg < 360.0 and 0.0 <= sigma_deg <= 180.0):
                raise _RejectedError("tracks")
            if key in self._open:
                self._live[key] = bearing_deg, sigma_deg, self._clock_s()

    def _take_event(self, site: str, node: str, payload: bytes) -> bool:
        """True where it is news."""
        try:
            event = wire.event_from_json(payload)
            text = wire.event_text(event)
        except (WireError, ValueError, OverflowError):  # a number may be read from JSON and still not be finite
            raise _RejectedError("event") from None
        if not _is_plain(event.event_id) or not _is_plain(text):
            raise _RejectedError("event")
        self._note(self._units.get((site, node), Unit(site, node)))
        key = f"{site}/{node}/{event.event_id}"
        if not self._seen.rises(f"{key}.{event.sequence}", 0):
            self.repeats += 1
            return False
        # An alert's end overtakes its event's updates: the highest sequence is the present state.
        if self._latest.rises(key, event.sequence):
            self._show(key, event)
        return True

    def _show(self, key: str, event: Event) -> None:
        known = self._open.get(key)
        shown = Shown(event, known.since_s if known else self._clock_s() - self._age_s(event))
        if event.state == "end":
            self._open.pop(key, None)
            self._live.pop(key, None)
            self.ended.append(shown)
            return
        self._open[key] = shown
        if len(self._open) > _MOST_EVENTS:
            self._live.pop(self._open.popitem(last=False)[0], None)

    def _age_s(self, event: Event) -> float:
        """How long ago it began: after an outage of hours what comes first is hours old, and must not look new."""
        return max(0.0, (self._utc_ns() - event.onset_utc_ns) / 1e9) if event.clock == "synchronised" else 0.0

    def _drop(self, site: str, node: str) -> None:
        """Forget a unit, and the events of which no end will come."""
        self._units.pop((site, node), None)
        for key in [key for key in self._open if key.startswith(f"{site}/{node}/")]:
            del self._open[key]
            self._live.pop(key, None)

    def _note(self, unit: Unit) -> None:
        self._units[unit.site, unit.node] = replace(unit, heard_s=self._clock_s())
        self._units.move_to_end((unit.site, unit.node))
        if len(self._units) > _MOST_UNITS:
            self._units.popitem(last=False)


class _RejectedError(Exception):
    """A message breaks the contract."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class _Recent:
    """The highest number seen under each of the latest keys."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[str, int] = OrderedDict()

    def rises(self, key: str, number: int) -> bool:
        """True where nothing as high was seen under the key."""
        known = self._numbers.get(key)
        if known is not None and known >= number:
            return False
        self._numbers[key] = number
        self._numbers.move_to_end(key)
        if len(self._numbers) > _MOST_REMEMBERED:
            self._numbers.popitem(last=False)
        return True


def _status(unit: Unit, *, active: bool) -> UnitStatus:
    if unit.state == "online":
        return "active" if active else "quiet"
    if unit.state == "degraded":
        return "degraded" if unit.hearing else "deaf"
    return "gone" if unit.state == "offline" else "unknown"


def _silent(unit: Unit, now_s: float) -> Unit:
    """The unit, or what is to be thought of it where nothing has come from it for too long."""
    if not unit.says_health or unit.state not in ("online", "degraded") or now_s - unit.heard_s <= _SILENT_S:
        return unit
    return replace(unit, state="offline", reasons=(f"silent, said last that it is {unit.state}", *unit.reasons))


def _shared(unit: Unit, now_s: float) -> Unit:
    """The unit, or both that bear its name: of two that say the same nobody sees it when one is gone."""
    if unit.shared_s is None or unit.state == "offline" or now_s - unit.shared_s > _SILENT_S:
        return unit
    told = f"two units have this name ({' and '.join(sorted(unit.client_ids))}); give one of them another [unit] node"
    return replace(unit, state="degraded", reasons=(told, *unit.reasons))


def _is_plain(text: str) -> bool:
    return text.isprintable() and len(text) <= _LONGEST_TEXT


def _plain(text: str) -> str:
    """What may go to a terminal: no control sequences."""
    return "".join(character if character.isprintable() else "?" for character in text[:_LONGEST_TEXT])
