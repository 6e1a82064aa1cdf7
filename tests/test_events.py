"""From tracks to events: when one begins, what it says, and when it ends. Time is passed in, so nothing waits."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ulid import ULID

from appliance.angles import azimuth_elevation_deg, mount_rotation, unit_vector, wrap_azimuth_deg
from appliance.config import ClassPolicy, MountSettings, UnitSettings, load_site
from appliance.errors import ConfigError
from appliance.events import DEFAULT_POLICIES, EventPolicy, policies_for, random_ulids, seeded_ulids
from appliance.events.confidence import is_listed
from appliance.events.pose import Pose
from appliance.types import Direction, Event, SceneFrame, Track, TrackStatus

CLASSES = ("drone", "gunshot", "dog")
DRONE, GUNSHOT, DOG = range(3)
FRAME_NS = 100_000_000
START_NS = 1_790_000_000_000_000_000


class Run:
    """An event policy, fed frame by frame."""

    def __init__(self, mount: MountSettings | None = None, **changes: ClassPolicy) -> None:
        self.policy = EventPolicy(
            CLASSES,
            policies_for(CLASSES, {}, changes),
            unit=UnitSettings(site="north", node="mast-1"),
            mount=mount or MountSettings(heading_sigma_deg=0.0),
            ulids=seeded_ulids(b"test"),
            clock=lambda: "replay",
        )
        self.now_ns, self.end_s = START_NS, 0.0
        self.events: list[Event] = []

    def frame(self, *tracks: Track, after_gap: bool = False) -> list[Event]:
        self.now_ns, self.end_s = self.now_ns + FRAME_NS, self.end_s + 0.1
        events = self.policy.decide(tracks, SceneFrame((), self.end_s, self.now_ns, after_gap=after_gap))
        self.events += events
        return events

    def hold(self, seconds: float, *tracks: Track) -> list[Event]:
        """The same tracks for a while."""
        return [event for _ in range(round(seconds * 10)) for event in self.frame(*tracks)]

    @property
    def states(self) -> list[str]:
        return [f"{event.class_label} {event.state}" for event in self.events]


def track(
    kind: int = DRONE,
    probability: float = 0.9,
    azimuth_deg: float = 30.0,
    *,
    number: int = 1,
    elevation_deg: float = 0.0,
    status: TrackStatus = "confirmed",
    heard: bool = True,
    planar: bool = False,
    others: Sequence[tuple[int, float]] = (),
    absorbed_by: int | None = None,
) -> Track:
    probs = np.zeros(3, np.float32)
    probs[kind] = probability
    for index, value in others:
        probs[index] = value
    return Track(
        track_id=number,
        status=status,
        doa=Direction(azimuth_deg, elevation_deg, not planar),
        covariance_deg2=((16.0, 0.0), (0.0, 16.0)),
        class_probs=probs,
        first_utc_ns=START_NS - 5,
        last_update_utc_ns=START_NS,
        updated=heard,
        absorbed_by=absorbed_by,
    )


def test_a_drone_is_announced_once_after_its_k_frames() -> None:
    run = Run()
    assert run.hold(0.7, track()) == []
    (new,) = run.frame(track())
    assert (new.state, new.sequence, new.class_label, new.severity) == ("new", 0, "drone", "alert")
    assert (new.track_id, new.onset_utc_ns, new.utc_ns) == (1, START_NS - 5, run.now_ns)
    assert (new.site, new.node, new.clock, new.after_gap) == ("north", "mast-1", "replay", False)
    assert new.confidence == pytest.approx(0.9)
    assert [event.state for event in run.hold(5.0, track())] == []


def test_evidence_below_threshold_or_while_coasting_does_not_count() -> None:
    run = Run()
    run.hold(5.0, track(probability=0.45))
    run.hold(5.0, track(heard=False))
    assert run.events == []


def test_scattered_evidence_is_not_confirmed() -> None:
    run = Run(drone=ClassPolicy(confirm_frames=8, window_frames=15))
    for i in range(200):
        run.frame(track(probability=0.9 if i % 3 == 0 else 0.4))
    assert run.events == []


def test_ends_after_release_s_below_release_and_not_at_a_dip() -> None:
    run = Run(drone=ClassPolicy(release=0.3, release_s=2.0, update_s=60.0))
    run.hold(1.0, track())
    run.hold(1.5, track(probability=0.1))
    run.hold(1.0, track(probability=0.4))
    run.hold(1.9, track(probability=0.1))
    assert run.states == ["drone new"]
    run.hold(0.2, track(probability=0.1))
    assert run.states == ["drone new", "drone end"]
    end = run.events[-1]
    assert end.event_id == run.events[0].event_id
    assert end.sequence == 1
    assert end.confidence == pytest.approx(0.9)


def test_ends_with_its_track_where_it_was_last_heard() -> None:
    run = Run()
    run.hold(1.0, track(azimuth_deg=-40.0))
    run.hold(0.5, track(azimuth_deg=-30.0, heard=False, status="coasting"))
    (end,) = run.frame(track(azimuth_deg=-30.0, heard=False, status="deleted"))
    assert (end.state, end.azimuth_deg, end.bearing_true_deg) == ("end", -40.0, 40.0)
    assert run.policy.open_events == []


def test_the_end_does_not_follow_what_sounds_after_it() -> None:
    """A track lives on with whatever is near; a drone that has gone is not there, nor does its cooldown hold there."""
    run = Run(drone=ClassPolicy(release_s=2.0, cooldown_s=10.0))
    run.hold(1.0, track(azimuth_deg=-40.0))
    run.hold(2.5, track(azimuth_deg=-10.0, probability=0.1))
    assert (run.events[-1].state, run.events[-1].azimuth_deg) == ("end", -40.0)
    assert run.hold(1.0, track(azimuth_deg=-50.0, number=2)) == []
    assert [event.state for event in run.hold(1.0, track(azimuth_deg=-10.0, number=3))] == ["new"]


def test_updates_when_it_moves_but_not_more_often_than_update_s() -> None:
    run = Run(drone=ClassPolicy(update_s=2.0))
    run.hold(1.0, track(azimuth_deg=0.0))
    for i in range(60):
        run.frame(track(azimuth_deg=float(i)))
    updates = [event for event in run.events if event.state == "update"]
    gaps_s = np.diff([event.utc_ns for event in run.events]) * 1e-9
    assert len(updates) in (2, 3)
    assert gaps_s.min() >= 1.99
    assert [event.sequence for event in run.events] == list(range(len(run.events)))


def test_no_update_tells_of_a_class_that_is_hardly_there() -> None:
    run = Run(drone=ClassPolicy(release=0.3, release_s=5.0, update_s=1.0))
    run.hold(1.0, track())
    run.hold(4.0, track(probability=0.1))
    assert run.states == ["drone new"]
    run.hold(0.1, track(probability=0.7))
    assert [event.confidence for event in run.events] == pytest.approx([0.9, 0.7])


def test_a_steady_sound_gives_a_sign_of_life_and_nothing_more() -> None:
    run = Run()
    run.hold(35.0, track())
    assert run.states == ["drone new", *["drone update"] * 3]


def test_a_burst_of_shots_is_one_event() -> None:
    run = Run()
    for _ in range(10):
        run.hold(0.2, track(GUNSHOT, 0.9))
        run.hold(0.6, track(GUNSHOT, 0.2, heard=False, status="coasting"))
    run.hold(3.0, track(GUNSHOT, 0.05, heard=False, status="coasting"))
    assert run.states[0] == "gunshot new"
    assert run.states[-1] == "gunshot end"
    assert set(run.states[1:-1]) == {"gunshot update"}
    assert 3 <= len(run.states) <= 10


def test_two_strong_frames_are_a_shot_and_one_is_not() -> None:
    run = Run()
    run.frame(track(GUNSHOT, 0.9))
    assert run.events == []
    assert [event.state for event in run.frame(track(GUNSHOT, 0.9))] == ["new"]


def test_cooldown_holds_back_the_same_class_nearby_and_nothing_else() -> None:
    run = Run(dog=ClassPolicy(cooldown_s=10.0, confirm_frames=3))
    run.hold(1.0, track(DOG))
    run.frame(track(DOG, status="deleted", heard=False))
    run.hold(5.0, track(DOG, number=2, azimuth_deg=40.0))
    assert run.states == ["dog new", "dog end"]
    run.hold(1.0, track(DOG, number=3, azimuth_deg=80.0), track(DRONE, number=4, azimuth_deg=30.0))
    assert run.states[2:] == ["dog new", "drone new"]
    run.hold(6.0, track(DOG, number=2, azimuth_deg=40.0))
    assert run.states[4:] == ["dog new"]


def test_a_second_track_of_the_same_thing_is_no_second_event() -> None:
    run = Run()
    run.hold(3.0, track(), track(number=2, azimuth_deg=42.0))
    assert run.states == ["drone new"]
    run.hold(1.0, track(), track(number=2, azimuth_deg=60.0))
    assert run.states == ["drone new", "drone new"]


def test_at_one_bearing_elevations_must_be_far_apart_for_a_second_event() -> None:
    run = Run()
    run.hold(3.0, track(elevation_deg=20.0), track(number=2, elevation_deg=55.0))
    assert run.states == ["drone new"]
    run.hold(3.0, track(elevation_deg=10.0), track(number=2, elevation_deg=60.0))
    assert run.states == ["drone new", "drone new"]


def test_an_event_keeps_its_class_and_a_turned_track_begins_another() -> None:
    run = Run()
    run.hold(2.0, track(DOG))
    run.hold(1.0, track(DRONE, 0.8, others=[(DOG, 0.1)]))
    assert run.states == ["dog new", "dog end", "drone new"]
    assert run.events[0].event_id == run.events[1].event_id != run.events[2].event_id
    assert run.events[2].onset_utc_ns > run.events[0].utc_ns
    assert run.events[1].severity == "detection"
    assert run.events[2].severity == "alert"


def test_a_bark_over_a_drone_does_not_end_its_alert_early() -> None:
    run = Run(drone=ClassPolicy(release_s=4.0))
    run.hold(2.0, track(DRONE))
    run.hold(3.0, track(DOG, 0.8, others=[(DRONE, 0.1)]))
    assert run.states == ["drone new"]
    run.hold(1.5, track(DOG, 0.8, others=[(DRONE, 0.1)]))
    assert run.states == ["drone new", "drone end", "dog new"]


@pytest.mark.parametrize(("drone", "states"), [(0.63, ["dog new", "dog end", "drone new"]), (0.51, ["dog new"])])
def test_a_detection_that_goes_on_hides_no_alert(drone: float, states: list[str]) -> None:
    """An engine still there beneath the drone, above its release; but a drone that passes its threshold by less is none yet."""
    run = Run(drone=ClassPolicy(threshold=0.5), dog=ClassPolicy(threshold=0.5, release=0.3, severity="detection"))
    run.hold(2.0, track(DOG))
    run.hold(2.0, track(DOG, 0.55, others=[(DRONE, drone)]))
    assert run.states == states


@pytest.mark.parametrize("older", [0.0, 0.9], ids=["as nothing", "as a dog"])
def test_where_two_tracks_were_one_source_the_event_goes_on_with_the_one_that_is_left(older: float) -> None:
    """The younger has the drone's alert. Nobody is told that it ended while the drone flies."""
    run = Run(dog=ClassPolicy(severity="detection"))
    run.hold(2.0, track(DOG, older), track(number=2))
    (drone,) = [event for event in run.events if event.class_label == "drone"]
    gone = track(number=2, status="deleted", heard=False, absorbed_by=1)
    *ends, told = run.frame(track(DRONE, 0.85, azimuth_deg=27.0), gone)
    assert [f"{event.class_label} {event.state}" for event in ends] == (["dog end"] if older else [])
    assert (told.event_id, told.state, told.track_id) == (drone.event_id, "update", 1)
    run.hold(20.0, track(DRONE, 0.85, azimuth_deg=27.0))
    assert "drone end" not in run.states
    assert run.states.count("drone new") == 1
    (end,) = run.policy.finish(run.now_ns)
    assert (end.event_id, end.track_id) == (drone.event_id, 1)


