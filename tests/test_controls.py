"""The sensor follows commands: what is muted is logged but raises no alert, thresholds change, jobs are answered."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest
from conftest import MakeEvent, damage_root
from test_daemon import moment
from ulid import ULID

from appliance.config import ClassPolicy, CommandSettings, MountSettings, SiteSettings, StoreSettings, UnitSettings
from appliance.daemon.controls import Controls, MutingSink
from appliance.daemon.hearing import HearingCheck
from appliance.daemon.selftest import checks
from appliance.events import EventPolicy, policies_for, seeded_ulids
from appliance.geometry import load_array
from appliance.store import EventLog, Outbox
from appliance.store.commands import CommandLog, Effects
from appliance.store.stamp import Stamp
from appliance.types import Command, Event, Mute

UNIT = UnitSettings(site="north", node="mast-1")


class Clock:
    """Time as the test tells it."""

    def __init__(self) -> None:
        self.stamp = Stamp(1_790_000_000_000_000_000, "boot-1", 10**12)

    def __call__(self) -> Stamp:
        return self.stamp

    def pass_s(self, seconds: float) -> None:
        self.stamp = Stamp(
            self.stamp.utc_ns + int(seconds * 1e9), self.stamp.boot_id, self.stamp.boot_ns + int(seconds * 1e9)
        )


class Policy:
    """Keeps what it was told."""

    thresholds: Mapping[str, float] | None = None

    def set_thresholds(self, thresholds: Mapping[str, float]) -> None:
        self.thresholds = thresholds


def asked(name: str) -> Command:
    return Command(name, str(ULID()), "alice", "{}", "acoustic/v1/north/mast-1/answers/desk", None)


def controls(path: Path, *, policy: Policy | None = None, restarts: list[bool] | None = None) -> Controls:
    told = restarts if restarts is not None else []
    return Controls(path, UNIT, policy or Policy(), lambda: [("ear", False, "deaf")], lambda: told.append(True))


def mute(
    path: Path,
    *,
    class_label: str | None = "drone",
    from_deg: float | None = None,
    to_deg: float | None = None,
    s: float = 600.0,
) -> int:
    ids: list[int] = []

    def answer(effects: Effects) -> str:
        ids.append(effects.mute(class_label, from_deg, to_deg, s))
        return "{}"

    with CommandLog(path) as log:
        log.carry_out(asked("mute"), answer)
    return ids[0]


def threshold(effects: Effects, value: float | None) -> str:
    effects.set_threshold("drone", value)
    return "{}"


def alerts(path: Path) -> list[str]:
    """State of each message that goes to `alerts`, in order."""
    with Outbox(path) as outbox:
        return [json.loads(message.payload)["state"] for message in outbox.pending(100) if message.kind == "alerts"]


def lifecycle(make_event: MakeEvent, *states: str, **changes: object) -> list[Event]:
    event_id = str(ULID())
    return [make_event(event_id=event_id, state=state, sequence=n, **changes) for n, state in enumerate(states)]


def test_a_muted_event_is_logged_as_a_detection_that_says_so(event_log: EventLog, make_event: MakeEvent) -> None:
    mute(event_log.path)
    with controls(event_log.path) as following:
        sink = MutingSink(event_log, following)
        for event in lifecycle(make_event, "new", "update", "end"):
            sink.append(event)
        loud = lifecycle(make_event, "new", "end", class_label="gunshot")
        for event in loud:
            sink.append(event)
    logged = list(event_log.read())
    assert [(event.severity, event.muted) for event in logged] == [("detection", True)] * 3 + [("alert", False)] * 2
    assert alerts(event_log.path) == ["new", "end"]
    with Outbox(event_log.path) as outbox:
        assert sum(message.kind == "events" for message in outbox.pending(100)) == 5


def test_an_alert_that_was_raised_is_followed_to_its_end(event_log: EventLog, make_event: MakeEvent) -> None:
    with controls(event_log.path) as following:
        sink = MutingSink(event_log, following)
        new, update, end = lifecycle(make_event, "new", "update", "end")
        sink.append(new)
        mute(event_log.path)
        following.look()
        sink.append(update)
        sink.append(end)
    assert [event.muted for event in event_log.read()] == [False] * 3
    assert alerts(event_log.path) == ["new", "end"]


def test_an_event_that_outlasts_its_mute_becomes_an_alert(event_log: EventLog, make_event: MakeEvent) -> None:
    mute_id = mute(event_log.path)
    with controls(event_log.path) as following:
        sink = MutingSink(event_log, following)
        new, update, late, end = lifecycle(make_event, "new", "update", "update", "end")
        for event in (new, update):
            sink.append(event)
        with CommandLog(event_log.path) as log:
            log.carry_out(asked("unmute"), lambda effects: str(effects.unmute(mute_id)))
        following.look()
        for event in (late, end):
            sink.append(event)
    assert [event.severity for event in event_log.read()] == ["detection", "detection", "alert", "alert"]
    assert alerts(event_log.path) == ["update", "end"]


def test_an_event_that_ends_just_after_its_mute_raises_no_alert_of_an_end(
    event_log: EventLog, make_event: MakeEvent
) -> None:
    mute_id = mute(event_log.path)
    with controls(event_log.path) as following:
        sink = MutingSink(event_log, following)
        new, end = lifecycle(make_event, "new", "end")
        sink.append(new)
        with CommandLog(event_log.path) as log:
            log.carry_out(asked("unmute"), lambda effects: str(effects.unmute(mute_id)))
        following.look()
        sink.append(end)
    assert alerts(event_log.path) == []


@pytest.mark.parametrize(
    ("from_deg", "to_deg", "bearing_deg", "covered"),
    [
        (350.0, 20.0, 0.0, True),
        (350.0, 20.0, 350.0, True),
        (350.0, 20.0, 20.0, True),
        (350.0, 20.0, 21.0, False),
        (20.0, 350.0, 0.0, False),
        (20.0, 350.0, 180.0, True),
        (0.0, 360.0, 359.9, True),
        (0.0, 360.0, 0.0, True),
        (None, None, 123.0, True),
    ],
)
def test_a_sector_runs_clockwise(
    from_deg: float | None, to_deg: float | None, bearing_deg: float, covered: bool
) -> None:
    sector = Mute(1, None, from_deg, to_deg, "alice", 0, 60.0)
    assert sector.covers("drone", bearing_deg) == covered
    assert not Mute(1, "dog", from_deg, to_deg, "alice", 0, 60.0).covers("drone", bearing_deg)


def test_a_mute_runs_out_in_steady_time_whatever_the_clock_does(tmp_path: Path) -> None:
    clock = Clock()
    with CommandLog(tmp_path / "events.db", clock=clock) as log:
        log.carry_out(asked("mute"), lambda effects: str(effects.mute("drone", None, None, 600.0)))
        clock.pass_s(500)
        jumped = clock.stamp
        for years in (-30, 30):
            clock.stamp = Stamp(jumped.utc_ns + years * 31_557_600 * 10**9, jumped.boot_id, jumped.boot_ns)
            (held,) = log.adjustments().mutes
            assert held.left_s == pytest.approx(100.0)
        clock.stamp = jumped
        clock.pass_s(101)
        assert log.adjustments().mutes == ()


def test_a_mute_that_was_read_ends_although_the_log_cannot_be_read_any_more(
    event_log: EventLog, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    mute(event_log.path)
    following = controls(event_log.path)
    following.look()
    event = make_event()
    assert following.mutes(event)
    monkeypatch.setattr(following, "_read_s", following._read_s - 601.0)
    assert not following.mutes(event)


def test_thresholds_are_applied_between_two_frames_and_survive_a_restart(event_log: EventLog) -> None:
    policy = Policy()
    with CommandLog(event_log.path) as log:
        log.carry_out(asked("threshold"), lambda effects: threshold(effects, 0.7))
    for _ in range(2):
        with controls(event_log.path, policy=policy) as following:
            assert policy.thresholds in (None, {"drone": 0.7})
            following.frame(moment(-50.0))
            assert policy.thresholds == {"drone": 0.7}
    with CommandLog(event_log.path) as log:
        log.carry_out(asked("threshold"), lambda effects: threshold(effects, None))
        assert log.adjustments().thresholds == {}


def test_a_threshold_in_place_of_the_site_files_keeps_the_rest_of_the_policy() -> None:
    policies = policies_for(("drone", "dog"), {}, {"drone": ClassPolicy(threshold=0.6)})
    policy = EventPolicy(
        ("drone", "dog"), policies, unit=UNIT, mount=MountSettings(), ulids=seeded_ulids(b""), clock=lambda: "replay"
    )
    policy.set_thresholds({"drone": 0.2})
    assert policy._policies == [
        policies["drone"].model_copy(update={"threshold": 0.2, "release": 0.75 * 0.2}),
        policies["dog"],
    ]
    policy.set_thresholds({})
    assert policy._policies == [policies["drone"], policies["dog"]]


def test_a_self_test_that_fails_itself_is_answered_and_what_comes_after_done(
    event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    restarts: list[bool] = []
    following = controls(event_log.path, restarts=restarts)

    def broken() -> NoReturn:
        raise RuntimeError("no room")

    monkeypatch.setattr(following, "_checks", broken)
    with CommandLog(event_log.path) as log:
        for name in ("selftest", "restart"):
            log.carry_out(asked(name), lambda _: None)
        following.look()
        told = json.loads(log.unsent()[0].payload)
    assert told["result"]["passed"] is False
    assert "no room" in told["text"]
    assert restarts == [True]


def test_a_self_test_is_answered_with_each_check(event_log: EventLog) -> None:
    with CommandLog(event_log.path) as log:
        log.carry_out(asked("selftest"), lambda _: None)
        controls(event_log.path).look()
        (answer,) = log.unsent()
        assert log.jobs() == []
    told = json.loads(answer.payload)
    assert (told["ok"], told["text"]) == (True, "deaf")
    assert told["result"] == {"passed": False, "checks": [{"name": "ear", "passed": False, "text": "deaf"}]}


@pytest.mark.parametrize("name", ["mutes", "thresholds", "acknowledgements", "commands_unsent"])
def test_damage_among_the_commands_is_found_and_alerts_flow_again(
    tmp_path: Path, make_event: MakeEvent, name: str
) -> None:
    """The publisher reads these before it sends anything: nobody else would find what keeps it from that."""
    path = tmp_path / "events.db"
    with EventLog(path) as log:
        log.append(make_event())
    with CommandLog(path) as commands:
        commands.carry_out(asked("mute"), lambda effects: str(effects.mute("dog", None, None, 600.0)))
    damage_root(path, name)
    with EventLog(path, replace_corrupt=True) as log:
        following = Controls(path, UNIT, Policy(), list, lambda: None, log.mended)
        following.look()
        following.look()
        assert len(log.losses) == 1
        assert following.thresholds == {}
        following._close()
    with CommandLog(path) as commands:
        assert commands.adjustments().mutes == ()
        assert commands.jobs() == []
    assert alerts(path) == ["new"]


def test_a_restart_is_done_once_and_only_where_it_was_asked_of_this_run(event_log: EventLog) -> None:
    restarts: list[bool] = []
    now = Stamp.now()
    a_second_ago = Stamp(now.utc_ns - 10**9, now.boot_id, now.boot_ns - 10**9)
    with CommandLog(event_log.path, clock=lambda: a_second_ago) as log:
        log.carry_out(asked("restart"), lambda _: None)
    with CommandLog(event_log.path) as log:
        following = controls(event_log.path, restarts=restarts)
        following.look()
        following.look()
        assert restarts == [], "asked before it began"
        log.carry_out(asked("restart"), lambda _: None)
        following.look()
        following.look()
        assert restarts == [True]
        texts = [json.loads(answer.payload)["text"] for answer in log.unsent()]
    assert texts == ["the sensor has just started", "the sensor restarts"]


def test_the_checks_of_a_unit_name_what_is_wrong(event_log: EventLog, intensity_model: Path) -> None:
    site = SiteSettings.model_validate(
        {"model": {"file": str(intensity_model)}, "store": StoreSettings(path=event_log.path)}
    )
    played = HearingCheck(site, load_array("tetrahedron_4cm2"), ("drone",), dict, lambda: None)
    found = {name: (passed, text) for name, passed, text in checks(site, event_log, played)}
    assert list(found) == ["hearing", "model", "detection", "clock", "disk"]
    assert found["detection"][0], found["detection"][1]
    assert found["hearing"] == (False, "nothing was heard yet")
    assert found["model"][0]
    assert found["disk"][0]
    event_log.set_state("sensor", {"hearing": True, "faults": []})
    damaged = intensity_model.with_name("damaged.onnx")
    damaged.write_bytes(intensity_model.read_bytes()[:-1])
    damaged.with_name("damaged.meta.json").write_bytes(intensity_model.with_name("intensity.meta.json").read_bytes())
    site = site.model_copy(update={"model": site.model.model_copy(update={"file": str(damaged)})})
    found = {name: (passed, text) for name, passed, text in checks(site, event_log, played)}
    assert found["hearing"] == (True, "audio comes from all microphones")
    assert not found["model"][0]
    assert "tampered with or cut short" in found["model"][1]


@pytest.mark.usefixtures("silent_disk")
def test_a_disk_that_does_not_say_how_full_it_is_fails_its_check(event_log: EventLog, intensity_model: Path) -> None:
    site = SiteSettings.model_validate(
        {"model": {"file": str(intensity_model)}, "store": StoreSettings(path=event_log.path)}
    )
    other = HearingCheck(site, load_array("tetrahedron_4cm2"), ("dog",), dict, lambda: None)
    found = {name: (passed, text) for name, passed, text in checks(site, event_log, other)}
    assert found["disk"] == (False, f"{event_log.path.parent}: its free space cannot be told: Input/output error")


def test_the_log_of_commands_does_not_grow_without_end(event_log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.store.commands._KEPT_COMMANDS", 5)
    with CommandLog(event_log.path) as log:
        for _ in range(20):
            log.carry_out(asked("clip"), lambda _: "{}")
        assert len(log.unsent()) == 5


def test_by_default_nothing_is_allowed() -> None:
    assert CommandSettings().allow == ()
