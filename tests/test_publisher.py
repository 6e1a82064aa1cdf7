"""The publisher process, from the event log on disk to a subscriber of a real Mosquitto."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest
from conftest import MakeEvent, damage_root
from mqtt import PATIENCE_S, Broker, Received, Subscriber, wait_until
from ulid import ULID

from appliance import wire
from appliance.cli.watch_board import Board
from appliance.config import UnitSettings
from appliance.daemon.cut_off import end_cut_off_events
from appliance.publish.credentials import client_id
from appliance.publisher import _Store
from appliance.store import EventLog, Outbox, chain
from appliance.store.database import open_database
from appliance.store.ladder import shed_events
from appliance.store.stamp import Stamp
from appliance.types import Event

HEARING = {"hearing": True, "faults": []}


class Publisher:
    """`appliance publish` as a process of its own."""

    def __init__(self, directory: Path, port: int, *mqtt: str) -> None:
        self.site = directory / "site.toml"
        self.site.write_text(
            f"""
            schema = 1
            [unit]
            site = "north"
            node = "mast-1"
            [store]
            path = "{directory}/events.db"
            [mqtt]
            host = "127.0.0.1"
            port = {port}
            reconnect_max_s = 0.2
            will_delay_s = 0
            """
            + "\n".join(mqtt)
        )
        self._log = directory / "publisher.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start; it needs no broker for that."""
        command = [str(Path(sys.executable).with_name("appliance")), "publish", "--site", str(self.site)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log)

    def kill(self) -> None:
        """As the power does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """As systemd does; returns the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=PATIENCE_S)

    def exit_status(self) -> int:
        """Wait until it ends by itself."""
        assert self._process is not None
        return self._process.wait(timeout=PATIENCE_S)

    def log(self) -> str:
        """What it wrote on stderr."""
        return self._log.read_text()

    def clean(self) -> None:
        """End it, whatever the test did."""
        if self._process is not None and self._process.poll() is None:
            self.kill()


@pytest.fixture
def publisher(tmp_path: Path, broker: Broker) -> Iterator[Publisher]:
    publisher = Publisher(tmp_path, broker.port)
    yield publisher
    publisher.clean()


def messages_of(received: list[Received]) -> list[Event]:
    return [wire.event_from_json(json.dumps(message.payload)) for message in received]


def counts(event_log: EventLog) -> dict[str, int]:
    with Outbox(event_log.path) as outbox:
        return outbox.counts()


def first_seen(received: list[Received]) -> list[str]:
    """Ids in the order in which each was first seen; repeats are dropped, as a consumer does."""
    return list(dict.fromkeys(message.payload["id"] for message in received))


def lifecycle(make_event: MakeEvent, updates: int = 1, **changes: object) -> list[Event]:
    event_id = str(ULID())
    states = ["new", *["update"] * updates, "end"]
    return [make_event(event_id=event_id, state=state, sequence=n, **changes) for n, state in enumerate(states)]


@pytest.mark.parametrize("protocol", ["5.0", "3.1.1"])
def test_events_arrive_whole_and_in_order(
    tmp_path: Path, broker: Broker, event_log: EventLog, make_event: MakeEvent, protocol: Literal["5.0", "3.1.1"]
) -> None:
    publisher = Publisher(tmp_path, broker.port, f'protocol = "{protocol}"')
    events = lifecycle(make_event, severity="alert") + lifecycle(make_event, severity="detection")
    with Subscriber(broker.port, protocol=protocol) as subscriber:
        publisher.start()
        try:
            wait_until(subscriber.status, "connected")
            for event in events:
                event_log.append(event)
            wait_until(lambda: len(subscriber.on("events")) == 6, "six messages")
            assert publisher.stop() == 0
        finally:
            publisher.clean()
    assert messages_of(subscriber.on("alerts")) == [events[0], events[2]]
    for one in (events[:3], events[3:]):
        assert messages_of(subscriber.on("events", one[0].event_id)) == one
    assert counts(event_log) == {"pending": 0, "delivered": 8, "superseded": 0, "expired": 0}


