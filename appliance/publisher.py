"""The publisher process: from the event log to MQTT, for as long as it takes."""

import contextlib
import logging
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import sdnotify

from appliance.config import SiteSettings
from appliance.errors import ApplianceError, BrokerError, StoreError
from appliance.publish.connector import Connector
from appliance.publish.credentials import client_id
from appliance.publish.drain import Drain
from appliance.publish.presence import Presence, last_will
from appliance.publish.topics import UnitTopics
from appliance.store import EventLog, Outbox
from appliance.types import StateKey, UnitState

_LOG = logging.getLogger(__name__)

# How long a commit may wait until the outbox is looked at.
_POLL_S = 0.05
_PRESENCE_PERIOD_S = 1.0
_STORE_RETRY_S = 1.0
_FAREWELL_S = 3.0
_SAY_AGAIN_S = 600.0


def run_publisher(settings: SiteSettings, stop: threading.Event) -> None:
    """Publish until `stop` is set. A broker or a store that fails is waited for; the log says so, at a bounded rate.

    Raises `ConfigError` where password, certificates or names are wrong, and `StoreError` where the event log cannot
    be opened at the start.
    """
    topics = UnitTopics(settings.unit.site, settings.unit.node)
    connector = Connector(settings.mqtt, client_id=client_id(settings.unit), will=last_will(settings.unit, topics))
    presence = Presence(settings.unit, connector, topics)
    systemd = sdnotify.SystemdNotifier()
    complaints = _Complaints()
    states: dict[StateKey, UnitState] = {}
    presence_due_s = 0.0
    with _Store(settings.store.path) as store:
        drain = Drain(store.outbox, connector, topics, settings.mqtt.alert_expiry_s)
        systemd.notify("READY=1")
        while not stop.is_set():
            systemd.notify("WATCHDOG=1")
            try:
                connector.step(_POLL_S)
                if time.monotonic() >= presence_due_s:
                    if store.was_replaced():
                        store.open()
                        drain = Drain(store.outbox, connector, topics, settings.mqtt.alert_expiry_s)
                    states = store.log.states()
                    presence.step(states, [], store.health)
                    presence_due_s = time.monotonic() + _PRESENCE_PERIOD_S
                drain.step()
            except BrokerError as error:
                complaints.add(error, f"next attempt in {connector.wait_s:.1f} s; events wait in {settings.store.path}")
            except StoreError as error:
                complaints.add(error, "trying again")
                with contextlib.suppress(BrokerError):
                    presence.step(states, [str(error)], dict)
                stop.wait(_STORE_RETRY_S)
            else:
                if connector.connected:
                    complaints.over(f"MQTT broker {connector.broker}: connected")
        systemd.notify("STOPPING=1")
        _leave(connector, drain, presence)


class _Store:
    """Outbox and event log of one file, to be opened anew where the sensor put another in its place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened = contextlib.ExitStack()
        self.open()

    def open(self) -> None:
        """Open, or open again; where that raises `StoreError`, the old one stays open."""
        with contextlib.ExitStack() as opening:
            outbox = opening.enter_context(Outbox(self._path))
            log = opening.enter_context(EventLog(self._path))
            self._opened.close()
            self._opened = opening.pop_all()
        self.outbox, self.log, self._inode = outbox, log, self._path.stat().st_ino

    def was_replaced(self) -> bool:
        """True where the path leads to another file now, or to none."""
        try:
            return self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            return True

    def health(self) -> dict[str, Any]:
        """What `health` says of the publisher."""
        return {"outbox": self.outbox.counts(), "disk_free_bytes": shutil.disk_usage(self._path.parent).free}

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