def test_the_event_of_a_track_ends_with_it_where_the_one_that_absorbs_it_has_its_own() -> None:
    run = Run()
    run.hold(2.0, track(), track(GUNSHOT, number=2, azimuth_deg=60.0))
    ends = run.frame(track(), track(GUNSHOT, number=2, status="deleted", heard=False, absorbed_by=1))
    assert [(event.class_label, event.state) for event in ends] == [("gunshot", "end")]
    assert [event.class_label for event in run.policy.open_events] == ["drone"]


def test_a_rival_does_not_end_an_event_that_is_still_supported() -> None:
    run = Run(dog=ClassPolicy(threshold=0.4, release=0.3))
    run.hold(1.0, track(DRONE))
    run.hold(3.0, track(DRONE, 0.45, others=[(DOG, 0.5)]))
    assert {event.class_label for event in run.events} == {"drone"}
    assert run.states[-1] != "drone end"


def test_finish_ends_what_is_open_and_forgets_the_tracks() -> None:
    run = Run()
    run.hold(1.0, track(), track(GUNSHOT, number=2, azimuth_deg=-90.0))
    ends = run.policy.finish(run.now_ns)
    assert [(event.class_label, event.state) for event in ends] == [("drone", "end"), ("gunshot", "end")]
    assert run.policy.finish(run.now_ns) == []


