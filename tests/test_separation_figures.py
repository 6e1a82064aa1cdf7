"""What the report says of separation, worked out by hand and from a real model that hears left and right."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from intensity_model import write_intensity_model
from side_model import write_side_model

from appliance.lab.judge.separation import METHODS, Improvement, Recovered
from appliance.lab.judge.separation_figures import judge_separation, separation_figures
from appliance.lab.systems import onnx_systems
from appliance.lab.world.recipe import Recipe, SourcePlan

RATE_HZ = 16_000


def recovered(snr_db: float, objects: int, tracked_db: float | None, ca_db: float | None) -> Recovered:
    """An object whose stem came out so much better; other methods did nothing."""
    rest = (0.0,) * (len(METHODS) - 1)
    tracked = None if tracked_db is None else Improvement((*rest, tracked_db), (*rest, tracked_db + 3.0))
    return Recovered("drone", snr_db, objects, Improvement((*rest, 10.0), (*rest, 12.0)), tracked, ca_db)


def test_means_are_over_what_was_tracked_and_scenes_count_once() -> None:
    figures = separation_figures(
        [
            recovered(0.0, 1, 6.0, 6.0),
            recovered(0.0, 2, 2.0, 1.0),
            recovered(0.0, 2, None, 1.0),
            recovered(-10.0, 1, None, 0.0),
        ]
    )
    assert figures["method"] == METHODS[-1]
    zero, faint = figures["by_snr_db"]["0"], figures["by_snr_db"]["-10"]
    ideal = {"ideal": 10.0, "ideal_image": 12.0}
    assert zero == ideal | {"tracked": 4.0, "tracked_image": 7.0, "ca_sdri_db": 3.5, "tracked_objects": 2, "of": 3}
    assert faint == ideal | {"tracked": None, "tracked_image": None, "ca_sdri_db": 0.0, "tracked_objects": 0, "of": 1}
    assert figures["by_objects"]["1"]["ca_sdri_db"] == 3.0
    assert figures["by_objects"]["2"]["of"] == 2


@pytest.fixture
def pack(tmp_path: Path) -> Iterator[None]:
    """A pack of one recording: harmonics below 1 kHz."""
    (tmp_path / "manifest.csv").write_text("path,class\n", encoding="utf-8")
    time_s = np.arange(4 * RATE_HZ) / RATE_HZ
    rotor = np.sum([np.sin(2 * np.pi * 130.0 * k * time_s + k) for k in range(2, 8)], axis=0)
    soundfile.write(tmp_path / "separation_rotor.flac", 0.1 * rotor, RATE_HZ)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APPLIANCE_PACK", str(tmp_path))
        yield


@pytest.mark.usefixtures("pack")
def test_a_model_with_masks_is_judged_and_one_without_is_named(tmp_path: Path) -> None:
    """The side model calls what comes from the left a drone; the sound is one, so its scene improves as the object does."""
    plan = SourcePlan(
        clip="separation_rotor.flac",
        label="drone",
        start_s=0.5,
        seconds=2.5,
        positions_m=((5.0, 20.0, 3.0),),
        snr_db=0.0,
        fade_s=0.1,
    )
    recipe = Recipe(seed=1, seconds=3.3, array="tetrahedron_4cm2", surface=None, sources=(plan,), notes={"snr_db": 0.0})
    systems = onnx_systems([write_side_model(tmp_path / "side.onnx"), write_intensity_model(tmp_path / "plain.onnx")])
    figures, missing = judge_separation(systems, [recipe], workers=1)
    assert missing == ["si_sdri_db of plain: it was exported without masks"]
    assert list(figures) == ["side"]
    found = figures["side"]["by_snr_db"]["0"]
    assert (found["tracked_objects"], found["of"]) == (1, 1)
    assert found["tracked"] > 3.0
    assert found["ideal"] > found["tracked"]
    assert found["ca_sdri_db"] > 1.0
