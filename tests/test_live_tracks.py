"""Live tracks: from the sensor to a screen, never waited for, never kept."""

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MakeEvent
from field_unit import FieldUnit
from mqtt import Broker, Subscriber, check_contract, wait_until
from test_daemon import moment, until
from test_publisher import HEARING, Publisher

from appliance.config import MqttSettings, SiteSettings
from appliance.daemon.live_tracks import LiveTracks
from appliance.publish.connector import Connector
from appliance.publish.packets import Outgoing
from appliance.publish.topics import Topic, UnitTopics
from appliance.store import EventLog
from appliance.store.live import MAX_LIVE_BYTES, LiveReceiver, LiveSender, live_path
from appliance.types import Direction, Event, SceneFrame, Track, TrackStatus

TOPIC = "acoustic/v1/north/mast-1/tracks"
CLASSES = ("drone", "dog")


def track(number: int = 1, *, status: TrackStatus = "confirmed", azimuth_deg: float = 40.0, sure: float = 0.9) -> Track:
    probs = np.array([sure, 0.1], np.float32)
    return Track(number, status, Direction(azimuth_deg, 10.0), ((4.0, 0.0), (0.0, 4.0)), probs, 0, 0)


class Sensor:
    """The observer, with the frames given by hand and the receiver read after each."""

    def __init__(self, path: Path, **live: Any) -> None:
        unit = {"site": "north", "node": "mast-1"}
        settings = SiteSettings.model_validate({"unit": unit, "mount": {"heading_true_deg": 90.0}, "live_tracks": live})
        self.receiver = LiveReceiver(path)
        self._sender = LiveSender(path)
        self.observer = LiveTracks(settings, CLASSES, self._sender, clock=lambda: "synchronised")

    def hear(self, *tracks: Track, events: tuple[Event, ...] = (), frames: int = 1) -> list[dict[str, Any]]:
        """What was sent; each message is held against the contract."""
        sent = []
        for _ in range(frames):
            scene = SceneFrame((), 0.0, 1_790_000_000_000_000_000)
            self.observer.frame(dataclasses.replace(moment(-50.0), scene=scene, tracks=tracks, events=events))
            if (payload := self.receiver.latest()) is not None:
                sent.append(json.loads(payload))
                check_contract(TOPIC, sent[-1])
        return sent

    def close(self) -> None:
        self.receiver.close()
        self._sender.close()


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def test_what_is_sent_is_of_the_contract(log_path: Path, make_event: MakeEvent) -> None:
    sensor = Sensor(log_path)
    event = make_event(track_id=1)
    tracks = track(), track(2, status="coasting", sure=0.5), track(3, status="tentative"), track(4, status="deleted")
    ((said),) = sensor.hear(*tracks, events=(event,))
    assert (said["time"], said["clock"]) == ("2026-09-21T14:13:20.000000000Z", "synchronised")
    assert [(each["track_id"], each["state"], each["event_id"]) for each in said["tracks"]] == [
        (1, "confirmed", event.event_id),
        (2, "coasting", None),
    ]
    first = said["tracks"][0]
    assert (first["class"], first["confidence"], first["bearing_true_deg"]) == ("drone", 0.9, 50.0)
    assert first["bearing_sigma_deg"] == pytest.approx(np.hypot(2.0 / np.cos(np.radians(10.0)), 2.0), abs=0.1)
    end = dataclasses.replace(event, state="end", sequence=1)
    said = sensor.hear(track(), events=(end,), frames=5)[-1]
    assert said["tracks"][0]["event_id"] is None
    sensor.close()


def test_how_high_a_planar_array_hears_it_is_told_beside_the_elevation_that_it_does_not_know(log_path: Path) -> None:
    sensor = Sensor(log_path)
    planar = dataclasses.replace(track(), doa=Direction(40.0, 0.0, elevation_valid=False), height_deg=42.34)
    ((said),) = sensor.hear(planar, track(2))
    assert {each["track_id"]: (each["elevation_valid"], each.get("height_deg")) for each in said["tracks"]} == {
        1: (False, 42.3),
        2: (True, None),
    }
    sensor.close()


def test_what_is_likelier_nothing_that_has_a_name_is_told_to_nobody(log_path: Path) -> None:
    sensor = Sensor(log_path)
    ((said),) = sensor.hear(track(1, sure=0.46), track(2, sure=0.44))
    assert [each["track_id"] for each in said["tracks"]] == [1]
    sensor.close()