@pytest.mark.parametrize("step_s", [3.0e8, -3.0e8])
def test_a_clock_that_is_set_neither_ends_nor_floods_events(step_s: float) -> None:
    run = Run()
    run.hold(2.0, track())
    run.now_ns += round(step_s * 1e9)
    assert run.hold(1.0, track()) == []
    run.hold(1.0, track(status="deleted", heard=False))
    assert run.states == ["drone new", "drone end"]


def test_what_passes_while_audio_is_lost_counts() -> None:
    """After a minute of it an event that is not heard again ends at once, and where one had ended another may begin."""
    run = Run()
    run.hold(2.0, track())
    run.end_s += 60.0
    assert [event.state for event in run.frame(track(probability=0.1, heard=False), after_gap=True)] == ["end"]
    run.end_s += 60.0
    run.frame(after_gap=True)
    assert [event.state for event in run.hold(2.0, track(number=2))] == ["new"]


def test_events_that_begin_soon_after_a_gap_say_so_for_life() -> None:
    run = Run()
    run.frame(track(), after_gap=True)
    run.hold(2.0, track())
    run.hold(5.0)
    run.hold(2.0, track(DOG, number=2, azimuth_deg=-100.0))
    run.policy.finish(run.now_ns)
    assert [(e.class_label, e.after_gap) for e in run.events if e.state == "new"] == [("drone", True), ("dog", False)]


