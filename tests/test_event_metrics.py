"""Events against the truth: what pairs, what does not, and what is then said of it."""

from collections import Counter

import numpy as np
import pytest
from conftest import MakeEvent
from hypothesis import given
from hypothesis import strategies as st

from appliance.lab.metrics.detection import spread
from appliance.lab.metrics.events import (
    EventMatches,
    FoundEvent,
    Path,
    TrueEvent,
    found_events,
    match_events,
    true_events,
)
from appliance.lab.world.render import SourceTruth


def path(start_s: float, end_s: float, azimuth_deg: tuple[float, float], elevation_deg: float = 0.0) -> Path:
    return Path(np.array([start_s, end_s]), np.array(azimuth_deg), np.full(2, elevation_deg))


def sound(label: str, start_s: float, end_s: float, azimuth_deg: float = 0.0, elevation_deg: float = 0.0) -> TrueEvent:
    still = path(start_s, end_s, (azimuth_deg, azimuth_deg), elevation_deg)
    return TrueEvent(label, start_s, end_s, still)


def event(label: str, start_s: float, end_s: float, azimuth_deg: float = 0.0, elevation_deg: float = 0.0) -> FoundEvent:
    """Announced a second after it began, and heard of a last time when it ended."""
    still = path(start_s + 1.0, end_s, (azimuth_deg, azimuth_deg), elevation_deg)
    return FoundEvent(label, start_s, end_s, start_s + 1.0, still, np.array([3.0, 2.0]), 0.8)


def counts(matches: EventMatches) -> tuple[int, int, int, int]:
    return len(matches.pairs), len(matches.missed), len(matches.repeats), len(matches.false_alarms)


def test_an_event_of_the_right_class_time_and_place_finds_its_sound() -> None:
    matches = match_events([sound("drone", 2, 9, 170)], [event("drone", 3, 10, -175)])
    assert counts(matches) == (1, 0, 0, 0)
    (pair,) = matches.pairs
    assert pair.latency_s == pytest.approx(2.0)
    assert pair.error_deg == pytest.approx([15, 15])
    assert pair.azimuth_error_deg == pytest.approx([15, 15])
    assert pair.sigma_deg.tolist() == [3.0, 2.0]
    assert (matches.precision, matches.recall, matches.f1) == (1, 1, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        event("siren", 3, 10),
        event("drone", 3, 10, azimuth_deg=20.1),
        event("drone", 3, 10, elevation_deg=-20.1),
        event("drone", 10.1, 14),
        event("drone", -3, 0.9),
    ],
    ids=["class", "azimuth", "elevation", "too late", "too early"],
)
def test_a_wrong_class_place_or_time_is_a_miss_and_a_false_alarm(wrong: FoundEvent) -> None:
    matches = match_events([sound("drone", 2, 9)], [wrong])
    assert counts(matches) == (0, 1, 0, 1)
    assert (matches.precision, matches.recall, matches.f1) == (0, 0, 0)


@pytest.mark.parametrize(
    "right", [event("drone", 9.9, 14), event("drone", -3, 1.1), event("drone", 3, 10, azimuth_deg=19.9)]
)
def test_within_the_grace_and_the_twenty_degrees_it_is_found(right: FoundEvent) -> None:
    assert counts(match_events([sound("drone", 2, 9)], [right])) == (1, 0, 0, 0)


def test_grace_and_limit_are_the_callers() -> None:
    true, found = [sound("drone", 2, 9)], [event("drone", 10.5, 12, azimuth_deg=25)]
    assert counts(match_events(true, found, grace_s=2.0, max_error_deg=30.0)) == (1, 0, 0, 0)
    assert counts(match_events(true, found, max_error_deg=30.0)) == (0, 1, 0, 1)
    assert counts(match_events(true, found, grace_s=2.0)) == (0, 1, 0, 1)


def test_a_planar_array_is_not_judged_by_elevation() -> None:
    true, found = [sound("drone", 2, 9, 10, 60)], [event("drone", 3, 10, 13)]
    assert counts(match_events(true, found)) == (0, 1, 0, 1)
    (pair,) = match_events(true, found, azimuth_only=True).pairs
    assert pair.error_deg == pytest.approx([3, 3])


def test_a_moving_sound_is_judged_where_it_was_when_the_event_spoke_of_it() -> None:
    flying = TrueEvent("drone", 0.0, 10.0, path(0.0, 10.0, (170.0, -170.0)))
    followed = FoundEvent("drone", 1.0, 10.0, 1.0, path(2.0, 8.0, (174.0, -174.0)), np.ones(2), 0.8)
    still = FoundEvent("drone", 1.0, 10.0, 1.0, path(2.0, 8.0, (150.0, 150.0)), np.ones(2), 0.8)
    matches = match_events([flying], [followed, still])
    assert counts(matches) == (1, 0, 0, 1)
    assert matches.pairs[0].error_deg == pytest.approx([0, 0], abs=0.1)


def test_a_shot_that_is_over_before_its_event_speaks_is_judged_by_the_first_word() -> None:
    shot = sound("gunshot", 5.0, 5.3, 40)
    late = FoundEvent("gunshot", 5.0, 9.0, 6.8, path(6.8, 9.0, (45.0, 90.0)), np.array([2.0, 9.0]), 0.8)
    (pair,) = match_events([shot], [late]).pairs
    assert pair.error_deg == pytest.approx([5])
    assert pair.sigma_deg.tolist() == [2.0]
    assert pair.latency_s == pytest.approx(1.8)


def test_a_second_event_of_one_sound_is_a_repeat_and_no_false_alarm() -> None:
    matches = match_events([sound("dog", 2, 9)], [event("dog", 2, 5, 9), event("dog", 6, 9, 4), event("dog", 3, 6, 90)])
    assert counts(matches) == (1, 0, 1, 1)
    assert matches.pairs[0].found.start_s == 6
    assert (matches.precision, matches.recall, matches.f1) == pytest.approx((1 / 3, 1, 2 / (2 + 2)))


