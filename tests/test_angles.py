"""Angles: the convention holds everywhere, at every seam, under every mount."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.angles import (
    arc_distance_deg,
    azimuth_elevation_deg,
    mount_rotation,
    true_bearing_elevation_deg,
    unit_vector,
    wrap_azimuth_deg,
    wrap_bearing_deg,
)

any_angle = st.floats(-1e6, 1e6)
azimuths = st.floats(-180.0, 180.0, exclude_max=True)
elevations = st.floats(-90.0, 90.0)
headings = st.floats(0.0, 360.0, exclude_max=True)
pitches = st.floats(-90.0, 90.0)
rolls = st.floats(-180.0, 180.0)


@given(any_angle)
def test_wrapping_stays_in_range_and_on_the_same_direction(angle_deg: float) -> None:
    azimuth_deg, bearing_deg = wrap_azimuth_deg(angle_deg), wrap_bearing_deg(angle_deg)
    assert -180.0 <= azimuth_deg < 180.0
    assert 0.0 <= bearing_deg < 360.0
    for wrapped_deg in (azimuth_deg, bearing_deg):
        assert math.remainder(wrapped_deg - angle_deg, 360.0) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("angle_deg", "azimuth_deg", "bearing_deg"),
    [(180.0, -180.0, 180.0), (-180.0, -180.0, 180.0), (360.0, 0.0, 0.0), (-1e-20, 0.0, 0.0), (540.0, -180.0, 180.0)],
)
def test_the_seams_belong_to_one_side(angle_deg: float, azimuth_deg: float, bearing_deg: float) -> None:
    assert wrap_azimuth_deg(angle_deg) == pytest.approx(azimuth_deg, abs=1e-12)
    assert wrap_bearing_deg(angle_deg) == bearing_deg


@pytest.mark.parametrize(
    ("azimuth_deg", "elevation_deg", "vector"),
    [(0, 0, (1, 0, 0)), (90, 0, (0, 1, 0)), (-90, 0, (0, -1, 0)), (-180, 0, (-1, 0, 0)), (37, 90, (0, 0, 1))],
)
def test_x_is_front_y_is_left_z_is_up(
    azimuth_deg: float, elevation_deg: float, vector: tuple[float, float, float]
) -> None:
    np.testing.assert_allclose(unit_vector(azimuth_deg, elevation_deg), vector, atol=1e-12)


@given(azimuths, st.floats(-89.9, 89.9), st.floats(1e-3, 1e3))
def test_direction_to_vector_and_back(azimuth_deg: float, elevation_deg: float, length: float) -> None:
    azimuth_back_deg, elevation_back_deg = azimuth_elevation_deg(length * unit_vector(azimuth_deg, elevation_deg))
    assert math.remainder(azimuth_back_deg - azimuth_deg, 360.0) == pytest.approx(0.0, abs=1e-6)
    assert elevation_back_deg == pytest.approx(elevation_deg, abs=1e-6)


def test_the_zero_vector_has_a_direction_so_that_silence_does_not_crash() -> None:
    assert azimuth_elevation_deg(np.zeros(3)) == (0.0, 0.0)


@given(azimuths, elevations, azimuths, elevations)
def test_arc_distance_is_symmetric_and_zero_only_on_itself(a1: float, e1: float, a2: float, e2: float) -> None:
    distance_deg = arc_distance_deg(a1, e1, a2, e2)
    assert 0.0 <= distance_deg <= 180.0
    assert distance_deg == pytest.approx(arc_distance_deg(a2, e2, a1, e1), abs=1e-9)
    assert arc_distance_deg(a1, e1, a1, e1) == pytest.approx(0.0, abs=1e-9)


@given(azimuths, elevations, st.floats(0.0, 1e-3))
def test_arc_distance_keeps_its_precision_between_near_directions(
    azimuth_deg: float, elevation_deg: float, step_deg: float
) -> None:
    far_deg = elevation_deg - step_deg if elevation_deg > 0 else elevation_deg + step_deg
    assert arc_distance_deg(azimuth_deg, elevation_deg, azimuth_deg, far_deg) == pytest.approx(step_deg, abs=1e-9)


def test_azimuth_shrinks_towards_the_zenith() -> None:
    assert arc_distance_deg(-10.0, 0.0, 10.0, 0.0) == pytest.approx(20.0)
    assert arc_distance_deg(-10.0, 60.0, 10.0, 60.0) < 10.1
    assert arc_distance_deg(-90.0, 90.0, 90.0, 90.0) == pytest.approx(0.0, abs=1e-9)


@given(headings, pitches, rolls)
def test_a_mount_rotates_and_neither_mirrors_nor_stretches(heading: float, pitch: float, roll: float) -> None:
    rotation = mount_rotation(heading, pitch, roll)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


@given(headings, pitches, rolls, azimuths, elevations, azimuths, elevations)
def test_a_mount_keeps_the_angle_between_two_sources(
    heading: float, pitch: float, roll: float, a1: float, e1: float, a2: float, e2: float
) -> None:
    rotation = mount_rotation(heading, pitch, roll)
    b1, f1 = true_bearing_elevation_deg(a1, e1, rotation)
    b2, f2 = true_bearing_elevation_deg(a2, e2, rotation)
    assert arc_distance_deg(b1, f1, b2, f2) == pytest.approx(arc_distance_deg(a1, e1, a2, e2), abs=1e-5)


@given(headings, azimuths, st.floats(-89.0, 89.0))
def test_on_a_level_mount_bearing_is_heading_minus_azimuth(heading: float, azimuth: float, elevation: float) -> None:
    bearing_deg, elevation_deg = true_bearing_elevation_deg(azimuth, elevation, mount_rotation(heading, 0.0, 0.0))
    assert 0.0 <= bearing_deg < 360.0
    assert math.remainder(bearing_deg - (heading - azimuth), 360.0) == pytest.approx(0.0, abs=1e-6)
    assert elevation_deg == pytest.approx(elevation, abs=1e-6)


@pytest.mark.parametrize(
    ("heading", "pitch", "roll", "azimuth", "elevation", "bearing_true", "elevation_local"),
    [
        (90.0, 0.0, 0.0, 0.0, 0.0, 90.0, 0.0),  # facing east: the front is east
        (90.0, 0.0, 0.0, 90.0, 0.0, 0.0, 0.0),  # ... and left of east is north
        (0.0, 30.0, 0.0, 0.0, 0.0, 0.0, 30.0),  # front up: what sounds ahead is above the horizon
        (0.0, 30.0, 0.0, -180.0, 0.0, 180.0, -30.0),  # ... what sounds behind is below
        (0.0, 30.0, 0.0, 90.0, 0.0, 270.0, 0.0),  # ... and the left stays where it was
        (0.0, 0.0, 20.0, 90.0, 0.0, 270.0, 20.0),  # left side up: what sounds left is above
        (0.0, 0.0, 20.0, -90.0, 0.0, 90.0, -20.0),
        (0.0, 0.0, 20.0, 0.0, 0.0, 0.0, 0.0),
        (0.0, 0.0, 180.0, 90.0, 0.0, 90.0, 0.0),  # hung upside down: left becomes right
        (0.0, 0.0, 180.0, 0.0, 40.0, 0.0, -40.0),  # ... and above becomes below
        (45.0, 90.0, 0.0, 90.0, 0.0, 315.0, 0.0),  # on a wall, looking up
        # Rolled first, then pitched: with the left side rolled straight up, a pitch leans it backwards.
        (0.0, 30.0, 90.0, 90.0, 0.0, 180.0, 60.0),
    ],
)
def test_signs_of_heading_pitch_and_roll(
    heading: float,
    pitch: float,
    roll: float,
    azimuth: float,
    elevation: float,
    bearing_true: float,
    elevation_local: float,
) -> None:
    bearing_deg, elevation_deg = true_bearing_elevation_deg(azimuth, elevation, mount_rotation(heading, pitch, roll))
    assert math.remainder(bearing_deg - bearing_true, 360.0) == pytest.approx(0.0, abs=1e-9)
    assert elevation_deg == pytest.approx(elevation_local, abs=1e-9)
