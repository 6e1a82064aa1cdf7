"""It never goes silently deaf: a drone that is played in must come out, and a microphone that is none is named."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from field_unit import FieldUnit
from plane_waves import at_array
from test_daemon import moment, until

from appliance.angles import wrap_azimuth_deg
from appliance.audio.resample import Resampler
from appliance.audio.target import TargetSource, drone
from appliance.audio.target import at_array as played_in
from appliance.audio.wiring import Fault, WiringCheck
from appliance.config import SiteSettings
from appliance.daemon.hearing import HearingCheck
from appliance.daemon.microphones import MicrophoneWatch
from appliance.daemon.selftest import checks
from appliance.daemon.tap import TappedSource
from appliance.dsp.features import FeatureExtractor
from appliance.firmware import FIRMWARE_DIR
from appliance.geometry import load_array, shipped_arrays
from appliance.lab.hear import MemorySource
from appliance.store import EventLog
from appliance.types import AudioBlock, Direction, Float32Array, SceneFrame, SceneObject

RATE_HZ = 16_000
SQUARE, CIRCLE = "respeaker_usb_4mic", "respeaker_6mic_circular"
DEMO = FIRMWARE_DIR / "demo" / "fence.flac"


def hearing(array: str = SQUARE, thresholds: dict[str, float] | None = None, **tables: object) -> HearingCheck:
    settings = SiteSettings.model_validate({"array": array, **tables})
    return HearingCheck(settings, load_array(array), ("drone",), lambda: thresholds or {}, lambda: None)


# --- the played-in drone ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("array", shipped_arrays())
def test_the_shipped_model_hears_it_on_every_shipped_array(array: str) -> None:
    check = hearing(array)
    for _ in range(3):
        verdict = check.check()
        assert verdict.heard, verdict.text
    assert check.faults == []
    assert check.told is not None
    assert check.told["heard"]


def test_a_unit_that_would_let_a_drone_pass_says_so_and_what_cures_it_is_noticed() -> None:
    """Here an operator has set a threshold that nothing reaches."""
    thresholds = {"drone": 0.999}
    check = hearing(thresholds=thresholds)
    assert not check.check().heard
    (fault,) = check.faults
    assert fault.startswith("not detecting: a drone that was played into")
    assert check.told is not None
    assert not check.told["heard"]
    thresholds.clear()
    assert check.check().heard
    assert check.faults == []


def test_a_site_that_waits_longer_before_it_believes_in_a_drone_detects_all_the_same() -> None:
    """The drone played in is over before six seconds are confirmed."""
    check = hearing(policy={"drone": {"confirm_frames": 60, "window_frames": 100}})
    assert check.check().heard
    assert check.faults == []


def test_the_wrong_direction_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A front end that turns the world by 90 degrees detects, and helps nobody."""

    def turned(*arguments: object) -> Float32Array:
        signal, geometry, azimuth_deg, elevation_deg, seed = arguments
        return played_in(signal, geometry, wrap_azimuth_deg(azimuth_deg + 90.0), elevation_deg, seed)  # type: ignore[arg-type, operator]

    monkeypatch.setattr("appliance.daemon.hearing.at_array", turned)
    assert not hearing().check().heard


def test_a_model_that_cannot_be_loaded_is_a_fault_and_no_crash(tmp_path: Path) -> None:
    check = hearing(model={"file": str(tmp_path / "gone.onnx")})
    assert "no such model" in check.check().text
    assert check.faults[0].startswith("not detecting: ")


def test_each_check_comes_from_elsewhere() -> None:
    check = hearing()
    assert len({check.check().text for _ in range(3)}) == 3


def test_a_network_that_gives_no_numbers_is_told() -> None:
    check = hearing()
    some = SceneObject(0, 0.0, np.zeros(1, np.float32), Direction(0.0, 0.0), 5.0)
    for _ in range(20):
        check.frame(moment(-50.0))
    assert check.faults == ["the network gives no numbers; restart the sensor"]
    check.frame(dataclasses.replace(moment(-50.0), scene=SceneFrame((some,), 0.0, 0)))
    assert check.faults == []


