"""Scenes against what physics and their recipe say of them."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from appliance.angles import arc_distance_deg, wrap_azimuth_deg
from appliance.dsp.srp import SrpPhat
from appliance.dsp.stft import stft
from appliance.errors import ConfigError, RecordingError
from appliance.geometry import load_array
from appliance.lab.world.atmosphere import Air, absorption_db_per_m, speed_of_sound_m_s
from appliance.lab.world.levels import Microphone, equivalent_dba
from appliance.lab.world.recipe import Pose, Recipe, Room, Sensors, SourcePlan, Weather, load_recipe, save_recipe
from appliance.lab.world.render import RenderedScene, band_rms, nearest_truth_deg, render
from appliance.lab.world.sensors import LABEL_SAMPLES

RATE_HZ = 16_000
ARRAY = "tetrahedron_4cm2"
QUIET: dict[str, Any] = {
    "ambient_dba": None,
    "surface": None,
    "sensors": Sensors(self_noise_dba=-40.0, full_scale_db_spl=94.0, bits=24),
}
YARD = Room(size_m=(14.0, 11.0, 5.0), array_m=(6.0, 5.0), absorption=(0.1, 0.2, 0.1, 0.2, 0.5, 1.0), order=6)


@pytest.fixture(autouse=True)
def pack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A pack of two recordings: five seconds of noise, and a tone that sounds in its second half only."""
    folder = tmp_path_factory.mktemp("pack")
    rng = np.random.default_rng(5)
    (folder / "manifest.csv").write_text("path,class\n", encoding="utf-8")
    soundfile.write(folder / "render_noise.flac", 0.1 * rng.standard_normal(5 * RATE_HZ), RATE_HZ)
    tone = 0.3 * np.sin(2 * np.pi * 1000.0 * np.arange(2 * RATE_HZ) / RATE_HZ)
    soundfile.write(folder / "render_tone.flac", np.concatenate([np.zeros(2 * RATE_HZ), tone]), RATE_HZ)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APPLIANCE_PACK", str(folder))
        yield


def source(**changes: Any) -> SourcePlan:
    settings: dict[str, Any] = {
        "clip": "render_noise.flac",
        "label": "drone",
        "start_s": 0.5,
        "seconds": 2.0,
        "positions_m": ((30.0, 0.0, 3.0),),
        "level_dba": 80.0,
    }
    return SourcePlan(**{**settings, **changes})


def recipe(*sources: SourcePlan, **changes: Any) -> Recipe:
    settings: dict[str, Any] = {"seed": 3, "seconds": 3.0, "array": ARRAY, "sources": sources}
    return Recipe(**{**settings, **changes})


def pressure_pa(scene: RenderedScene, made: Recipe) -> npt.NDArray[np.float64]:
    return scene.samples.astype(np.float64) * Microphone(made.sensors.full_scale_db_spl).pascal_at_full_scale


def test_the_same_recipe_gives_the_same_samples_from_its_file_and_with_stems_too(tmp_path: Path) -> None:
    weather = Weather(wind_m_s=4.0, rain_mm_h=2.0)
    flight = source(positions_m=((40.0, 0.0, 12.0), (40.0, 6.0, 12.0), (40.0, 12.0, 12.0)))
    made = recipe(flight, source(snr_db=3.0, level_dba=None), weather=weather, bed=("render_noise.flac",))
    first = render(made)
    save_recipe(made, tmp_path / "scene.json")
    for again in (render(made), render(load_recipe(tmp_path / "scene.json")), render(made, stems=True)):
        assert (again.samples == first.samples).all()
    other = render(made.model_copy(update={"seed": 4}))
    assert not (other.samples == first.samples).all()


@pytest.mark.parametrize("distance_m", [10.0, 80.0])
def test_a_level_at_one_metre_falls_with_distance_and_air(distance_m: float) -> None:
    """A 1-kHz tone: −20·lg(r) − α·r, the A-weighting there is 0."""
    tone = source(clip="render_tone.flac", offset_s=2.0, seconds=1.9, positions_m=((distance_m, 0.0, 3.0),))
    made = recipe(tone, **QUIET)
    heard = pressure_pa(render(made), made)[0, round(1.0 * RATE_HZ) : round(2.0 * RATE_HZ)]
    expected = 80.0 - 20.0 * math.log10(distance_m) - absorption_db_per_m(1000.0, Air()) * distance_m
    assert equivalent_dba(heard) == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("snr_db", [-10.0, 15.0])
def test_an_snr_is_what_was_asked_for(snr_db: float) -> None:
    scene = render(recipe(source(level_dba=None, snr_db=snr_db), weather=Weather(wind_m_s=5.0)), stems=True)
    assert scene.stems is not None
    sounding = np.repeat(scene.sources[0].active, LABEL_SAMPLES)
    ratio = band_rms(scene.stems.at_mics[0, 0], sounding) / band_rms(scene.stems.noise[0])
    assert 20.0 * math.log10(ratio) == pytest.approx(snr_db, abs=0.01)


