"""A microphone that has died is left out, by all that hear; what is merely quiet or in the lee of something is not."""

from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from plane_waves import RATE_HZ, at_array, hum, silence

from appliance.angles import azimuth_elevation_deg
from appliance.audio import target
from appliance.audio.resample import Resampler
from appliance.cli.demo_truth import findings, read_truth
from appliance.dsp.features import INTENSITY, FeatureExtractor
from appliance.dsp.stft import HOP_SAMPLES
from appliance.dsp.working import WorkingMicrophones
from appliance.firmware import FIRMWARE_DIR
from appliance.geometry import ArrayGeometry, load_array, shipped_arrays
from appliance.lab.hear import hear
from appliance.lab.systems import onnx_systems
from appliance.model.meta import find_model
from appliance.model.scene import SceneModel
from appliance.types import AudioBlock, FeatureFrame, Float32Array

ALL = (0, 1, 2, 3)
Fault = Callable[[Float32Array], None]


def zero(samples: Float32Array) -> None:
    samples[1] = 0.0


def stuck(samples: Float32Array) -> None:
    samples[1] = 0.3


def wet(samples: Float32Array) -> None:
    samples[1] *= 0.05


def a_little_weak(samples: Float32Array) -> None:
    samples[1] *= 0.2


def noise(seconds: float, mics: int = 4, level: float = 0.02) -> Float32Array:
    size = (mics, round(seconds * RATE_HZ))
    return np.random.default_rng(0).normal(0.0, level, size).astype(np.float32)