def test_a_model_of_other_sounds_is_not_judged_by_a_drone(event_log: EventLog, intensity_model: Path) -> None:
    settings = SiteSettings.model_validate({"model": {"file": str(intensity_model)}, "store": {"path": event_log.path}})
    other = HearingCheck(settings, load_array(SQUARE), ("dog",), dict, lambda: None)
    assert not other.knows_target
    assert [name for name, *_ in checks(settings, event_log, other)] == ["hearing", "model", "clock", "disk"]


def test_it_stops_at_once_in_the_middle_of_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.daemon.hearing._FIRST_S", 0.0)
    monkeypatch.setattr("appliance.daemon.hearing._PAUSE_S", 1.0)
    check = hearing()
    with check:
        until(lambda: check._playing is not None)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 10.0
    assert check.verdict is None, "a check that was cut short proves nothing"


def test_the_target_is_a_source_like_any_other() -> None:
    samples = played_in(drone(1.0, 120.0, 0), load_array(SQUARE), 30.0, 10.0, 0)
    with TargetSource(samples) as source:
        blocks = list(source.blocks())
    assert (source.mics, source.sample_rate_hz) == (4, RATE_HZ)
    assert np.array_equal(np.concatenate([block.samples for block in blocks], axis=1), samples)
    assert [block.start_sample for block in blocks] == [1600 * number for number in range(10)]
    assert np.abs(samples).max() < 0.06


# --- microphones ------------------------------------------------------------------------------------------------------

Change = Callable[[Float32Array], Float32Array]


def listen(
    watch: MicrophoneWatch,
    samples: Float32Array,
    change: Change | None = None,
    seconds: int | None = None,
    gaps: tuple[int, ...] = (),
) -> None:
    """Play in blocks, as they come from a device, and look at the wiring after each second; `gaps`: before these of its blocks."""
    samples = samples.astype(np.float32)
    for second in range(seconds if seconds is not None else samples.shape[1] // RATE_HZ):
        at = second * RATE_HZ % samples.shape[1]
        heard = samples[:, at : at + RATE_HZ].copy()
        heard = change(heard) if change else heard
        for number in range(10):
            start = second * RATE_HZ + number * 1600
            block = heard[:, number * 1600 : (number + 1) * 1600]
            watch.audio(AudioBlock(block, RATE_HZ, start, start * 62_500, gap=number in gaps))
        watch.look_at_wiring()


@pytest.fixture
def yard() -> Float32Array:
    """Twenty seconds of noise, microphones a little different as they are."""
    noise = np.random.default_rng(1).normal(0.0, 0.01, (4, 20 * RATE_HZ))
    return np.asarray(noise * np.array([[1.0], [1.3], [0.8], [1.1]]), np.float32)


@pytest.fixture(autouse=True)
def eager_wiring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.daemon.microphones._WIRING_EVERY_S", 0.0)


def put(mic: int, value: Callable[[Float32Array], Any]) -> Change:
    def change(samples: Float32Array) -> Float32Array:
        samples[mic] = value(samples)
        return samples

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (put(1, lambda _: 0.25), "microphone 2 is stuck at one value"),
        (put(2, lambda heard: heard[2] + 0.2), "microphone 3 has a DC offset"),
        (put(0, lambda heard: np.clip(heard[0] * 1000.0, -1.0, 1.0)), "microphone 1 clips; lower its gain"),
        (put(3, lambda heard: heard[1]), "microphones 2 and 4 give the same samples; check [capture] channels"),
    ],
)
def test_what_is_wrong_with_a_microphone_is_named_once_it_lasts_and_no_longer(
    yard: Float32Array, change: Change, fault: str
) -> None:
    watch = MicrophoneWatch(load_array(SQUARE))
    listen(watch, yard, change, seconds=9)
    assert watch.faults == [], "a second is no fault"
    listen(watch, yard, change, seconds=2)
    assert watch.faults == [fault]
    assert not watch.deaf
    listen(watch, yard, seconds=11)
    assert watch.faults == []


