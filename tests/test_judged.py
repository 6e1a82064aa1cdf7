"""One scene held against its truth, and the figures of several, worked out by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from conftest import MakeEvent

from appliance.lab.hear import HeardFrame, HeardScene
from appliance.lab.judge.figures import system_figures
from appliance.lab.judge.judged import JudgedScene, judge_scene
from appliance.lab.metrics.detection import Estimate
from appliance.lab.metrics.plain import plain
from appliance.lab.pack import CLASSES
from appliance.lab.world.recipe import Recipe
from appliance.lab.world.render import SourceTruth
from appliance.types import Event

SECONDS, FRAMES = 12.0, 120
PLANAR, FULL = "respeaker_usb_4mic", "tetrahedron_4cm2"


def source(label: str = "drone", azimuth_deg: float = 40.0, elevation_deg: float = 0.0, start: int = 20) -> SourceTruth:
    active = np.zeros(FRAMES, bool)
    active[start : start + 80] = True
    return SourceTruth(label, active, np.full(FRAMES, azimuth_deg), np.full(FRAMES, elevation_deg))


def told(
    make_event: MakeEvent, label: str = "drone", azimuth_deg: float = 40.0, at_s: float = 3.5
) -> list[tuple[float, Event]]:
    """An event's new and end."""
    new = make_event(
        class_label=label,
        azimuth_deg=azimuth_deg,
        elevation_deg=0.0,
        onset_utc_ns=2_000_000_000,
        event_id=f"{label}{at_s}",
    )
    end = make_event(
        class_label=label,
        azimuth_deg=azimuth_deg,
        elevation_deg=0.0,
        onset_utc_ns=2_000_000_000,
        event_id=new.event_id,
        state="end",
    )
    return [(at_s, new), (10.0, end)]


def heard(
    events: Sequence[tuple[float, Event]] = (),
    frames: Sequence[HeardFrame] = (),
    scores: Sequence[float] = (0.0,) * FRAMES,
    azimuth_deg: float = 0.0,
    listed: Sequence[HeardFrame] | None = None,
) -> HeardScene:
    directions = np.tile([azimuth_deg, 0.0], (len(scores), 1))
    said = frames if listed is None else listed
    return HeardScene(tuple(events), tuple(frames), tuple(said), np.array(scores), directions)


def tracked(
    label: str = "drone", azimuth_deg: float = 44.0, elevation_deg: float = 0.0, number: int = 1
) -> list[HeardFrame]:
    return [HeardFrame(frame, number, label, azimuth_deg, elevation_deg, 5.0, 0.8) for frame in range(30, 100)]


def judged(
    sources: Sequence[SourceTruth], scene: HeardScene, array: str = PLANAR, seconds: float = SECONDS, **notes: Any
) -> JudgedScene:
    return judge_scene(
        Recipe(seed=0, seconds=seconds, array=array, notes={"part": "drone_snr", "snr_db": 0.0} | notes), sources, scene
    )


def test_what_was_told_rightly_is_found_with_its_latency(make_event: MakeEvent) -> None:
    figures = system_figures([judged([source()], heard(told(make_event)))])
    assert figures["drone_pd_by_snr_db"]["0"]["value"] == 1.0
    assert figures["latency_s"] == {"median": 1.5, "p90": 1.5, "count": 1}


@pytest.mark.parametrize(("label", "azimuth_deg"), [("siren", 40.0), ("drone", 61.0)])
def test_another_class_or_another_place_is_a_miss(make_event: MakeEvent, label: str, azimuth_deg: float) -> None:
    scene = judged([source()], heard(told(make_event, label, azimuth_deg)))
    assert (len(scene.events.pairs), len(scene.events.missed), len(scene.events.false_alarms)) == (0, 1, 1)
    assert system_figures([scene])["drone_pd_by_snr_db"]["0"]["value"] == 0.0