@pytest.mark.parametrize("hash_chain", [False, True])
def test_what_was_heard_before_the_unit_got_its_name_is_believed_too(
    tmp_path: Path, broker: Broker, publisher: Publisher, make_event: MakeEvent, hash_chain: bool
) -> None:
    """First as site/node, cut off, named, ended by the next run; the log keeps what it said, and its chain."""
    before = make_event(site="site", node="node")
    with EventLog(tmp_path / "events.db", hash_chain=hash_chain) as log, Subscriber(broker.port) as subscriber:
        log.append(before)
        end_cut_off_events(log)
        publisher.start()
        wait_until(lambda: len(subscriber.on("alerts")) == len(subscriber.on("events")) == 2, "new and end, twice")
        board = Board()
        for message in subscriber.on("events"):
            assert board.take(message.topic, json.dumps(message.payload).encode()) == message.payload
            assert message.payload["source"] == "/acoustic/v1/north/mast-1"
        assert (board.rejected.total(), board.open_events(), len(board.ended)) == (0, [], 1)
        assert [event.site for event in log.read()] == ["site", "site"]
    if hash_chain:
        assert chain.verify(tmp_path / "events.db").fault == ""


def test_messages_carry_what_a_consumer_routes_by(
    broker: Broker, publisher: Publisher, event_log: EventLog, make_event: MakeEvent
) -> None:
    event = make_event(severity="alert")
    event_log.append(event)
    with Subscriber(broker.port) as subscriber:
        publisher.start()
        wait_until(lambda: subscriber.on("alerts") and subscriber.on("events"), "event and alert")
    (alert,), (told,) = subscriber.on("alerts"), subscriber.on("events")
    for message in (alert, told):
        assert message.user_properties == {"schema": "acoustic.event.v1", "event_id": event.event_id}
        assert message.content_type == "application/json"
        assert not message.retained
    assert told.expiry_s is None
    assert alert.expiry_s is not None
    assert 0 < alert.expiry_s <= 600


def test_status_tells_quiet_from_deaf_from_gone(broker: Broker, publisher: Publisher, event_log: EventLog) -> None:
    with Subscriber(broker.port) as subscriber:

        def said(state: str, reason: str = "") -> Callable[[], bool]:
            return lambda: (subscriber.status() or {}).get("state") == state and reason in str(subscriber.status())

        def hearing() -> object:
            return (subscriber.status() or {})["hearing"]

        publisher.start()
        wait_until(said("degraded", "the sensor has not reported yet"), "no sensor")
        event_log.set_state("sensor", HEARING)
        wait_until(said("online"), "quiet")
        assert hearing() is True
        event_log.set_state("sensor", {"hearing": True, "faults": ["microphone 3 is dead"]})
        wait_until(said("degraded", "microphone 3 is dead"), "degraded")
        assert hearing() is True
        event_log.set_state("sensor", {"hearing": False, "faults": ["no audio comes from the microphones"]})
        wait_until(said("degraded", "no audio comes"), "deaf")
        assert hearing() is False
        event_log.set_state("sensor", HEARING)
        wait_until(said("online"), "quiet again")
        publisher.kill()
        wait_until(said("offline", "connection lost"), "gone")
        assert hearing() is False
        publisher.start()
        wait_until(said("online"), "back")
        assert publisher.stop() == 0
        wait_until(said("offline", "stopped"), "stopped")
    with Subscriber(broker.port, name="late") as late:
        wait_until(late.status, "retained status")
        assert [message.retained for message in late.on("status")] == [True]


def test_a_sensor_that_stopped_reporting_is_not_a_quiet_night(
    tmp_path: Path, broker: Broker, publisher: Publisher
) -> None:
    now = Stamp.now()
    a_minute_ago = Stamp(now.utc_ns - 60_000_000_000, now.boot_id, now.boot_ns - 60_000_000_000)
    with EventLog(tmp_path / "events.db", clock=lambda: a_minute_ago) as log:
        log.set_state("sensor", HEARING)
    with Subscriber(broker.port) as subscriber:
        publisher.start()
        wait_until(subscriber.status, "status")
    status = subscriber.status()
    assert status is not None
    assert (status["state"], status["reasons"]) == ("degraded", ["the sensor has stopped reporting"])


