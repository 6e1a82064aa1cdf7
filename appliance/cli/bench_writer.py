"""The sensor's side of a proof, as a process of its own: commits events, then says so on stdout, one line each.

`python -m appliance.cli.bench_writer '{"db": …}'`. A line is said only after its commit, so what stands on stdout was
acknowledged. A writer that takes over from a killed one ends what was cut off, as the sensor does, and goes on with the
first event that is not in the log.
"""

import json
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Literal, Protocol

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from appliance import wire
from appliance.cli.bench_events import event_id, lifecycles, single_events
from appliance.daemon.cut_off import end_cut_off_events
from appliance.publish.topics import UnitTopics
from appliance.store import EventLog
from appliance.types import Event

DONE = "done"

_PLANS = {"lifecycles": lifecycles, "single": single_events}


@dataclass(frozen=True, slots=True)
class Order:
    """What a writer is to do."""

    seed: int
    """Of ids and lifecycles."""
    first: int
    """Number of the first event that was not acknowledged."""
    last: int
    """Where to stop (exclusive)."""
    rate_hz: float | None
    """State changes per second, on average, at random moments; None: as fast as they are taken."""
    kind: Literal["lifecycles", "single"]
    """Whole lifecycles, or events of one message."""
    db: str = ""
    """Event log; empty: publish straight to the broker, with paho alone, for comparison."""
    port: int = 0
    """The broker's port, for that."""

    def to_json(self) -> str:
        """As the writer takes it."""
        return json.dumps(asdict(self))


class _Bare:
    """What a program without an outbox would do: paho, QoS 1, its own queue."""

    def __init__(self, port: int) -> None:
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="bench-bare", protocol=MQTTProtocolVersion.MQTTv5)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._latest: MQTTMessageInfo | None = None

    def append(self, event: Event) -> None:
        topic = UnitTopics("bare", event.node).event(event.event_id)
        self._latest = self._client.publish(str(topic), wire.event_to_json(event), qos=1)

    def close(self) -> None:
        if self._latest is not None:
            self._latest.wait_for_publish()
        self._client.disconnect()
        self._client.loop_stop()


class _Sink(Protocol):
    def append(self, event: Event) -> None:
        """Take the event."""


def main() -> None:
    """Do what the order in the first argument says; then wait to be stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    order = Order(**json.loads(sys.argv[1]))
    if not order.db:
        bare = _Bare(order.port)
        _write(bare, order, order.first)
        bare.close()
        _say(DONE)
        signal.pause()
    with EventLog(Path(order.db)) as log:
        if order.kind == "lifecycles":  # events of one message never end
            cut_off = log.open_events()
            end_cut_off_events(log)
            for event in cut_off:
                _acknowledge(list(log.read(event_id=event.event_id))[-1])
        first = order.first
        # Committed, and killed before it could be said. Were an earlier one lost, writing it again would hide that.
        while any(log.read(event_id=event_id(order.seed, first))):
            first += 1
        _write(log, order, first)
        _say(DONE)
        signal.pause()


def _write(sink: _Sink, order: Order, first: int) -> None:
    draw = Random(f"{order.seed}/{first}")
    # Paced by a schedule and not by a wait after each, so that the rate is what was asked for.
    due_s = time.monotonic()
    for event in _PLANS[order.kind](order.seed, first, order.last):
        sink.append(event)
        _acknowledge(event)
        if order.rate_hz is not None:
            due_s += draw.expovariate(order.rate_hz)
            time.sleep(max(0.0, due_s - time.monotonic()))


def _acknowledge(event: Event) -> None:
    _say(f"{event.event_id} {event.sequence} {event.state} {event.severity}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
