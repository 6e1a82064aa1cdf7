"""What flies is likelier from above, and nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest

from appliance.config import MountSettings
from appliance.tracking.aloft import Aloft
from appliance.types import Direction, Track

_CLASSES = ("siren", "drone", "helicopter")


def track(height_deg: float | None, *, planar: bool = False, probs: tuple[float, ...] = (0.3, 0.4, 0.1)) -> Track:
    doa = Direction(90.0, 0.0 if planar or height_deg is None else height_deg, elevation_valid=not planar)
    covariance = ((4.0, 0.0), (0.0, 4.0))
    return Track(1, "confirmed", doa, covariance, np.array(probs, np.float32), 0, 0, height_deg=height_deg)


def weighed(of: Track, *, roll_deg: float = 0.0) -> list[float]:
    (told,) = Aloft(_CLASSES, MountSettings(roll_deg=roll_deg)).weigh([of])
    assert told == replace(of, class_probs=told.class_probs)
    return [float(each) for each in told.class_probs]


@pytest.mark.parametrize(
    ("height_deg", "odds"), [(-20.0, 0.5), (10.0, 0.5), (20.0, 1.0), (30.0, 3.0), (60.0, 3.0), (80.0, 1.0)]
)
def test_the_odds_of_a_drone_go_with_its_height_within_bounds(height_deg: float, odds: float) -> None:
    siren, drone, helicopter = weighed(track(height_deg))
    assert drone / (1.0 - drone) == pytest.approx(odds * 0.4 / 0.6)
    assert siren / helicopter == pytest.approx(3.0)
    assert siren / (1.0 - siren - drone - helicopter) == pytest.approx(0.3 / 0.2)


def test_higher_is_never_less_likely_up_to_what_reaches_all_microphones_at_once() -> None:
    drones = [weighed(track(float(height_deg)))[1] for height_deg in range(-90, 66)]
    assert drones == sorted(drones)


def test_without_a_height_nothing_changes() -> None:
    assert weighed(track(None)) == pytest.approx([0.3, 0.4, 0.1])


def test_what_is_sure_stays_a_probability() -> None:
    siren, drone, helicopter = weighed(track(60.0, probs=(0.3, 0.65, 0.1)))
    assert 0.65 < drone < 1.0
    assert siren > 0.0
    assert helicopter > 0.0


@pytest.mark.parametrize("roll_deg", [0.0, 180.0])
def test_a_planar_array_hears_from_above_whichever_way_up_it_hangs(roll_deg: float) -> None:
    assert weighed(track(40.0, planar=True), roll_deg=roll_deg)[1] == pytest.approx(weighed(track(40.0))[1])


def test_a_tilted_array_knows_the_horizon() -> None:
    """Its left side is 40° up: what is in its own plane there is high, and what is as far below the plane is on the ground."""
    assert weighed(track(0.0), roll_deg=40.0)[1] == pytest.approx(weighed(track(40.0))[1])
    assert weighed(track(-40.0), roll_deg=40.0)[1] == pytest.approx(weighed(track(0.0))[1])


def test_what_a_tilted_planar_array_hears_may_be_high_or_on_the_ground() -> None:
    """Its left side is 20° down: what is 20° off its plane there is on the horizon or 40° in the ground; on its right on the horizon or 40° up."""
    on_the_left = track(20.0, planar=True)
    on_the_right = replace(on_the_left, doa=replace(on_the_left.doa, azimuth_deg=-90.0))
    assert weighed(on_the_left, roll_deg=-20.0)[1] == pytest.approx(weighed(track(0.0))[1])
    drone = weighed(on_the_right, roll_deg=-20.0)[1]
    assert drone / (1.0 - drone) == pytest.approx((0.5 * 3.0) ** 0.5 * 0.4 / 0.6)
