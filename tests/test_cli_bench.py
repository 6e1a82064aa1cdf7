"""The proofs themselves, small: real processes, a real Mosquitto. And that they see what they are there to see."""

import dataclasses
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MakeEvent
from typer.testing import CliRunner

from appliance import wire
from appliance.angles import wrap_azimuth_deg
from appliance.cli.bench_delivery import Deliveries, judge
from appliance.cli.bench_events import event_id, lifecycles, single_events
from appliance.cli.bench_rig import Writer, wait_until
from appliance.cli.bench_speed import DRONES, Circling, around
from appliance.cli.bench_writer import Order
from appliance.cli.main import app
from appliance.dsp.arrivals import ArrivalFinder
from appliance.geometry import load_array
from appliance.store import EventLog
from appliance.types import Event, FeatureFrame


def bench(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["bench", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    report: dict[str, Any] = json.loads(line)
    return report


# --- the runs ---------------------------------------------------------------------------------------------------------


def test_delivery_holds_over_kills_and_outages(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    report = bench(
        *("delivery", "--events", "15", "--kills", "2", "--outages", "2", "--rate", "30"),
        *("--seed", "7", "--dir", str(folder)),
    )
    assert (report["writer_kills"], report["publisher_kills"], report["outages"]) == (2, 2, 2)
    assert (report["sent"], report["distinct"], report["seed"]) == (15, 15, 7)
    assert report["lost"] == report["order_violations"] == report["altered"] == report["invented"] == 0
    with EventLog(folder / "events.db", read_only=True) as log:
        assert {event.event_id for event in log.read()} == {event_id(7, index) for index in range(15)}
        assert log.open_events() == []


def test_powercut_finds_the_file_whole(tmp_path: Path) -> None:
    report = bench("powercut", "--kills", "3", "--seed", "7", "--dir", str(tmp_path / "kept"))
    assert (report["kills"], report["integrity_ok"]) == (3, 3)
    assert report["missing"] == report["torn"] == 0
    assert report["acknowledged"] >= 3
    with sqlite3.connect(tmp_path / "kept" / "events.db") as connection:
        ((committed,),) = connection.execute("SELECT count(*) FROM events")
    connection.close()
    assert committed >= report["acknowledged"]


def test_throughput_measures_the_outbox_beside_paho_alone(tmp_path: Path) -> None:
    report = bench("throughput", "--events", "10", "--backlog", "60", "--rate", "50", "--dir", str(tmp_path / "kept"))
    assert (report["events"], report["backlog"], report["lost"]) == (10, 60, 0)
    for name in ("", "bare_"):
        assert 0.0 < report[f"{name}latency_p50_ms"] <= report[f"{name}latency_p99_ms"]
        assert report[f"{name}events_per_s"] > 0.0
    assert report["drained_per_s"] > 0.0
    assert len(report["publisher_resident_mb"]) == 3
    assert min(report["publisher_resident_mb"]) > 1.0


def test_speed_hears_any_array() -> None:
    named = ("bench", "speed", "deepasa-edge-small-int8", "--rounds", "1", "--array", "minidsp_uma16_v2")
    result = CliRunner().invoke(app, named, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "minidsp_uma16_v2, 16 microphones" in result.stdout
    (row,) = (line for line in result.stdout.splitlines() if "deepasa-edge-small-int8" in line)
    real_time, p50_ms, p99_ms, share = (float(cell.strip(" %")) for cell in row.split("│")[2:6])
    assert 0.0 < p50_ms <= p99_ms
    assert real_time > 0.0
    assert share > 0.0


@pytest.mark.parametrize("drone", DRONES)
def test_what_speed_hears_goes_round_the_array(drone: Circling) -> None:
    geometry = load_array("respeaker_usb_4mic")
    samples = around(geometry, [drone], 6.0)
    assert samples.shape == (4, 6 * 16000)
    finder = ArrivalFinder(geometry)
    for label in range(58):
        hops = [samples[:, at : at + 320] for at in range(1600 * label, 1600 * (label + 1), 320)]
        frames = [FeatureFrame(np.zeros((0, 0), np.float32), hop, (0, 1, 2, 3), 0.0, 0) for hop in hops]
        heard_deg = finder.find(frames)[0].doa.azimuth_deg
        expected_deg = drone.first_deg + drone.deg_per_s * (0.1 * label - 0.5)  # the middle of what arrivals hear
        assert label < 10 or abs(wrap_azimuth_deg(heard_deg - expected_deg)) < 15.0


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "events.db").touch()
    result = CliRunner().invoke(app, ["bench", "powercut", "--dir", str(tmp_path)])
    assert result.exit_code == 2
    assert "not empty" in " ".join(result.stderr.replace("│", " ").split())  # the path may break the line anywhere


# --- the writer -------------------------------------------------------------------------------------------------------


def test_a_killed_writer_goes_on_where_its_words_ended(tmp_path: Path) -> None:
    """Nothing it said is missing, nothing is written twice, and what it left open is ended."""
    db = tmp_path / "events.db"
    with Writer(tmp_path) as writer:
        writer.start(Order(1, 0, 1000, None, "lifecycles", db=str(db)))
        wait_until(lambda: len(writer.acknowledged) >= 20, "some are written")
        writer.kill()
        said = list(writer.acknowledged)
        begun = len({event for event, *_ in said})
        writer.start(Order(1, begun, begun + 3, None, "lifecycles", db=str(db)))
        writer.wait_done()
    with EventLog(db, read_only=True) as log:
        committed = [(event.event_id, event.sequence, event.state, event.severity) for event in log.read()]
        assert log.open_events() == []
    assert committed[: len(said)] == said
    assert [event for event, _, state, _ in committed if state == "new"] == [
        event_id(1, index) for index in range(begun + 3)
    ]


def test_the_plan_is_whole_lifecycles_under_ids_that_follow_from_the_seed() -> None:
    plan = list(lifecycles(3, 5, 25))
    by_event: dict[str, list[Event]] = {}
    for event in plan:
        by_event.setdefault(event.event_id, []).append(event)
    assert list(by_event) == [event_id(3, index) for index in range(5, 25)]
    for events in by_event.values():
        assert [event.sequence for event in events] == list(range(len(events)))
        assert [event.state for event in events] == ["new", *["update"] * (len(events) - 2), "end"]
    assert {event.severity for event in plan} == {"alert", "detection"}
    assert [event.event_id for event in single_events(3, 5, 25)] == list(by_event)
    assert event_id(3, 5) != event_id(4, 5)


# --- the verdict ------------------------------------------------------------------------------------------------------


@pytest.fixture
def lifecycle(make_event: MakeEvent) -> list[Event]:
    new = make_event(severity="alert")
    update = dataclasses.replace(new, sequence=1, state="update")
    return [new, update, dataclasses.replace(new, sequence=2, state="end")]


def deliver(*messages: tuple[str, Event]) -> Deliveries:
    deliveries = Deliveries()
    for kind, event in messages:
        level = f"events/{event.event_id}" if kind == "events" else kind
        deliveries.receive(f"acoustic/v1/{event.site}/{event.node}/{level}", wire.event_to_json(event).encode(), 0)
    return deliveries


def verdict(
    sent: list[Event], deliveries: Deliveries, superseded: set[tuple[str, int]] | None = None
) -> dict[str, Any]:
    acknowledged = [(event.event_id, event.sequence, event.state, event.severity) for event in sent]
    planned = list(dict.fromkeys(event.event_id for event in sent))
    return judge(planned, acknowledged, planned, superseded or set(), deliveries)


def everything(sent: list[Event]) -> list[tuple[str, Event]]:
    alerts = [("alerts", event) for event in sent if event.state != "update"]
    return [*alerts, *(("events", event) for event in sent)]


def faults(report: dict[str, Any]) -> dict[str, int]:
    names = ("lost", "order_violations", "repeats", "altered", "invented")
    return {name: report[name] for name in names if report[name]}


def test_all_in_order_passes_and_a_repeat_is_no_fault(lifecycle: list[Event]) -> None:
    report = verdict(lifecycle, deliver(*everything(lifecycle), *everything(lifecycle)[2:]))
    assert report["passed"]
    assert faults(report) == {"repeats": 3}


@pytest.mark.parametrize("missing", range(5))
def test_any_message_that_is_missing_is_lost(lifecycle: list[Event], missing: int) -> None:
    messages = everything(lifecycle)
    del messages[missing]
    report = verdict(lifecycle, deliver(*messages))
    assert not report["passed"]
    assert report["lost"] >= 1


def test_an_update_may_be_superseded_and_nothing_else(lifecycle: list[Event]) -> None:
    new, update, end = lifecycle
    without_update = deliver(*(one for one in everything(lifecycle) if one[1] is not update))
    assert verdict(lifecycle, without_update, {(update.event_id, 1)})["passed"]
    without_end = deliver(*(one for one in everything(lifecycle) if one[1] is not end))
    assert not verdict(lifecycle, without_end, {(end.event_id, 2)})["passed"]
    assert not verdict(lifecycle, deliver(("alerts", new)), {(new.event_id, 0)})["passed"]


def test_disorder_is_seen(lifecycle: list[Event]) -> None:
    new, update, end = lifecycle
    alerts = [("alerts", new), ("alerts", end)]
    for order in ([update, new, end], [new, end, update]):
        report = verdict(lifecycle, deliver(*alerts, *(("events", event) for event in order)))
        assert faults(report) == {"order_violations": 1}
        assert not report["passed"]


def test_an_id_that_says_two_things_and_one_that_nobody_sent_are_seen(
    lifecycle: list[Event], make_event: MakeEvent
) -> None:
    other = dataclasses.replace(lifecycle[0], confidence=0.1)
    report = verdict(lifecycle, deliver(*everything(lifecycle), ("events", other)))
    assert (faults(report), report["passed"]) == ({"repeats": 1, "altered": 1}, False)
    report = verdict(lifecycle, deliver(*everything(lifecycle), ("events", make_event())))
    assert (faults(report), report["passed"]) == ({"invented": 1}, False)


def test_an_event_that_was_never_written_does_not_pass(lifecycle: list[Event]) -> None:
    deliveries = deliver(*everything(lifecycle))
    acknowledged = [(event.event_id, event.sequence, event.state, event.severity) for event in lifecycle]
    planned = [lifecycle[0].event_id, "never"]
    assert not judge(planned, acknowledged, planned[:1], set(), deliveries)["passed"]