def test_gaps_keep_no_microphone_from_being_weighed(yard: Float32Array) -> None:
    watch = MicrophoneWatch(load_array(SQUARE))
    listen(watch, yard, put(1, lambda heard: np.full_like(heard[1], 0.05)), seconds=11, gaps=(0, 5))
    assert watch.faults == ["microphone 2 is stuck at one value"]


def test_a_dead_element_before_a_live_converter_is_named(yard: Float32Array) -> None:
    watch = MicrophoneWatch(load_array(SQUARE))
    weak = put(1, lambda heard: heard[1] * 0.01)
    listen(watch, yard, weak, seconds=55)
    assert watch.faults == []
    listen(watch, yard, weak, seconds=10)
    assert watch.faults == ["microphone 2 is far weaker than the others: blocked, wet or dead"]


def test_where_none_gives_anything_but_one_value_the_unit_is_deaf(yard: Float32Array) -> None:
    watch = MicrophoneWatch(load_array(SQUARE))
    listen(watch, yard, lambda heard: np.full_like(heard, 0.1), seconds=12)
    assert watch.deaf
    assert len(watch.faults) == 4
    listen(watch, yard, seconds=1)
    assert not watch.deaf


@pytest.mark.parametrize("rate_hz", [44_100, 48_000])
def test_at_other_rates_one_value_is_no_sound_either(rate_hz: int) -> None:
    """A converter without power gives some value on each channel; at 44.1 kHz that swings by rounding."""
    values = np.array([[-1.0], [3.0], [2.0], [-9830.0]], np.float32) / np.float32(2**15)
    device = np.repeat(values, 13 * rate_hz, axis=1)
    watch = MicrophoneWatch(load_array(SQUARE))
    listen(watch, Resampler(4, rate_hz).push(device)[:, : 12 * RATE_HZ])
    assert watch.deaf
    assert watch.faults == [f"microphone {mic} is stuck at one value" for mic in (1, 2, 3, 4)]


def test_a_quiet_night_is_no_fault(yard: Float32Array) -> None:
    watch = MicrophoneWatch(load_array(SQUARE))
    listen(watch, np.asarray(np.round(yard * 0.002 * 32768) / 32768, np.float32), seconds=70)
    assert watch.faults == []


# --- wiring -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fence() -> Float32Array:
    """The demo recording: a minute at a fence, many sounds from many sides."""
    samples, _ = soundfile.read(DEMO, dtype="float32")
    return np.asarray(samples.T)


def exchanged(one: int, other: int) -> Change:
    def change(samples: Float32Array) -> Float32Array:
        samples[[one, other]] = samples[[other, one]]
        return samples

    return change


