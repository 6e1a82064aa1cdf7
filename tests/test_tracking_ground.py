"""What the ground does to elevations is what physics says, and is undone whichever way the array hangs."""

from typing import get_args

import numpy as np
import pytest

from appliance.angles import azimuth_elevation_deg, mount_rotation, unit_vector
from appliance.config import MountSettings, Surface, TrackingSettings
from appliance.dsp.features import FEATURE_NAMES, INTENSITY, FeatureExtractor
from appliance.geometry import load_array
from appliance.lab.world.atmosphere import Air
from appliance.lab.world.ground import FLOW_RESISTIVITY_PA_S_M2, spherical_wave_reflection
from appliance.lab.world.outdoors import hear_outdoors
from appliance.lab.world.trajectories import still
from appliance.tracking import Tracker
from appliance.tracking.ground import SHRINKS_TANGENT_BY, Ground
from appliance.types import AudioBlock, Direction, SceneFrame, SceneObject

_HARDEST = 4.0


@pytest.mark.parametrize("surface", FLOW_RESISTIVITY_PA_S_M2)
def test_the_factors_are_those_of_the_reflection_coefficient(surface: str) -> None:
    range_m, mic_height_m = 80.0, 3.0
    q = spherical_wave_reflection(
        np.geomspace(100.0, 4000.0, 200),
        FLOW_RESISTIVITY_PA_S_M2[surface],
        source_height_m=mic_height_m + range_m * np.tan(np.radians(20.0)),
        mic_height_m=mic_height_m,
        range_m=range_m,
    )
    energy = (np.abs(q) ** 2).mean()
    assert SHRINKS_TANGENT_BY[surface] == pytest.approx(min((1 + energy) / (1 - energy), _HARDEST), abs=0.1)


def test_a_site_can_name_every_ground_of_a_scene_and_none() -> None:
    assert set(get_args(Surface)) == set(SHRINKS_TANGENT_BY) == {"none", *FLOW_RESISTIVITY_PA_S_M2}


def test_a_noise_above_grass_is_found_where_it_is() -> None:
    """White noise at 33°, heard by the tetrahedron 3 m above grass: its mean intensity lies low, and is raised."""
    geometry = load_array("tetrahedron_4cm2")
    noise = np.random.default_rng(0).normal(0.0, 1.0, 64_000)
    place = still(tuple(80.0 * unit_vector(50.0, 33.0)))
    heard = hear_outdoors(noise, place, geometry.positions_m, air=Air(), surface="grass", array_height_m=3.0)
    samples = (heard.direct + heard.ground)[:, 16_000:].astype(np.float32)
    frames = FeatureExtractor(geometry).push(AudioBlock(samples, 16_000, 0, 0))
    values = np.stack([frame.values for frame in frames])
    weight = 10.0 ** values[:, 0] * values[:, FEATURE_NAMES.index("validity_xy")] ** 2
    intensity = (values[:, INTENSITY] * weight[:, None]).sum(axis=(0, 2))
    _, measured_deg = azimuth_elevation_deg(intensity)
    found = azimuth_elevation_deg(Ground(MountSettings()).raised(intensity / np.linalg.norm(intensity)))
    assert measured_deg < 21.0
    assert found == pytest.approx((50.0, 33.0), abs=6.0)


@pytest.mark.parametrize("tilt", [(0.0, 0.0), (20.0, -35.0), (0.0, 180.0)])
def test_up_is_away_from_the_ground_however_the_array_hangs(tilt: tuple[float, float]) -> None:
    pitch_deg, roll_deg = tilt
    ground = Ground(MountSettings(heading_true_deg=70.0, pitch_deg=pitch_deg, roll_deg=roll_deg, ground="grass"))
    rotation = mount_rotation(70.0, pitch_deg, roll_deg)
    raised = azimuth_elevation_deg(rotation @ ground.raised(rotation.T @ unit_vector(10.0, 15.0)))
    assert raised == pytest.approx((10.0, np.degrees(np.arctan(2.1 * np.tan(np.radians(15.0))))), abs=1e-6)
    below = rotation.T @ unit_vector(10.0, -15.0)
    assert np.array_equal(ground.raised(below), below)


def test_without_ground_nothing_is_raised() -> None:
    direction = unit_vector(10.0, 40.0)
    assert np.array_equal(Ground(MountSettings(ground="none")).raised(direction), direction)


def test_the_gain_of_an_error_is_the_slope_of_what_is_raised() -> None:
    ground = Ground(MountSettings(ground="grass"))
    measured_deg, step_deg = 15.0, 0.01
    low, high = (ground.raised(unit_vector(0.0, measured_deg + side * step_deg)) for side in (-1, 1))
    slope = (azimuth_elevation_deg(high)[1] - azimuth_elevation_deg(low)[1]) / (2 * step_deg)
    assert ground.elevation_gain((low + high) / np.linalg.norm(low + high)) == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize(("valid", "elevation_deg"), [(True, 30.3), (False, 0.0)])
def test_tracks_are_raised_where_elevation_is_told_at_all(valid: bool, elevation_deg: float) -> None:
    tracker = Tracker(TrackingSettings(), MountSettings(ground="grass"), detection_activity=0.15)
    scores = np.array([0.9, 0.0], np.float32)
    for frame in range(10):
        doa = Direction(30.0, 15.57 if valid else 0.0, valid)
        (track,) = tracker.update(
            SceneFrame((SceneObject(0, 1.0, scores, doa, 5.0),), 0.1 * frame, frame * 100_000_000)
        )
    assert track.doa.elevation_deg == pytest.approx(elevation_deg, abs=0.1)
    across, along = track.covariance_deg2[0][0], track.covariance_deg2[1][1]
    assert along > 2.0 * across
