"""200 units lose their broker at once: they come back spread over the jitter's window, each with one attempt at a time."""

import bisect
import contextlib
import inspect
import random
import selectors
import socket
import threading
import time
from collections import Counter
from types import TracebackType

from mqtt import Broker, wait_until

from appliance.config import MqttSettings, UnitSettings
from appliance.errors import BrokerError
from appliance.publish.connector import Connector
from appliance.publish.presence import last_will
from appliance.publish.topics import UnitTopics

UNITS = 200
KNOCKS = 2
HOLD_S = 0.2
WIDEST_S = 4.0


class Unit(threading.Thread):
    """The real connector, stepped as the publisher steps it; it notes when it lost, and how long it then chose to wait."""

    def __init__(self, number: int, port: int, stop: threading.Event) -> None:
        super().__init__(name=f"unit-{number:03d}", daemon=True)
        unit = UnitSettings(site="north", node=self.name)
        self._halt = stop
        self.lost_s: list[float] = []
        self.windows_s: list[tuple[float, float]] = []
        self.waits_s: list[float] = []
        self.connector = Connector(
            MqttSettings(host="127.0.0.1", port=port, will_delay_s=0, reconnect_max_s=WIDEST_S),
            client_id=self.name,
            will=last_will(unit, UnitTopics(unit.site, unit.node)),
            jitter=self._jitter,
        )

    def run(self) -> None:
        """Until the test is over."""
        while not self._halt.is_set():
            with contextlib.suppress(BrokerError):
                self.connector.step(0.5)
        self.connector.close()

    def _jitter(self, low: float, high: float) -> float:
        drawn = random.uniform(low, high)
        self.lost_s.append(time.monotonic())
        self.windows_s.append((low, high))
        self.waits_s.append(drawn)
        return drawn


class Door(threading.Thread):
    """What stands in the broker's place: takes every attempt, holds it open for a moment, and lets nobody in."""

    def __init__(self, port: int) -> None:
        super().__init__(name="door", daemon=True)
        self._listener = socket.create_server(("127.0.0.1", port), backlog=2 * UNITS)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._held: dict[socket.socket, tuple[str, float]] = {}
        self._halt = threading.Event()
        self.knocks: list[tuple[str, float]] = []
        """(client id, when) of each attempt."""
        self.most_at_once: Counter[str] = Counter()
        """Client id → most attempts of it that were open at one time."""

    def run(self) -> None:
        """Until it is left."""
        while not self._halt.is_set():
            for key, _ in self._selector.select(0.02):
                if key.fileobj is self._listener:
                    attempt, _ = self._listener.accept()
                    self._selector.register(attempt, selectors.EVENT_READ)
                else:
                    assert isinstance(key.fileobj, socket.socket)
                    self._read(key.fileobj)
            for attempt, (_, since_s) in list(self._held.items()):
                if time.monotonic() - since_s > HOLD_S:
                    self._close(attempt)

    def _read(self, attempt: socket.socket) -> None:
        try:
            greeting = attempt.recv(4096)
        except ConnectionError:
            greeting = b""
        if not greeting:
            self._close(attempt)
            return
        start = greeting.index(b"unit-")  # the client id, in MQTT's CONNECT
        name = greeting[start : start + len("unit-000")].decode()
        self._held[attempt] = name, time.monotonic()
        self.knocks.append(self._held[attempt])
        at_once = sum(holder == name for holder, _ in self._held.values())
        self.most_at_once[name] = max(self.most_at_once[name], at_once)

    def _close(self, attempt: socket.socket) -> None:
        self._held.pop(attempt, None)
        self._selector.unregister(attempt)
        attempt.close()

    def __enter__(self) -> "Door":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._halt.set()
        self.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()


def test_200_units_come_back_spread_over_the_window_and_one_attempt_at_a_time(broker: Broker) -> None:
    assert inspect.signature(Connector).parameters["jitter"].default is random.uniform, "as the units here draw"
    over = threading.Event()
    units = [Unit(number, broker.port, over) for number in range(UNITS)]
    try:
        for unit in units:
            unit.start()
        wait_until(lambda: all(unit.connector.connected for unit in units), "all connected")
        calm = {unit.name: len(unit.waits_s) for unit in units}
        broker.stop()
        with Door(broker.port) as door:
            wait_until(lambda: min(Counter(name for name, _ in door.knocks[:]).values(), default=0) >= KNOCKS, "knocks")
            wait_until(lambda: len({name for name, _ in door.knocks[:]}) == UNITS, "of every unit")
        broker.start()
        wait_until(lambda: all(unit.connector.connected for unit in units), "all are back")
    finally:
        over.set()
        for unit in units:
            unit.join()

    by_name = {unit.name: unit for unit in units}
    assert set(door.most_at_once.values()) == {1}
    for name, knocked_s in door.knocks:
        unit = by_name[name]
        latest = bisect.bisect_right(unit.lost_s, knocked_s) - 1
        assert knocked_s >= unit.lost_s[latest] + unit.waits_s[latest], "nobody knocks before the wait that it drew"
    firsts = [unit.waits_s[calm[unit.name]] for unit in units]
    for unit in units:
        windows = unit.windows_s[calm[unit.name] :]
        assert [low for low, _ in windows] == [0.0] * len(windows)
        assert [high for _, high in windows] == [2.0, *[WIDEST_S] * (len(windows) - 1)]
    # A tenth of the window holds 20 of 200 on average; 3 to 45 leave room for chance (once in millions of runs).
    tenths = Counter(int(wait_s / 0.2) for wait_s in firsts)
    assert set(tenths) == set(range(10))
    assert all(3 <= count <= 45 for count in tenths.values())
