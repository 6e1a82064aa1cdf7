"""Commands over MQTT 5, from a command centre through a real Mosquitto and the publisher process into the event log."""

import base64
import dataclasses
import hashlib
import json
import random
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

from appliance import wire
from appliance.config import load_site
from appliance.errors import ConfigError
from appliance.store import EventLog
from appliance.store.clips import PART_BYTES, ClipLog, clips_folder, write_whole
from appliance.store.commands import CommandLog
from appliance.types import Clip, Event

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
    assert commander.ask("reboot")["error"] == "unknown_command"


def keep_clip(log: EventLog, event: Event, data: bytes) -> Event:
    """As the sensor does: promise, write, settle."""
    promised = dataclasses.replace(event, clip=f"{event.event_id}.flac", clip_state="recording")
    log.append(promised)
    folder = clips_folder(log.path)
    folder.mkdir(exist_ok=True)
    write_whole(folder / f"{event.event_id}.flac", data)
    clip = Clip(
        f"{event.event_id}.flac",
        event.event_id,
        "written",
        start_utc_ns=event.utc_ns,
        seconds=10.1,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        gaps=((2.5, 0.25),),
    )
    with ClipLog(log.path) as clips:
        assert clips.settle(clip)
    return promised


def test_a_clip_is_told_of_and_fetched_in_parts(
    commander: Commander, event_log: EventLog, make_event: MakeEvent
) -> None:
    """What arrives is the file, to the last bit, whatever the size of the broker's messages."""
    data = random.Random(0).randbytes(2 * PART_BYTES + 1000)
    event = keep_clip(event_log, make_event(), data)
    told = commander.ask("clip", event_id=event.event_id)["result"]
    assert told == {
        "event_id": event.event_id,
        "clip": event.clip,
        "start": wire.utc_text(event.utc_ns),
        "seconds": 10.1,
        "gaps": [{"offset_s": 2.5, "seconds": 0.25}],
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    fetched, sizes = b"", []
    offset: int | None = 0
    while offset is not None:
        part = commander.ask("clip", event_id=event.event_id, offset=offset)["result"]
        assert part["offset"] == offset
        sizes.append(len(json.dumps(part)))
        fetched, offset = fetched + base64.b64decode(part["data"]), part["next_offset"]
    assert hashlib.sha256(fetched).hexdigest() == told["sha256"]
    assert len(sizes) == 3
    assert max(sizes) < 100_000
    # The log of commands keeps what was said, not the audio: else a flood of requests would fill the disk.
    assert all(len(row["answer"]) < 1000 for row in logged(event_log.path))
    beyond = commander.ask("clip", event_id=event.event_id, offset=len(data))
    assert beyond["error"] == "out_of_limits"


def test_why_there_is_no_clip_is_told(commander: Commander, event_log: EventLog, make_event: MakeEvent) -> None:
    def refused(event_id: str) -> tuple[str, str]:
        answer = commander.ask("clip", event_id=event_id)
        assert answer["result"] is None
        return answer["error"], answer["text"]

    unknown = str(ULID())
    assert refused(unknown) == ("not_found", f"no event {unknown} in the log")
    without = make_event(severity="detection")
    event_log.append(without)
    assert refused(without.event_id) == (
        "unavailable",
        "no clip was taken of it; [clips] in the unit's site file says of which events",
    )
    promised = make_event()
    event_log.append(dataclasses.replace(promised, clip=f"{promised.event_id}.flac", clip_state="recording"))
    assert refused(promised.event_id)[1] == "its clip is being recorded; ask again in a few seconds"
    with ClipLog(event_log.path) as clips:
        clips.settle(Clip(f"{promised.event_id}.flac", promised.event_id, "failed", "the disk is nearly full"))
    assert refused(promised.event_id) == ("unavailable", "its clip was not kept: the disk is nearly full")
    kept = keep_clip(event_log, make_event(), b"fLaC")
    (clips_folder(event_log.path) / f"{kept.event_id}.flac").unlink()
    assert refused(kept.event_id) == ("unavailable", "its clip is not kept any more")


def test_a_repeat_is_not_carried_out_again_and_gets_the_first_answer(commander: Commander, event_log: EventLog) -> None:
    command = {"class": "drone", "duration_s": 500, "id": "mute-1"}
    first, second = commander.ask("mute", **command), commander.ask("mute", **command)
    assert first == second
    assert len(logged(event_log.path)) == 1
    with CommandLog(event_log.path) as log:
        assert len(log.adjustments().mutes) == 1


@pytest.mark.parametrize(
    "other",
    [("mute", {"class": "gunshot", "duration_s": 60}), ("threshold", {"class": "drone", "threshold": 0.6})],
    ids=["other words", "other command"],
)
def test_an_id_that_was_used_for_another_command_is_refused(
    commander: Commander, event_log: EventLog, other: tuple[str, dict[str, object]]
) -> None:
    """Two desks that number their commands alike: neither is told that its own was done where the other's was."""
    asked = {"class": "drone", "duration_s": 500, "id": "desk-0001"}
    first = commander.ask("mute", **asked)
    name, arguments = other
    refused = commander.ask(name, **arguments, by="bob", id="desk-0001")
    assert (refused["ok"], refused["error"], refused["id"]) == (False, "malformed", "desk-0001")
    assert refused["text"] == "id: this id was used for another command; give each its own"
    # Whoever asked first may still ask again, and says the same in another order.
    assert commander.ask("mute", **dict(reversed(asked.items()))) == first
    assert [(row["name"], row["asked_by"]) for row in logged(event_log.path)] == [("mute", "alice"), (name, "bob")]
    with CommandLog(event_log.path) as log:
        held = log.adjustments()
    assert [mute.class_label for mute in held.mutes] == ["drone"]
    assert held.thresholds == {}


@pytest.mark.parametrize(
    ("payload", "command_id"),
    [
        (b'{"schema": "acoustic.command.v1", "id": "d3", "by": "bob", "duration": 5}', "d3"),
        (b'{"id": "d 3"}', None),
        (b'{"id": "\\ud800"}', None),
        (b"nonsense", None),
        (b"[" * 15_000, None),
    ],
)
def test_what_is_malformed_is_answered_by_its_id_where_that_can_be_read(
    commander: Commander, payload: bytes, command_id: str | None
) -> None:
    commander.send("mute", payload, correlation=b"1")
    wait_until(lambda: commander.answers(b"1"), "answered")
    answer = commander.answers(b"1")[0].payload
    assert (answer["error"], answer["id"]) == ("malformed", command_id)


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
    assert commander.ask("clip", event_id=str(ULID()))["error"] == "not_found"


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
    assert [answer.payload["error"] for answer in commander.answers(b"flood")] == ["not_found"] * 3 + [
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
