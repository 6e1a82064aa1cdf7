"""Flights, walks and drives at the speeds and heights of the things themselves."""

import numpy as np
import pytest

from appliance.errors import ConfigError
from appliance.lab.world.trajectories import (
    DRONE_MANOEUVRES,
    INTERVAL_S,
    Trajectory,
    approach,
    climb,
    draw_drive,
    draw_drone,
    draw_walk,
    orbit,
    still,
    straight,
    unsteady,
)

TIMES_S = np.linspace(0.0, 20.0, 2001)


def speeds_m_s(trajectory: Trajectory) -> np.ndarray:
    return np.asarray(np.linalg.norm(trajectory.at_with_velocity(TIMES_S)[1], axis=-1))


def test_the_spline_goes_through_the_points_and_straight_on_beyond() -> None:
    points = np.array([[0.0, 0.0, 1.0], [1.0, 2.0, 1.0], [3.0, 3.0, 2.0], [4.0, 3.0, 2.0]])
    curve = Trajectory(points, interval_s=0.5, start_s=10.0)
    np.testing.assert_allclose(curve.at(10.0 + 0.5 * np.arange(4)), points, atol=1e-12)
    last, velocity = curve.at_with_velocity(11.5)
    np.testing.assert_allclose(curve.at(13.0), last + 1.5 * velocity, atol=1e-12)
    first, velocity = curve.at_with_velocity(10.0)
    np.testing.assert_allclose(curve.at(8.0), first - 2.0 * velocity, atol=1e-12)


def test_velocity_is_the_slope_of_the_position() -> None:
    curve = orbit(30.0, 10.0, 12.0, seconds=20.0)
    step_s = 1e-4
    slope = (curve.at(TIMES_S + step_s) - curve.at(TIMES_S - step_s)) / (2 * step_s)
    np.testing.assert_allclose(curve.at_with_velocity(TIMES_S)[1], slope, atol=1e-4)


def test_what_is_still_stays() -> None:
    position, velocity = still((1.0, 2.0, 3.0)).at_with_velocity([[0.0, 5.0], [-3.0, 1e4]])
    assert position.shape == velocity.shape == (2, 2, 3)
    assert not velocity.any()
    np.testing.assert_array_equal(position[1, 1], [1.0, 2.0, 3.0])


def test_a_transit_is_straight_and_even() -> None:
    flight = straight((-100.0, 40.0, 30.0), (0.0, 40.0, 30.0), 10.0, seconds=20.0)
    np.testing.assert_allclose(flight.at(10.0), [0.0, 40.0, 30.0], atol=1e-9)
    np.testing.assert_allclose(speeds_m_s(flight), 10.0, atol=1e-9)


def test_an_approach_comes_to_rest_before_the_array() -> None:
    flight = approach((120.0, 160.0, 25.0), 15.0, seconds=25.0, nearest_m=20.0, braking_m_s2=3.0)
    np.testing.assert_allclose(flight.at(25.0), [12.0, 16.0, 25.0], atol=1e-6)
    assert speeds_m_s(flight)[0] == pytest.approx(15.0, abs=1e-6)
    acceleration = np.diff(speeds_m_s(flight)) / np.diff(TIMES_S)
    assert np.abs(acceleration).max() < 4.0
    assert np.median(acceleration[(TIMES_S[1:] > 10.5) & (TIMES_S[1:] < 15.0)]) == pytest.approx(-3.0, abs=0.01)


def test_an_approach_that_is_there_already_stays() -> None:
    np.testing.assert_allclose(speeds_m_s(approach((10.0, 0.0, 5.0), 15.0, seconds=5.0)), 0.0, atol=1e-9)


def test_an_orbit_is_round_level_and_counter_clockwise() -> None:
    circle = orbit(50.0, 20.0, 10.0, seconds=20.0, azimuth_deg=90.0, centre_m=(5.0, 0.0))
    place = circle.at(TIMES_S) - [5.0, 0.0, 20.0]
    np.testing.assert_allclose(np.hypot(place[:, 0], place[:, 1]), 50.0, rtol=1e-5)
    np.testing.assert_allclose(place[:, 2], 0.0, atol=1e-9)
    angle = np.unwrap(np.arctan2(place[:, 1], place[:, 0]))
    assert angle[0] == pytest.approx(np.pi / 2)
    assert angle[-1] - angle[0] == pytest.approx(10.0 * 20.0 / 50.0, rel=1e-4)


