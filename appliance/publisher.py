"""The publisher process: from the event log to MQTT, for as long as it takes."""

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from appliance.config import SiteSettings
from appliance.errors import ApplianceError, BrokerError, ConfigError, StoreError
from appliance.publish.commands import Commands
from appliance.publish.connector import Connector
from appliance.publish.credentials import client_id
from appliance.publish.drain import Drain
from appliance.publish.home_assistant import discovery
from appliance.publish.live import LivePublisher
from appliance.publish.metrics import Metrics, MetricsServer
from appliance.publish.presence import Presence, assess, last_will, speaks
from appliance.publish.topics import UnitTopics
from appliance.store import EventLog, Outbox
from appliance.store.clips import read_part
from appliance.store.commands import CommandLog
from appliance.store.ladder import free_bytes
from appliance.store.live import LiveReceiver
from appliance.telemetry import Systemd
from appliance.types import ANOMALY, Adjustments, StateKey, UnitState

_LOG = logging.getLogger(__name__)

# How long a commit may wait until the outbox is looked at.
_POLL_S = 0.05
_PRESENCE_PERIOD_S = 1.0
_STORE_RETRY_S = 1.0
_COUNT_PERIOD_S = 10.0
_FAREWELL_S = 3.0
_SAY_AGAIN_S = 600.0
# Of the messages that may be under way at once: a flood of commands must not hold up alerts.
_MOST_LEFT = 4
# The same words each time: a changed sentence would be published anew.
_SHED = "the disk was full: detections that were not delivered yet were removed (`appliance db check` counts them)"


def run_publisher(settings: SiteSettings, stop: threading.Event) -> None:
    """Publish until `stop` is set. A broker or a store that fails is waited for; the log says so, at a bounded rate.

    Raises `ConfigError` where password, certificates or names are wrong, and `StoreError` where the event log cannot
    be opened at the start.
    """
    with contextlib.ExitStack() as open_:
        publisher = _Publisher(settings, open_.enter_context(_Store(settings.store.path)))
        if settings.metrics.port is not None:
            # Whoever took the port must not keep alerts back.
            try:
                open_.enter_context(MetricsServer(publisher.metrics, settings.metrics.port))
            except ConfigError as error:
                _LOG.error("%s", error)
                publisher.faults.append(str(error))
        publisher.run(stop)


class _Publisher:
    """The parts of the process, and their turns."""

    def __init__(self, settings: SiteSettings, store: "_Store") -> None:
        unit, self._settings = settings.unit, settings
        self._client_id = client_id(unit)
        self._store = store
        self._topics = UnitTopics(unit.site, unit.node)
        self._connector = Connector(
            settings.mqtt,
            client_id=self._client_id,
            will=last_will(unit, self._topics),
            subscribe=self._topics.commands if settings.commands.allow else None,
        )
        announcements = discovery(unit, settings.home_assistant, self._topics)
        self._presence = Presence(unit, self._connector, self._topics, announcements)
        self._commands = Commands(
            unit, settings.commands, self._connector, self._topics, functools.partial(read_part, settings.store.path)
        )
        listen = functools.partial(LiveReceiver, settings.store.path) if settings.live_tracks.enabled else None
        self._live = LivePublisher(self._connector, self._topics, listen)
        self._drain = self._new_drain()
        self._states: dict[StateKey, UnitState] = {}
        self._adjustments = Adjustments()
        self._presence_due_s = 0.0
        self.metrics = Metrics()
        self.faults: list[str] = []
        """What is wrong with this process until it is started anew."""

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set, or a command wants this process to start anew."""
        connector, log_path = self._connector, self._settings.store.path
        systemd = Systemd()
        complaints = _Complaints()
        systemd.notify("READY=1")
        while not stop.is_set() and not self._commands.restart_wanted:
            systemd.notify("WATCHDOG=1")
            try:
                connector.step(_POLL_S)
                self._follow_the_file()
                # Before status says that the unit is there: from then on nothing is left out.
                self._drain.begin()
                # Before all else that is read: a damaged table of mutes must not keep an alert back.
                self._drain.step(leave=self._waiting())
                self._live.step()
                if time.monotonic() >= self._presence_due_s or (self._presence.waiting and connector.room > 0):
                    self._look()
                    self._presence_due_s = time.monotonic() + _PRESENCE_PERIOD_S
                self._commands.step(self._store.commands, _classes(self._states))
            except BrokerError as error:
                complaints.add(error, f"next attempt in {connector.wait_s:.1f} s; events wait in {log_path}")
            except StoreError as error:
                complaints.add(error, "trying again")
                with contextlib.suppress(BrokerError):
                    self._presence.step(self._states, self._adjustments, [str(error)], dict)
                stop.wait(_STORE_RETRY_S)
            else:
                if connector.connected:
                    complaints.over(f"MQTT broker {connector.broker}: connected")
        self._live.close()
        systemd.notify("STOPPING=1")
        _leave(connector, self._drain, self._presence)

    def _waiting(self) -> int:
        """What else has to be said, for which a long outbox must leave room: a unit with much to tell is not gone."""
        return min(self._presence.waiting + self._commands.waiting, _MOST_LEFT)

    def _follow_the_file(self) -> None:
        """The sensor puts another in the place of a corrupt one."""
        if self._store.was_replaced():
            self._store.open()
            self._drain = self._new_drain()

    def _look(self) -> None:
        """Read what the sensor and the operators have said, and say it."""
        self._states = self._store.log.states()
        self._adjustments = self._store.commands.adjustments()
        faults = [*self.faults, *([_SHED] if self._store.outbox.shed() else [])]
        self._presence.step(self._states, self._adjustments, faults, self._health)
        if self._settings.metrics.port is not None:
            self._measure(faults)

    def _health(self) -> dict[str, Any]:
        """What `health` says of the publisher."""
        commands = {"accepted": self._commands.accepted, "rejected": dict(self._commands.rejected)}
        return {**self._store.health(), "commands": commands, "client_id": self._client_id}

    def _measure(self, faults: list[str]) -> None:
        sensor, health = self._states.get("sensor"), self._states.get("health")
        own = self._store.health()
        self.metrics.set(
            state=assess(sensor, faults)[0],
            sensor=sensor.value if sensor else None,
            health=health.value if health else None,
            sensor_age_s=sensor.age_s if sensor else None,
            outbox=own["outbox"],
            disk_free_bytes=own.get("disk_free_bytes"),
            connected=self._connector.connected,
            connections=self._connector.connections,
            mutes=len(self._adjustments.mutes),
            accepted=self._commands.accepted,
            rejected=self._commands.rejected.copy(),
        )

    def _new_drain(self) -> Drain:
        return Drain(
            self._store.outbox,
            self._connector,
            self._topics,
            self._settings.mqtt.alert_expiry_s,
            lambda: speaks(self._store.log.states().get("sensor")),
        )


def _classes(states: Mapping[StateKey, UnitState]) -> list[str] | None:
    """The classes that the sensor may announce: its model's, and anomaly where it learns the site; None until it says so."""
    config = states.get("config")
    said = config.value if config and isinstance(config.value, dict) else {}
    model, novelty = said.get("model"), said.get("novelty")
    classes = model.get("classes") if isinstance(model, dict) else None
    if not isinstance(classes, list):
        return None
    learns = isinstance(novelty, dict) and novelty.get("enabled") is True
    return [*map(str, classes), *([ANOMALY] if learns else [])]


