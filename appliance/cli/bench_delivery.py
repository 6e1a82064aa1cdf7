"""`appliance bench delivery`: events to a subscriber while writer, publisher and broker fall over."""

import contextlib
import json
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.cli.bench_events import event_id
from appliance.cli.bench_rig import PATIENCE_S, Mosquitto, Publisher, Subscriber, Writer, wait_until
from appliance.cli.bench_writer import Order
from appliance.errors import ApplianceError
from appliance.store import Outbox

_LONGEST_OUTAGE_S = 2.0
_LONGEST_WAIT_S = 0.5

Acknowledged = tuple[str, int, str, str]
"""(event id, sequence, state, severity) of a committed state change."""


@dataclass(slots=True)
class Deliveries:
    """What the subscriber has seen, per topic; it de-duplicates by the message's id, as any subscriber must."""

    seen: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """(events | alerts, id) → payload at first sight."""
    order: dict[tuple[str, str], list[tuple[int, str]]] = field(default_factory=dict)
    """(events | alerts, event id) → (sequence, state) in the order of first sight."""
    repeats: int = 0
    """Messages whose id was seen before …"""
    altered: int = 0
    """… and those of them that then said something else."""
    messages: int = 0
    """All that came, status and health included."""

    def receive(self, topic: str, payload: bytes, _utc_ns: int) -> None:
        """Take one message."""
        self.messages += 1
        kind = topic.split("/")[4]
        if kind not in ("events", "alerts"):
            return
        message = json.loads(payload)
        key = kind, message["id"]
        if key in self.seen:
            self.repeats += 1
            self.altered += self.seen[key] != payload
            return
        self.seen[key] = payload
        self.order.setdefault((kind, message["event_id"]), []).append((message["sequence"], message["state"]))

    def events(self) -> set[str]:
        """Event ids seen on `events`."""
        return {event for kind, event in list(self.order) if kind == "events"}


def judge(
    planned: Sequence[str],
    acknowledged: Collection[Acknowledged],
    logged: Collection[str],
    superseded: Collection[tuple[str, int]],
    deliveries: Deliveries,
) -> dict[str, Any]:
    """Counts of all that can go wrong.

    `planned`: the ids that had to be sent. `logged`: the ids in the event log; a writer may be killed between its commit
    and its word. `superseded`: (event id, sequence) left out by the outbox, which only an update may be.
    """
    lost = 0
    for event in planned:
        states = [state for _, state in deliveries.order.get(("events", event), [])]
        lost += ("new" not in states) + ("end" not in states)
    left_out = set(superseded)
    for event, sequence, state, severity in acknowledged:
        if state == "update" and (event, sequence) not in left_out:
            lost += ("events", f"{event}.{sequence}") not in deliveries.seen
        if state != "update" and severity == "alert":
            lost += ("alerts", f"{event}.{sequence}") not in deliveries.seen
    violations = sum(not _in_order(states) for states in deliveries.order.values())
    sent = {event for event, *_ in acknowledged} | set(logged)
    invented = len(deliveries.events() - set(planned))
    return {
        "events": len(planned),
        "sent": len(sent),
        "distinct": len(deliveries.events()),
        "lost": lost,
        "order_violations": violations,
        "repeats": deliveries.repeats,
        "altered": deliveries.altered,
        "invented": invented,
        "updates_coalesced": len(left_out),
        "messages": len(deliveries.seen),
        "passed": sent == set(planned) and not (lost or violations or deliveries.altered or invented),
    }


def _in_order(states: Sequence[tuple[int, str]]) -> bool:
    """One lifecycle on one topic: begins with new, sequences rise, nothing comes after the end."""
    sequences = [sequence for sequence, _ in states]
    ended = [state for _, state in states[:-1] if state == "end"]
    return states[0] == (0, "new") and sequences == sorted(set(sequences)) and not ended


