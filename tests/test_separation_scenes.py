"""The judge of separation: perfect masks find what is there, wrong ones do not, and scenes are as faint as they say."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from side_model import write_side_model

from appliance.lab.judge.ideal_masks import ideal_object
from appliance.lab.judge.separation import (
    METHODS,
    SNRS_DB,
    Recovered,
    recover_scene,
    recovered_signals,
    separation_suite,
    summary_rows,
)
from appliance.lab.metrics.separation import si_sdr_db
from appliance.lab.pack import CLASSES
from appliance.lab.world.recipe import Pose, Recipe, Room, SourcePlan
from appliance.lab.world.render import RenderedScene, render
from appliance.separation.objects import HeardMoment, HeardObject

RATE_HZ = 16_000


@pytest.fixture(autouse=True)
def pack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A pack of three recordings: harmonics below 1 kHz, noise about 2 kHz, and bursts of both that end in silence."""
    folder = tmp_path_factory.mktemp("pack")
    (folder / "manifest.csv").write_text("path,class\n", encoding="utf-8")
    time_s = np.arange(4 * RATE_HZ) / RATE_HZ
    rotor = np.sum([np.sin(2 * np.pi * 130.0 * k * time_s + k) for k in range(2, 8)], axis=0)
    soundfile.write(folder / "separation_rotor.flac", 0.1 * rotor, RATE_HZ)
    spectrum = np.fft.rfft(np.random.default_rng(5).standard_normal(4 * RATE_HZ))
    hz = np.arange(len(spectrum)) / 4.0
    hiss = np.fft.irfft(spectrum * ((hz > 800.0) & (hz < 2600.0)))
    soundfile.write(folder / "separation_hiss.flac", 0.1 * hiss / hiss.std(), RATE_HZ)
    bursts = (0.1 * rotor + 0.3 * hiss / hiss.std()) * (np.sin(2 * np.pi * 3.0 * time_s) > 0.3)
    soundfile.write(folder / "separation_bursts.flac", 0.5 * bursts / np.abs(bursts).max(), RATE_HZ)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APPLIANCE_PACK", str(folder))
        yield


def scene_of_two(snr_db: float) -> Recipe:
    def source(clip: str, label: str, position_m: tuple[float, float, float]) -> SourcePlan:
        return SourcePlan(
            clip=clip, label=label, start_s=0.5, seconds=2.5, positions_m=(position_m,), snr_db=snr_db, fade_s=0.1
        )

    return Recipe(
        seed=1,
        seconds=3.3,
        array="tetrahedron_4cm2",
        surface=None,
        sources=(
            source("separation_rotor.flac", "drone", (5.0, 20.0, 3.0)),
            source("separation_hiss.flac", "glass_break", (-4.0, -20.0, 3.0)),
        ),
        notes={"snr_db": snr_db},
    )


@pytest.fixture
def faint() -> tuple[Recipe, RenderedScene]:
    recipe = scene_of_two(0.0)
    return recipe, render(recipe, stems=True)


def improvement_db(faint: tuple[Recipe, RenderedScene], heard: HeardObject, method: str, source: int = 0) -> float:
    recipe, scene = faint
    assert scene.stems is not None
    signals = recovered_signals(scene.samples, recipe.geometry(), heard)
    true, span = scene.stems.direct[source, 0], slice(8000, 44_000)
    return float(si_sdr_db(signals[method][span], true[span]) - si_sdr_db(signals["W"][span], true[span]))


def test_ideal_masks_take_faint_objects_out_and_the_beam_adds_to_them(faint: tuple[Recipe, RenderedScene]) -> None:
    for source in (0, 1):
        ideal = ideal_object(faint[1], source, faint[0].geometry())
        gains_db = {method: improvement_db(faint, ideal, method, source) for method in METHODS}
        assert gains_db["mask × W"] > 5.0
        assert gains_db["MVDR"] > 2.0
        assert gains_db["MVDR, masked"] > max(gains_db["mask × W"], gains_db["MVDR"])


def test_the_other_objects_mask_and_direction_find_the_other_object(faint: tuple[Recipe, RenderedScene]) -> None:
    other = ideal_object(faint[1], 1, faint[0].geometry())
    assert all(improvement_db(faint, other, method) < 0.0 for method in METHODS)


def test_a_mask_that_knows_nothing_leaves_a_beam_that_hears_its_object(faint: tuple[Recipe, RenderedScene]) -> None:
    """The network missed it altogether, so the object lies in what the beam takes for noise: it must not be cancelled."""
    ideal = ideal_object(faint[1], 0, faint[0].geometry())
    blind = [HeardMoment(one.azimuth_deg, one.elevation_deg, np.zeros((5, 56), np.float32)) for one in ideal.moments]
    unsure = HeardObject(0, 0, "drone", elevation_valid=True, moments=blind)
    assert improvement_db(faint, unsure, "MVDR") > 0.0


def test_what_is_recovered_is_as_long_as_what_was_heard(faint: tuple[Recipe, RenderedScene]) -> None:
    ideal, samples = ideal_object(faint[1], 0, faint[0].geometry()), faint[1].samples
    for length in (samples.shape[1], samples.shape[1] - 1, samples.shape[1] - 1001):
        signals = recovered_signals(samples[:, :length], faint[0].geometry(), ideal)
        assert {signal.shape for signal in signals.values()} == {(length,)}


