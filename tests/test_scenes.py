"""Training scenes: drawn from the seed alone, never from fold 5, and true to what they claim."""

import numpy as np
import pytest

from appliance.dsp.features import BANDS, FEATURES
from appliance.lab.pack import CLASSES, load_clips
from appliance.lab.scenes import TARGETS, Scene, SceneMaker, SceneSettings

_SETTINGS = SceneSettings(folds=(4,), arrays=3, seconds=3.0, synthetic_drones=0.0)


@pytest.fixture(scope="module")
def maker() -> SceneMaker:
    return SceneMaker(_SETTINGS, seed=1)


@pytest.fixture(scope="module")
def scenes(maker: SceneMaker) -> list[Scene]:
    return [maker.scene((3, index)) for index in range(24)]


def test_default_folds_leave_the_test_fold_alone() -> None:
    assert 5 not in SceneSettings().folds
    assert {clip.fold for clip in load_clips(SceneSettings().folds)} == {1, 2, 3}


def test_the_same_seed_gives_the_same_scene(maker: SceneMaker, scenes: list[Scene]) -> None:
    again = maker.scene((3, 5))
    np.testing.assert_array_equal(again.features, scenes[5].features)
    np.testing.assert_array_equal(again.direction, scenes[5].direction)
    assert not np.array_equal(again.features, scenes[6].features)


def test_shapes_and_ranges(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.features.shape == (FEATURES, 150, BANDS)
        assert np.isfinite(scene.features).all()
        np.testing.assert_allclose(scene.ratio_mask.sum(axis=0), 1.0, atol=1e-3)
        assert set(np.unique(scene.activity)) <= {0.0, 1.0}
        assert scene.activity.shape == (TARGETS, 30)
        assert (scene.activity[scene.class_index < 0] == 0.0).all()


def test_some_scenes_are_empty_and_every_kind_comes(scenes: list[Scene]) -> None:
    targets = [int((scene.class_index >= 0).sum()) for scene in scenes]
    assert 0 in targets
    assert max(targets) >= 2


def test_intensity_under_the_true_mask_points_at_the_target(maker: SceneMaker) -> None:
    """A clear target alone: features, mask and direction of the truth must agree, whatever the array."""
    errors = []
    for index in range(30):
        scene = maker.scene((8, index), difficulty=0.0)
        for target in np.flatnonzero(scene.class_index >= 0):
            hops = np.repeat(scene.activity[target] > 0, 5)
            weight = scene.ratio_mask[target] * 10.0 ** scene.features[0] * scene.features[5]
            intensity = (scene.features[1:4] * weight)[:, hops].sum(axis=(1, 2))
            direction = scene.direction[target][scene.activity[target] > 0].mean(axis=0)
            cosine = intensity @ direction / np.linalg.norm(intensity) / np.linalg.norm(direction)
            errors.append(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
    assert len(errors) >= 15
    assert np.median(errors) < 10.0


def test_every_class_has_clips_to_train_on() -> None:
    labels = {clip.label for clip in load_clips(SceneSettings().folds)}
    assert set(CLASSES) <= labels