class _Store:
    """Outbox and event log of one file, to be opened anew where the sensor put another in its place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened = contextlib.ExitStack()
        self._health: dict[str, Any] = {}
        self._health_due_s = 0.0
        self.open()

    def open(self) -> None:
        """Open, or open again; where that raises `StoreError`, the old one stays open."""
        with contextlib.ExitStack() as opening:
            outbox = opening.enter_context(Outbox(self._path))
            log = opening.enter_context(EventLog(self._path))
            commands = opening.enter_context(CommandLog(self._path))
            self._opened.close()
            self._opened = opening.pop_all()
        self.outbox, self.log, self.commands = outbox, log, commands
        self._inode, self._health = self._path.stat().st_ino, {}

    def was_replaced(self) -> bool:
        """True where the path leads to another file now, or to none."""
        try:
            return self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            return True

    def health(self) -> dict[str, Any]:
        """What `health` says of the publisher; as it was up to some seconds ago, for a long outbox takes time to count."""
        if not self._health or time.monotonic() >= self._health_due_s:
            self._health = {"outbox": self.outbox.counts()}
            # A disk that does not say how full it is keeps nothing from being delivered.
            with contextlib.suppress(OSError):
                self._health["disk_free_bytes"] = free_bytes(self._path)
            self._health_due_s = time.monotonic() + _COUNT_PERIOD_S
        return self._health

    def __enter__(self) -> "_Store":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def _leave(connector: Connector, drain: Drain, presence: Presence) -> None:
    """Send what waits, and `offline`, where the broker is there; what it does not take in time stays in the outbox."""
    deadline_s = time.monotonic() + _FAREWELL_S
    try:
        while connector.connected and not drain.drained and time.monotonic() < deadline_s:
            connector.step(_POLL_S)
            drain.step()
        if connector.flush(_FAREWELL_S):
            presence.farewell()
        understood = connector.flush(_FAREWELL_S)
        drain.step()
    except (BrokerError, StoreError) as error:
        _LOG.warning("%s", error)
        understood = False
    # Where `offline` did not get through, the last will has to say it.
    if understood:
        connector.close()
    else:
        connector.abandon()


class _Complaints:
    """Says what is wrong when it changes, and every ten minutes while it lasts; a full log would end the unit."""

    def __init__(self) -> None:
        self._current: str | None = None
        self._repeats = 0
        self._said_s = 0.0

    def add(self, error: ApplianceError, outlook: str) -> None:
        text = str(error)
        if text == self._current and time.monotonic() - self._said_s < _SAY_AGAIN_S:
            self._repeats += 1
            return
        since = f" ({self._repeats} times since)" if text == self._current else ""
        _LOG.warning("%s; %s%s", text, outlook, since)
        self._current, self._repeats, self._said_s = text, 0, time.monotonic()

    def over(self, text: str) -> None:
        if self._current is not None or not self._said_s:
            _LOG.info("%s", text)
        self._current, self._said_s = None, self._said_s or time.monotonic()