def test_health_and_config_are_retained_and_hold_what_the_sensor_said(
    broker: Broker, publisher: Publisher, event_log: EventLog, make_event: MakeEvent
) -> None:
    event_log.append(make_event(severity="detection"))
    ring8, tetra = ({"array": {"name": name}} for name in ("ring8", "tetra"))
    event_log.set_state("health", {"audio": {"gaps": 0}})
    event_log.set_state("config", ring8)
    with Subscriber(broker.port) as subscriber:
        publisher.start()
        wait_until(lambda: subscriber.on("health") and subscriber.on("config"), "health and config")
        event_log.set_state("config", tetra)
        wait_until(lambda: len(subscriber.on("config")) == 2, "changed config")
    with Subscriber(broker.port, name="late") as late:
        wait_until(lambda: late.on("health") and late.on("config"), "retained health and config")
    (health,), (config,) = late.on("health"), late.on("config")
    assert health.payload["publisher"]["client_id"] == client_id(UnitSettings(site="north", node="mast-1"))
    assert health.retained
    assert health.payload["sensor"] == {"audio": {"gaps": 0}}
    assert sum(health.payload["publisher"]["outbox"].values()) == 1
    assert config.retained
    assert config.payload["sensor"] == tetra


def test_it_starts_without_a_broker_and_delivers_when_one_comes(
    broker: Broker, publisher: Publisher, event_log: EventLog, make_event: MakeEvent
) -> None:
    with Subscriber(broker.port) as subscriber:
        broker.stop()
        event = make_event(severity="detection")
        event_log.append(event)
        publisher.start()
        wait_until(lambda: "cannot be reached" in publisher.log(), "complaint")
        broker.start()
        wait_until(lambda: subscriber.on("events"), "event")
        assert publisher.stop() == 0
    assert messages_of(subscriber.on("events")) == [event]
    log = publisher.log()
    assert f"events wait in {event_log.path}" in log
    assert log.count("Connection refused") == 1


def test_what_an_outage_makes_stale_is_left_out_and_nothing_else(
    broker: Broker, publisher: Publisher, event_log: EventLog, make_event: MakeEvent
) -> None:
    with Subscriber(broker.port) as subscriber:
        publisher.start()
        wait_until(subscriber.status, "connected")
        broker.stop()
        ended, running = lifecycle(make_event, 5, severity="alert"), lifecycle(make_event, 5, severity="detection")[:-1]
        for event in [*running, *ended]:
            event_log.append(event)
        broker.start()
        wait_until(lambda: len(subscriber.on("events")) == 4, "the rest")
        assert publisher.stop() == 0
    assert messages_of(subscriber.on("alerts")) == [ended[0], ended[-1]]
    assert messages_of(subscriber.on("events", ended[0].event_id)) == [ended[0], ended[-1]]
    assert messages_of(subscriber.on("events", running[0].event_id)) == [running[0], running[-1]]
    topics = [message.topic.split("/")[4] for message in subscriber.on() if "event_id" in message.payload]
    assert topics == ["alerts", "alerts", "events", "events", "events", "events"]


def test_a_unit_that_has_much_to_deliver_says_that_it_is_there(
    tmp_path: Path, event_log: EventLog, make_event: MakeEvent
) -> None:
    """Over a slow link a long outbox takes hours; one message at a time is the slowest there is."""
    (tmp_path / "broker").mkdir()
    broker = Broker(tmp_path / "broker", settings=("allow_anonymous true", "max_inflight_messages 1"))
    broker.start()
    publisher = Publisher(tmp_path, broker.port)
    for _ in range(100):
        event_log.append(make_event(severity="detection"))
    try:
        with Subscriber(broker.port) as subscriber:
            publisher.start()
            wait_until(lambda: len(subscriber.on("events")) == 100, "all events")
            topics = [message.topic.split("/")[4] for message in subscriber.on()]
    finally:
        publisher.clean()
        broker.stop()
    last = len(topics) - topics[::-1].index("events")
    assert {"status", "config", "health"} <= set(topics[:last])


