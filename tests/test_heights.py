"""A planar array tells how high a sound is, though not whether above or below; the ground bends nothing of that."""

from collections.abc import Sequence

import numpy as np
import pytest
from plane_waves import at_array, hiss
from test_arrivals import ambience, frames, rotor

from appliance.angles import unit_vector
from appliance.dsp.arrivals import ArrivalFinder
from appliance.geometry import load_array
from appliance.lab.world.atmosphere import Air
from appliance.lab.world.outdoors import hear_outdoors
from appliance.lab.world.trajectories import still
from appliance.types import Direction, Float32Array, Track

_PLANAR = ("respeaker_usb_4mic", "minidsp_uma8_v2")


def track(azimuth_deg: float, *, number: int = 1, updated: bool = True) -> Track:
    probs = np.full(2, 0.1, np.float32)
    doa = Direction(azimuth_deg, 0.0, elevation_valid=False)
    return Track(number, "confirmed", doa, ((4.0, 0.0), (0.0, 4.0)), probs, 0, 0, updated=updated)


def heights_deg(finder: ArrivalFinder, samples: Float32Array, tracks: Sequence[Track]) -> list[float | None]:
    """What the last frame of microphone samples (mics, n) tells of them."""
    for hops in frames(samples):
        finder.find(hops)
        told = finder.with_heights(tracks)
    return [each.height_deg for each in told]


@pytest.mark.parametrize("name", _PLANAR)
@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize(("elevation_deg", "least", "most"), [(0.0, 0.0, 8.0), (40.0, 34.0, 46.0), (62.0, 55.0, 69.0)])
def test_a_rotor_as_loud_as_the_ambience_has_its_height(
    name: str, side: float, elevation_deg: float, least: float, most: float
) -> None:
    geometry = load_array(name)
    heard = at_array(rotor(3.0), geometry, 47.0, side * elevation_deg) + ambience(geometry, 3.0)
    (told,) = heights_deg(ArrivalFinder(geometry), np.float32(heard), [track(47.0)])
    assert told is not None
    assert least <= told <= most


@pytest.mark.parametrize("surface", ["grass", "asphalt"])
def test_the_ground_flattens_nothing(surface: str) -> None:
    geometry = load_array("respeaker_usb_4mic")
    noise = np.random.default_rng(0).normal(0.0, 1.0, 64_000)
    place = still(tuple(80.0 * unit_vector(-120.0, 33.0)))
    heard = hear_outdoors(noise, place, geometry.positions_m, air=Air(), surface=surface, array_height_m=3.0)
    samples = np.float32((heard.direct + heard.ground)[:, 16_000:])
    (told,) = heights_deg(ArrivalFinder(geometry), samples / samples.std(), [track(-120.0)])
    assert told == pytest.approx(33.0, abs=6.0)


def test_two_sounds_have_a_height_each() -> None:
    geometry = load_array("minidsp_uma8_v2")
    rng = np.random.default_rng(5)
    low, high = (
        at_array(hiss(rng, 3.0, 500.0), geometry, -170.0, 5.0),
        at_array(hiss(rng, 3.0, 1200.0), geometry, 20.0, 55.0),
    )
    mixed = low / low.std() + high / high.std()
    of_low, of_high = heights_deg(ArrivalFinder(geometry), np.float32(mixed), [track(-170.0), track(20.0, number=2)])
    assert of_low is not None
    assert of_high is not None
    assert of_low < 25.0
    assert of_high == pytest.approx(55.0, abs=10.0)


def test_it_follows_what_climbs_and_stays_while_a_track_coasts() -> None:
    geometry = load_array("respeaker_usb_4mic")
    finder = ArrivalFinder(geometry)
    (low,) = heights_deg(finder, np.float32(at_array(rotor(2.0), geometry, 80.0, 10.0)), [track(80.0)])
    high = np.float32(at_array(rotor(6.0), geometry, 80.0, 60.0))
    (still_low,) = heights_deg(finder, high, [track(80.0, updated=False)])
    (risen,) = heights_deg(finder, high, [track(80.0)])
    assert low is not None
    assert risen is not None
    assert still_low == low
    assert low < 25.0
    assert risen == pytest.approx(60.0, abs=8.0)


def test_where_nothing_is_heard_it_is_as_high_as_sounds_are() -> None:
    geometry = load_array("respeaker_usb_4mic")
    (told,) = heights_deg(ArrivalFinder(geometry), np.zeros((4, 16_000), np.float32), [track(0.0)])
    assert told == pytest.approx(10.0, abs=4.0)


def test_it_outlives_a_gap_and_a_microphone() -> None:
    geometry = load_array("minidsp_uma8_v2")
    finder = ArrivalFinder(geometry)
    samples = np.float32(at_array(rotor(2.0), geometry, 80.0, 50.0))
    heights_deg(finder, samples, [track(80.0)])
    hops = next(frames(samples))
    finder.find(hops, after_gap=True)
    (after,) = finder.with_heights([track(80.0)])
    samples[2] = 0.0
    for hops in frames(samples, (0, 1, 3, 4, 5, 6)):
        finder.find(hops)
        (without,) = finder.with_heights([track(80.0)])
    assert after.height_deg == pytest.approx(50.0, abs=6.0)
    assert without.height_deg == pytest.approx(50.0, abs=6.0)


@pytest.mark.parametrize("left", [(0,), (0, 1)])
def test_what_tells_no_direction_tells_no_height(left: tuple[int, ...]) -> None:
    geometry = load_array("respeaker_usb_4mic")
    finder = ArrivalFinder(geometry)
    for hops in frames(np.float32(at_array(rotor(1.0), geometry, 80.0, 50.0)), left):
        finder.find(hops)
    own = track(80.0)
    assert finder.with_heights([own]) == [own]


def test_an_array_that_tells_elevation_is_left_alone() -> None:
    geometry = load_array("tetrahedron_4cm2")
    finder = ArrivalFinder(geometry)
    hops = next(frames(np.float32(at_array(rotor(1.0), geometry, 0.0, 30.0))))
    finder.find(hops)
    own = track(0.0)
    assert finder.with_heights([own]) == [own]