def prove_delivery(folder: Path, *, events: int, kills: int, outages: int, rate_hz: float, seed: int) -> dict[str, Any]:
    """Run it in `folder`, and judge; raises `ApplianceError` where a part of the rig fails."""
    began_s = time.monotonic()
    planned = [event_id(seed, index) for index in range(events)]
    deliveries = Deliveries()
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder / "broker"))
        subscriber = stack.enter_context(Subscriber(broker.port, deliveries.receive))
        publisher = stack.enter_context(Publisher(folder, broker.port))
        writer = stack.enter_context(Writer(folder))

        def begun() -> int:
            """Events that the writer has acknowledged, which begin in the order of their numbers."""
            return len({event for event, *_ in list(writer.acknowledged)})

        def write() -> None:
            writer.start(Order(seed, begun(), events, rate_hz, "lifecycles", db=str(publisher.db)))

        def kill_writer(_draw: random.Random) -> None:
            writer.kill()
            before = len(writer.acknowledged)
            write()
            wait_until(lambda: writer.done or len(writer.acknowledged) > before, "the writer goes on")

        def kill_publisher(_draw: random.Random) -> None:
            publisher.kill()
            before = deliveries.messages
            publisher.start()
            wait_until(lambda: deliveries.messages > before, "the publisher goes on")

        def outage(draw: random.Random) -> None:
            before = subscriber.connections
            broker.stop()
            time.sleep(draw.uniform(0.0, _LONGEST_OUTAGE_S))
            broker.start()
            wait_until(lambda: subscriber.connections > before, "the subscriber is back")

        write()
        publisher.start()
        mischief = [
            _Mischief("kill writer", seed, events, kills, begun, kill_writer),
            _Mischief("kill publisher", seed, events, kills, lambda: len(deliveries.events()), kill_publisher),
            _Mischief("outage", seed, events, outages, lambda: len(deliveries.events()), outage),
        ]
        for one in mischief:
            one.start()
        for one in mischief:
            one.join()
        for one in mischief:
            if one.error is not None:
                raise one.error
        writer.wait_done()
        _await_delivery(publisher.db, deliveries)
    result = judge(planned, writer.acknowledged, _logged(publisher.db), _superseded(publisher.db), deliveries)
    done = {"writer_kills": mischief[0].done, "publisher_kills": mischief[1].done, "outages": mischief[2].done}
    return result | done | {"seed": seed, "duration_s": round(time.monotonic() - began_s, 1)}


class _Mischief(threading.Thread):
    """Does one thing `times` times: each when progress passes a number drawn beforehand, after a random wait."""

    def __init__(
        self,
        name: str,
        seed: int,
        events: int,
        times: int,
        progress: Callable[[], int],
        act: Callable[[random.Random], None],
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._draw = random.Random(f"{seed}/{name}")
        self._moments = sorted(self._draw.randrange(events) for _ in range(times))
        self._progress, self._act = progress, act
        self.done = 0
        self.error: ApplianceError | None = None

    def run(self) -> None:
        """Until all is done, or the rig fails."""
        try:
            for moment in self._moments:
                wait_until(lambda: self._progress() >= moment, f"event {moment} is there", 10 * PATIENCE_S)  # noqa: B023 - called within the round
                time.sleep(self._draw.uniform(0.0, _LONGEST_WAIT_S))
                self._act(self._draw)
                self.done += 1
        except ApplianceError as error:
            self.error = error


def _await_delivery(db: Path, deliveries: Deliveries) -> None:
    """Until nothing waits in the outbox and nothing more comes; what is missing after a minute is missing."""
    with Outbox(db) as outbox:
        wait_until(lambda: outbox.counts()["pending"] == 0, "the outbox is drained", 10 * PATIENCE_S)
    with contextlib.suppress(ApplianceError):
        wait_until(lambda: _whole(db, deliveries), "all has arrived")


def _whole(db: Path, deliveries: Deliveries) -> bool:
    return len(deliveries.seen) >= _delivered(db)


def _rows(db: Path, query: str) -> Iterator[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True)) as connection:
        yield from connection.execute(query)


def _delivered(db: Path) -> int:
    ((count,),) = _rows(db, "SELECT count(*) FROM outbox WHERE outcome = 'delivered'")
    return int(count)


def _logged(db: Path) -> set[str]:
    return {event for (event,) in _rows(db, "SELECT DISTINCT event_id FROM events")}


def _superseded(db: Path) -> set[tuple[str, int]]:
    rows = _rows(
        db,
        "SELECT event_id, sequence FROM outbox JOIN events ON events.id = event_row "
        "WHERE kind = 'events' AND outcome = 'superseded'",
    )
    return {(event, sequence) for event, sequence in rows}
