"""DCASE metadata: what is written is read back exactly; a bad row is named by file and line."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import RecordingError
from appliance.lab.world.dcase_csv import SeldRow, frames_of_sources, load_dcase_csv, save_dcase_csv
from appliance.lab.world.render import SourceTruth

rows = st.builds(SeldRow, st.integers(0, 12), st.integers(0, 9), st.floats(-180, 180), st.floats(-90, 90))


@given(frames=st.dictionaries(st.integers(0, 6000), st.lists(rows, min_size=1, max_size=4), max_size=6))
def test_what_is_written_is_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, frames: dict[int, list[SeldRow]]
) -> None:
    path = tmp_path_factory.mktemp("metadata") / "scene.csv"
    save_dcase_csv(frames, path)
    assert load_dcase_csv(path) == frames


def test_a_file_holds_frame_class_source_azimuth_elevation(tmp_path: Path) -> None:
    path = tmp_path / "scene.csv"
    frames = {12: [SeldRow(3, 1, np.float64(-45.5), 10.0)], 2: [SeldRow(0, 0, 90.0, 0.0)]}
    save_dcase_csv(frames, path)
    assert path.read_text(encoding="utf-8") == "2,0,0,90.0,0.0\n12,3,1,-45.5,10.0\n"


def test_files_of_the_challenge_are_read_with_and_without_distance(tmp_path: Path) -> None:
    path = tmp_path / "fold4_room23_mix001.csv"
    path.write_bytes(b"30,8,0,-12,5,173\r\n30,8,1,100,-5,210\r\n\r\n31,8,0,-12,5\r\n")
    assert load_dcase_csv(path, classes=13) == {
        30: [SeldRow(8, 0, -12.0, 5.0), SeldRow(8, 1, 100.0, -5.0)],
        31: [SeldRow(8, 0, -12.0, 5.0)],
    }


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("frame,class,source,azimuth,elevation", "invalid literal"),
        ("1,0,0,10", "4 columns"),
        ("1,0,0,0.7,0.7,0.1,200", "7 columns"),
        ("1.5,0,0,10,0", "invalid literal"),
        ("-1,0,0,10,0", "negative"),
        ("1,0,-2,10,0", "negative"),
        ("1,0,0,200,0", "azimuth 200.0"),
        ("1,0,0,nan,0", "azimuth nan"),
        ("1,0,0,10,-91", "elevation -91.0"),
        ("1,0,0,10,inf", "elevation inf"),
        ("1,5,0,10,0", "class 5"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_reason(tmp_path: Path, row: str, why: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(f"0,0,0,10,0\n{row}\n", encoding="utf-8")
    with pytest.raises(RecordingError) as caught:
        load_dcase_csv(path, classes=5)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_one_that_is_no_text_are_named(tmp_path: Path) -> None:
    sound = tmp_path / "scene.wav"
    sound.write_bytes(b"RIFF\xff\xfe\x00")
    for path in (tmp_path / "none.csv", sound):
        with pytest.raises(RecordingError, match=path.name):
            load_dcase_csv(path)


def test_a_rendered_scene_becomes_rows_and_what_is_no_target_stays_out() -> None:
    drone = SourceTruth("drone", np.array([True, True, False]), np.array([0.0, 2.0, 4.0]), np.full(3, 30.0))
    wind = SourceTruth("wind", np.ones(3, bool), np.zeros(3), np.zeros(3))
    dog = SourceTruth("dog", np.array([False, True, False]), np.full(3, -90.0), np.zeros(3))
    assert frames_of_sources([drone, wind, dog], ("dog", "drone")) == {
        0: [SeldRow(1, 0, 0.0, 30.0)],
        1: [SeldRow(1, 0, 2.0, 30.0), SeldRow(0, 2, -90.0, 0.0)],
    }