def test_as_many_sounds_as_possible_are_found_before_errors_are_least() -> None:
    """The event at 15° fits both sounds, and the nearer one better; the other event fits only the nearer one."""
    true = [sound("drone", 0, 9, 0), sound("drone", 0, 9, 20)]
    matches = match_events(true, [event("drone", 0, 9, 15), event("drone", 0, 9, 38)])
    assert counts(matches) == (2, 0, 0, 0)
    assert [pair.error_deg[0] for pair in matches.pairs] == pytest.approx([15, 18])


def test_confusion_pairs_across_classes_but_prefers_the_right_one() -> None:
    true = [sound("drone", 0, 9, 0), sound("siren", 0, 9, 90), sound("dog", 0, 9, -90)]
    found = [event("power_tool", 0, 9, 1), event("drone", 0, 9, 15), event("dog", 0, 9, 91), event("speech", 0, 9, 180)]
    confusion = match_events(true, found, any_class=True).confusion()
    assert confusion == Counter({("drone", "drone"): 1, ("siren", "dog"): 1, ("dog", None): 1, (None, "speech"): 1})


def test_matches_of_scenes_add_up_and_split_by_class() -> None:
    one = match_events([sound("drone", 0, 9)], [event("drone", 0, 9), event("dog", 0, 9)])
    other = match_events([sound("drone", 0, 9), sound("dog", 3, 4)], [event("drone", 20, 29)])
    assert counts(one + other) == (1, 2, 0, 2)
    assert counts((one + other).only("drone")) == (1, 1, 0, 1)
    assert counts((one + other).only("dog")) == (0, 1, 0, 1)
    assert (one + other).f1 == pytest.approx(2 / (2 + 4))
    latency = spread([pair.latency_s for pair in (one + other).pairs])
    assert latency is not None
    assert latency.median == 1


def test_without_sounds_or_events_a_share_is_not_defined() -> None:
    nothing = match_events([], [])
    assert (nothing.precision, nothing.recall, nothing.f1) == (None, None, None)
    assert counts(match_events([], [event("dog", 0, 9)])) == (0, 0, 0, 1)
    assert match_events([sound("dog", 0, 9)], []).recall == 0


events_drawn = st.lists(
    st.tuples(st.sampled_from(["drone", "dog"]), st.integers(0, 20), st.integers(2, 9), st.integers(-180, 179)),
    max_size=6,
)


@given(events_drawn, events_drawn, st.booleans())
def test_every_sound_and_event_is_in_exactly_one_place(
    true: list[tuple[str, int, int, int]], found: list[tuple[str, int, int, int]], any_class: bool
) -> None:
    sounds = [sound(label, start, start + length, azimuth) for label, start, length, azimuth in true]
    events = [event(label, start, start + length, azimuth) for label, start, length, azimuth in found]
    matches = match_events(sounds, events, any_class=any_class)
    assert {id(s) for s in sounds} == {id(p.true) for p in matches.pairs} | {id(s) for s in matches.missed}
    assert len(sounds) == len(matches.pairs) + len(matches.missed)
    placed = [*(p.found for p in matches.pairs), *matches.repeats, *matches.false_alarms]
    assert sorted(map(id, placed)) == sorted(map(id, events))


def test_a_rendered_source_is_one_sound_until_it_pauses_for_long() -> None:
    active = np.zeros(100, bool)
    active[[*range(10, 20), *range(35, 40), *range(60, 65)]] = True
    dog = SourceTruth("dog", active, np.arange(100.0), np.full(100, 5.0))
    wind = SourceTruth("wind", np.ones(100, bool), np.zeros(100), np.zeros(100))
    silent = SourceTruth("drone", np.zeros(100, bool), np.zeros(100), np.zeros(100))
    events = true_events([dog, wind, silent], ("dog", "drone"))
    assert [e.label for e in events] == ["dog", "dog"]
    assert [(e.start_s, e.end_s) for e in events] == [pytest.approx((1.0, 4.0)), pytest.approx((6.0, 6.5))]
    ((azimuth_deg, elevation_deg),) = events[0].path.at(np.array([1.55]))
    assert (azimuth_deg, elevation_deg) == pytest.approx((15.0, 5.0), abs=0.01)


def test_the_state_changes_of_an_event_are_its_path(make_event: MakeEvent) -> None:
    begin_ns = 1_790_000_000_000_000_000
    new = make_event(onset_utc_ns=begin_ns + 2_500_000_000, azimuth_deg=10.0, elevation_deg=4.0, bearing_sigma_deg=6.0)
    dog = make_event(onset_utc_ns=begin_ns + 3_000_000_000, class_label="dog")
    end = make_event(event_id=new.event_id, state="end", azimuth_deg=16.0, elevation_deg=5.0, bearing_sigma_deg=3.0)
    drone_event, dog_event = found_events([(3.4, new), (3.7, dog), (9.0, end)], start_utc_ns=begin_ns)
    assert (drone_event.label, drone_event.confirmed_s, drone_event.end_s) == ("drone", 3.4, 9.0)
    assert drone_event.start_s == pytest.approx(2.5)
    assert drone_event.path.time_s.tolist() == [3.4, 9.0]
    assert drone_event.path.azimuth_deg.tolist() == [10.0, 16.0]
    assert drone_event.path.elevation_deg.tolist() == [4.0, 5.0]
    assert drone_event.sigma_deg.tolist() == [6.0, 3.0]
    assert (dog_event.label, dog_event.confirmed_s, dog_event.end_s) == ("dog", 3.7, 3.7)
