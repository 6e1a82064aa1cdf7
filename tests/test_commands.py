"""Commands over MQTT 5, from a command centre through a real Mosquitto and the publisher process into the event log."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from commander import Commander
from conftest import MakeEvent
from mqtt import PATIENCE_S, Broker, Subscriber, wait_until
from sqlite_utils import Database
from test_publisher import HEARING, Publisher
from ulid import ULID

from appliance.config import load_site
from appliance.errors import ConfigError
from appliance.store import EventLog
from appliance.store.commands import CommandLog

ALL = 'allow = ["acknowledge", "mute", "unmute", "threshold", "selftest", "clip", "restart"]'
CONFIG = {"model": {"classes": ["drone", "gunshot"]}}


@pytest.fixture
def publisher(tmp_path: Path, broker: Broker) -> Iterator[Publisher]:
    publisher = Publisher(tmp_path, broker.port, "[commands]", ALL, "mute_max_s = 1800")
    yield publisher
    publisher.clean()


@pytest.fixture
def desk(broker: Broker, publisher: Publisher, event_log: EventLog) -> Iterator[Subscriber]:
    """A subscriber that sees the unit online."""
    event_log.set_state("sensor", HEARING)
    event_log.set_state("config", CONFIG)
    with Subscriber(broker.port) as subscriber:
        publisher.start()
        wait_until(subscriber.status, "connected")
        yield subscriber


@pytest.fixture
def commander(desk: Subscriber) -> Commander:
    return Commander(desk)


def logged(path: Path) -> list[dict[str, Any]]:
    with closing(Database(path, execute_plugins=False)) as db:
        return list(db["commands"].rows)


def test_acknowledging_is_answered_logged_shown_and_outlives_a_restart(
    desk: Subscriber, commander: Commander, publisher: Publisher, event_log: EventLog, make_event: MakeEvent
) -> None:
    event = make_event()
    event_log.append(event)
    answer = commander.ask("acknowledge", event_id=event.event_id)
    assert (answer["ok"], answer["result"]["by"]) == (True, "alice")
    again = commander.ask("acknowledge", event_id=event.event_id, by="bob")
    assert again["result"] == answer["result"]
    publisher.kill()
    publisher.start()
    wait_until(lambda: event.event_id in str((desk.status() or {}).get("acknowledged")), "shown")
    (shown,) = (desk.status() or {})["acknowledged"]
    assert shown == answer["result"]
    rows = logged(event_log.path)
    assert [(row["name"], row["asked_by"], row["utc_ns"] > 0) for row in rows] == [
        ("acknowledge", "alice", True),
        ("acknowledge", "bob", True),
    ]
    assert json.loads(rows[0]["answer"]) == answer
    assert commander.ask("acknowledge", event_id=str(ULID()))["error"] == "not_found"


def test_a_mute_is_shown_survives_a_restart_and_can_be_ended(
    desk: Subscriber, commander: Commander, publisher: Publisher, event_log: EventLog
) -> None:
    answer = commander.ask("mute", **{"class": "drone", "from_deg": 350, "to_deg": 20.5, "duration_s": 500})
    assert answer["ok"]
    publisher.kill()
    publisher.start()
    wait_until(lambda: (desk.status() or {}).get("mutes"), "shown")
    (mute,) = (desk.status() or {})["mutes"]
    assert mute == {**answer["result"], "class": "drone", "from_deg": 350.0, "to_deg": 20.5, "by": "alice"}
    with CommandLog(event_log.path) as log:
        (held,) = log.adjustments().mutes
    assert 400 < held.left_s <= 500
    assert commander.ask("unmute", mute_id=mute["mute_id"])["ok"]
    wait_until(lambda: (desk.status() or {}).get("mutes") == [], "ended")
    assert commander.ask("unmute", mute_id=mute["mute_id"])["error"] == "not_found"


def test_a_mute_ends_by_itself(desk: Subscriber, commander: Commander) -> None:
    commander.ask("mute", **{"class": "drone", "duration_s": 3.0})
    wait_until(lambda: any(status.payload.get("mutes") for status in desk.on("status")), "shown")
    wait_until(lambda: (desk.status() or {}).get("mutes") == [], "ended")


def test_thresholds_stay_within_limits_and_go_back(desk: Subscriber, commander: Commander) -> None:
    assert commander.ask("threshold", **{"class": "drone", "threshold": 0.65})["ok"]
    wait_until(lambda: (desk.status() or {}).get("thresholds") == {"drone": 0.65}, "shown")
    assert commander.ask("threshold", **{"class": "drone", "threshold": 0.95})["error"] == "out_of_limits"
    assert commander.ask("threshold", **{"class": "dron", "threshold": 0.5})["error"] == "not_found"
    assert commander.ask("threshold", **{"class": "drone", "threshold": None})["ok"]
    wait_until(lambda: (desk.status() or {}).get("thresholds") == {}, "back")


def test_what_is_asked_beyond_the_limits_is_answered_with_why(commander: Commander) -> None:
    assert commander.ask("mute", **{"class": "drone", "duration_s": 1801})["error"] == "out_of_limits"
    assert commander.ask("mute", duration_s=60)["error"] == "malformed"
    assert commander.ask("mute", **{"class": "drone", "duration": 60})["error"] == "malformed"
    assert commander.ask("mute", from_deg=10, duration_s=60)["error"] == "malformed"
    assert commander.ask("mute", from_deg=10, to_deg=10, duration_s=60)["error"] == "malformed"
    clip = commander.ask("clip", event_id=str(ULID()))
    assert (clip["error"], clip["text"]) == ("unavailable", "this unit keeps no recordings")
    assert commander.ask("reboot")["error"] == "unknown_command"


def test_a_repeat_is_not_carried_out_again_and_gets_the_first_answer(commander: Commander, event_log: EventLog) -> None:
    command = {"class": "drone", "duration_s": 500, "id": "mute-1"}
    first, second = commander.ask("mute", **command), commander.ask("mute", **command)
    assert first == second
    assert len(logged(event_log.path)) == 1
    with CommandLog(event_log.path) as log:
        assert len(log.adjustments().mutes) == 1


def test_what_the_sensor_has_to_do_is_answered_by_it_or_in_its_stead(commander: Commander, event_log: EventLog) -> None:
    command = {"schema": "acoustic.command.v1", "id": "test-1", "by": "alice"}
    commander.send("selftest", json.dumps(command).encode(), correlation=b"\x00\xff")
    with CommandLog(event_log.path) as sensor:
        wait_until(sensor.jobs, "the sensor sees it")
        (job,) = sensor.jobs()
        assert (job.name, job.command_id) == ("selftest", "test-1")
        assert commander.answers(b"\x00\xff") == []
        with closing(Database(event_log.path, execute_plugins=False)) as db:
            db.execute("UPDATE commands SET boot_ns = boot_ns - 31000000000, utc_ns = utc_ns - 31000000000")
            db.conn.commit()
        wait_until(lambda: commander.answers(b"\x00\xff"), "answered")
        assert commander.answers(b"\x00\xff")[0].payload["error"] == "unavailable"
        assert not sensor.answer(job.row, "{}"), "too late: nobody is told two things"


def test_the_publisher_restarts_by_command_once_the_answer_is_out(commander: Commander, publisher: Publisher) -> None:
    assert commander.ask("restart", process="publisher", id="restart-1")["ok"]
    assert publisher.exit_status() == 0
    publisher.start()
    # Known by its id: it does not restart for ever.
    assert commander.ask("restart", process="publisher", id="restart-1")["ok"]
    assert commander.ask("clip", event_id=str(ULID()))["error"] == "unavailable"


def test_only_what_the_site_file_names_is_carried_out(tmp_path: Path, broker: Broker, event_log: EventLog) -> None:
    publisher = Publisher(tmp_path, broker.port, "[commands]", 'allow = ["acknowledge"]')
    with Subscriber(broker.port) as desk:
        publisher.start()
        try:
            wait_until(desk.status, "connected")
            answer = Commander(desk).ask("mute", **{"class": "drone", "duration_s": 60})
        finally:
            publisher.clean()
    assert answer["error"] == "not_allowed"
    assert logged(event_log.path)[0]["name"] == "mute"


def test_more_than_the_rate_is_refused_and_much_more_is_ignored(
    tmp_path: Path, broker: Broker, event_log: EventLog
) -> None:
    publisher = Publisher(tmp_path, broker.port, "[commands]", 'allow = ["clip"]', "per_minute = 3")
    with Subscriber(broker.port) as desk:
        publisher.start()
        try:
            wait_until(desk.status, "connected")
            commander = Commander(desk)
            for number in range(10):
                command = {"schema": "acoustic.command.v1", "id": str(number), "by": "x", "event_id": str(ULID())}
                commander.send("clip", json.dumps(command).encode(), correlation=b"flood")
            wait_until(lambda: len(commander.answers(b"flood")) == 6, "three and three")
            assert publisher.stop() == 0
        finally:
            publisher.clean()
    assert [answer.payload["error"] for answer in commander.answers(b"flood")] == ["unavailable"] * 3 + [
        "rate_limited"
    ] * 3
    assert len(logged(event_log.path)) == 6


def test_over_mqtt_3_there_are_none_and_the_site_file_says_so(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('[mqtt]\nprotocol = "3.1.1"\n[commands]\nallow = ["mute"]\n')
    with pytest.raises(ConfigError, match=r'\[commands\] allow: needs \[mqtt\] protocol = "5\.0"'):
        load_site(site)


def test_the_line_of_the_readme_is_carried_out(broker: Broker, desk: Subscriber) -> None:
    """By Mosquitto's own client, as an operator would paste it."""
    del desk
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^mosquitto_rr (?:.*\\\n)*.*$", readme, re.M)
    program, *arguments = shlex.split(line.replace("\\\n", " "))
    run = subprocess.run(
        [program, "-h", "127.0.0.1", "-p", str(broker.port), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    answer = json.loads(run.stdout)
    assert (answer["ok"], answer["id"]) == (True, "desk-0001")