def test_ambience_and_rain_have_their_levels() -> None:
    scale = Microphone(94.0).pascal_at_full_scale
    dry = recipe(**{**QUIET, "ambient_dba": 47.0}, bed=("render_noise.flac",))
    assert equivalent_dba(scale * render(dry).samples[0]) == pytest.approx(47.0, abs=0.1)
    wet = recipe(**QUIET, weather=Weather(rain_mm_h=10.0))
    assert equivalent_dba(scale * render(wet).samples[0]) == pytest.approx(52.0, abs=0.1)


def test_a_far_source_is_heard_from_its_start_on_and_not_before() -> None:
    """500 m away: the sound left almost a second and a half before the scene's half second."""
    made = recipe(source(positions_m=((500.0, 0.0, 20.0),), level_dba=120.0), **QUIET)
    scene = render(made)
    power = (scene.samples[0].astype(np.float64) ** 2).reshape(-1, LABEL_SAMPLES).sum(axis=1)
    assert power[:4].max() < 1e-6 * power[8]
    assert power[26:].max() < 1e-6 * power[8]
    active = scene.sources[0].active
    assert (active == ((np.arange(30) >= 5) & (np.arange(30) < 25))).all()


def test_it_is_active_while_it_sounds_and_not_while_the_recording_is_silent() -> None:
    scene = render(recipe(source(clip="render_tone.flac", start_s=0.0, seconds=3.0), **QUIET))
    assert (scene.sources[0].active == (np.arange(30) >= 20)).all()


def test_the_truth_is_where_a_source_was_when_it_made_the_sound() -> None:
    """A transit at 343 m and 30 m/s: heard a second late, 5 degrees behind the aircraft."""
    speed = speed_of_sound_m_s(Air())
    positions = tuple((speed, 30.0 * 0.25 * k, 3.0) for k in range(-8, 25))
    scene = render(recipe(source(positions_m=positions, start_s=0.0, seconds=8.0), seconds=6.0, **QUIET))
    truth = scene.sources[0]
    assert truth.distance_m is not None
    # Made `flown_s` into the flight, which begins where the sound of t = 0 was made, and heard later by the way.
    flown_s = np.linspace(0.0, 8.0, 8001)
    left_m = -60.0 + 30.0 * flown_s
    way_m = np.hypot(left_m, speed)
    heard_s = flown_s + (way_m - way_m[0]) / speed
    time_s = 0.1 * np.arange(60) + 0.05
    assert truth.azimuth_deg == pytest.approx(
        np.degrees(np.interp(time_s, heard_s, np.arctan2(left_m, speed))), abs=0.01
    )
    assert truth.distance_m == pytest.approx(np.interp(time_s, heard_s, way_m), abs=0.05)


@pytest.mark.parametrize("walls", [False, True])
def test_a_turned_and_tilted_array_hears_it_where_the_truth_says(walls: bool) -> None:
    """The samples alone, through SRP-PHAT, point at the truth in the array's own frame."""
    pose = Pose(height_m=3.0, heading_true_deg=70.0, pitch_deg=15.0, roll_deg=-10.0)
    changes: dict[str, Any] = {"room": YARD} if walls else {}
    made = recipe(source(positions_m=((2.0, 3.5, 3.8),)), **{**QUIET, "pose": pose}, **changes)
    scene = render(made)
    srp = SrpPhat(load_array(ARRAY))
    srp.push(stft(scene.samples[:, 12_000:32_000]))
    found, _ = srp.peak()
    azimuth_deg, elevation_deg = nearest_truth_deg(scene.sources[0], 10)
    assert arc_distance_deg(found.azimuth_deg, found.elevation_deg, azimuth_deg, elevation_deg) < (
        12.0 if walls else 6.0
    )
    # Seen from north over west it is at 60 degrees; the array looks 70 degrees to the east of north.
    assert abs(wrap_azimuth_deg(azimuth_deg - 130.0)) < 12.0