def test_what_has_an_event_is_told_in_any_case(log_path: Path, make_event: MakeEvent) -> None:
    sensor = Sensor(log_path)
    ((said),) = sensor.hear(track(1, sure=0.4), track(2, sure=0.4), events=(make_event(track_id=2),))
    assert [each["track_id"] for each in said["tracks"]] == [2]
    sensor.close()


def test_an_event_moves_to_the_track_that_goes_on_with_it(log_path: Path, make_event: MakeEvent) -> None:
    sensor = Sensor(log_path)
    event = make_event(track_id=2)
    sensor.hear(track(1), track(2), events=(event,))
    moved = dataclasses.replace(event, state="update", sequence=1, track_id=1)
    said = sensor.hear(track(1), track(2), events=(moved,), frames=5)[-1]
    assert {each["track_id"]: each["event_id"] for each in said["tracks"]} == {1: event.event_id, 2: None}
    sensor.close()


def test_an_anomaly_is_told_as_what_it_is(log_path: Path, make_event: MakeEvent) -> None:
    sensor = Sensor(log_path)
    strange = dataclasses.replace(track(2, sure=0.4), strangeness=0.83)
    ((said),) = sensor.hear(strange, events=(make_event(track_id=2, class_label="anomaly"),))
    assert [(each["class"], each["confidence"]) for each in said["tracks"]] == [("anomaly", 0.83)]
    sensor.close()


def test_north_is_never_360(log_path: Path) -> None:
    sensor = Sensor(log_path)
    (said,) = sensor.hear(track(azimuth_deg=90.01))
    assert said["tracks"][0]["bearing_true_deg"] == 0.0
    sensor.close()


@pytest.mark.parametrize("rate_hz", [2.0, 3.0, 4.0, 5.0])
def test_it_speaks_so_often_while_anything_is_tracked_then_says_goodbye_and_is_silent(
    log_path: Path, rate_hz: float
) -> None:
    sensor = Sensor(log_path, rate_hz=rate_hz)
    assert sensor.hear(frames=50) == []
    assert len(sensor.hear(track(), frames=300)) == pytest.approx(30 * rate_hz, abs=1)
    assert [said["tracks"] for said in sensor.hear(frames=100)] == [[], [], []]
    sensor.close()


def test_more_tracks_than_a_screen_can_show_are_left_out_the_surest_first(log_path: Path) -> None:
    sensor = Sensor(log_path)
    (said,) = sensor.hear(*(track(number, sure=0.2 + number / 100) for number in range(60)))
    assert [each["track_id"] for each in said["tracks"]] == list(range(59, 27, -1))
    assert len(json.dumps(said)) < MAX_LIVE_BYTES
    sensor.close()


def test_where_it_is_off_nothing_is_sent(log_path: Path) -> None:
    sensor = Sensor(log_path, enabled=False)
    assert sensor.hear(track(), frames=50) == []
    sensor.observer.finished([], 0.0)
    assert sensor.receiver.latest() is None
    sensor.close()


# --- between the processes --------------------------------------------------------------------------------------------


def test_sending_never_waits_whoever_listens(log_path: Path) -> None:
    sender = LiveSender(log_path)
    began_s = time.monotonic()
    assert not sender.send(b"nobody there")
    receiver = LiveReceiver(log_path)
    taken = [sender.send(str(number).encode()) for number in range(5000)]
    assert taken[0]
    assert not taken[-1], "a reader that does not read"
    assert not sender.send(bytes(MAX_LIVE_BYTES + 1))
    assert time.monotonic() - began_s < 5.0
    assert receiver.latest() == str(taken.count(True) - 1).encode()
    assert receiver.latest() is None
    receiver.close()
    assert not live_path(log_path).exists()
    assert not sender.send(b"gone")
    sender.close()


def test_a_new_publisher_takes_over_and_the_old_one_does_not_take_it_away(log_path: Path) -> None:
    live_path(log_path).write_text("left by a crash")
    old = LiveReceiver(log_path)
    new = LiveReceiver(log_path)
    assert (old.is_there, new.is_there) == (False, True)
    old.close()
    sender = LiveSender(log_path)
    assert sender.send(b"x")
    assert new.latest() == b"x"
    new.close()
    sender.close()


def test_a_path_longer_than_an_address_works_too(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 25) / ("er" * 30)
    folder.mkdir(parents=True)
    receiver, sender = LiveReceiver(folder / "events.db"), LiveSender(folder / "events.db")
    assert sender.send(b"x")
    assert receiver.latest() == b"x"
    receiver.close()
    sender.close()


# --- to the broker ----------------------------------------------------------------------------------------------------


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[LiveSender]:
    sender = LiveSender(tmp_path / "events.db")
    yield sender
    sender.close()