def test_pd_is_by_snr_and_by_distance_within_an_ambient_level_and_by_fault(make_event: MakeEvent) -> None:
    yes, no = heard(told(make_event)), heard()
    scenes = [judged([source()], yes, snr_db=snr_db) for snr_db in (10.0, -5.0)]
    scenes += [judged([source()], no, snr_db=-5.0)]
    far: dict[str, Any] = {"part": "drone_distance", "ambient_dba": 45.0}
    scenes += [judged([source()], yes, distance_m=100.0, **far), judged([source()], no, distance_m=400.0, **far)]
    scenes += [judged([source()], no, distance_m=100.0, **{**far, "ambient_dba": 55})]
    scenes += [judged([source()], yes, part="faults", fault="dead microphone")]
    figures = system_figures(scenes)
    assert {snr: (pd["value"], pd["of"]) for snr, pd in figures["drone_pd_by_snr_db"].items()} == {
        "-5": (0.5, 2),
        "10": (1.0, 1),
    }
    by_distance = figures["drone_pd_by_distance_m"]
    assert {d: pd["value"] for d, pd in by_distance["45"].items()} == {"100": 1.0, "400": 0.0}
    assert {d: pd["value"] for d, pd in by_distance["55"].items()} == {"100": 0.0}
    assert figures["drone_pd_by_fault"]["dead microphone"]["value"] == 1.0


def test_a_scene_whose_drone_never_sounds_is_no_trial() -> None:
    mute = SourceTruth("drone", np.zeros(FRAMES, bool), np.zeros(FRAMES), np.zeros(FRAMES))
    assert system_figures([judged([mute], heard())])["drone_pd_by_snr_db"] == {}


def test_false_alarms_are_counted_by_class_over_the_hours_of_their_part(make_event: MakeEvent) -> None:
    sounds = [source("siren", -90.0)]
    events = told(make_event, "siren", -90.0) + told(make_event, "drone", -90.0)
    scenes = [judged(sounds, heard(events), seconds=1800.0, part="hard_negatives") for _ in range(2)]
    scenes += [judged([], heard(told(make_event, "speech")), seconds=900.0, part="target_free")]
    rates = system_figures(scenes)["false_alarms_per_hour"]
    hard = rates["hard_negatives"]
    assert (hard["hours"], hard["all"]["value"], hard["drone"]["count"], hard["siren"]["count"]) == (1.0, 2.0, 2, 0)
    assert (hard["alerts"]["count"], hard["drone"]["low"], hard["drone"]["high"]) == (2, 0.2422, 7.2247)
    assert rates["target_free"]["speech"]["value"] == 4.0
    assert rates["target_free"]["alerts"]["count"] == 0


def test_direction_errors_come_from_the_nearest_track_and_from_the_best_slot() -> None:
    frames = tracked(azimuth_deg=44.0) + tracked(azimuth_deg=-140.0, number=2) + tracked("siren", 40.0, number=3)
    figures = system_figures([judged([source()], heard((), frames, azimuth_deg=50.0))])
    assert figures["doa_median_error_deg"] == {"0": 4.0}
    assert figures["doa_median_error_untracked_deg"] == {"0": 10.0}
    assert figures["sigma"] == {"within_1": 1.0, "within_2": 1.0, "count": 70}
    assert {sector: error for sector, error in figures["azimuth_error_by_sector_deg"].items() if error is not None} == {
        "45": 4.0
    }


def test_what_sigma_is_worth_is_told_by_part_too_for_a_broken_array_cannot_know_it() -> None:
    whole = judged([source()], heard((), tracked(azimuth_deg=44.0)))
    broken = judged([source()], heard((), tracked(azimuth_deg=52.0)), part="faults", fault="polarity")
    figures = system_figures([whole, broken])
    assert figures["sigma"]["within_1"] == 0.5
    assert {part: told["within_1"] for part, told in figures["sigma_by_part"].items()} == {
        "drone_snr": 1.0,
        "faults": 0.0,
    }


def test_elevation_counts_only_where_the_array_can_tell() -> None:
    above = [source(elevation_deg=30.0)]
    flat = judged(above, heard((), tracked(azimuth_deg=40.0)), PLANAR)
    assert flat.tracked.error_deg.max() == 0.0
    assert judged(above, heard((), tracked(azimuth_deg=40.0)), FULL).tracked.error_deg == pytest.approx(30.0)