def scene_in_a_hall(array: str) -> Recipe:
    """Bursts from one side, the rotor from the other, in 0.9 s of reverberation."""

    def source(clip: str, label: str, position_m: tuple[float, float, float]) -> SourcePlan:
        return SourcePlan(clip=clip, label=label, start_s=0.5, seconds=2.5, positions_m=(position_m,), snr_db=10.0)

    return Recipe(
        seed=1,
        seconds=3.3,
        array=array,
        pose=Pose(height_m=1.5),
        room=Room(size_m=(11.0, 8.0, 3.5), array_m=(4.5, 3.6), absorption=(0.25,) * 6, order=14),
        sources=(
            source("separation_bursts.flac", "speech", (1.2, 1.6, 1.7)),
            source("separation_rotor.flac", "drone", (-1.5, -1.0, 1.2)),
        ),
    )


def test_direct_masks_dry_the_mono_stem_but_must_not_steer_the_beam() -> None:
    """SI-SDR of the direct sound, ideal masks: a direct mask behind the beam is worth half a dB, though it has but half of
    the say there; a beam that takes the object's echoes for noise is worse than one that takes them for the object.
    """
    behind, in_front = [], []
    for array in ("tetrahedron_4cm2", "respeaker_usb_4mic"):
        recipe = scene_in_a_hall(array)
        scene = render(recipe, stems=True)
        assert scene.stems is not None
        for index in (0, 1):
            kept, whole = (ideal_object(scene, index, recipe.geometry(), apart=apart) for apart in (True, False))
            steering = replace(kept, moments=[replace(one, mask=one.direct_mask) for one in kept.moments])
            true, span = scene.stems.direct[index, 0], slice(8000, 44_000)
            drier, wet, steered = (
                {
                    name: float(si_sdr_db(signal[span], true[span]))
                    for name, signal in recovered_signals(scene.samples, recipe.geometry(), heard).items()
                }
                for heard in (kept, whole, steering)
            )
            behind.append(drier["MVDR, masked"] - wet["MVDR, masked"])
            in_front.append(steered["MVDR"] - drier["MVDR"])
    assert np.mean(behind) > 0.3, behind
    assert np.mean(in_front) < 0.0, in_front


@pytest.mark.parametrize("direct", [False, True])
def test_tracks_are_judged_where_they_are_the_object(tmp_path: Path, *, direct: bool) -> None:
    """By a real model that hears left and right; what it never hears counts as not heard, and lowers no mean."""
    model = write_side_model(tmp_path / "side.onnx", direct=direct)
    left, right = recover_scene(model, scene_of_two(10.0))
    assert (left.label, right.label, left.objects) == ("drone", "glass_break", 2)
    assert left.tracked is not None
    assert left.tracked.direct_db[0] > 3.0
    lost = Recovered("drone", 0.0, 1, left.ideal, None)
    heard = Recovered("drone", 0.0, 1, left.ideal, left.tracked)
    rows = {row[:2]: row[2:] for row in summary_rows([lost, heard])}
    assert rows["tracked", "objects"] == ("1 of 2", "0 of 0", "0 of 0") * 2
    of_direct, of_image = f"{left.tracked.direct_db[0]:+.1f}", f"{left.tracked.image_db[0]:+.1f}"
    assert rows["tracked", "mask × W"] == (of_direct, "–", "–", of_image, "–", "–")
    assert rows["ideal", "objects"][0] == "2 of 2"


def test_direct_sound_and_image_are_told_apart_where_there_are_walls(tmp_path: Path) -> None:
    """Worked out again from the stems in a hall; in a free field the two are one."""
    model = write_side_model(tmp_path / "side.onnx")
    for one in recover_scene(model, scene_of_two(10.0)):
        assert one.ideal.image_db == pytest.approx(one.ideal.direct_db, abs=0.05)
    recipe = scene_in_a_hall("tetrahedron_4cm2").model_copy(update={"notes": {"snr_db": 10.0}})
    scene = render(recipe, stems=True)
    assert scene.stems is not None
    for index, recovered in enumerate(recover_scene(model, recipe)):
        signals = recovered_signals(scene.samples, recipe.geometry(), ideal_object(scene, index, recipe.geometry()))
        direct, image = scene.stems.direct[index, 0], scene.stems.direct[index, 0] + scene.stems.reverberant[index, 0]
        for reference, told in ((direct, recovered.ideal.direct_db), (image, recovered.ideal.image_db)):
            span = slice(8000, 48_000)
            expected = si_sdr_db(signals["MVDR"][span], reference[span]) - si_sdr_db(
                signals["W"][span], reference[span]
            )
            assert told[METHODS.index("MVDR")] == pytest.approx(float(expected), abs=0.5)
        assert abs(recovered.ideal.image_db[-1] - recovered.ideal.direct_db[-1]) > 1.0


def test_the_suite_is_as_faint_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("APPLIANCE_PACK")
    recipes = list(separation_suite(per_snr=4))
    assert [recipe.notes["snr_db"] for recipe in recipes] == [snr_db for snr_db in SNRS_DB for _ in range(4)]
    assert [len(recipe.sources) for recipe in recipes] == [1, 2] * 6
    for recipe in recipes:
        assert all(source.snr_db == recipe.notes["snr_db"] for source in recipe.sources)
        labels = [source.label for source in recipe.sources]
        assert len(set(labels)) == len(labels)
        assert set(labels) <= set(CLASSES)
    assert recipes == list(separation_suite(per_snr=4))
