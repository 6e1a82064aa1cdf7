"""Thresholds come from what tracks reached."""

import numpy as np

from appliance.geometry import load_array
from appliance.lab.baselines.detectors import BaselineSystem
from appliance.lab.judge.confirmation import confirmed_score
from appliance.lab.judge.perimeter import perimeter_suite
from appliance.lab.judge.reached import Reached, reached
from appliance.lab.judge.tune import least_threshold, mean_recall, thresholds
from appliance.lab.systems import onnx_systems
from appliance.lab.world.recipe import Recipe
from appliance.model.meta import find_model


def test_a_track_reaches_what_k_of_n_frames_reach() -> None:
    assert confirmed_score(np.array([0.1, 0.9, 0.2, 0.8, 0.1]), 2, 3) == 0.8
    assert confirmed_score(np.array([0.9, 0.1, 0.1, 0.8]), 2, 3) == 0.1
    assert confirmed_score(np.array([0.7, 0.6]), 2, 3) == 0.6  # a short track has its first frames
    assert confirmed_score(np.array([0.7]), 2, 3) == confirmed_score(np.zeros(0), 2, 3) == -np.inf


def test_the_threshold_is_the_lowest_that_keeps_false_alarms_rare() -> None:
    reached_scores = [0.405, 0.505, 0.605, 0.705, 0.805, 0.905]
    assert least_threshold(reached_scores, 1.0, 4.0) == 0.51  # four may stay
    assert least_threshold(reached_scores, 10.0, 4.0) == 0.45
    assert least_threshold([0.99] * 9, 1.0, 4.0) == 0.95


def test_all_scenes_count() -> None:
    scenes = [Reached(1800.0, {"drone": [0.8]}, {"drone": [0.5]}), Reached(1800.0, {}, {"dog": [0.805] * 30})]
    chosen = thresholds(scenes)
    assert chosen["drone"] == 0.45
    assert chosen["dog"] == 0.81


def test_what_wakes_nobody_may_be_wrong_no_more_often_than_an_alert() -> None:
    wrong = [0.405, 0.455, 0.505, 0.555, 0.605, 0.655]
    chosen = thresholds([Reached(3600.0, {}, {"gunshot": wrong, "siren": wrong})])
    assert chosen["gunshot"] == chosen["siren"] == 0.46


def test_recall_is_the_mean_over_rates_of_false_alarms() -> None:
    """In an hour each rate bears so many: one of two drones is above the fifth false alarm, both above the ninth."""
    false_alarms = [0.9, 0.8, 0.7, 0.65, 0.6, 0.5, 0.4, 0.3, 0.2]
    scene = Reached(3600.0, {"drone": [0.62, 0.25]}, {"drone": false_alarms})
    assert mean_recall([scene]) == np.mean([0.0, 0.0, 0.0, 0.5, 1.0, 1.0])
    assert mean_recall([Reached(3600.0)]) == 0.0


def test_a_drone_heard_where_it_is_is_a_hit_and_its_track_no_false_alarm() -> None:
    recipe = next(iter(perimeter_suite(3, per_snr=1, folds=(4,))))
    assert isinstance(recipe, Recipe)
    outcome = reached(BaselineSystem("srp-energy", -100.0), recipe)  # a detector that is always sure of a drone
    assert len(outcome.hits["drone"]) == 1
    assert outcome.hits["drone"][0] > 0.9
    assert [claim.right for claim in outcome.claims if claim.scores.max() > 0.9] == [True]
    assert len(outcome.errors) > 50
    assert all(sigma_deg > 0.0 for _, sigma_deg in outcome.errors)


def test_how_far_off_the_heights_of_a_planar_array_are_is_kept() -> None:
    recipe = next(iter(perimeter_suite(3, per_snr=1, folds=(4,))))
    assert load_array(recipe.array).is_planar
    (shipped,) = onnx_systems([find_model("deepasa-edge-small-int8")])
    errors_deg = reached(shipped, recipe).height_errors_deg
    assert len(errors_deg) > 50
    assert np.median(errors_deg) < 10.0


def test_an_array_that_has_no_file_is_heard_as_the_recipe_says_it_is() -> None:
    recipe = next(iter(perimeter_suite(3, per_snr=1, folds=(4,))))
    positions = [(x, y, z) for x, y, z in recipe.geometry().positions_m.tolist()]
    unnamed = recipe.model_copy(update={"array": "random", "mics_m": tuple(positions)})
    system = BaselineSystem("srp-energy", -100.0)
    assert reached(system, unnamed).hits == reached(system, recipe).hits