def test_an_alert_too_old_to_act_on_is_withheld_and_on_record(
    tmp_path: Path, broker: Broker, publisher: Publisher, make_event: MakeEvent
) -> None:
    now = Stamp.now()
    an_hour_ago = Stamp(now.utc_ns, now.boot_id, now.boot_ns - 3600 * 1_000_000_000)
    with EventLog(tmp_path / "events.db", clock=lambda: an_hour_ago) as log:
        stale = make_event(severity="alert")
        log.append(stale)
    with EventLog(tmp_path / "events.db") as log:
        fresh = make_event(severity="alert")
        log.append(fresh)
    with Subscriber(broker.port) as subscriber:
        publisher.start()
        wait_until(lambda: len(subscriber.on("events")) == 2, "both events")
        assert publisher.stop() == 0
    assert messages_of(subscriber.on("alerts")) == [fresh]
    assert messages_of(subscriber.on("events")) == [stale, fresh]
    with Outbox(tmp_path / "events.db") as outbox:
        assert outbox.counts() == {"pending": 0, "delivered": 3, "superseded": 0, "expired": 1}


def test_a_late_alert_whose_event_goes_on_is_raised_all_the_same(
    tmp_path: Path, broker: Broker, publisher: Publisher, make_event: MakeEvent
) -> None:
    now = Stamp.now()
    an_hour_ago = Stamp(now.utc_ns, now.boot_id, now.boot_ns - 3600 * 1_000_000_000)
    over, going_on = lifecycle(make_event, 0, severity="alert"), lifecycle(make_event, 1, severity="alert")[:-1]
    with EventLog(tmp_path / "events.db", clock=lambda: an_hour_ago) as log:
        for event in (*over, *going_on):
            log.append(event)
    with EventLog(tmp_path / "events.db") as log, Subscriber(broker.port) as subscriber:
        log.set_state("sensor", HEARING)
        publisher.start()
        wait_until(lambda: len(subscriber.on("events")) == 4, "all events")
        assert publisher.stop() == 0
        assert messages_of(subscriber.on("alerts")) == [going_on[0]]
        assert subscriber.on("alerts")[0].expiry_s == pytest.approx(600, abs=60)


def test_kill_9_and_outages_lose_nothing_and_reorder_nothing(
    broker: Broker, publisher: Publisher, event_log: EventLog, make_event: MakeEvent
) -> None:
    """Every message arrives, each lifecycle in order; what comes again bears the id that it had."""
    lifecycles = [lifecycle(make_event, 0, severity="detection") for _ in range(400)]
    expected = {f"{event.event_id}.{event.sequence}" for events in lifecycles for event in events}
    for events in lifecycles:
        for event in events:
            event_log.append(event)
    with Subscriber(broker.port) as subscriber:
        publisher.start()
        for interruption in range(1, 7):
            arrived = interruption * 100
            wait_until(lambda: len(subscriber.on("events")) > arrived, "some have arrived")  # noqa: B023
            if interruption % 2:
                publisher.kill()
                publisher.start()
            else:
                broker.stop()
                broker.start()
        wait_until(lambda: set(first_seen(subscriber.on("events"))) == expected, "all messages")
        wait_until(lambda: counts(event_log)["pending"] == 0, "all settled")
        assert publisher.stop() == 0
    for events in lifecycles:
        assert first_seen(subscriber.on("events", events[0].event_id)) == [f"{e.event_id}.{e.sequence}" for e in events]


