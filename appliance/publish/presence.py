"""The retained topics: status, health and config, from which anyone can tell *quiet* from *deaf* from *gone*."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from appliance import __version__, wire
from appliance.config import UnitSettings
from appliance.publish.connector import Connector
from appliance.publish.packets import Outgoing
from appliance.publish.topics import Topic, UnitTopics
from appliance.types import Adjustments, StateKey, UnitState

StatusState = Literal["online", "degraded", "offline"]

HEALTH_SCHEMA = "acoustic.health.v1"
CONFIG_SCHEMA = "acoustic.config.v1"

HEALTH_PERIOD_S = 30.0
# The sensor speaks at least every 10 s.
SENSOR_SILENT_S = 30.0


def assess(sensor: UnitState | None, faults: Sequence[str] = ()) -> tuple[StatusState, list[str]]:
    """Whether the unit does its work, and each reason why not; `faults` are the publisher's own."""
    reasons = [*_of_sensor(sensor), *faults]
    return ("degraded", reasons) if reasons else ("online", [])


def speaks(sensor: UnitState | None) -> bool:
    """True where the sensor has just said something."""
    return sensor is not None and sensor.age_s <= SENSOR_SILENT_S


def hears(sensor: UnitState | None) -> bool:
    """True where the sensor says, and has just said, that it hears: one that is merely degraded is not deaf."""
    return speaks(sensor) and _said(sensor).get("hearing") is True


def _of_sensor(sensor: UnitState | None) -> list[str]:
    """Why the sensor does not do its work. One that says nothing is not a quiet night."""
    if sensor is None:
        return ["the sensor has not reported yet"]
    if not speaks(sensor):
        return ["the sensor has stopped reporting"]
    faults = _said(sensor).get("faults")
    reasons = [str(fault) for fault in faults if fault] if isinstance(faults, list) else []
    if not hears(sensor) and not reasons:
        reasons = ["the sensor does not hear"]
    return reasons


def _said(state: UnitState | None) -> dict[str, Any]:
    """What the sensor wrote; empty where that is nothing, or no table."""
    return state.value if state is not None and isinstance(state.value, dict) else {}


def _offline(why: str) -> dict[str, Any]:
    return {"state": "offline", "reasons": [why], "hearing": False}


def last_will(unit: UnitSettings, topics: UnitTopics) -> Outgoing:
    """What the broker says in the unit's name once it is gone. It bears no time: it is written long before."""
    return _outgoing(topics.status, wire.STATUS_SCHEMA, unit, _offline("connection lost"))


class Presence:
    """Publishes the retained topics: on each new connection, when they change, and health every 30 s."""

    def __init__(
        self, unit: UnitSettings, connector: Connector, topics: UnitTopics, announcements: Sequence[Outgoing] = ()
    ) -> None:
        """`announcements` are said once on each connection, after status."""
        self._announcements = announcements
        self._announced = 0
        self._unit = unit
        self._connector = connector
        self._topics = topics
        self._connection = 0
        self._said: dict[Topic, dict[str, Any]] = {}
        self._health_due_s = 0.0
        self.waiting = 0
        """Messages for which the latest step found no room."""

    def step(
        self,
        states: Mapping[StateKey, UnitState],
        adjustments: Adjustments,
        faults: list[str],
        health: Callable[[], dict[str, Any]],
    ) -> None:
        """Say what is new. `faults` and `health` are the publisher's own; `health` is asked only when it is due.

        Raises `BrokerError`; all is said again on the next connection.
        """
        if not self._connector.connected:
            return
        if self._connector.connections != self._connection:
            self._connection = self._connector.connections
            self._said.clear()
            self._health_due_s = 0.0
            self._announced = 0
        self.waiting = 0
        state, reasons = assess(states.get("sensor"), faults)
        said = {"state": state, "reasons": reasons, "hearing": hears(states.get("sensor"))}
        also = _novelty(states.get("health")) | _adjusted(adjustments)
        self._say(self._topics.status, wire.STATUS_SCHEMA, said | also)
        config, sensor = states.get("config"), states.get("health")
        self._say(
            self._topics.config, CONFIG_SCHEMA, {"version": __version__, "sensor": config.value if config else None}
        )
        if time.monotonic() >= self._health_due_s:
            told = {"sensor": sensor.value, "sensor_age_s": sensor.age_s} if sensor else {"sensor": None}
            if self._say(self._topics.health, HEALTH_SCHEMA, told | {"publisher": health()}):
                self._health_due_s = time.monotonic() + HEALTH_PERIOD_S
        for announcement in self._announcements[self._announced : self._announced + max(0, self._connector.room)]:
            self._connector.publish(announcement)
            self._announced += 1
        self.waiting += len(self._announcements) - self._announced

    def farewell(self) -> None:
        """Say `offline`, for a stop that was asked for."""
        if self._connector.connected:
            self._say(self._topics.status, wire.STATUS_SCHEMA, _offline("stopped"))

    def _say(self, topic: Topic, schema: str, content: dict[str, Any]) -> bool:
        """False where there is no room for it now."""
        if self._said.get(topic) == content:
            return True
        if self._connector.room <= 0:
            self.waiting += 1
            return False
        self._connector.publish(_outgoing(topic, schema, self._unit, content, {"time": wire.utc_text(time.time_ns())}))
        self._said[topic] = content
        return True


def _novelty(health: UnitState | None) -> dict[str, Any]:
    """Whether the site is still being learned, where the sensor learns it: until then nothing is an anomaly."""
    said = _said(health).get("novelty")
    state = said.get("state") if isinstance(said, dict) else None
    return {"novelty": state} if state in ("learning", "watching") else {}


def _adjusted(adjustments: Adjustments) -> dict[str, Any]:
    """What operators have changed, as `status` says it."""
    return {
        "mutes": [
            {
                "mute_id": mute.mute_id,
                "class": mute.class_label,
                "from_deg": mute.from_deg,
                "to_deg": mute.to_deg,
                "until": wire.utc_text(mute.until_utc_ns),
                "by": mute.asked_by,
            }
            for mute in adjustments.mutes
        ],
        "thresholds": adjustments.thresholds,
        "acknowledged": [
            {"event_id": event_id, "by": who, "time": wire.utc_text(utc_ns)}
            for event_id, who, utc_ns in adjustments.acknowledged
        ],
    }


def _outgoing(
    topic: Topic, schema: str, unit: UnitSettings, content: dict[str, Any], stamp: dict[str, str] | None = None
) -> Outgoing:
    message = {"schema": schema, "site": unit.site, "node": unit.node, **(stamp or {}), **content}
    payload = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return Outgoing(topic, payload, (("schema", schema),), retain=True)