@pytest.mark.parametrize("beside", [False, True])
def test_a_detection_that_is_likelier_or_may_not_begin_hides_no_alert(beside: bool) -> None:
    """An operator wants drones from .3 on: .38 passes that by more than a dog's .57 does .55, and more so where a dog is near."""
    run = Run(dog=ClassPolicy(threshold=0.55, severity="detection"))
    run.policy.set_thresholds({"drone": 0.3})
    dog = [track(DOG, 0.7, 45.0)] if beside else []
    run.hold(2.0, *dog)
    run.hold(2.0, *dog, track(DOG, 0.57, number=2, others=[(DRONE, 0.38)]))
    assert run.states == ["dog new", "drone new"] if beside else ["drone new"]


def test_where_the_likeliest_may_not_begin_an_alert_that_is_confirmed_may() -> None:
    run = Run()
    both = track(DOG, 0.9, number=2, others=[(DRONE, 0.6)])
    run.hold(2.0, track(DOG, 0.9, 45.0))
    run.hold(2.0, track(DOG, 0.9, 45.0), both)
    assert run.states == ["dog new", "drone new"]


def test_rejections_are_counted_by_cause() -> None:
    run = Run()
    run.hold(2.0, track(probability=0.4))
    run.hold(0.3, track(number=2))
    run.frame(*(track(number=n, status="deleted", heard=False) for n in (1, 2)))
    run.hold(2.0, track(number=3))
    run.hold(1.0, track(number=3), track(number=4, azimuth_deg=35.0))
    run.frame(*(track(number=n, status="deleted", heard=False) for n in (3, 4)))
    run.hold(1.0, track(number=5))
    run.frame(track(number=5, status="deleted", heard=False))
    assert run.policy.rejected == {
        ("drone", "below_threshold"): 1,
        ("drone", "not_confirmed"): 1,
        ("drone", "duplicate"): 1,
        ("drone", "cooldown"): 1,
    }


def test_the_bearing_is_true_and_its_sigma_holds_mount_and_elevation() -> None:
    run = Run(MountSettings(heading_true_deg=100.0, heading_sigma_deg=3.0))
    run.hold(1.0, track(azimuth_deg=30.0, elevation_deg=60.0))
    (event,) = run.events
    assert event.bearing_true_deg == pytest.approx(70.0)
    assert event.elevation_deg == pytest.approx(60.0)
    assert event.bearing_sigma_deg == pytest.approx(math.hypot(4.0 / math.cos(math.radians(60.0)), 3.0))


