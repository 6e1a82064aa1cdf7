"""Where the strongest sound comes from: found below the ambience, absent where there is nothing, followed where it goes."""

from collections.abc import Iterator

import numpy as np
import pytest
from plane_waves import RATE_HZ, Samples, at_array

from appliance.angles import arc_distance_deg, wrap_azimuth_deg
from appliance.dsp.arrivals import ArrivalFinder
from appliance.geometry import ArrayGeometry, load_array, shipped_arrays
from appliance.lab.world.diffuse import diffuse_field
from appliance.types import Arrival, FeatureFrame, Float32Array

_HOP, _HOPS = 320, 5
_ENOUGH = 3.0
"""What a site asks of an arrival by default (`arrival_strength`)."""


def rotor(seconds: float, hz: float = 140.0) -> Samples:
    """(n,) RMS 1: harmonics up to 4 kHz, each a tenth weaker than the one before."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tones = sum(0.9**k * np.sin(2.0 * np.pi * hz * k * time_s + k * k) for k in range(1, 28))
    return np.asarray(tones / np.std(tones), np.float64)


def ambience(geometry: ArrayGeometry, seconds: float, seed: int = 3) -> Float32Array:
    """(mics, n) RMS 1: from all around, the same power in every octave, as outdoors."""
    rng, n = np.random.default_rng(seed), 17 * RATE_HZ
    hz = np.fft.rfftfreq(n, 1.0 / RATE_HZ)
    pink = np.fft.irfft(np.fft.rfft(rng.normal(size=n)) / np.sqrt(np.maximum(hz, 50.0)), n)
    # In a field that is shorter its directions repeat each other.
    field = diffuse_field(rng, [pink], geometry.positions_m, 6 * RATE_HZ)[:, : round(seconds * RATE_HZ)]
    return np.asarray(field / field.std(), np.float32)


def frames(samples: Float32Array, mics: tuple[int, ...] | None = None) -> Iterator[list[FeatureFrame]]:
    """Label frames of microphone samples (mics, n)."""
    used = tuple(range(len(samples))) if mics is None else mics
    length = _HOP * _HOPS
    for start in range(0, samples.shape[1] - length + 1, length):
        hops = [samples[:, at : at + _HOP] for at in range(start, start + length, _HOP)]
        yield [FeatureFrame(np.zeros((0, 0), np.float32), hop, used, 0.0, 0) for hop in hops]


def last(finder: ArrivalFinder, samples: Float32Array, mics: tuple[int, ...] | None = None) -> Arrival:
    """What is said after all of them."""
    return [finder.find(hops) for hops in frames(samples, mics)][-1]


@pytest.mark.parametrize("name", shipped_arrays())
@pytest.mark.parametrize("azimuth_deg", [-170.0, 47.0])
def test_a_rotor_six_decibels_below_the_ambience_is_found(name: str, azimuth_deg: float) -> None:
    geometry = load_array(name)
    heard = at_array(0.5 * rotor(2.0), geometry, azimuth_deg, 0.0 if geometry.is_planar else 35.0)
    arrival = last(ArrivalFinder(geometry), np.float32(heard + ambience(geometry, 2.0)))
    assert arrival.strength >= _ENOUGH
    assert arrival.doa.elevation_valid is not geometry.is_planar
    if geometry.is_planar:
        assert abs(wrap_azimuth_deg(arrival.doa.azimuth_deg - azimuth_deg)) < 6.0
    else:
        assert arc_distance_deg(arrival.doa.azimuth_deg, arrival.doa.elevation_deg, azimuth_deg, 35.0) < 6.0


@pytest.mark.parametrize("name", shipped_arrays())
def test_ambience_alone_is_no_arrival(name: str) -> None:
    geometry = load_array(name)
    finder = ArrivalFinder(geometry)
    strengths = [finder.find(hops).strength for hops in frames(ambience(geometry, 6.0))][10:]
    assert np.mean(np.array(strengths) >= _ENOUGH) < 0.05


def test_silence_is_no_arrival() -> None:
    geometry = load_array("respeaker_usb_4mic")
    assert last(ArrivalFinder(geometry), np.zeros((4, 3 * RATE_HZ), np.float32)).strength < _ENOUGH


def test_it_speaks_of_the_last_second_alone() -> None:
    geometry = load_array("tetrahedron_4cm2")
    finder = ArrivalFinder(geometry)
    last(finder, np.float32(at_array(rotor(3.0), geometry, 80.0, 20.0)))
    arrival = last(finder, np.float32(at_array(0.1 * rotor(1.2), geometry, -60.0, 20.0)))
    assert arc_distance_deg(arrival.doa.azimuth_deg, arrival.doa.elevation_deg, -60.0, 20.0) < 4.0


def test_a_gap_is_forgotten_with_what_came_before() -> None:
    geometry = load_array("tetrahedron_4cm2")
    finder = ArrivalFinder(geometry)
    last(finder, np.float32(at_array(rotor(2.0), geometry, 80.0, 20.0)))
    after = list(frames(np.float32(at_array(0.01 * rotor(0.2), geometry, -60.0, 20.0))))
    arrival = finder.find(after[0], after_gap=True)
    assert abs(wrap_azimuth_deg(arrival.doa.azimuth_deg - -60.0)) < 15.0


def test_a_dead_microphone_is_left_out() -> None:
    geometry = load_array("minidsp_uma8_v2")
    samples = np.float32(at_array(rotor(2.0), geometry, 115.0) + 0.5 * ambience(geometry, 2.0))
    samples[2] = 0.0
    mics = tuple(mic for mic in range(geometry.mics) if mic != 2)
    arrival = last(ArrivalFinder(geometry), samples, mics)
    assert arrival.strength >= _ENOUGH
    assert abs(wrap_azimuth_deg(arrival.doa.azimuth_deg - 115.0)) < 4.0
