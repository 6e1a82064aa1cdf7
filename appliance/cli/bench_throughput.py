"""`appliance bench throughput`: how fast an event reaches a subscriber, beside paho alone; then a backlog is drained."""

import contextlib
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from appliance import wire
from appliance.cli.bench_rig import PATIENCE_S, Mosquitto, Publisher, Subscriber, Writer, wait_until
from appliance.cli.bench_writer import Order
from appliance.errors import ApplianceError


class _Arrivals:
    """What has come on `events`: ids, how long each took, and from when to when they came."""

    def __init__(self) -> None:
        self.anything = False
        """Any message has come: the publisher is connected, as it says so first."""
        self.forget()

    def forget(self) -> None:
        """For the next measurement."""
        self.ids: set[str] = set()
        self.latencies_ms: list[float] = []
        self.decided_utc_ns = self.first_utc_ns = self.last_utc_ns = 0

    def receive(self, topic: str, payload: bytes, utc_ns: int) -> None:
        """Take one message."""
        self.anything = True
        levels = topic.split("/")
        if levels[4] != "events" or levels[5] in self.ids:
            return
        decided_utc_ns = wire.utc_ns_of(json.loads(payload)["time"])
        self.decided_utc_ns = self.decided_utc_ns or decided_utc_ns
        self.first_utc_ns = self.first_utc_ns or utc_ns
        self.last_utc_ns = utc_ns
        self.latencies_ms.append((utc_ns - decided_utc_ns) / 1e6)
        self.ids.add(levels[5])

    def wait_for(self, count: int) -> int:
        """Wait while more comes, until `count` are there; returns how many are missing."""
        while (before := len(self.ids)) < count:
            try:
                wait_until(lambda: len(self.ids) > before, "more has arrived")
            except ApplianceError:
                break
        return max(0, count - len(self.ids))


def measure_throughput(folder: Path, *, events: int, backlog: int, rate_hz: float, seed: int) -> dict[str, Any]:
    """Measure in `folder`; raises `ApplianceError` where a part of the rig fails."""
    began_s = time.monotonic()
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder / "broker"))
        arrivals = _Arrivals()
        stack.enter_context(Subscriber(broker.port, arrivals.receive))
        publisher = stack.enter_context(Publisher(folder, broker.port))
        publisher.start()
        wait_until(lambda: arrivals.anything, "the publisher is connected")
        result: dict[str, Any] = {"events": events, "rate_hz": rate_hz, "lost": 0}
        by_outbox = Order(seed, 0, events, rate_hz, "single", db=str(publisher.db))
        by_paho_alone = Order(seed, 0, events, rate_hz, "single", port=broker.port)
        for name, order in (("", by_outbox), ("bare_", by_paho_alone)):
            paced = _send(folder, order, arrivals)
            flat_out = _send(folder, replace(order, first=events, last=2 * events, rate_hz=None), arrivals)
            result["lost"] += paced.lost + flat_out.lost
            result |= {
                f"{name}latency_p50_ms": round(float(np.percentile(paced.latencies_ms, 50)), 1),
                f"{name}latency_p99_ms": round(float(np.percentile(paced.latencies_ms, 99)), 1),
                f"{name}events_per_s": round(flat_out.per_s, 1),
            }
        publisher.kill()
        drained = _drain(folder, replace(by_outbox, first=2 * events, last=2 * events + backlog), publisher, arrivals)
        result["lost"] += drained.pop("lost")
    return (
        result
        | drained
        | {
            "seed": seed,
            "duration_s": round(time.monotonic() - began_s, 1),
            "passed": result["lost"] == 0,
        }
    )


@dataclass(frozen=True, slots=True)
class _Sent:
    """What came of one order."""

    latencies_ms: list[float]
    """From the decision to the subscriber."""
    per_s: float
    """Events per second, from the first decision to the last arrival."""
    lost: int
    """Events that did not."""


def _send(folder: Path, order: Order, arrivals: _Arrivals) -> _Sent:
    arrivals.forget()
    events = order.last - order.first
    with Writer(folder) as writer:
        writer.start(order)
        writer.wait_done()
        lost = arrivals.wait_for(events)
    seconds = (arrivals.last_utc_ns - arrivals.decided_utc_ns) / 1e9
    return _Sent(arrivals.latencies_ms, events / seconds, lost)


def _drain(folder: Path, order: Order, publisher: Publisher, arrivals: _Arrivals) -> dict[str, Any]:
    """Let a backlog grow while the publisher is away, then see it drained."""
    arrivals.forget()
    backlog = order.last - order.first
    with Writer(folder) as writer:
        writer.start(replace(order, rate_hz=None))
        wait_until(lambda: bool(writer.acknowledged), "the writer writes")
        writing_s = time.monotonic()
        writer.wait_done()
        written_per_s = backlog / (time.monotonic() - writing_s)
    publisher.start()
    wait_until(lambda: bool(arrivals.ids), "the backlog begins to arrive", 10 * PATIENCE_S)
    resident_mb = [publisher.resident_mb()]
    for count in (backlog // 2, backlog):
        lost = arrivals.wait_for(count)
        resident_mb.append(publisher.resident_mb())
    seconds = (arrivals.last_utc_ns - arrivals.first_utc_ns) / 1e9
    return {
        "backlog": backlog,
        "written_per_s": round(written_per_s, 1),
        "drained_per_s": round(backlog / seconds, 1),
        "publisher_resident_mb": [round(value, 1) for value in resident_mb],
        "lost": lost,
    }