def test_a_tilted_mount_turns_the_direction_first() -> None:
    """An array that looks straight up sees what is in front of it overhead, and above it behind the mast."""
    run = Run(MountSettings(pitch_deg=90.0))
    run.hold(1.0, track(azimuth_deg=0.0, elevation_deg=80.0))
    (event,) = run.events
    assert event.bearing_true_deg == pytest.approx(180.0)
    assert event.elevation_deg == pytest.approx(10.0)


def test_a_planar_array_claims_no_elevation() -> None:
    run = Run(MountSettings(pitch_deg=20.0))
    run.hold(1.0, track(azimuth_deg=0.0, planar=True))
    assert (run.events[0].elevation_valid, run.events[0].elevation_deg) == (False, 0.0)


@pytest.mark.parametrize(("roll_deg", "height_deg"), [(0.0, 35.0), (180.0, 35.0), (20.0, 55.0), (-20.0, 15.0)])
def test_how_high_a_planar_array_hears_a_sound_is_told_from_the_horizon_up(roll_deg: float, height_deg: float) -> None:
    """From its left, which is 20° up or down: of 35° above its plane and 35° below it, it says the higher one."""
    run = Run(MountSettings(roll_deg=roll_deg))
    run.hold(1.0, replace(track(azimuth_deg=90.0, planar=True), height_deg=35.0))
    assert run.events[0].height_deg == pytest.approx(height_deg)


def test_where_elevation_is_valid_or_height_unknown_no_height_is_told() -> None:
    for heard in (replace(track(elevation_deg=35.0), height_deg=35.0), track(planar=True)):
        run = Run()
        run.hold(1.0, heard)
        assert run.events[0].height_deg is None


@given(st.floats(0.0, 359.0), st.floats(-30.0, 30.0), st.one_of(st.floats(-30.0, 30.0), st.floats(150.0, 210.0)))
@settings(max_examples=60, deadline=None)
def test_a_planar_array_that_hangs_aslant_tells_the_bearing_of_what_is_on_the_ground(
    bearing_deg: float, pitch_deg: float, roll_deg: float
) -> None:
    """It hears the azimuth of the source's projection on its own plane; the sigma is as far as the bearing turns with that."""
    mount = MountSettings(
        heading_true_deg=40.0, heading_sigma_deg=0.0, pitch_deg=pitch_deg, roll_deg=wrap_azimuth_deg(roll_deg)
    )
    to_array = mount_rotation(mount.heading_true_deg, pitch_deg, roll_deg).T

    def heard_deg(bearing_deg: float) -> float:
        return azimuth_elevation_deg(to_array @ unit_vector(-bearing_deg, 0.0))[0]

    pose, heard = Pose(mount), track(azimuth_deg=heard_deg(bearing_deg), planar=True)
    told_deg, elevation_deg, sigma_deg = pose.bearing_elevation_sigma_deg(heard)
    assert wrap_azimuth_deg(told_deg - bearing_deg) == pytest.approx(0.0, abs=1e-6)
    assert elevation_deg == 0.0
    turned_deg = abs(wrap_azimuth_deg(heard_deg(bearing_deg + 0.01) - heard_deg(bearing_deg))) / 0.01
    assert sigma_deg == pytest.approx(4.0 / turned_deg, rel=1e-2)


def test_a_planar_array_on_a_wall_knows_no_bearing() -> None:
    _, _, sigma_deg = Pose(MountSettings(pitch_deg=90.0)).bearing_elevation_sigma_deg(
        track(azimuth_deg=0.0, planar=True)
    )
    assert sigma_deg == 180.0


def test_seeded_ids_repeat_random_ids_do_not_and_both_carry_the_time() -> None:
    assert seeded_ulids(b"a")(START_NS) == seeded_ulids(b"a")(START_NS) != seeded_ulids(b"b")(START_NS)
    first, second = random_ulids()(START_NS), random_ulids()(START_NS)
    assert first != second
    assert ULID.from_str(first).milliseconds == START_NS // 1_000_000
    assert ULID.from_str(random_ulids()(-1)).milliseconds == 0


def test_a_site_changes_single_keys_of_a_class() -> None:
    policies = policies_for(CLASSES, {}, {"drone": ClassPolicy(threshold=0.7)})
    assert policies["drone"] == DEFAULT_POLICIES["drone"].model_copy(update={"threshold": 0.7})
    assert policies["gunshot"] == DEFAULT_POLICIES["gunshot"]
    assert policies_for(["owl"], {}, {})["owl"] == ClassPolicy()


