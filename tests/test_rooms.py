"""Image sources against pyroomacoustics' own responses and against an exponential decay."""

import numpy as np
import pyroomacoustics
import pytest

from appliance.lab.world.recipe import Room
from appliance.lab.world.rooms import foa_responses, images, impulse_responses, reverberate

RATE_HZ = 16_000
ROOM = Room(size_m=(12.0, 9.0, 4.0), array_m=(5.0, 4.0), absorption=(0.2, 0.3, 0.4, 0.2, 0.5, 0.6), order=8)
YARD = Room(size_m=(12.0, 9.0, 4.0), array_m=(5.0, 4.0), absorption=(0.2, 0.3, 0.4, 0.2, 0.5, 1.0), order=8)
SOURCE = (3.0, 2.0, 1.5)
MICS = np.array([(0.0, 0.0, 1.2), (0.04, -0.03, 1.25)])


@pytest.mark.parametrize("room", [ROOM, YARD])
def test_responses_are_those_of_pyroomacoustics(room: Room) -> None:
    """Spectra to 1 % of their energy, 100 Hz to 6.5 kHz; above, its shorter sinc falls off."""
    walls = ("west", "east", "south", "north", "floor", "ceiling")
    materials = {wall: pyroomacoustics.Material(share) for wall, share in zip(walls, room.absorption, strict=True)}
    high_pass = pyroomacoustics.constants.get("rir_hpf_enable")
    pyroomacoustics.constants.set("rir_hpf_enable", False)
    try:
        model = pyroomacoustics.ShoeBox(room.size_m, fs=RATE_HZ, materials=materials, max_order=room.order)
        model.set_sound_speed(343.0)
        model.add_source([8.0, 6.0, 1.5])
        model.add_microphone_array((MICS + np.array((5.0, 4.0, 0.0))).T)
        model.compute_rir()
    finally:
        pyroomacoustics.constants.set("rir_hpf_enable", high_pass)
    found = impulse_responses(images(room, SOURCE), MICS, 343.0)
    late = pyroomacoustics.constants.get("frac_delay_length") // 2
    for mic, response in enumerate(found):
        expected = model.rir[mic][0][late:]
        size = 1 << 15
        ours, theirs = np.fft.rfft(response, size), np.fft.rfft(expected, size)
        frequencies = np.fft.rfftfreq(size, 1 / RATE_HZ)
        inside = (frequencies > 100.0) & (frequencies < 6500.0)
        error = (np.abs(ours - theirs)[inside] ** 2).sum() / (np.abs(theirs)[inside] ** 2).sum()
        assert np.sqrt(error) < 0.01


def test_an_open_side_mirrors_nothing_and_a_hard_wall_all() -> None:
    found = images(ROOM.model_copy(update={"absorption": (0.0, 1.0, 1.0, 1.0, 1.0, 1.0), "order": 3}), SOURCE)
    assert sorted(map(tuple, np.round(found.positions_m, 9).tolist())) == [(-13.0, 2.0, 1.5), (3.0, 2.0, 1.5)]
    assert found.gains == pytest.approx(1.0)


def test_a_room_rings_as_sabine_and_eyring_say() -> None:
    """T60 = 0.161·V / (−S·ln(1 − α)): within a fifth, of a cube of 5 m that takes a fifth at every wall."""
    room = Room(size_m=(5.0, 5.0, 5.0), array_m=(2.2, 2.7), absorption=(0.2,) * 6, order=30)
    response = impulse_responses(images(room, (1.0, 1.2, 1.6)), np.array([(0.0, 0.0, 2.3)]), 343.0)[0]
    decay_db = 10.0 * np.log10(np.cumsum((response**2)[::-1])[::-1] / (response**2).sum() + 1e-12)
    between = (decay_db < -5.0) & (decay_db > -25.0)
    slope = np.polyfit(np.flatnonzero(between) / RATE_HZ, decay_db[between], 1)[0]
    assert -60.0 / slope == pytest.approx(0.161 * 125.0 / (-150.0 * np.log(0.8)), rel=0.2)


def test_ambisonics_of_one_image_points_at_it_in_the_turned_frame() -> None:
    found = images(ROOM, SOURCE)
    itself = found.only(found.orders == 0)
    quarter = np.array([(0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)])
    w, y, z, x = foa_responses(itself, MICS[0], quarter, 343.0)
    towards = (np.array(SOURCE) - MICS[0]) @ quarter
    towards /= np.linalg.norm(towards)
    for dipole, share in zip((x, y, z), towards, strict=True):
        assert dipole == pytest.approx(share * w)


def test_a_signal_through_a_response_is_its_convolution() -> None:
    rng = np.random.default_rng(0)
    signal, response = rng.standard_normal(300), rng.standard_normal((2, 40))
    heard = reverberate(signal, response)
    assert heard[1] == pytest.approx(np.convolve(signal, response[1]))
