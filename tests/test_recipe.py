"""Recipes: data that survives its file, and that cannot say what cannot be."""

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import ConfigError
from appliance.lab.world.recipe import Pose, Recipe, Room, Sensors, SourcePlan, Weather, load_recipe, save_recipe

SOURCE: dict[str, Any] = {
    "clip": "drone/a.flac",
    "label": "drone",
    "start_s": 1.0 / 3.0,
    "seconds": 2.0,
    "positions_m": ((30.0, 0.1, 12.0), (31.0, 0.2, 12.5)),
    "level_dba": 78.123456789,
}
RECIPE = Recipe(
    seed=7,
    seconds=4.0,
    array="respeaker_usb_4mic",
    pose=Pose(height_m=2.5, heading_true_deg=75.0, pitch_deg=-3.0, roll_deg=4.0),
    sources=(SourcePlan(**SOURCE), SourcePlan(**{**SOURCE, "level_dba": None, "snr_db": -5.0, "label": "wind"})),
    ambient_dba=None,
    bed=("ambience/b.flac",),
    rain=("rain/c.flac",),
    weather=Weather(temperature_c=-4.0, humidity_percent=88.0, wind_m_s=4.2, wind_from_deg=240.0, rain_mm_h=3.0),
    surface="asphalt",
    sensors=Sensors(
        full_scale_db_spl=112.0,
        bits=24,
        gain_db=(0.1, 0.0, -0.3, 0.7),
        delay_us=(1.0, 2.0, 3.0, 4.0),
        moved_mm=((0.1, 0.2, 0.3),) * 4,
        dead=(3,),
        inverted=(0,),
        swapped=((1, 2),),
        gaps=((1.5, 0.3),),
    ),
    notes={"part": "drone_snr", "snr_db": 3.0},
)
ROOM: dict[str, Any] = {"size_m": (10.0, 8.0, 3.0), "array_m": (5.0, 4.0), "absorption": (0.3,) * 6}


def written(path: Path, **changes: Any) -> Path:
    """A recipe file in which some keys are other ones; `source` changes those of the first source."""
    document = RECIPE.model_dump(mode="json")
    document["sources"][0] |= changes.pop("source", {})
    path.write_text(json.dumps(document | changes), encoding="utf-8")
    return path


def test_a_file_gives_back_the_recipe_to_the_last_bit(tmp_path: Path) -> None:
    save_recipe(RECIPE, tmp_path / "scene.json")
    assert load_recipe(tmp_path / "scene.json") == RECIPE


def test_a_room_goes_through_the_file_too(tmp_path: Path) -> None:
    still = SourcePlan(**{**SOURCE, "positions_m": ((1.0, 2.0, 1.5),)})
    recipe = Recipe(seed=1, seconds=3.0, array="tetrahedron_4cm2", room=Room(**ROOM), sources=(still,))
    save_recipe(recipe, tmp_path / "scene.json")
    assert load_recipe(tmp_path / "scene.json") == recipe


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": {"label": "dragon"}}, r"\[sources.0\] label: .*unknown class; one of: drone, "),
        ({"source": {"snr_db": 3.0}}, "either level_dba or snr_db"),
        ({"source": {"level_dba": None}}, "either level_dba or snr_db"),
        ({"source": {"label": "wind"}}, "no level at 1 m is known for 'wind'; give snr_db"),
        ({"source": {"positions_m": [[3.0, 0.0, -0.1]]}}, "below the ground"),
        ({"source": {"positions_m": []}}, "positions_m"),
        ({"source": {"start_s": 4.0}}, "drone starts at 4 s, after the scene's end"),
        ({"source": {"seconds": 0.0}}, r"\[sources.0\] seconds"),
        ({"surface": "lava"}, "surface: .*unknown ground; one of: snow, "),
        ({"surfce": "grass"}, 'surfce: unknown key; did you mean "surface"'),
        ({"weather": {"wind_m_s": 80.0}}, r"\[weather\] wind_m_s"),
        ({"weather": {"temperature_c": float("nan")}}, r"\[weather\] temperature_c"),
        ({"room": ROOM}, "drone moves in a room"),
        ({"room": ROOM, "sources": [{**SOURCE, "positions_m": [[9.0, 0.0, 1.0]]}]}, "drone is outside the room"),
        ({"room": {**ROOM, "array_m": (11.0, 4.0)}}, "array_m: outside the room"),
        ({"room": {**ROOM, "absorption": (1.3,) * 6}}, "a share of energy is within 0…1"),
        ({"sensors": {"bits": 12}}, r"\[sensors\] bits"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        load_recipe(written(tmp_path / "scene.json", **changes))
    assert str(refused.value).startswith(str(tmp_path / "scene.json"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [None, b"{", b"[]", b"\xff\xfe", b'{"seed": 1}'])
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "scene.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"scene\.json"):
        load_recipe(path)


def test_an_unknown_array_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no such array file.*one of"):
        Recipe(seed=1, seconds=1.0, array="none_such").geometry()


def test_an_array_without_a_file_stands_in_the_recipe() -> None:
    geometry = Recipe(seed=1, seconds=1.0, array="random", mics_m=((0.0, 0.03, 0.0), (0.0, -0.03, 0.0))).geometry()
    assert (geometry.name, geometry.mics, geometry.positions_m[0, 1]) == ("random", 2, 0.03)