@pytest.mark.parametrize("room", [None, YARD])
def test_stems_add_up_and_the_direct_one_points_at_the_truth(room: Room | None) -> None:
    sources = source(positions_m=((3.0, 4.0, 4.5),)), source(positions_m=((-4.0, 1.0, 1.0),), start_s=1.0)
    made = recipe(*sources, room=room, weather=Weather(wind_m_s=3.0), sensors=Sensors(full_scale_db_spl=94.0))
    scene = render(made, stems=True)
    stems = scene.stems
    assert stems is not None
    assert np.abs(stems.at_mics.sum(axis=0) + stems.noise - scene.samples).max() < 0.6 / 32768
    for index, truth in enumerate(scene.sources):
        w, y, z, x = stems.direct[index].astype(np.float64)
        azimuth_deg = math.degrees(math.atan2((w * y).sum(), (w * x).sum()))
        elevation_deg = math.degrees(math.asin((w * z).sum() / (w * w).sum()))
        assert arc_distance_deg(azimuth_deg, elevation_deg, *nearest_truth_deg(truth, 15)) < 0.1
        assert np.abs(stems.reverberant[index, 0]).max() / np.abs(w).max() > 0.05
    # The direct sound at the centre is that of the microphones, which are two centimetres off.
    free = render(made.model_copy(update={"room": None, "surface": None}), stems=True).stems
    assert free is not None
    assert band_rms(free.direct[0, 0]) == pytest.approx(band_rms(free.at_mics[0, 0]), rel=0.02)
    assert not free.reverberant.any()
    np.testing.assert_array_equal(free.direct_at_mics, free.at_mics)
    for straight, alone, both in zip(stems.direct_at_mics, free.at_mics, stems.at_mics, strict=True):
        assert band_rms(straight[1]) == pytest.approx(band_rms(alone[1]), rel=0.02)
        if room is None:  # image sources start on a whole sample, so that their phase is another
            np.testing.assert_allclose(straight, alone, atol=1e-6)
        assert band_rms(both[1] - straight[1]) > 0.05 * band_rms(alone[1])


def test_each_fault_is_what_it_says() -> None:
    base = recipe(source(level_dba=100.0), sensors=Sensors(full_scale_db_spl=100.0))
    sound = render(base).samples

    def faulty(**faults: Any) -> npt.NDArray[np.float32]:
        sensors = Sensors(full_scale_db_spl=100.0, **faults)
        return render(base.model_copy(update={"sensors": sensors})).samples

    dead = faulty(dead=(2,))
    assert not dead[2].any()
    assert (dead[[0, 1, 3]] == sound[[0, 1, 3]]).all()
    assert (faulty(swapped=((0, 3),))[[3, 0]] == sound[[0, 3]]).all()
    assert np.abs(faulty(inverted=(1,))[1] + sound[1]).max() <= 1 / 32768
    louder = faulty(gain_db=(0.0, 0.0, 6.0, 0.0))
    assert np.abs(louder[2] - 10 ** (6.0 / 20.0) * sound[2]).max() < 2.5 / 32768
    late = faulty(delay_us=(62.5, 0.0, 0.0, 0.0))
    assert np.abs(late[0, 1:] - sound[0, :-1]).max() < 3 / 32768
    assert np.abs(late[1:] - sound[1:]).max() < 1.5 / 32768


def test_a_moved_microphone_hears_it_earlier() -> None:
    """34.3 mm towards the source: 0.1 ms."""
    base = recipe(source(), **QUIET)
    moved = QUIET["sensors"].model_copy(update={"moved_mm": ((34.3, 0.0, 0.0), *((0.0, 0.0, 0.0),) * 3)})
    one, two = (render(made).samples[0] for made in (base, base.model_copy(update={"sensors": moved})))
    cross = np.fft.irfft(np.fft.rfft(one, 1 << 17) * np.conj(np.fft.rfft(two, 1 << 17)), n=1 << 19)
    lead_s = int(cross[: 1 << 12].argmax()) / (4 * RATE_HZ)
    assert lead_s == pytest.approx(34.3e-3 / speed_of_sound_m_s(Air()), abs=2e-5)


def test_loud_sounds_clip_and_samples_are_steps_of_the_converter() -> None:
    scene = render(
        recipe(source(level_dba=110.0, positions_m=((5.0, 0.0, 3.0),)), sensors=Sensors(full_scale_db_spl=85.0))
    )
    assert scene.samples.max() == 32767 / 32768
    assert scene.samples.min() == -1.0
    steps = scene.samples.astype(np.float64) * 32768
    assert (steps == np.round(steps)).all()


def test_gaps_are_whole_label_frames_of_zeros_that_are_told() -> None:
    scene = render(recipe(source(), sensors=Sensors(gaps=((1.05, 0.3), (2.95, 5.0)))))
    assert scene.gaps == ((16_000, 22_400), (46_400, 48_000))
    lost = np.zeros(48_000, bool)
    for first, end in scene.gaps:
        lost[first:end] = True
    assert not scene.samples[:, lost].any()
    assert scene.samples[:, ~lost].any(axis=0).mean() > 0.99


@pytest.mark.parametrize(
    ("faults", "said"),
    [({"dead": (4,)}, "microphone 4 of 4"), ({"gain_db": (1.0,)}, "1 values for 4 microphones")],
)
def test_a_fault_of_a_microphone_that_is_not_there_is_refused(faults: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        render(recipe(sensors=Sensors(**faults)))


def test_a_scene_shorter_than_a_label_frame_is_refused() -> None:
    with pytest.raises(ConfigError, match="shorter than a label frame"):
        render(recipe(seconds=0.05))


def test_a_recording_that_is_not_there_is_named() -> None:
    with pytest.raises(RecordingError, match=r"nowhere\.flac: cannot be read"):
        render(recipe(source(clip="nowhere.flac")))
