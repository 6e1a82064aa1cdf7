"""Training scenes: drawn from the key alone, never from fold 5, and true to what they claim."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from appliance.dsp.features import BANDS, FEATURES, INTENSITY
from appliance.dsp.stft import HOPS_PER_LABEL, SAMPLE_RATE_HZ
from appliance.lab.edge.batches import heard_otherwise
from appliance.lab.pack import CLASSES, SOUNDS, load_clips
from appliance.lab.scenes.dice import Dice
from appliance.lab.scenes.maker import TARGETS, Batch, SceneMaker, SceneSettings

_SETTINGS = SceneSettings(folds=(4,), arrays=3, seconds=2.0, synthetic_drones=0.0, synthetic_machines=0.0)


@pytest.fixture(scope="module")
def maker() -> SceneMaker:
    return SceneMaker(_SETTINGS, seed=1)


@pytest.fixture(scope="module")
def batch(maker: SceneMaker) -> Batch:
    return maker.batch((3, 0), 24)


def test_default_folds_leave_the_test_fold_alone() -> None:
    assert 5 not in SceneSettings().folds
    assert {clip.fold for clip in load_clips(SceneSettings().folds)} == {1, 2, 3}


def test_the_same_key_gives_the_same_scenes(maker: SceneMaker, batch: Batch) -> None:
    again, other = maker.batch((3, 0), 24), maker.batch((3, 1), 24)
    for name, values in batch.items():
        torch.testing.assert_close(again[name], values, rtol=0.0, atol=0.0)
    assert not torch.equal(other["features"], batch["features"])


def test_shapes_and_ranges(batch: Batch) -> None:
    assert batch["features"].shape == (24, FEATURES, 100, BANDS)
    assert batch["ratio_mask"].shape == (24, 2 * TARGETS + 1, 100, BANDS)
    assert batch["activity"].shape == (24, TARGETS, 20)
    assert batch["direction"].shape == (24, TARGETS, 20, 3)
    assert batch["sounds"].shape == (24, 20, len(SOUNDS))
    assert all(bool(torch.isfinite(values).all()) for values in batch.values())
    torch.testing.assert_close(batch["ratio_mask"].sum(dim=1), torch.ones(24, 100, BANDS), atol=1e-3, rtol=0.0)
    assert set(batch["activity"].flatten().tolist()) == {0.0, 1.0}
    there = batch["class_index"] >= 0
    assert not bool(batch["activity"][~there].any())
    length = batch["direction"][there].norm(dim=2)
    torch.testing.assert_close(length, torch.ones_like(length), atol=1e-4, rtol=0.0)


def test_a_batch_holds_all_that_can_happen(batch: Batch) -> None:
    """None, one and more targets, planar arrays and others, many classes, motion and rest, reflections."""
    there = batch["class_index"] >= 0
    assert {0, 1, 2} <= set(there.sum(dim=1).tolist())
    assert len(set(batch["class_index"].flatten().tolist())) > len(CLASSES) // 2
    up = batch["direction"][..., 2].abs().amax(dim=2)[there] > 1e-3
    assert up.any()
    assert not up.all()
    moving = (batch["direction"] - batch["direction"][:, :, :1]).abs().amax(dim=(2, 3))[there] > 1e-3
    assert moving.any()
    assert not moving.all()
    assert bool((batch["ratio_mask"][:, TARGETS:-1] > 0.1).any())


def test_intensity_under_the_true_direct_mask_points_at_the_target(maker: SceneMaker) -> None:
    """Clear targets alone: features, mask and direction of the truth must agree, whatever the array."""
    batch = maker.batch((8, 0), 40, 0.0)
    errors = []
    for scene, target in (batch["class_index"] >= 0).nonzero().tolist():
        active = batch["activity"][scene, target] > 0
        hops = active.repeat_interleave(5)
        features = batch["features"][scene]
        weight = batch["ratio_mask"][scene, target] * 10.0 ** features[0] * features[5]
        intensity = (features[1:4] * weight)[:, hops].sum(dim=(1, 2))
        direction = batch["direction"][scene, target][active].mean(dim=0)
        cosine = float(intensity @ direction / intensity.norm() / direction.norm())
        errors.append(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
    assert len(errors) >= 20
    assert np.median(errors) < 6.0


def test_what_is_left_out_is_not_drawn() -> None:
    """A whole source can be kept for judging: of drones without the many small sources one recording remains."""
    some = SceneMaker(_SETTINGS, seed=1)
    fewer = SceneMaker(replace(_SETTINGS, without=("omp33/", "tiiuae/")), seed=1)
    assert fewer._bank._samples.numel() < some._bank._samples.numel()


def test_what_no_recording_has_is_synthesised() -> None:
    sirens = tuple(clip.group for clip in load_clips(_SETTINGS.folds) if clip.label == "siren")
    silent = replace(_SETTINGS, without=sirens, synthetic_count=1)
    labels = [SceneMaker(each)._bank.labels for each in (silent, replace(silent, synthetic_machines=0.1))]
    assert ["siren" in each for each in labels] == [False, True]


@pytest.mark.usefixtures("late_bark")
def test_each_loud_moment_of_a_short_sound_is_drawn_as_often() -> None:
    """Also what comes so late that scenes which begin with the recording end before."""
    maker = SceneMaker(replace(_SETTINGS, folds=(1,)), seed=1)
    dogs = torch.full((200,), SOUNDS.index("dog"))
    waves = maker._bank._waves(Dice((1,), maker.device), dogs, 4 * SAMPLE_RATE_HZ)
    powers = torch.fft.rfft(waves).abs().square()
    low, high = powers[:, : 4 * 600].sum(dim=1), powers[:, 4 * 600 :].sum(dim=1)
    loudest = 0.1 * torch.maximum(low, high).amax()
    assert ((low > loudest) | (high > loudest)).all()
    assert 0.35 < (high > loudest).float().mean() < 0.65


def test_every_class_has_clips_to_train_on() -> None:
    labels = {clip.label for clip in load_clips(SceneSettings().folds)}
    assert set(CLASSES) <= labels


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_makes_scenes_of_the_same_kind(batch: Batch) -> None:
    """Its dice are others, so the scenes are: their statistics must agree."""
    found = SceneMaker(_SETTINGS, seed=1, device="cuda").batch((3, 0), 240)
    for name in ("features", "ratio_mask", "activity"):
        torch.testing.assert_close(found[name].cpu().mean(), batch[name].mean(), atol=0.1, rtol=0.1)


def test_what_is_heard_again_is_turned_and_coloured_and_still_true(maker: SceneMaker) -> None:
    """Data echoing: other features, the same labels, and the intensity still points at the target."""
    batch = maker.batch((8, 1), 12, 0.0)
    again = heard_otherwise(batch, Dice((1,), maker.device))
    torch.testing.assert_close(again["ratio_mask"], batch["ratio_mask"])
    assert (again["features"] - batch["features"])[:, 0].abs().mean() > 0.05
    there = batch["class_index"] >= 0
    before, after = batch["direction"][there], again["direction"][there]
    assert (before - after).abs().mean() > 0.1
    torch.testing.assert_close(after.norm(dim=2), before.norm(dim=2))
    flow, turned = (
        torch.einsum("njlx,nxlb->njlb", one["direction"], one["features"][:, INTENSITY, ::HOPS_PER_LABEL])
        for one in (batch, again)
    )
    torch.testing.assert_close(turned, flow, atol=1e-4, rtol=0.0)
