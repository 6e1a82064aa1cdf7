"""What is said of scores and sigmas: fitted on claims that were right or wrong, applied where it is said, and nowhere else."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from intensity_model import write_intensity_model
from plane_waves import RATE_HZ, at_array, hum

from appliance.config import SiteSettings, TrackingSettings
from appliance.events import seeded_ulids
from appliance.events.confidence import confidence
from appliance.geometry import load_array
from appliance.lab.hear import MemorySource
from appliance.lab.judge.calibration_fit import (
    LEAST_CLAIMS,
    calibration_error,
    fit_calibration,
    fit_sigma_factor,
    held_out_calibration_error,
)
from appliance.lab.judge.reached import Claim
from appliance.model.scene import SceneModel
from appliance.pipeline import run
from appliance.stages import build_stages
from appliance.tracking import Tracker
from appliance.types import Direction, Event, SceneFrame, SceneObject

GEOMETRY = load_array("tetrahedron_4cm2")


def boastful(count: int, seed: int = 0, label: str = "drone") -> list[Claim]:
    """Claims that are right half as often, in odds, as their scores say."""
    rng = np.random.default_rng(seed)
    claims = []
    for _ in range(count):
        score = float(rng.uniform(0.3, 0.99))
        odds = 0.5 * score / (1.0 - score)
        scores = np.full(rng.integers(1, 30), score, np.float32)
        claims.append(Claim(label, bool(rng.random() < odds / (1.0 + odds)), scores))
    return claims


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.2, 5.0), st.floats(-3.0, 3.0))
def test_confidence_is_a_probability_and_keeps_the_order_of_scores(
    a: float, b: float, slope: float, offset: float
) -> None:
    low, high = sorted((a, b))
    assert 0.0 <= confidence(low, (slope, offset)) <= confidence(high, (slope, offset)) <= 1.0


def test_without_calibration_confidence_is_the_score() -> None:
    assert confidence(0.73, None) == 0.73
    assert confidence(0.73, (1.0, 0.0)) == pytest.approx(0.73)


def test_what_boasts_is_taken_down() -> None:
    calibration = fit_calibration(boastful(3000))
    slope, offset = calibration["drone"]
    assert slope == pytest.approx(1.0, abs=0.15)
    assert offset == pytest.approx(np.log(0.5), abs=0.15)
    fresh = boastful(3000, seed=1)
    scores = np.concatenate([claim.scores for claim in fresh]).astype(np.float64)
    said = np.array([confidence(score, calibration["drone"]) for score in scores])
    assert calibration_error(fresh, said) < 0.03 < 0.08 < calibration_error(fresh, scores)


def test_a_class_of_few_claims_keeps_near_to_the_others() -> None:
    calibration = fit_calibration([*boastful(2000), *[Claim("dog", True, np.full(5, 0.5, np.float32))] * 2])
    assert calibration["dog"][0] == calibration["drone"][0]
    assert 0.0 < calibration["dog"][1] - calibration["drone"][1] < 1.0


def test_the_error_is_told_on_scenes_that_had_no_part_in_the_fit() -> None:
    scenes = [boastful(20, seed) for seed in range(80)]
    before, after = held_out_calibration_error(scenes)
    assert after < 0.05 < before
    assert held_out_calibration_error([]) == (0.0, 0.0)


def test_too_little_or_too_alike_is_no_ground_for_a_calibration() -> None:
    assert fit_calibration(boastful(LEAST_CLAIMS - 1)) == {}
    assert fit_calibration([claim for claim in boastful(2000) if claim.right]) == {}


def test_one_sigma_holds_the_truth_in_68_percent() -> None:
    rng = np.random.default_rng(0)
    sigma = rng.uniform(2.0, 20.0, 20_000)
    error = np.abs(rng.normal(0.0, 0.4 * sigma))
    assert fit_sigma_factor(list(zip(error.tolist(), sigma.tolist(), strict=True))) == pytest.approx(0.4, abs=0.01)
    assert fit_sigma_factor([]) == 1.0


# --- where it is applied ----------------------------------------------------------------------------------------------


def events_of(model: Path) -> list[Event]:
    """Four seconds of a drone, through the pipeline of the field."""
    events: list[Event] = []
    stages = build_stages(
        SiteSettings(), GEOMETRY, SceneModel.load(model), ulids=seeded_ulids(b""), clock=lambda: "replay"
    )
    samples = at_array(hum(4.0), GEOMETRY, 40.0).astype(np.float32)
    assert samples.shape[1] == 4 * RATE_HZ
    run(MemorySource(samples), stages, events)
    return events


def test_the_meta_of_a_model_corrects_what_events_say_and_not_when_they_begin(tmp_path: Path) -> None:
    plain = events_of(write_intensity_model(tmp_path / "plain.onnx"))
    told = {"calibration": {"drone": [0.5, -1.0]}, "doa_sigma_factor": 0.5}
    corrected = events_of(write_intensity_model(tmp_path / "told.onnx", **told))
    assert [event.state for event in plain] == ["new", "end"]
    assert [(event.state, event.utc_ns, event.azimuth_deg) for event in corrected] == [
        (event.state, event.utc_ns, event.azimuth_deg) for event in plain
    ]
    mount = SiteSettings().mount.heading_sigma_deg
    for before, after in zip(plain, corrected, strict=True):
        assert after.confidence == pytest.approx(confidence(before.confidence, (0.5, -1.0)))
        assert after.confidence < before.confidence - 0.1
        assert after.bearing_sigma_deg**2 - mount**2 == pytest.approx(0.25 * (before.bearing_sigma_deg**2 - mount**2))


def test_a_model_says_what_of_its_own_is_a_detection(tmp_path: Path) -> None:
    heard = [events_of(write_intensity_model(tmp_path / "a.onnx", detection_activity=least)) for least in (0.15, 0.99)]
    assert [bool(events) for events in heard] == [True, False]


def test_a_meta_file_of_before_changes_nothing(intensity_model: Path) -> None:
    assert "calibration" not in json.loads(intensity_model.with_suffix(".meta.json").read_text(encoding="utf-8"))
    model = SceneModel.load(intensity_model)
    assert (model.calibration, model.doa_sigma_factor, model.detection_activity) == ({}, 1.0, 0.15)


def tracks_at(factor: float, azimuths_deg: Sequence[float]) -> list[tuple[float, float]]:
    """(azimuth, variance) of one track over frames in which a drone is heard at these azimuths."""
    tracker, found = Tracker(TrackingSettings(), detection_activity=0.15, sigma_factor=factor), []
    for index, azimuth_deg in enumerate(azimuths_deg):
        drone = SceneObject(0, 0.9, np.array([0.9], np.float32), Direction(azimuth_deg, 0.0), 6.0)
        (track,) = tracker.update(SceneFrame((drone,), 0.1 * index, index * 100_000_000))
        found.append((track.doa.azimuth_deg, track.covariance_deg2[0][0]))
    return found


def test_the_factor_scales_all_of_the_sigma_and_moves_no_track() -> None:
    places = [0.0, 3.0, -2.0, 5.0, 1.0]
    for (azimuth_deg, variance), (same_deg, scaled) in zip(tracks_at(1.0, places), tracks_at(0.5, places), strict=True):
        assert azimuth_deg == same_deg
        assert scaled == pytest.approx(0.25 * variance)