def test_a_threshold_of_the_model_takes_the_place_of_the_default_and_the_site_has_the_last_word() -> None:
    policies = policies_for(CLASSES, {"drone": 0.9, "gunshot": 0.2}, {"drone": ClassPolicy(threshold=0.7)})
    assert policies["drone"].threshold == 0.7
    assert policies["gunshot"].threshold == 0.2
    assert policies["gunshot"].release < 0.2  # hysteresis stays


def test_an_unknown_class_names_the_likely_one() -> None:
    with pytest.raises(ConfigError, match=r'\[policy.dron\]: unknown class; did you mean "drone"\?'):
        policies_for(CLASSES, {}, {"dron": ClassPolicy()})


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [("drone", "confirm_frames", 12), ("drone", "release", 0.55), ("gunshot", "window_frames", 4)],
)
def test_a_key_is_judged_beside_the_class_s_own_others(tmp_path: Path, name: str, key: str, value: float) -> None:
    """None of them fits the defaults of a class that nothing is shipped for."""
    site = tmp_path / "site.toml"
    site.write_text(f"[policy.{name}]\n{key} = {value}\n", encoding="utf-8")
    changed = policies_for(("drone", "gunshot"), {"drone": 0.61}, load_site(site).policy)
    before = policies_for(("drone", "gunshot"), {"drone": 0.61}, {})
    assert changed == before | {name: before[name].model_copy(update={key: value})}


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        (
            "gunshot",
            {"confirm_frames": 9},
            "confirm_frames must not be above window_frames, and they are 9 and 5 (the class's own); lower confirm_frames or",
        ),
        (
            "drone",
            {"threshold": 0.2},
            "release must not be above threshold, and they are 0.3 (the class's own) and 0.2; lower release or",
        ),
        ("drone", {"threshold": 0.5, "release": 0.6}, "they are 0.6 and 0.5; lower release or raise threshold"),
    ],
)
def test_a_key_that_contradicts_another_is_refused(name: str, change: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policies_for(CLASSES, {}, {name: ClassPolicy.model_validate(change)})
    assert str(caught.value).startswith(f"[policy.{name}]: ")
    assert says in str(caught.value)


def test_what_is_shipped_contradicts_nothing() -> None:
    for policy in DEFAULT_POLICIES.values():
        assert policy.release <= policy.threshold
        assert policy.confirm_frames <= policy.window_frames


frames = st.lists(
    st.dictionaries(
        st.integers(1, 4),
        st.tuples(st.integers(0, 2), st.floats(0, 1), st.floats(-180, 179), st.booleans()),
        max_size=4,
    ),
    max_size=60,
)


@given(frames)
@settings(max_examples=100, deadline=None)
def test_every_lifecycle_is_whole_whatever_the_tracks_do(
    scenes: list[dict[int, tuple[int, float, float, bool]]],
) -> None:
    """new, then updates, then one end; sequence without holes; one class, one track, one id."""
    quick = ClassPolicy(confirm_frames=1, window_frames=2, release_s=0.2, cooldown_s=0.5, update_s=0.1)
    run = Run(drone=quick, gunshot=quick, dog=quick)
    alive: set[int] = set()
    for scene in scenes:
        gone = alive - set(scene)
        alive = set(scene)
        run.frame(
            *(track(k, p, a, number=n, heard=h) for n, (k, p, a, h) in sorted(scene.items())),
            *(track(number=n, status="deleted", heard=False) for n in sorted(gone)),
        )
    run.events += run.policy.finish(run.now_ns)
    for event_id in {event.event_id for event in run.events}:
        life = [event for event in run.events if event.event_id == event_id]
        assert [event.sequence for event in life] == list(range(len(life)))
        assert [event.state for event in life] == ["new", *["update"] * (len(life) - 2), "end"]
        assert len({(event.class_label, event.track_id, event.severity, event.onset_utc_ns) for event in life}) == 1
        assert all(0.0 <= event.bearing_true_deg < 360.0 and event.bearing_sigma_deg > 0.0 for event in life)


@pytest.mark.parametrize(
    ("status", "sounding", "sure", "listed"),
    [
        ("confirmed", True, 0.21, True),
        ("confirmed", True, 0.19, False),
        ("confirmed", False, 0.9, False),
        ("tentative", True, 0.9, False),
    ],
)
def test_what_is_confirmed_sounds_and_is_likely_is_listed(
    status: TrackStatus, sounding: bool, sure: float, listed: bool
) -> None:
    assert is_listed(replace(track(status=status), sounding=sounding), sure) is listed
