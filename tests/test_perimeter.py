"""The suite holds what its report speaks of."""

from collections import Counter

import numpy as np
import pytest

from appliance.angles import wrap_azimuth_deg
from appliance.lab.judge.perimeter import ARRAYS, DISTANCES_M, DRONE_SNRS_DB, FAULTS, perimeter_suite
from appliance.lab.pack import CLASSES, load_clips
from appliance.lab.world.levels import DRONE_LEVELS
from appliance.lab.world.recipe import Position, Recipe


@pytest.fixture(scope="module")
def suite() -> list[Recipe]:
    return list(perimeter_suite())


def part(suite: list[Recipe], name: str) -> list[Recipe]:
    return [recipe for recipe in suite if recipe.notes["part"] == name]


def azimuth_deg(position: Position) -> float:
    return float(np.degrees(np.arctan2(position[1], position[0])))


def test_every_part_is_as_large_as_it_says_and_the_same_each_time(suite: list[Recipe]) -> None:
    assert Counter(recipe.notes["part"] for recipe in suite) == {
        "drone_snr": 24 * len(DRONE_SNRS_DB),
        "drone_distance": 12 * len(DISTANCES_M) * 3,
        "threats": 10 * len(CLASSES),
        "overlaps": 36,
        "target_free": 60,
        "hard_negatives": 60,
        "faults": 12 * len(FAULTS),
    }
    assert list(perimeter_suite()) == suite
    assert next(perimeter_suite(seed=1)) != suite[0]
    assert {recipe.array for recipe in suite} == set(ARRAYS)


def test_drones_are_as_far_and_as_loud_as_noted(suite: list[Recipe]) -> None:
    for recipe in part(suite, "drone_distance"):
        (drone,) = recipe.sources
        positions = np.array(drone.positions_m) - (0.0, 0.0, recipe.pose.height_m)
        # Slow wandering of up to 0.6 m per axis is part of a flight.
        assert np.linalg.norm(positions, axis=1) == pytest.approx(recipe.notes["distance_m"], abs=3.0)
        assert recipe.ambient_dba == recipe.notes["ambient_dba"]
        assert drone.level_dba is not None
        assert DRONE_LEVELS["camera"].low_dba <= drone.level_dba <= DRONE_LEVELS["camera"].high_dba


def test_one_drone_flies_at_every_distance_and_ambient_level(suite: list[Recipe]) -> None:
    first = part(suite, "drone_distance")[: len(DISTANCES_M) * 3]
    assert len({(recipe.sources[0].clip, recipe.sources[0].level_dba, recipe.array) for recipe in first}) == 1
    assert len({recipe.bed for recipe in first}) > 1


def test_a_small_share_of_drones_still_comes_from_every_source() -> None:
    few = [recipe.sources[0].clip for recipe in perimeter_suite(per_snr=4, per_distance=4)]
    sources = {clip.path: clip.group.partition(":")[0] for clip in load_clips((5,)) if clip.label == "drone"}
    assert {sources[path] for path in few[:4]} == set(sources.values())
    by_distance = few[4 * len(DRONE_SNRS_DB) :][: 4 * len(DISTANCES_M) * 3]
    assert {sources[path] for path in by_distance} == set(sources.values())


def test_drones_by_snr_stand_still_and_move(suite: list[Recipe]) -> None:
    for snr_db in DRONE_SNRS_DB:
        chosen = [recipe.sources[0] for recipe in part(suite, "drone_snr") if recipe.notes["snr_db"] == snr_db]
        assert {source.snr_db for source in chosen} == {snr_db}
        swept = [np.linalg.norm(np.subtract(source.positions_m[-1], source.positions_m[0])) for source in chosen]
        assert min(swept) < 3.0
        assert max(swept) > 40.0


def test_overlaps_hold_pairs_of_one_class_and_crossings(suite: list[Recipe]) -> None:
    for recipe in part(suite, "overlaps"):
        one, two = recipe.sources
        kind = recipe.notes["kind"]
        assert (one.label == two.label) == (kind == "same class")
        before = wrap_azimuth_deg(azimuth_deg(two.positions_m[0]) - azimuth_deg(one.positions_m[0]))
        after = wrap_azimuth_deg(azimuth_deg(two.positions_m[-1]) - azimuth_deg(one.positions_m[-1]))
        if kind == "crossing":
            assert before * after < 0.0
        else:
            assert 39.9 < abs(before) < 170.1


def test_target_free_audio_has_every_weather_and_no_target(suite: list[Recipe]) -> None:
    for name in ("target_free", "hard_negatives"):
        recipes = part(suite, name)
        assert {recipe.weather.wind_m_s for recipe in recipes} == {0.0, 3.0, 6.0, 9.0}
        assert any(recipe.weather.rain_mm_h > 0.0 and recipe.rain for recipe in recipes)
    assert not {source.label for recipe in part(suite, "target_free") for source in recipe.sources} & set(CLASSES)
    assert "drone" not in {source.label for recipe in part(suite, "hard_negatives") for source in recipe.sources}


def test_faults_befall_the_same_scenes(suite: list[Recipe]) -> None:
    recipes = part(suite, "faults")
    for start in range(0, len(recipes), len(FAULTS)):
        group = recipes[start : start + len(FAULTS)]
        assert [recipe.notes["fault"] for recipe in group] == list(FAULTS)
        assert len({recipe.sources for recipe in group}) == 1
        assert len({recipe.sensors for recipe in group}) == len(FAULTS)