def test_a_stop_while_the_broker_hangs_ends_in_time_and_the_last_will_says_it(
    broker: Broker, publisher: Publisher, event_log: EventLog, make_event: MakeEvent
) -> None:
    with Subscriber(broker.port) as subscriber:
        event_log.set_state("sensor", HEARING)
        publisher.start()
        wait_until(lambda: (subscriber.status() or {}).get("state") == "online", "online")
        broker.freeze()
        for _ in range(30):
            event_log.append(make_event(severity="detection"))
        assert publisher.stop() == 0
        broker.thaw()
        wait_until(lambda: (subscriber.status() or {}).get("state") == "offline", "offline")
    assert (subscriber.status() or {})["reasons"] == ["connection lost"]
    assert counts(event_log)["pending"] > 0


def test_a_locked_event_log_is_waited_for_and_told(
    broker: Broker, publisher: Publisher, event_log: EventLog, make_event: MakeEvent
) -> None:
    with Subscriber(broker.port) as subscriber:
        event_log.set_state("sensor", HEARING)
        publisher.start()
        wait_until(lambda: (subscriber.status() or {}).get("state") == "online", "online")
        event = make_event(severity="detection")
        with EventLog(event_log.path) as holder:
            broker.freeze()  # or the event is settled before the log is locked, and there is nothing left to wait for
            event_log.append(event)
            holder._db.execute("BEGIN IMMEDIATE")
            broker.thaw()
            wait_until(lambda: "another program holds it" in str(subscriber.status()), "told")
            holder._db.execute("ROLLBACK")
        wait_until(lambda: (subscriber.status() or {}).get("state") == "online", "online again")
        wait_until(lambda: counts(event_log)["delivered"] == 1, "settled")
    assert set(first_seen(subscriber.on("events"))) == {f"{event.event_id}.0"}


def test_status_tells_what_the_retention_timer_removed_undelivered(
    broker: Broker, publisher: Publisher, event_log: EventLog, make_event: MakeEvent
) -> None:
    """Said once, in words that do not change while it lasts."""
    for event in lifecycle(make_event, severity="detection"):
        event_log.append(event)
    with closing(open_database(event_log.path, synchronous="NORMAL")) as db:
        assert sum(removal.items for removal in shed_events(db, lambda: False, Stamp.now())) == 3
    event_log.set_state("sensor", HEARING)
    with Subscriber(broker.port) as subscriber:
        publisher.start()
        wait_until(lambda: "not delivered yet were removed" in str(subscriber.status()), "told")
        said = len(subscriber.on("status"))
        event = make_event(severity="detection")
        event_log.append(event)
        wait_until(lambda: subscriber.on("events"), "the next detection")
        time.sleep(2.5)
        assert (subscriber.status() or {})["state"] == "degraded"
        assert len(subscriber.on("status")) == said


def test_a_corrupt_event_log_is_told_and_its_successor_drained(
    tmp_path: Path, broker: Broker, publisher: Publisher, make_event: MakeEvent
) -> None:
    """The sensor puts a new log in the place of the corrupt one; the publisher follows without a restart."""
    path = tmp_path / "events.db"
    with Subscriber(broker.port) as subscriber:
        with EventLog(path) as log:
            log.set_state("sensor", HEARING)
            publisher.start()
            wait_until(lambda: (subscriber.status() or {}).get("state") == "online", "online")
            log._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            path.write_bytes(os.urandom(path.stat().st_size))
            wait_until(lambda: (subscriber.status() or {}).get("state") == "degraded", "told")
        event = make_event(severity="detection")
        with EventLog(path, replace_corrupt=True) as log:
            log.set_state("sensor", HEARING)
            log.append(event)
            assert len(log.losses) == 1
            wait_until(lambda: subscriber.on("events"), "event of the new log")
            wait_until(lambda: (subscriber.status() or {}).get("state") == "online", "online again")
            wait_until(lambda: counts(log)["delivered"] == 1, "settled")
        assert publisher.stop() == 0
    assert messages_of(subscriber.on("events")) == [event]


def test_a_damaged_table_of_mutes_keeps_no_alert_back(
    tmp_path: Path, broker: Broker, publisher: Publisher, make_event: MakeEvent
) -> None:
    """What is read for status and commands is damaged; the outbox is not."""
    path = tmp_path / "events.db"
    with Subscriber(broker.port) as subscriber:
        with EventLog(path) as log:
            log.append(make_event())
        damage_root(path, "mutes")
        publisher.start()
        wait_until(lambda: subscriber.on("alerts"), "the alert")
        wait_until(lambda: (subscriber.status() or {}).get("state") == "degraded", "told")