def test_a_stated_sigma_is_of_the_sphere_and_wider_in_azimuth_high_up() -> None:
    high = [source(elevation_deg=60.0)]
    scene = judged(high, heard((), tracked(azimuth_deg=49.0, elevation_deg=60.0)), FULL)
    assert scene.tracked.sigma_deg == pytest.approx(10.0)
    sigma = system_figures([scene])["sigma"]
    assert (sigma["within_1"], sigma["count"]) == (1.0, 70)


def test_classes_are_scored_and_confused_in_threats_and_overlaps(make_event: MakeEvent) -> None:
    right = judged([source("dog")], heard(told(make_event, "dog")), part="threats")
    wrong = judged([source("dog")], heard(told(make_event, "siren")), part="threats")
    nothing = judged([source("speech", -100.0)], heard(told(make_event, "drone", 100.0)), part="overlaps")
    figures = system_figures([right, wrong, nothing])
    assert figures["class_f1"]["dog"] == {"f1": 0.6667, "found": 1, "missed": 1, "repeated": 0, "false": 0}
    assert figures["class_f1"]["siren"] == {"f1": 0.0, "found": 0, "missed": 0, "repeated": 0, "false": 1}
    assert figures["class_f1_macro"] == pytest.approx((2 / 3 + 0.0) / 2, abs=1e-4)
    assert figures["confusion"] == {
        "dog": {"dog": 1, "siren": 1},
        "speech": {"missed": 1},
        "nothing": {"drone": 1},
    }


def test_seld_is_of_overlaps_and_tracks_of_all() -> None:
    both = [source("drone", 40.0), source("siren", -90.0)]
    frames = [HeardFrame(f, 1, "drone", 40.0, 0.0, 5.0, 0.8) for f in range(20, 100)]
    frames += [HeardFrame(f, 2 + (f >= 60), "siren", -90.0, 0.0, 5.0, 0.8) for f in range(20, 100)]
    figures = system_figures([judged(both, heard((), frames), part="overlaps"), judged([source()], heard())])
    perfect = {"er20": 0.0, "f20": 1.0, "f20_micro": 1.0, "le_cd_deg": 0.0, "lr_cd": 1.0, "seld": 0.0}
    assert figures["seld"] == perfect
    assert figures["tracks"] == {"sounds": 3, "id_switches": 1, "fragments": 0, "followed_share": 0.6667}


def test_seld_takes_what_is_listed_and_tracks_are_judged_by_all() -> None:
    frames = [HeardFrame(f, 1, "drone", 40.0, 0.0, 5.0, 0.8) for f in range(20, 100)]
    for listed, f20 in ((frames, 1.0), ([], 0.0)):
        figures = system_figures([judged([source("drone", 40.0)], heard((), frames, listed=listed), part="overlaps")])
        assert figures["seld"]["f20"] == f20
        assert figures["tracks"]["followed_share"] == 1.0


def test_scores_of_drones_stand_against_those_of_hard_negatives() -> None:
    """An hour of hard negatives, 300 trials, two of which score .8: at 1 per hour a drone must score more."""
    loud = np.repeat(np.arange(300) < 2, FRAMES) * 0.8
    scenes = [judged([], heard(scores=loud.tolist()), seconds=3600.0, part="hard_negatives")]
    scenes += [judged([source()], heard(scores=[score] * FRAMES)) for score in (0.9, 0.8, 0.3, 0.0)]
    scores = system_figures(scenes)["drone_scores"]
    assert scores["hours"] == 1.0
    at = {rate: pd["0"]["value"] for rate, pd in scores["pd_at_false_alarms_per_hour"].items()}
    assert at == {"1": 0.25, "10": 0.75, "60": 0.75}
    assert scores["curves"]["0"] == [[0.0, 0.0], [0.0, 0.25], [2.0, 0.5], [2.0, 0.75], [300.0, 1.0]]


def test_a_suite_without_a_part_leaves_its_figures_empty() -> None:
    figures = system_figures([judged([source()], heard())])
    assert figures["seld"] is None
    assert figures["drone_scores"] is None
    assert figures["false_alarms_per_hour"] == {"target_free": None, "hard_negatives": None}
    assert figures["class_f1_macro"] is None
    assert set(figures["class_f1"]) == set(CLASSES)


