"""The model at run time: it loads whole or not at all, and a reset forgets."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from appliance.dsp.features import BANDS, FEATURES
from appliance.dsp.stft import HOP_SAMPLES
from appliance.errors import ModelError
from appliance.model.meta import MODELS_DIR, file_sha256, find_model, load_meta, shipped_models
from appliance.model.scene import SceneModel
from appliance.types import FeatureFrame

_NAME = "deepasa-edge-small-int8"


def hops(count: int, seed: int = 0) -> list[FeatureFrame]:
    rng = np.random.default_rng(seed)
    silent = np.zeros((4, HOP_SAMPLES), np.float32)
    values = rng.uniform(-1.0, 1.0, (count, FEATURES, BANDS)).astype(np.float32)
    return [
        FeatureFrame(value, silent, (0, 1, 2, 3), (index + 1) * 0.02, (index + 1) * 20_000_000)
        for index, value in enumerate(values)
    ]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the shipped model and its meta, to be damaged."""
    for suffix in (".onnx", ".meta.json"):
        shutil.copy(MODELS_DIR / f"{_NAME}{suffix}", tmp_path)
    return tmp_path / f"{_NAME}.onnx"


@pytest.mark.parametrize("name", shipped_models())
def test_every_shipped_model_is_whole_and_hears(name: str) -> None:
    model = SceneModel.load(name)
    scene = model.step(hops(model.frames_per_step))
    assert scene.utc_ns == 100_000_000
    assert len(scene.objects) == model.meta.objects
    for sounding in scene.objects:
        assert 0.0 <= sounding.activity <= 1.0
        assert sounding.class_probs.shape == (len(model.classes),)
        assert sounding.doa_sigma_deg > 0.0
    assert {"commit", "settings", "step", "hours", "notice"} <= set(model.meta.training)
    assert model.meta.scores


def test_a_state_that_is_no_number_is_forgotten_and_the_next_frame_heard() -> None:
    model, whole = SceneModel.load(_NAME), SceneModel.load(_NAME)
    frames = hops(10)
    model.step(frames[:5])
    model._state = {name: np.full_like(state, np.nan) for name, state in model._state.items()}
    assert model.step(frames[:5]).objects == ()
    assert model.step(frames[5:]).objects[0].activity == whole.step(frames[5:]).objects[0].activity


def test_int8_and_fp32_ship_together() -> None:
    assert {_NAME, _NAME.replace("int8", "fp32")} <= set(shipped_models())


def test_state_is_carried_and_reset_forgets() -> None:
    model = SceneModel.load(_NAME)
    frames = hops(10)
    first, second = model.step(frames[:5]), model.step(frames[5:])
    model.reset()
    alone = model.step(frames[5:])
    assert alone.end_s == second.end_s == frames[-1].end_s
    assert alone.objects[0].activity != second.objects[0].activity
    model.reset()
    assert model.step(frames[:5]).objects[0].activity == first.objects[0].activity


def test_a_planar_array_gives_no_elevation() -> None:
    model = SceneModel.load(_NAME)
    frames = hops(5)
    for frame in frames:
        frame.values[6] = 0.0
    assert all(not found.doa.elevation_valid and found.doa.elevation_deg == 0.0 for found in model.step(frames).objects)


def test_a_wrong_number_of_hops_is_refused() -> None:
    with pytest.raises(ValueError, match="takes 5 hops, got 4"):
        SceneModel.load(_NAME).step(hops(4))


def test_a_missing_model_is_named_with_what_there_is() -> None:
    with pytest.raises(ModelError, match=rf"nowhere\.onnx: no such model; .*{_NAME}"):
        find_model("nowhere")
    assert ModelError.exit_status == 78


def test_a_tampered_model_is_refused(copied: Path) -> None:
    data = bytearray(copied.read_bytes())
    data[len(data) // 2] ^= 1
    copied.write_bytes(data)
    with pytest.raises(ModelError, match="tampered with or cut short"):
        SceneModel.load(copied)


def test_a_model_without_meta_is_refused(copied: Path) -> None:
    copied.with_suffix(".meta.json").unlink()
    with pytest.raises(ModelError, match=r"meta\.json: missing"):
        SceneModel.load(copied)


def test_a_model_of_another_front_end_is_refused(copied: Path) -> None:
    path = copied.with_suffix(".meta.json")
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({**meta, "hop_samples": 160}))
    with pytest.raises(ModelError, match="hop_samples: 160 does not fit"):
        load_meta(copied)


def test_garbage_with_a_right_hash_is_refused(copied: Path) -> None:
    copied.write_bytes(b"not a graph")
    path = copied.with_suffix(".meta.json")
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({**meta, "sha256": file_sha256(copied)}))
    with pytest.raises(ModelError, match="cannot be run"):
        SceneModel.load(copied)
