"""Tracks on the sphere: what keeps an identity, what gets a new one, and what never becomes one."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.angles import arc_deg, arc_distance_deg, unit_vector
from appliance.config import MountSettings, TrackingSettings
from appliance.events.pose import Pose
from appliance.tracking import Tracker
from appliance.tracking.sphere import SphereFilter, tangent_deg
from appliance.types import Arrival, Direction, SceneFrame, SceneObject, Track

DRONE, ENGINE, SHOT = range(3)
FRAME_NS = 100_000_000

azimuths = st.floats(-180.0, 179.99)
elevations = st.floats(-90.0, 90.0)


def sound(
    azimuth_deg: float,
    elevation_deg: float = 10.0,
    kind: int = DRONE,
    score: float = 0.9,
    *,
    planar: bool = False,
    scatter_deg: float = 5.0,
) -> SceneObject:
    probs = np.full(3, 0.02, np.float32)
    probs[kind] = 0.95
    wrapped = (azimuth_deg + 180.0) % 360.0 - 180.0
    doa = Direction(wrapped, 0.0 if planar else elevation_deg, not planar)
    return SceneObject(slot=0, activity=score, class_probs=probs, doa=doa, doa_sigma_deg=scatter_deg)


class Run:
    """Feeds a tracker frame by frame and keeps what it said."""

    def __init__(self, **changes: float) -> None:
        self.tracker = Tracker(TrackingSettings.model_validate(changes), detection_activity=0.15)
        self.history: list[list[Track]] = []
        self.end_s, self.clock_ns = 0.0, 0

    def frame(
        self,
        *objects: SceneObject,
        after_s: float = 0.1,
        arrivals: Sequence[Arrival] = (),
        azimuth_valid: bool = True,
    ) -> list[Track]:
        self.end_s += after_s
        scene = SceneFrame(objects, self.end_s, round(self.end_s * 1e9) + self.clock_ns, azimuth_valid=azimuth_valid)
        tracks = self.tracker.update(scene, arrivals)
        self.history.append(tracks)
        return tracks

    def frames(self, scenes: Iterable[Iterable[SceneObject]]) -> list[Track]:
        for objects in scenes:
            self.frame(*objects)
        return self.history[-1]

    def ids(self, *statuses: str) -> set[int]:
        return {t.track_id for tracks in self.history for t in tracks if not statuses or t.status in statuses}


def noise(seed: int, sigma_deg: float = 4.0) -> Iterator[float]:
    rng = np.random.default_rng(seed)
    return (float(rng.normal(0.0, sigma_deg)) for _ in itertools.count())


def test_confirms_on_the_kth_hit_and_keeps_its_number() -> None:
    run = Run(confirm_hits=3, confirm_window_frames=5)
    statuses = [run.frame(sound(30.0))[0].status for _ in range(5)]
    assert statuses == ["tentative", "tentative", "confirmed", "confirmed", "confirmed"]
    assert run.ids() == {1}


def test_a_single_detection_never_confirms_and_is_deleted_exactly_once() -> None:
    run = Run()
    run.frame(sound(30.0))
    run.frames([] for _ in range(20))
    assert run.ids("confirmed", "coasting") == set()
    assert sum(t.status == "deleted" for tracks in run.history for t in tracks) == 1
    assert run.history[-1] == []


def test_weak_slots_are_no_detections() -> None:
    run = Run(detection_activity=0.5)
    run.frames([sound(30.0, score=0.4)] for _ in range(10))
    assert run.ids() == set()


@pytest.mark.parametrize(("site", "found"), [(None, 0), (0.3, 1), (0.5, 0)])
def test_what_is_a_detection_the_site_says_else_the_model(site: float | None, found: int) -> None:
    tracker = Tracker(TrackingSettings(detection_activity=site), detection_activity=0.5)
    assert len(tracker.update(SceneFrame((sound(30.0, score=0.4),), 0.0, 0))) == found


def test_smoothes_direction_and_says_how_well_it_knows_it() -> None:
    run, errors = Run(), noise(1, 5.0)
    run.frames([sound(50.0 + next(errors))] for _ in range(100))
    track = run.history[-1][0]
    settled = [tracks[0].doa.azimuth_deg - 50.0 for tracks in run.history[20:]]
    assert float(np.std(settled)) < 3.0
    assert 2.0 < math.sqrt(track.covariance_deg2[0][0]) < 5.0
    assert track.covariance_deg2[0][1] == 0.0


def test_crossing_sources_of_different_classes_keep_their_identities() -> None:
    run, errors = Run(), noise(2)
    last = run.frames(
        [sound(-45.0 + 0.3 * i + next(errors)), sound(45.0 - 0.3 * i + next(errors), kind=ENGINE)] for i in range(300)
    )
    first = {t.track_id: int(t.class_probs.argmax()) for t in run.history[5]}
    assert {t.track_id: int(t.class_probs.argmax()) for t in last} == first
    assert run.ids() == {1, 2}
    ends = {int(t.class_probs.argmax()): t.doa.azimuth_deg for t in last}
    assert ends[DRONE] == pytest.approx(45.0, abs=6.0)
    assert ends[ENGINE] == pytest.approx(-45.0, abs=6.0)


def test_two_sources_of_one_class_are_two_tracks() -> None:
    run, errors = Run(), noise(3)
    run.frames([sound(next(errors)), sound(30.0 + next(errors))] for _ in range(100))
    assert run.ids() == {1, 2}


def test_one_of_a_pair_falling_silent_does_not_lend_its_track_to_the_other() -> None:
    run, errors = Run(), noise(4, 2.0)
    run.frames([sound(next(errors)), sound(22.0 + next(errors))] for _ in range(30))
    last = run.frames([sound(22.0 + next(errors))] for _ in range(15))
    assert [(t.track_id, t.status) for t in last] == [(1, "coasting"), (2, "confirmed")]


def test_two_slots_that_report_one_source_are_one_track() -> None:
    run, errors = Run(), noise(5, 1.5)
    run.frames([sound(40.0 + next(errors), score=0.8), sound(46.0 + next(errors), score=0.7)] for _ in range(80))
    assert run.ids() == {1}
    assert run.history[-1][0].doa.azimuth_deg == pytest.approx(43.0, abs=3.0)


def test_tracks_of_one_class_that_drift_together_become_the_older_one() -> None:
    run = Run()
    last = run.frames([sound(0.0), sound(max(30.0 - i * 0.5, 4.0))] for i in range(120))
    assert [t.track_id for t in last] == [1]
    assert [t.absorbed_by for tracks in run.history for t in tracks if t.status == "deleted"] == [1]


def test_a_shot_beside_an_engine_is_a_track_of_its_own() -> None:
    run = Run()
    run.frames([sound(10.0, kind=ENGINE)] for _ in range(20))
    run.frames([sound(10.0, kind=SHOT)] for _ in range(3))
    engine, shot = run.history[-1]
    assert (engine.track_id, engine.status, int(engine.class_probs.argmax())) == (1, "coasting", ENGINE)
    assert (shot.track_id, shot.status, int(shot.class_probs.argmax())) == (2, "confirmed", SHOT)


def test_returns_from_a_short_silence_as_the_same_track() -> None:
    run = Run(coast_s=3.0)
    run.frames([sound(-60.0)] for _ in range(20))
    run.frames([] for _ in range(25))
    assert run.history[-1][0].status == "coasting"
    assert run.history[-1][0].updated is False
    back = run.frame(sound(-52.0))[0]
    assert (back.track_id, back.status) == (1, "confirmed")


def test_is_deleted_once_after_a_long_silence_and_comes_back_as_another() -> None:
    run = Run(coast_s=1.0)
    run.frames([sound(-60.0)] for _ in range(20))
    run.frames([] for _ in range(15))
    assert [t.status for tracks in run.history for t in tracks].count("deleted") == 1
    assert run.frame(sound(-60.0))[0].track_id == 2


def test_survives_dropouts_of_every_second_frame() -> None:
    run, errors = Run(), noise(6)
    run.frames([sound(20.0 + next(errors))] if i % 2 else [] for i in range(200))
    assert run.ids() == {1}


def test_follows_across_the_seam() -> None:
    run, errors = Run(), noise(7, 3.0)
    last = run.frames([sound(160.0 + 0.5 * i + next(errors))] for i in range(100))
    assert run.ids() == {1}
    assert last[0].doa.azimuth_deg == pytest.approx(-150.0, abs=6.0)


def test_follows_over_the_zenith() -> None:
    """Straight overhead azimuth turns by 180° at once; on the sphere nothing happens."""
    run, errors = Run(), noise(8, 3.0)
    for i in range(120):
        along_deg = 60.0 + 0.5 * i
        azimuth_deg, elevation_deg = (0.0, along_deg) if along_deg <= 90.0 else (180.0, 180.0 - along_deg)
        run.frame(sound(azimuth_deg, elevation_deg + next(errors)))
    assert run.ids() == {1}
    doa = run.history[-1][0].doa
    assert arc_distance_deg(doa.azimuth_deg, doa.elevation_deg, 180.0, 60.5) < 6.0


def test_keeps_up_with_a_fast_pass() -> None:
    """15 m/s at 20 m: 43°/s at the closest point, at 30 % missed frames."""
    run, errors, rng = Run(), noise(9, 5.0), np.random.default_rng(9)
    worst = 0.0
    for i in range(300):
        truth_deg = math.degrees(math.atan((i / 10.0 - 15.0) * 15.0 / 20.0))
        tracks = run.frame(*([sound(truth_deg + next(errors))] if rng.random() > 0.3 else []))
        if i > 20:
            worst = max(worst, abs(tracks[0].doa.azimuth_deg - truth_deg))
    assert run.ids() == {1}
    assert worst < 25.0


def test_points_to_where_a_moving_source_is_and_not_to_where_it_was() -> None:
    """The network is 0.15 s late: at 20°/s three degrees behind, to which the filter adds one, for it expects sources to stop."""
    run, errors = Run(), noise(3, 2.0)
    off_deg = []
    for i in range(100):
        seen_deg = -90.0 + 20.0 * (i / 10.0 - 0.15)
        (track,) = run.frame(sound(seen_deg + next(errors), scatter_deg=2.0))
        off_deg.append(track.doa.azimuth_deg - (-90.0 + 2.0 * i))
    assert abs(np.mean(off_deg[30:])) < 1.5
    assert np.std(off_deg[30:]) < 2.0


def test_knows_a_moving_source_less_well() -> None:
    sigmas = []
    for rate_deg_s in (0.0, 20.0):
        run = Run()
        tracks = run.frames([sound(-90.0 + rate_deg_s * i / 10.0, scatter_deg=2.0)] for i in range(60))
        sigmas.append(tracks[0].covariance_deg2[0][0] ** 0.5)
    assert sigmas[1] > 2.0 * sigmas[0]


def test_a_planar_array_gives_azimuth_alone() -> None:
    run, errors = Run(), noise(10, 3.0)
    last = run.frames([sound(70.0 + next(errors), planar=True)] for _ in range(50))
    assert last[0].doa.elevation_valid is False
    assert last[0].doa.elevation_deg == 0.0
    assert last[0].covariance_deg2[1][1] == 90.0**2
    assert last[0].doa.azimuth_deg == pytest.approx(70.0, abs=5.0)


def test_while_the_microphones_cannot_tell_azimuth_no_bearing_is_known() -> None:
    run = Run()
    sigmas_deg = [
        Pose(MountSettings()).bearing_elevation_sigma_deg(run.frame(sound(70.0), azimuth_valid=valid)[0])[2]
        for valid in (True, False, True)
    ]
    assert sigmas_deg[1] == 180.0
    assert max(sigmas_deg[0], sigmas_deg[2]) < 10.0


def test_class_scores_decay_while_unheard_and_rise_again() -> None:
    run = Run()
    heard = run.frames([sound(0.0)] for _ in range(10))[0].class_probs[DRONE]
    silent = run.frames([] for _ in range(10))[0].class_probs[DRONE]
    again = run.frames([sound(0.0)] for _ in range(5))[0].class_probs[DRONE]
    assert heard > 0.8 > again > 0.6 > 0.4 > silent > 0.1


def test_a_clock_that_is_set_costs_no_track() -> None:
    run = Run()
    run.frames([sound(0.0)] for _ in range(10))
    run.clock_ns -= 3600 * 1_000_000_000
    assert run.frame(sound(0.0))[0].status == "confirmed"
    run.clock_ns += 7200 * 1_000_000_000
    assert run.frame()[0].status == "coasting"
    assert run.frame(sound(0.0))[0].track_id == 1


def test_where_audio_was_lost_for_long_the_track_is_given_up() -> None:
    run = Run()
    run.frames([sound(0.0)] for _ in range(10))
    assert [track.status for track in run.frame(after_s=3600.0)] == ["deleted"]
    assert run.frame(sound(0.0))[0].track_id == 2


@given(azimuths, elevations, azimuths, elevations)
def test_the_tangent_leads_to_the_target(a: float, b: float, c: float, d: float) -> None:
    origin, target = unit_vector(a, b), unit_vector(c, d)
    if arc_deg(origin, target) > 179.0:
        return
    step = tangent_deg(origin, target)
    assert float(np.linalg.norm(step)) == pytest.approx(arc_distance_deg(a, b, c, d), abs=1e-6)
    assert float(step @ origin) == pytest.approx(0.0, abs=1e-6)


@given(azimuths, elevations, st.lists(st.tuples(st.floats(-20, 20), st.floats(-20, 20)), min_size=1, max_size=30))
@settings(max_examples=50)
def test_the_filter_stays_on_the_sphere_and_grows_surer(
    azimuth_deg: float, elevation_deg: float, errors: list[tuple[float, float]]
) -> None:
    """Wherever it starts, poles included: a unit vector, and less doubt with each measurement."""
    state = SphereFilter(unit_vector(azimuth_deg, elevation_deg), 5.0, 8.0)
    for across, up in errors:
        state.predict(0.1)
        before = state.variance_deg2
        state.update(unit_vector(azimuth_deg + across, elevation_deg + up), 5.0)
        assert np.linalg.norm(state.direction) == pytest.approx(1.0)
        assert 0.0 < state.variance_deg2 < before


@given(st.floats(-180, 180), azimuths, st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_turning_the_world_turns_the_tracks_and_nothing_else(turn_deg: float, start_deg: float, seed: int) -> None:
    """No direction is special: a turned scene gives the same tracks, turned."""
    plain, turned = Run(), Run()
    rng = np.random.default_rng(seed)
    for _ in range(15):
        objects = [(start_deg + rng.normal(0, 6), rng.normal(0, 6), int(rng.integers(3))) for _ in range(2)]
        plain_tracks = plain.frame(*[sound(a, e, k) for a, e, k in objects])
        turned_tracks = turned.frame(*[sound(a + turn_deg, e, k) for a, e, k in objects])
        assert [(t.track_id, t.status) for t in plain_tracks] == [(t.track_id, t.status) for t in turned_tracks]
        for a, b in zip(plain_tracks, turned_tracks, strict=True):
            assert (
                arc_distance_deg(
                    a.doa.azimuth_deg + turn_deg, a.doa.elevation_deg, b.doa.azimuth_deg, b.doa.elevation_deg
                )
                < 1e-3
            )


def arriving(
    azimuth_deg: float, elevation_deg: float = 10.0, strength: float = 8.0, *, sounding: bool = True
) -> Arrival:
    return Arrival(Direction(azimuth_deg, elevation_deg), strength, sounding)


QUIET = sound(0.0, score=0.01)
"""A slot that reports nothing."""


def test_what_only_power_tells_of_is_followed_without_a_name() -> None:
    run = Run()
    for step in range(30):
        run.frame(QUIET, arrivals=[arriving(50.0 + step)])
    (track,) = run.history[-1]
    assert (track.track_id, track.status, track.slots) == (1, "confirmed", ())
    assert track.doa.azimuth_deg == pytest.approx(79.0, abs=4.0)
    assert track.doa.elevation_deg == pytest.approx(10.0, abs=0.5)
    np.testing.assert_allclose(track.class_probs, 0.01)


def test_what_does_not_stand_out_enough_is_not_followed() -> None:
    run = Run(arrival_strength=5.0)
    for _ in range(10):
        run.frame(QUIET, arrivals=[arriving(50.0, strength=4.9)])
    assert run.ids() == set()


def test_what_is_over_is_followed_as_what_sounds_no_more() -> None:
    run = Run()
    for _ in range(10):
        (track,) = run.frame(QUIET, arrivals=[arriving(50.0)])
    assert (track.updated, track.sounding) == (True, True)
    (track,) = run.frame(QUIET, arrivals=[arriving(50.0, sounding=False)])
    assert (track.status, track.updated, track.sounding) == ("confirmed", True, False)
    (track,) = run.frame(sound(50.0), arrivals=[arriving(50.0, sounding=False)])
    assert (track.updated, track.sounding) == (True, True)
    (track,) = run.frame(QUIET)
    assert (track.updated, track.sounding) == (False, False)


def test_a_track_is_ahead_of_arrivals_that_are_late_and_steady_where_they_rest() -> None:
    run = Run()
    for step in range(60):
        run.frame(QUIET, arrivals=[arriving(-40.0 + 1.2 * (step - 5.5))])
    assert run.history[-1][0].doa.azimuth_deg == pytest.approx(-40.0 + 1.2 * 59, abs=4.0)
    for _ in range(60):
        run.frame(QUIET, arrivals=[arriving(31.0)])
    assert run.history[-1][0].doa.azimuth_deg == pytest.approx(31.0, abs=0.5)


def test_the_network_names_what_power_has_found() -> None:
    run = Run()
    for _ in range(10):
        run.frame(QUIET, arrivals=[arriving(50.0)])
    for _ in range(3):
        (track,) = run.frame(sound(58.0, kind=ENGINE), arrivals=[arriving(50.0)])
    assert track.track_id == 1
    assert int(track.class_probs.argmax()) == ENGINE
    assert track.class_probs[ENGINE] == pytest.approx(0.9 * 0.95, abs=1e-3)


def test_a_named_track_gets_the_detection_before_an_unnamed_one() -> None:
    run = Run()
    for _ in range(10):
        run.frame(sound(30.0), arrivals=[arriving(30.0), arriving(60.0)])
    named, unnamed = run.frame(sound(44.0))
    assert (named.updated, unnamed.updated) == (True, False)


def test_power_keeps_a_track_that_the_network_no_longer_reports() -> None:
    run = Run(coast_s=1.0)
    for _ in range(10):
        run.frame(sound(30.0))
    for step in range(50):
        run.frame(QUIET, arrivals=[arriving(30.0 + 0.5 * step)])
    (track,) = run.history[-1]
    assert (track.track_id, track.status) == (1, "confirmed")
    assert track.doa.azimuth_deg == pytest.approx(54.5, abs=3.0)
    assert track.class_probs[DRONE] == pytest.approx(0.9 * 0.95, abs=0.02)
    for _ in range(15):
        run.frame(QUIET, arrivals=[arriving(54.5, strength=1.0)])
    assert run.history[-1] == []


def test_an_arrival_adds_nothing_to_what_the_network_reports_there() -> None:
    run, alone = Run(), Run()
    for _ in range(20):
        run.frame(sound(30.0), arrivals=[arriving(44.0)])
        alone.frame(sound(30.0))
    assert run.ids() == {1}
    assert run.history[-1][0].doa == alone.history[-1][0].doa


def test_an_arrival_from_elsewhere_is_a_track_beside_those_of_the_network() -> None:
    run = Run()
    for _ in range(20):
        run.frame(sound(-90.0, kind=ENGINE), arrivals=[arriving(30.0), arriving(-90.0)])
    named, unnamed = run.history[-1]
    assert named.class_probs[ENGINE] == pytest.approx(0.9 * 0.95, abs=1e-3)
    assert unnamed.doa.azimuth_deg == pytest.approx(30.0, abs=1.0)
    np.testing.assert_allclose(unnamed.class_probs, 0.01)


def test_what_the_network_tells_between_two_arrivals_is_no_track() -> None:
    run = Run()
    for _ in range(20):
        run.frame(sound(10.0), arrivals=[arriving(-30.0), arriving(60.0)])
    assert [round(track.doa.azimuth_deg) for track in run.history[-1]] == [-30, 60]


@pytest.mark.parametrize("elsewhere", [arriving(100.0, strength=2.9), arriving(100.0, sounding=False)])
def test_what_is_too_faint_or_over_does_not_speak_against_the_network(elsewhere: Arrival) -> None:
    run = Run()
    for _ in range(20):
        run.frame(sound(10.0), arrivals=[elsewhere])
    track = run.history[-1][0]
    assert (round(track.doa.azimuth_deg), track.sounding) == (10, True)


def test_two_arrivals_are_two_tracks_and_a_weak_one_is_none() -> None:
    run = Run()
    for _ in range(20):
        run.frame(QUIET, arrivals=[arriving(30.0), arriving(-60.0, strength=4.0)])
    assert [round(track.doa.azimuth_deg) for track in run.history[-1]] == [30, -60]
    for _ in range(20):
        run.frame(QUIET, arrivals=[arriving(30.0), arriving(-60.0, strength=1.0)])
    assert [track.updated for track in run.history[-1]] == [True, False]


def test_the_ground_does_not_flatten_what_power_tells_of_elevation() -> None:
    tracker = Tracker(TrackingSettings(), MountSettings(ground="grass"), detection_activity=0.15)
    for index in range(10):
        tracks = tracker.update(SceneFrame((QUIET,), 0.1 * index, index * FRAME_NS), [arriving(40.0, 25.0)])
    assert tracks[0].doa.elevation_deg == pytest.approx(25.0, abs=0.5)


def test_an_unnamed_track_that_meets_a_named_one_becomes_part_of_it() -> None:
    run = Run()
    for _ in range(10):
        run.frame(sound(0.0, kind=SHOT), arrivals=[arriving(0.0), arriving(22.0)])
    assert run.ids() == {1, 2}
    for _ in range(15):
        run.frame(sound(11.0, kind=SHOT))
    assert [track.track_id for track in run.history[-1]] == [1]
