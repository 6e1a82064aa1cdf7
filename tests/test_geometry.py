"""Array files: what is shipped is sound, and what is wrong is said in one line with file, key and remedy."""

import re
from pathlib import Path

import numpy as np
import pytest

from appliance.errors import ConfigError
from appliance.firmware import FIRMWARE_DIR
from appliance.geometry import ARRAYS_DIR, SPEED_OF_SOUND_M_S, _ArrayFile, _Device, _Mic, load_array, shipped_arrays

GOOD = """\
schema = 1
name = "triangle"

[device]
channels = 4

[[mic]]
alsa_channel = 1
position_m = [0.03, 0.0, 0.0]
[[mic]]
alsa_channel = 2
position_m = [-0.03, 0.03, 0.0]
[[mic]]
alsa_channel = 3
position_m = [-0.03, -0.03, 0.0]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "triangle.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_promised_arrays_are_shipped() -> None:
    assert {
        "matrix_creator",
        "minidsp_uma16_v2",
        "minidsp_uma8_v2",
        "respeaker_6mic_circular",
        "respeaker_usb_4mic",
        "tetrahedron_4cm2",
    } <= set(shipped_arrays())


@pytest.mark.parametrize("name", shipped_arrays())
def test_a_shipped_array_loads_and_says_where_its_positions_come_from(name: str) -> None:
    array = load_array(name)
    assert array.name == name
    assert array.positions_m.shape == (array.mics, 3)
    assert array.description
    assert re.search(r'^source = "\S.{10,}"$', (ARRAYS_DIR / f"{name}.toml").read_text(encoding="utf-8"), re.M)
    np.testing.assert_allclose(array.positions_m.mean(axis=0), 0.0, atol=1e-12)


@pytest.mark.parametrize("name", shipped_arrays())
def test_a_shipped_array_is_of_a_size_that_can_be_right(name: str) -> None:
    """Millimetres typed as metres, or two microphones on one spot, would spoil every bearing silently."""
    positions_m = load_array(name).positions_m
    distances_m = np.linalg.norm(positions_m[:, None] - positions_m[None, :], axis=2)[
        np.triu_indices(len(positions_m), 1)
    ]
    assert distances_m.min() > 0.02
    assert distances_m.max() < 0.25
    assert distances_m.max() / SPEED_OF_SOUND_M_S < 1e-3


@pytest.mark.parametrize(
    ("name", "mics", "channels", "radius_m", "planar"),
    [
        ("respeaker_usb_4mic", 4, 6, 0.032, True),
        ("respeaker_6mic_circular", 6, 8, 0.0463, True),
        ("minidsp_uma8_v2", 7, 8, 0.043, True),
        ("minidsp_uma16_v2", 16, 16, 0.042 * 1.5 * 2**0.5, True),
        ("matrix_creator", 8, 8, 0.0525, True),
        ("tetrahedron_4cm2", 4, 4, 0.042, False),
    ],
)
def test_shape_of_each_shipped_array(name: str, mics: int, channels: int, radius_m: float, planar: bool) -> None:
    array = load_array(name)
    assert (array.mics, array.device.channels, array.is_planar) == (mics, channels, planar)
    assert array.radius_m == pytest.approx(radius_m, abs=1e-4)


def test_the_raw_microphones_of_the_respeaker_are_channels_1_to_4() -> None:
    """Channel 0 is the beam-formed, gain-controlled one: it would load, and no bearing would be right."""
    assert load_array("respeaker_usb_4mic").alsa_channels == (1, 2, 3, 4)


def test_the_uma16_is_a_square_grid_with_one_microphone_on_each_crossing() -> None:
    grid = np.round(load_array("minidsp_uma16_v2").positions_m[:, :2] / 0.042 + 1.5, 3)
    assert {tuple(row) for row in grid.tolist()} == {(float(x), float(y)) for x in range(4) for y in range(4)}


def test_microphone_order_and_position_stay_together(tmp_path: Path) -> None:
    array = load_array(written(tmp_path, GOOD))
    assert array.alsa_channels == (1, 2, 3)
    np.testing.assert_allclose(array.positions_m, [[0.04, 0, 0], [-0.02, 0.03, 0], [-0.02, -0.03, 0]], atol=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("alsa_channel = 2", "alsa_channel = 1", "names a channel twice; give each microphone its own"),
        ("alsa_channel = 3", "alsa_channel = 4", "[[mic]] alsa_channel: 4 is beyond [device] channels = 4"),
        ("alsa_channel = 3", "alsa_chanel = 3", 'alsa_chanel: unknown key; did you mean "alsa_channel"?'),
        ("alsa_channel = 3", "alsa_channel = -3", "alsa_channel: input should be greater than or equal to 0"),
        (
            "channels = 4",
            'channels = 4\nusb_id = "1D6B:2"',
            "usb_id: must be vendor and product as `lsusb` prints them",
        ),
        ("channels = 4", "chanels = 4", '[device] chanels: unknown key; did you mean "channels"?'),
        ("schema = 1", "schema = 2", "schema: input should be 1 (got 2)"),
        ("schema = 1\n", "", "schema: missing; add it"),
        ('name = "triangle"\n', "", "name: missing; add it"),
        ("[-0.03, 0.03, 0.0]", "[-0.03, 0.03]", "position_m"),
        ("[-0.03, -0.03, 0.0]", "[0.09, -0.03, 0.0]", "which cannot tell left from right"),
        ("[-0.03, -0.03, 0.0]", "[-0.03, -0.03, 0.06]", "a planar array must lie in z = 0"),
        ("[-0.03, -0.03, 0.0]", "[-30.0, -30.0, 0.0]", "positions are metres, 32 mm is 0.032"),
        ("[-0.03, -0.03, 0.0]", "[-0.03, nan, 0.0]", "input should be a finite number"),
        ("schema = 1", "schema = ", "not a readable TOML file"),
    ],
)
def test_a_fault_names_file_key_and_remedy_in_one_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_array(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert says in message
    assert "\n" not in message
    assert caught.value.exit_status == 78


def test_two_microphones_are_too_few(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD[: GOOD.rindex("[[mic]]")])
    with pytest.raises(ConfigError, match="at least 3"):
        load_array(path)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no such array file; .*respeaker_usb_4mic"):
        load_array("respeaker_usb_5mic")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "array.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a readable TOML file"):
        load_array(path)


def test_every_key_of_an_array_file_is_documented_and_no_other() -> None:
    section = (FIRMWARE_DIR / "README.md").read_text(encoding="utf-8").split("\n## Array files")[1]
    top = {info.alias or name for name, info in _ArrayFile.model_fields.items()} - {"mic", "device"}
    tables = {f"[[mic]] {key}" for key in _Mic.model_fields} | {f"[device] {key}" for key in _Device.model_fields}
    assert set(re.findall(r"^\| `([^`]+)` \|", section, re.M)) == top | tables