def valid(number: int) -> bytes:
    message = {
        "schema": "acoustic.tracks.v1",
        "site": "north",
        "node": "mast-1",
        "time": "2026-09-21T14:13:20.000000000Z",
        "clock": "synchronised",
        "tracks": [],
        "number": number,
    }
    return json.dumps(message).encode()


@pytest.mark.parametrize("protocol", ["5.0", "3.1.1"])
def test_a_screen_sees_them_and_whoever_comes_later_does_not(
    tmp_path: Path, broker: Broker, event_log: EventLog, sender: LiveSender, protocol: str
) -> None:
    event_log.set_state("sensor", HEARING)
    publisher = Publisher(tmp_path, broker.port, f'protocol = "{protocol}"')
    with Subscriber(broker.port) as screen:
        publisher.start()
        try:
            wait_until(screen.status, "connected")
            sent = 0

            def seen() -> int:
                nonlocal sent
                sent += sender.send(valid(sent))
                return len(screen.on("tracks"))

            wait_until(lambda: seen() >= 3, "live")
            sender.send(b"\xff\xfe")
            before = seen()
            wait_until(lambda: seen() > before + 1, "what is no text has not ended it")
            message = screen.on("tracks")[-1]
            assert not message.retained
            assert message.user_properties == ({"schema": "acoustic.tracks.v1"} if protocol == "5.0" else {})
            assert message.expiry_s == (2 if protocol == "5.0" else None)
            # None is under way any more.
            wait_until(lambda: screen.on("tracks")[-1].payload["number"] == sent - 1, "all have come")
            with Subscriber(broker.port) as later:
                wait_until(later.status, "later")
                assert later.on("tracks") == []
            # A restart of the publisher takes the channel up again.
            assert publisher.stop() == 0
            assert not live_path(event_log.path).exists()
            before = len(screen.on("tracks"))
            publisher.start()
            wait_until(lambda: seen() > before, "live again")
        finally:
            publisher.clean()


def test_off_in_the_site_file_nobody_listens(
    tmp_path: Path, broker: Broker, event_log: EventLog, sender: LiveSender
) -> None:
    event_log.set_state("sensor", HEARING)
    publisher = Publisher(tmp_path, broker.port, "[live_tracks]", "enabled = false")
    with Subscriber(broker.port) as screen:
        publisher.start()
        try:
            wait_until(screen.status, "connected")
            assert not sender.send(valid(0))
        finally:
            publisher.clean()


def test_a_broker_that_hangs_fills_no_memory(broker: Broker) -> None:
    topics = UnitTopics("north", "mast-1")
    connector = Connector(
        MqttSettings(host="127.0.0.1", port=broker.port), client_id="x", will=Outgoing(Topic("a/will"), "{}")
    )
    while not connector.connected:
        connector.step(0.05)
    assert connector.pass_on(Outgoing(topics.tracks, "x"))
    assert connector.acknowledged() == []
    broker.freeze()
    sent = [connector.pass_on(Outgoing(topics.tracks, "x" * 20_000)) for _ in range(2000)]
    broker.thaw()
    assert not any(sent[-100:])
    assert sum(sent) < 1000, "what the kernel takes, and no more"
    assert connector.room == 20, "alerts have their window to themselves"
    connector.close()


# --- the whole sensor -------------------------------------------------------------------------------------------------


def test_the_sensor_says_where_the_drone_is_and_hears_on_whoever_reads(tmp_path: Path, intensity_model: Path) -> None:
    unit = FieldUnit(tmp_path, intensity_model, "[mount]", "heading_true_deg = 90.0")
    receiver = LiveReceiver(unit.log)
    try:
        unit.start()
        said: list[dict[str, Any]] = []

        def hears() -> bool:
            if (payload := receiver.latest()) is not None:
                said.append(json.loads(payload))
                check_contract(TOPIC, said[-1])
            return any(each["tracks"] and each["tracks"][0]["event_id"] for each in said)

        until(hears)
        (found,) = said[-1]["tracks"]
        assert found["class"] == "drone"
        assert found["bearing_true_deg"] == pytest.approx(50.0, abs=5.0)
        with EventLog(unit.log) as log:
            (event,) = list(log.read(state="new"))
            assert event.event_id == found["event_id"]
            # From now on nobody reads.
            frames = log.states()["health"].value["frames"] if "health" in log.states() else 0
            until(lambda: "health" in log.states() and log.states()["health"].value["frames"] > frames + 50)
            assert log.states()["sensor"].value == {"hearing": True, "faults": []}
        assert unit.stop() == 0
    finally:
        unit.close()
        receiver.close()