@pytest.mark.usefixtures("silent_disk")
def test_health_leaves_out_the_room_of_a_disk_that_does_not_say_it(event_log: EventLog) -> None:
    with _Store(event_log.path) as store:
        assert list(store.health()) == ["outbox"]


def test_a_setting_that_only_a_person_can_mend_ends_it_with_78(tmp_path: Path, broker: Broker) -> None:
    password = tmp_path / "password"
    password.write_text("geheim")
    password.chmod(0o644)
    publisher = Publisher(tmp_path, broker.port, f'password_file = "{password}"')
    publisher.start()
    assert publisher.exit_status() == 78
    assert publisher.log() == (
        f"appliance: {password}: [mqtt] password_file: mode 0644 lets others read it; run `chmod 0600 {password}`\n"
    )


def test_a_port_that_another_program_has_keeps_no_alert_back(
    tmp_path: Path, broker: Broker, event_log: EventLog, make_event: MakeEvent
) -> None:
    event_log.set_state("sensor", HEARING)
    event_log.append(make_event(severity="alert"))
    with socket.create_server(("127.0.0.1", 0)) as taken, Subscriber(broker.port) as subscriber:
        port = taken.getsockname()[1]
        publisher = Publisher(tmp_path, broker.port, "[metrics]", f"port = {port}")
        try:
            publisher.start()
            wait_until(lambda: subscriber.on("alerts") and subscriber.status(), "alert and status")
            said = subscriber.status()
        finally:
            publisher.clean()
    assert said is not None
    assert said["state"] == "degraded"
    assert said["reasons"] == [f"[metrics] port: 127.0.0.1:{port}: Address already in use; give another port"]


def test_what_a_broker_finds_too_large_costs_a_line_and_not_the_connection(
    tmp_path: Path, event_log: EventLog, make_event: MakeEvent
) -> None:
    (tmp_path / "broker").mkdir()
    broker = Broker(tmp_path / "broker", settings=("allow_anonymous true", "max_packet_size 3000"))
    broker.start()
    publisher = Publisher(tmp_path, broker.port)
    event_log.set_state("sensor", HEARING)
    event_log.set_state("config", {"policy": "x" * 3000})
    event_log.append(make_event(severity="alert"))
    try:
        with Subscriber(broker.port) as subscriber:
            publisher.start()
            wait_until(lambda: subscriber.on("alerts") and subscriber.on("health"), "alert and health")
            event_log.append(make_event(severity="alert"))
            wait_until(lambda: len(subscriber.on("alerts")) == 2, "the next alert")
            assert subscriber.on("config") == []
            assert publisher.stop() == 0
    finally:
        publisher.clean()
        broker.stop()
    where = f"MQTT broker 127.0.0.1:{broker.port}"
    why = "refused: Packet too large; raise what the broker takes (Mosquitto: max_packet_size)"
    assert publisher.log().splitlines() == [
        f"WARNING {where}: acoustic/v1/north/mast-1/config: {why}",
        f"INFO {where}: connected",
    ]


def test_an_event_log_that_cannot_be_opened_ends_it_with_74(tmp_path: Path, broker: Broker) -> None:
    (tmp_path / "events.db").write_bytes(os.urandom(8192))
    publisher = Publisher(tmp_path, broker.port)
    publisher.start()
    assert publisher.exit_status() == 74
    assert publisher.log().startswith(f"appliance: {tmp_path}/events.db: this is not an event log; ")


def test_systemd_is_told_that_it_is_ready_alive_and_stopping(tmp_path: Path, publisher: Publisher) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, pytest.MonkeyPatch.context() as environment:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(PATIENCE_S)
        environment.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        publisher.start()
        assert [notify.recv(64) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        assert publisher.stop() == 0
        heard = b""
        while heard != b"STOPPING=1":
            heard = notify.recv(64)