def test_a_climb_ends_in_a_hover() -> None:
    flight = climb((30.0, 0.0, -2.0), 38.0, 4.0, seconds=20.0)
    assert flight.at(5.0)[2] == pytest.approx(18.0, abs=0.01)
    assert np.abs(np.diff(speeds_m_s(flight)) / np.diff(TIMES_S)).max() < 4.0
    assert flight.at(15.0)[2] == pytest.approx(38.0, abs=0.01)
    down = climb((30.0, 0.0, 38.0), -2.0, 4.0, seconds=20.0)
    assert down.at(5.0)[2] == pytest.approx(18.0, abs=0.01)


def test_wandering_has_its_spread_is_slow_and_keeps_off_the_ground() -> None:
    hover = climb((30.0, 0.0, 5.0), 5.0, 0.0, seconds=600.0)
    wandering = unsteady(np.random.default_rng(0), hover, 0.5, lowest_z_m=-1.0)
    offsets = wandering.positions_m - hover.positions_m
    np.testing.assert_allclose(offsets.std(axis=0), 0.5, rtol=0.15)
    power = np.abs(np.fft.rfft(offsets, axis=0)) ** 2
    frequencies_hz = np.fft.rfftfreq(len(offsets), INTERVAL_S)
    assert power[frequencies_hz > 0.6].sum() < 1e-3 * power.sum()
    low = unsteady(np.random.default_rng(0), hover, 5.0, lowest_z_m=4.0)
    assert low.positions_m[:, 2].min() == 4.0


@pytest.mark.parametrize("manoeuvre", DRONE_MANOEUVRES)
@pytest.mark.parametrize("distance_m", [15.0, 100.0, 800.0])
def test_drones_fly_as_drones_do(manoeuvre: str, distance_m: float) -> None:
    """At the distance asked for, above ground and below 120 m, at no more than 25 m/s and 1 g."""
    for seed in range(20):
        flight = draw_drone(
            np.random.default_rng(seed), manoeuvre, distance_m, seconds=20.0, array_height_m=3.0, start_s=0.0
        )
        position, velocity = flight.at_with_velocity(TIMES_S)
        distance = np.linalg.norm(position, axis=1)
        height_m = position[:, 2] + 3.0
        assert height_m.min() > 0.5
        assert height_m.max() < 123.0
        assert np.linalg.norm(velocity, axis=1).max() < 25.0
        acceleration = np.diff(velocity, axis=0) / np.diff(TIMES_S)[:, None]
        assert np.linalg.norm(acceleration, axis=1).max() < 10.0
        slack_m = 3.0
        if manoeuvre in {"hover", "orbit"}:
            assert np.abs(distance - distance_m).max() < slack_m
        elif manoeuvre == "transit":
            assert distance.min() == pytest.approx(distance_m, abs=slack_m)
        elif manoeuvre == "approach":
            assert distance[0] == pytest.approx(distance_m, abs=slack_m)
            assert distance[-1] < distance_m + slack_m
        else:
            top = np.hypot(position[0, 0], position[0, 1])
            assert top < distance_m + slack_m


def test_flights_differ_by_seed_alone() -> None:
    flights = [
        draw_drone(np.random.default_rng(seed), "transit", 60.0, seconds=5.0, array_height_m=2.0) for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(flights[0].positions_m, flights[1].positions_m)
    assert np.abs(flights[0].positions_m - flights[2].positions_m).max() > 1.0


def test_people_walk_and_vehicles_drive_on_the_ground() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        walk = draw_walk(rng, 8.0, seconds=20.0, array_height_m=3.0)
        drive = draw_drive(rng, 30.0, seconds=20.0, array_height_m=3.0)
        assert 0.8 <= speeds_m_s(walk).mean() <= 2.0
        assert 8.0 <= speeds_m_s(drive).mean() <= 25.0
        np.testing.assert_allclose(walk.at(TIMES_S)[:, 2], -2.95)
        np.testing.assert_allclose(drive.at(TIMES_S)[:, 2], -2.5)
        for trajectory, distance_m in ((walk, 8.0), (drive, 30.0)):
            passed = trajectory.at(TIMES_S)
            assert np.hypot(passed[:, 0], passed[:, 1]).min() == pytest.approx(distance_m, abs=0.02)


def test_what_is_no_trajectory_is_refused() -> None:
    for wrong in (np.zeros((0, 3)), np.zeros(3), np.full((4, 3), np.nan)):
        with pytest.raises(ConfigError, match="positions_m"):
            Trajectory(wrong)
    with pytest.raises(ConfigError, match="interval_s"):
        Trajectory(np.zeros((2, 3)), interval_s=0.0)
    with pytest.raises(ConfigError, match=r"loop.*hover"):
        draw_drone(np.random.default_rng(0), "loop", 50.0, seconds=5.0, array_height_m=2.0)
