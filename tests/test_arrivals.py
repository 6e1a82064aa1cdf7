"""Where the strongest sounds come from: found below the ambience, absent where there is nothing, followed where it goes."""

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
    """The strongest after all of them."""
    return [finder.find(hops) for hops in frames(samples, mics)][-1][0]


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
    strengths = [[each.strength for each in finder.find(hops)] for hops in frames(ambience(geometry, 6.0))][10:]
    assert (np.mean(np.array(strengths) >= _ENOUGH, axis=0) < 0.05).all()


@pytest.mark.parametrize("name", shipped_arrays())
@pytest.mark.parametrize("weaker_db", [0.0, 12.0])
def test_a_second_sound_is_found_beside_a_louder_one(name: str, weaker_db: float) -> None:
    """Rotors whose harmonics lie elsewhere, in ambience 10 dB below the fainter one."""
    geometry = load_array(name)
    faint = 10.0 ** (-weaker_db / 20.0)
    heard = at_array(rotor(2.0), geometry, 47.0) + faint * at_array(rotor(2.0, 97.0), geometry, 160.0)
    finder = ArrivalFinder(geometry)
    said = [finder.find(hops) for hops in frames(np.float32(heard + 0.3 * faint * ambience(geometry, 2.0)))]
    first, second = said[-1]
    assert second.strength >= _ENOUGH
    azimuths_deg = sorted(each.doa.azimuth_deg for each in (first, second))
    np.testing.assert_allclose(azimuths_deg, [47.0, 160.0], atol=10.0)


@pytest.mark.parametrize("name", shipped_arrays())
def test_one_sound_alone_leaves_no_second(name: str) -> None:
    geometry = load_array(name)
    heard = at_array(rotor(3.0), geometry, 47.0, 0.0 if geometry.is_planar else 35.0)
    finder = ArrivalFinder(geometry)
    said = [finder.find(hops) for hops in frames(np.float32(heard + 0.3 * ambience(geometry, 3.0)))][10:]
    assert all(first.strength > 10.0 * _ENOUGH for first, _ in said)
    assert np.mean([second.strength >= _ENOUGH for _, second in said]) < 0.1


@pytest.mark.parametrize("name", shipped_arrays())
def test_an_echo_six_decibels_weaker_is_no_second_sound(name: str) -> None:
    """Off a wall five metres behind the array, as far as sound goes in 30 ms."""
    geometry, sound = load_array(name), rotor(3.0)
    echo = np.concatenate([np.zeros(480), sound[:-480]])
    heard = at_array(sound, geometry, 47.0) + 0.5 * at_array(echo, geometry, 160.0) + 0.1 * ambience(geometry, 3.0)
    finder = ArrivalFinder(geometry)
    strengths = [finder.find(hops)[1].strength for hops in frames(np.float32(heard))][10:]
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


@pytest.mark.parametrize("name", shipped_arrays())
def test_what_is_over_sounds_no_more_however_well_it_is_remembered(name: str) -> None:
    """Two seconds of a rotor, then ambience alone, 20 dB below it."""
    geometry = load_array(name)
    heard = at_array(rotor(2.0), geometry, 47.0, 0.0 if geometry.is_planar else 35.0)
    heard = np.pad(heard, ((0, 0), (0, RATE_HZ))) + 0.1 * ambience(geometry, 3.0)
    finder = ArrivalFinder(geometry)
    first = [finder.find(hops)[0] for hops in frames(np.float32(heard))]
    assert all(each.sounding for each in first[3:20])
    assert all(each.strength >= _ENOUGH and not each.sounding for each in first[21:28])


@pytest.mark.parametrize("name", shipped_arrays())
def test_a_rotor_six_decibels_below_the_ambience_is_not_over_while_it_lasts(name: str) -> None:
    geometry = load_array(name)
    heard = at_array(0.5 * rotor(6.0), geometry, 47.0, 0.0 if geometry.is_planar else 35.0)
    finder = ArrivalFinder(geometry)
    first = [finder.find(hops)[0] for hops in frames(np.float32(heard + ambience(geometry, 6.0)))][10:]
    assert np.mean([each.sounding for each in first]) > 0.9


def test_a_gap_is_forgotten_with_what_came_before() -> None:
    geometry = load_array("tetrahedron_4cm2")
    finder = ArrivalFinder(geometry)
    last(finder, np.float32(at_array(rotor(2.0), geometry, 80.0, 20.0)))
    after = list(frames(np.float32(at_array(0.01 * rotor(0.2), geometry, -60.0, 20.0))))
    arrival, _ = finder.find(after[0], after_gap=True)
    assert abs(wrap_azimuth_deg(arrival.doa.azimuth_deg - -60.0)) < 15.0


def test_a_dead_microphone_is_left_out() -> None:
    geometry = load_array("minidsp_uma8_v2")
    samples = np.float32(at_array(rotor(2.0), geometry, 115.0) + 0.5 * ambience(geometry, 2.0))
    samples[2] = 0.0
    mics = tuple(mic for mic in range(geometry.mics) if mic != 2)
    arrival = last(ArrivalFinder(geometry), samples, mics)
    assert arrival.strength >= _ENOUGH
    assert abs(wrap_azimuth_deg(arrival.doa.azimuth_deg - 115.0)) < 4.0