def told(working: WorkingMicrophones, samples: Float32Array) -> list[tuple[int, ...]]:
    """What is said after each hop."""
    return [working.push(hop) for hop in np.split(samples, samples.shape[1] // HOP_SAMPLES, axis=1)]


def working() -> WorkingMicrophones:
    return WorkingMicrophones(load_array("respeaker_usb_4mic"))


@pytest.mark.parametrize(("fault", "after_s"), [(zero, 0.52), (stuck, 0.52), (wet, 10.0)])
def test_what_is_broken_is_left_out_and_counts_again_once_it_has_been_well(fault: Fault, after_s: float) -> None:
    watch, broken = working(), noise(15.0)
    fault(broken)
    said = told(watch, broken)
    first = said.index((0, 2, 3))
    assert first * HOP_SAMPLES / RATE_HZ == pytest.approx(after_s, abs=0.05)
    assert set(said[:first]) == {ALL}
    assert set(said[first:]) == {(0, 2, 3)}
    again = told(watch, noise(15.0))
    assert 9.9 < again.index(ALL) * HOP_SAMPLES / RATE_HZ < 11.1
    assert again[-1] == ALL


@pytest.mark.parametrize("rate_hz", [44_100, 48_000])
def test_one_value_is_one_value_after_resampling(rate_hz: int) -> None:
    """At 44.1 kHz what is left of it swings by rounding."""
    device = np.random.default_rng(0).normal(0.0, 1e-3, (4, 3 * rate_hz)).astype(np.float32)
    device[1] = -0.3
    heard = Resampler(4, rate_hz).push(device)[:, : 2 * RATE_HZ]
    assert told(working(), heard)[-1] == (0, 2, 3)


def test_a_little_weaker_is_not_broken() -> None:
    weak = noise(15.0)
    a_little_weak(weak)
    assert set(told(working(), weak)) == {ALL}


def test_a_weak_moment_is_not_broken() -> None:
    watch = working()
    for _ in range(4):
        weak = noise(8.0)
        wet(weak)
        assert set(told(watch, weak)) == {ALL}
        assert set(told(watch, noise(2.0))) == {ALL}


def test_a_quiet_night_is_not_broken() -> None:
    quiet = noise(15.0, level=3e-5)
    assert set(told(working(), np.round(quiet * 32768) / np.float32(32768))) == {ALL}
    wet(quiet)
    assert set(told(working(), quiet)) == {ALL}


def test_a_loose_contact_is_left_out_throughout() -> None:
    watch = working()
    broken = noise(1.0)
    zero(broken)
    told(watch, broken)
    for _ in range(5):
        assert set(told(watch, noise(5.0))) == {(0, 2, 3)}
        assert set(told(watch, broken)) == {(0, 2, 3)}


def test_what_is_left_is_listened_to_however_few_and_all_where_none_is() -> None:
    broken = noise(2.0)
    zero(broken)
    broken[2:] = 0.0
    assert told(working(), broken)[-1] == (0,)
    silent = np.zeros((4, RATE_HZ), np.float32)
    assert set(told(working(), silent)) == {ALL}


def test_part_of_an_array_stays_where_it_is() -> None:
    whole = load_array("respeaker_usb_4mic")
    part = whole.part((0, 2, 3))
    np.testing.assert_array_equal(part.positions_m, whole.positions_m[[0, 2, 3]])
    assert part.alsa_channels == tuple(whole.alsa_channels[mic] for mic in (0, 2, 3))
    assert part.is_planar
    assert part.tells_directions
    assert not whole.part((0, 1)).tells_directions
    assert not whole.part(()).tells_directions
    assert load_array("tetrahedron_4cm2").part((0, 1, 2)).is_planar


# --- the front end ----------------------------------------------------------------------------------------------------


def features(geometry: ArrayGeometry, samples: Float32Array, block: int = 1600) -> list[FeatureFrame]:
    extractor = FeatureExtractor(geometry)
    return [
        frame
        for start in range(0, samples.shape[1], block)
        for frame in extractor.push(AudioBlock(samples[:, start : start + block], RATE_HZ, start, start * 62_500))
    ]


def heard_from_deg(frames: list[FeatureFrame]) -> float:
    """Azimuth of the mean intensity from 100 Hz to 1 kHz."""
    azimuth_deg, _ = azimuth_elevation_deg(np.mean([frame.values[INTENSITY, 4:40].mean(axis=1) for frame in frames], 0))
    return azimuth_deg


@pytest.mark.parametrize("azimuth_deg", [-130.0, -40.0, 75.0])
@pytest.mark.parametrize("array", [name for name in shipped_arrays() if load_array(name).is_planar])
def test_bearings_stay_true_with_a_dead_microphone(array: str, azimuth_deg: float) -> None:
    geometry = load_array(array)
    samples = at_array(np.concatenate([silence(0.6), hum(1.0)]), geometry, azimuth_deg).astype(np.float32)
    zero(samples)
    frames = features(geometry, samples)[-25:]
    assert {frame.mics for frame in frames} == {tuple(mic for mic in range(geometry.mics) if mic != 1)}
    assert heard_from_deg(frames) == pytest.approx(azimuth_deg, abs=5.0)


@pytest.mark.parametrize("array", shipped_arrays())
def test_only_what_is_left_in_a_tilted_plane_tells_no_azimuth(array: str) -> None:
    geometry, model = load_array(array), SceneModel.load("deepasa-edge-small-int8")
    whole = noise(1.0, geometry.mics)
    broken = whole.copy()
    zero(broken)
    assert model.step(features(geometry, whole)[-5:]).azimuth_valid
    assert model.step(features(geometry, broken)[-5:]).azimuth_valid is geometry.is_planar


@pytest.mark.parametrize("array", ["respeaker_usb_4mic", "minidsp_uma16_v2"])
def test_what_is_left_on_a_line_tells_no_azimuth(array: str) -> None:
    geometry, model = load_array(array), SceneModel.load("deepasa-edge-small-int8")
    off_line = ~np.isclose(geometry.positions_m[:, 0], geometry.positions_m[0, 0])
    assert not geometry.part(np.flatnonzero(~off_line).tolist()).tells_directions
    samples = noise(1.0, geometry.mics)
    samples[off_line] = 0.0
    assert not model.step(features(geometry, samples)[-5:]).azimuth_valid


@pytest.mark.parametrize("left", [(0, 1), (0,)])
def test_a_drone_is_announced_from_anywhere_where_too_few_are_left(left: tuple[int, ...]) -> None:
    geometry = load_array("respeaker_usb_4mic")
    samples = target.at_array(target.drone(6.0, 160.0, 3), geometry, 60.0, 5.0, 3)
    samples += noise(6.0, level=0.3 * float(samples.std()))
    samples[np.setdiff1d(np.arange(4), left)] = 0.0
    (system,) = onnx_systems([find_model("deepasa-edge-small-int8")])
    begun = [event for _, event in hear(samples, geometry, system).events if event.state == "new"]
    assert "drone" in {event.class_label for event in begun}
    assert {event.bearing_sigma_deg for event in begun} == {180.0}


def test_with_the_dead_microphone_the_bearing_would_be_false() -> None:
    geometry = load_array("respeaker_usb_4mic")
    samples = at_array(hum(0.5), geometry, 75.0).astype(np.float32)
    zero(samples)
    assert abs(heard_from_deg(features(geometry, samples)[5:20]) - 75.0) > 10.0


def test_it_does_not_matter_how_blocks_are_cut() -> None:
    geometry = load_array("respeaker_usb_4mic")
    samples = np.concatenate([noise(1.0), noise(1.4), noise(0.6)], axis=1)
    samples[2, RATE_HZ : 2 * RATE_HZ] = 0.1
    whole, cut = features(geometry, samples, samples.shape[1]), features(geometry, samples, 317)
    assert [frame.mics for frame in cut] == [frame.mics for frame in whole]
    assert {frame.mics for frame in whole} == {ALL, (0, 1, 3)}
    for one, other in zip(cut, whole, strict=False):
        np.testing.assert_allclose(one.values, other.values, atol=3e-3)


def test_the_shipped_model_hears_what_it_heard_where_it_was_with_a_microphone_dead() -> None:
    """A minute at a fence, once whole and once with a channel of zeros."""
    array, truths = read_truth(FIRMWARE_DIR / "demo" / "fence.json")
    samples, _ = soundfile.read(FIRMWARE_DIR / "demo" / "fence.flac", dtype="float32")
    broken = samples.T.copy()
    zero(broken)
    (system,) = onnx_systems([find_model("deepasa-edge-small-int8")])
    whole, dead = (
        findings(truths, list(hear(each, load_array(array), system, ground="grass").events))
        for each in (samples.T, broken)
    )
    assert any(one.passed for one in whole)
    assert [one.passed for one in dead] == [one.passed for one in whole]
    assert all((one.bearing_error_deg or 0.0) < 8.0 for one in dead)