def test_what_json_cannot_hold_becomes_null() -> None:
    assert plain({"a": [np.float64(np.inf), float("nan"), 1 / 3], "b": np.int64(2), "c": -1e-9}) == {
        "a": [None, None, 0.3333],
        "b": 2,
        "c": 0.0,
    }
    assert plain(Estimate(0.5, 0.25, np.inf)) == {"value": 0.5, "low": 0.25, "high": None}


def test_a_track_claims_rightly_while_a_sound_of_its_class_is_there_or_has_just_paused() -> None:
    """It is followed from frame 30 to 99; the sound lasts to frame 79, and half a second more is granted."""
    claims = judged([source(start=0)], heard(frames=tracked())).claims
    assert claims.right.tolist() == [True] * 55 + [False] * 15
    assert set(claims.confidence) == {0.8}
    assert not judged([source("siren")], heard(frames=tracked())).claims.right.any()
    assert not judged([source()], heard(frames=tracked(azimuth_deg=61.0))).claims.right.any()


@pytest.mark.parametrize(("array", "right"), [(PLANAR, True), (FULL, False)])
def test_claims_of_a_planar_array_are_held_against_azimuth_alone(array: str, right: bool) -> None:
    scene = judged([source(elevation_deg=30.0)], heard(frames=tracked(azimuth_deg=40.0)), array)
    assert scene.claims.right.tolist() == [right] * 70


def test_confidence_is_counted_by_class_and_in_all_and_of_events(make_event: MakeEvent) -> None:
    """The drone is there; the siren, as sure of itself, is not."""
    tracks = [*tracked(azimuth_deg=40.0), *tracked("siren", -100.0, number=2)[:35]]
    scene = judged([source()], heard([*told(make_event), *told(make_event, "siren", -100.0)], tracks))
    said = system_figures([scene])["confidence"]
    assert said["tracks"]["bins"] == [[0.8, pytest.approx(2 / 3, abs=1e-4), 105]]
    assert said["tracks"]["ece"] == pytest.approx(0.8 - 2 / 3, abs=1e-4)
    assert said["tracks"]["by_class"] == {
        "drone": {"ece": 0.2, "confidence": 0.8, "right": 1.0, "count": 70},
        "siren": {"ece": 0.8, "confidence": 0.8, "right": 0.0, "count": 35},
    }
    confidence = make_event().confidence
    assert said["events"]["bins"] == [[confidence, 0.5, 2]]
    nothing = system_figures([judged([source()], heard())])["confidence"]
    assert nothing == {"tracks": None, "events": None}


def test_drones_are_told_apart_by_how_they_fly(make_event: MakeEvent) -> None:
    still = judged([source()], heard(told(make_event), tracked()), manoeuvre="hover")
    passing = judged([source()], heard(), manoeuvre="transit")
    figures = system_figures([still, passing])
    assert {name: pd["value"] for name, pd in figures["drone_pd_by_manoeuvre"].items()} == {
        "hover": 1.0,
        "transit": 0.0,
    }
    assert figures["doa_median_error_by_manoeuvre_deg"] == {"hover": 4.0, "transit": None}


def test_false_alarms_are_counted_by_weather_and_latency_by_class(make_event: MakeEvent) -> None:
    windy = judged([], heard(told(make_event, "siren")), seconds=1800.0, part="target_free", weather="wind 9 m/s")
    calm = [
        judged([], heard(), seconds=1800.0, part=part, weather="calm") for part in ("target_free", "hard_negatives")
    ]
    found = judged([source()], heard(told(make_event, at_s=4.0)))
    figures = system_figures([windy, *calm, found])
    by_weather = figures["false_alarms_by_weather"]
    assert {
        weather: (own["hours"], own["all"]["value"], own["drone"]["count"]) for weather, own in by_weather.items()
    } == {
        "calm": (1.0, 0.0, 0),
        "wind 9 m/s": (0.5, 2.0, 0),
    }
    assert figures["latency_by_class_s"]["drone"] == {"median": 2.0, "p90": 2.0, "count": 1}
    assert figures["latency_by_class_s"]["siren"] is None