def test_a_right_array_is_never_accused_of_a_real_yard(fence: Float32Array) -> None:
    watch = MicrophoneWatch(load_array(SQUARE))
    for second in range(fence.shape[1] // RATE_HZ):
        listen(watch, fence[:, second * RATE_HZ : (second + 1) * RATE_HZ])
        assert watch.faults == []
    assert len(watch._gains) == 10


def test_across_a_gap_no_wiring_is_judged(fence: Float32Array) -> None:
    watch = MicrophoneWatch(load_array(SQUARE))
    listen(watch, fence, seconds=5, gaps=(5,))
    assert len(watch._gains) == 0
    listen(watch, fence, seconds=5, gaps=(0,))
    assert len(watch._gains) > 0


def test_exchanged_neighbours_are_named_and_forgotten_once_they_are_put_right(fence: Float32Array) -> None:
    watch = MicrophoneWatch(load_array(SQUARE))
    listen(watch, fence, exchanged(0, 1))
    (fault,) = watch.faults
    # In a square, to exchange one side is to exchange the other and to mirror the world.
    assert fault.startswith(("microphones 1 and 2 look exchanged", "microphones 3 and 4 look exchanged"))
    listen(watch, fence[:, : 40 * RATE_HZ])
    assert watch.faults == []


def test_what_only_mirrors_the_array_is_not_made_up(fence: Float32Array) -> None:
    watch = MicrophoneWatch(load_array(SQUARE))
    listen(watch, fence, exchanged(0, 2))
    assert watch.faults == []


@pytest.mark.parametrize("mic", range(4))
def test_wrong_polarity_is_named(fence: Float32Array, mic: int) -> None:
    watch = MicrophoneWatch(load_array(SQUARE))
    listen(watch, fence[:, : 15 * RATE_HZ], put(mic, lambda heard: -heard[mic]))
    (fault,) = watch.faults
    assert fault.startswith(f"microphone {mic + 1} is wired with the wrong polarity")


def test_a_microphone_of_wrong_polarity_is_turned_round_until_it_is_put_right(fence: Float32Array) -> None:
    watch, turned = MicrophoneWatch(load_array(SQUARE)), fence.copy()
    turned[2] *= -1.0

    def passed_on(samples: Float32Array) -> Float32Array:
        source = TappedSource(MemorySource(samples), [watch], watch.mended)
        return np.concatenate([block.samples for block in source.blocks()], axis=1)

    second = slice(0, RATE_HZ)
    np.testing.assert_array_equal(passed_on(turned[:, second]), turned[:, second])  # nothing is known yet
    listen(watch, turned)
    np.testing.assert_array_equal(passed_on(turned[:, second]), fence[:, second])
    listen(watch, fence[:, : 40 * RATE_HZ])
    assert watch.faults == []
    np.testing.assert_array_equal(passed_on(fence[:, second]), fence[:, second])


def late(samples: Float32Array) -> Float32Array:
    """The second channel a period late, as that of a device of its own may be."""
    samples[1] = np.roll(samples[1], 1600)
    return samples


@pytest.mark.parametrize("array", shipped_arrays())
def test_a_channel_that_hears_something_else_is_named_and_left_out_until_it_is_put_right(array: str) -> None:
    geometry = load_array(array)
    heard = sum(
        at_array(np.random.default_rng(seed).normal(0.0, 0.05, 14 * RATE_HZ), geometry, azimuth_deg, 15.0)
        for seed, azimuth_deg in enumerate((10.0, 130.0))
    )
    samples, watch = np.asarray(heard, np.float32), MicrophoneWatch(geometry)
    listen(watch, samples)
    assert watch.faults == []
    listen(watch, samples, late)
    assert watch.faults == [
        "microphone 2 hears something else than the others and is left out; check [capture] channels, its cable and its windscreen"
    ]
    extractor = FeatureExtractor(geometry)
    frames = [frame for block in MemorySource(samples).blocks() for frame in extractor.push(watch.mended(block))]
    assert frames[-1].mics == tuple(mic for mic in range(geometry.mics) if mic != 1)
    listen(watch, samples[:, : 8 * RATE_HZ])
    assert watch.faults == []
    block = next(MemorySource(samples).blocks())
    assert watch.mended(block) is block


def test_a_microphone_far_from_the_others_is_not_accused() -> None:
    """Ambience that it hears has nothing to do with what they hear."""
    square = load_array(SQUARE)
    positions_m = square.positions_m.copy()
    positions_m[3] *= 8.0
    geometry = dataclasses.replace(square, positions_m=positions_m - positions_m.mean(axis=0))
    random = np.random.default_rng(2)
    diffuse = sum(
        at_array(random.normal(0.0, 0.01, 12 * RATE_HZ), geometry, azimuth_deg, elevation_deg)
        for azimuth_deg in range(-180, 180, 30)
        for elevation_deg in (-50.0, -15.0, 15.0, 50.0)
    )
    watch = MicrophoneWatch(geometry)
    listen(watch, np.asarray(diffuse, np.float32))
    assert watch.faults == []


def test_an_exchange_is_told_and_left_alone(fence: Float32Array) -> None:
    watch = MicrophoneWatch(load_array(SQUARE))
    listen(watch, fence, exchanged(0, 1))
    block = next(MemorySource(fence).blocks())
    assert watch.faults
    assert watch.mended(block) is block


@pytest.mark.parametrize("array", shipped_arrays())
def test_on_every_shipped_array_right_is_right_and_polarity_is_seen(array: str) -> None:
    geometry = load_array(array)
    check = WiringCheck(geometry)
    for azimuth_deg in (10.0, 130.0, -70.0):
        noise = np.random.default_rng(int(azimuth_deg) + 100).normal(0.0, 0.05, RATE_HZ)
        heard = at_array(noise, geometry, azimuth_deg, 15.0).astype(np.float32)
        assert check.gains(heard).max() < 0.05
        heard[1] = -heard[1]
        gains = check.gains(heard)
        assert check.faults[int(gains.argmax())] == Fault(inverted=(1,))
        assert gains.max() > 0.1


def test_an_exchange_in_a_circle_is_found_wherever_sound_comes_from() -> None:
    geometry = load_array(CIRCLE)
    check = WiringCheck(geometry)
    total = np.zeros(len(check.faults))
    for azimuth_deg in range(-180, 180, 45):
        noise = np.random.default_rng(azimuth_deg + 180).normal(0.0, 0.05, RATE_HZ)
        heard = at_array(noise, geometry, float(azimuth_deg), 15.0).astype(np.float32)
        heard[[1, 3]] = heard[[3, 1]]
        total += check.gains(heard)
    assert check.faults[int(total.argmax())] == Fault(swapped=(1, 3))


def test_diffuse_noise_and_wind_accuse_nobody() -> None:
    """Nothing that comes from one side, and nothing that the microphones share."""
    geometry = load_array(SQUARE)
    random = np.random.default_rng(2)
    diffuse = sum(
        at_array(random.normal(0.0, 0.01, 15 * RATE_HZ), geometry, azimuth_deg, 10.0)
        for azimuth_deg in range(-180, 180, 15)
    )
    for sound in (diffuse, random.normal(0.0, 0.01, (4, 15 * RATE_HZ))):
        watch = MicrophoneWatch(geometry)
        listen(watch, np.asarray(sound, np.float32))
        assert watch.faults == []


# --- the whole sensor -------------------------------------------------------------------------------------------------


def test_a_running_unit_proves_its_hearing_and_tells(tmp_path: Path, intensity_model: Path) -> None:
    unit = FieldUnit(tmp_path, intensity_model, "[hearing]", "check_minutes = 1")
    try:
        unit.start()
        until(unit.log.is_file)
        with EventLog(unit.log) as log:
            until(lambda: "health" in log.states() and bool(log.states()["health"].value.get("hearing_check")))
            told = log.states()["health"].value["hearing_check"]
            assert told["heard"], told["text"]
            assert log.states()["sensor"].value == {"hearing": True, "faults": []}
            # Only what the microphones heard is in the log: the drone that was played in is in no event.
            assert {event.class_label for event in log.read()} == {"drone"}
            assert {round(event.azimuth_deg) for event in log.read()} <= set(range(37, 44))
        assert unit.stop() == 0
    finally:
        unit.close()


def test_a_unit_that_cannot_detect_says_so_in_its_status(tmp_path: Path, intensity_model: Path) -> None:
    """It captures, its levels are fine, and it would let every drone pass."""
    unit = FieldUnit(tmp_path, intensity_model, "[policy.drone]", "threshold = 0.99")
    try:
        unit.start()
        until(unit.log.is_file)
        with EventLog(unit.log) as log:
            until(lambda: "sensor" in log.states() and bool(log.states()["sensor"].value["faults"]))
            (fault,) = log.states()["sensor"].value["faults"]
            assert fault.startswith("not detecting: a drone")
        assert unit.stop() == 0
    finally:
        unit.close()
