"""Public sets, each made of a few files in its published layout: what is read, what is refused, what is drawn from it."""

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from plane_waves import at_array, hum
from pyarrow import parquet, table
from scipy.io import savemat
from typer.testing import CliRunner

import appliance.lab
from appliance.angles import azimuth_elevation_deg
from appliance.cli.main import app
from appliance.errors import ConfigError, RecordingError
from appliance.geometry import load_array, shipped_arrays
from appliance.lab.datasets.check import check_dataset
from appliance.lab.datasets.kinds import Item, SceneRecording, recordings_of
from appliance.lab.datasets.registry import CLIP_SETS, DATASETS, SCENE_SETS
from appliance.lab.datasets.sources import load_clips, read_clip
from appliance.lab.judge.recordings import judge_recordings
from appliance.lab.pack import CLASSES, SOUNDS
from appliance.lab.systems import OnnxSystem
from appliance.lab.world.dcase_csv import SeldRow

Make = Callable[[Path], None]


def tone(path: Path, *, rate_hz: int = 44_100, channels: int = 1, seconds: float = 0.25, hz: float = 1000.0) -> None:
    """A file that holds one tone on all channels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.5 * np.sin(2.0 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)
    soundfile.write(path, np.tile(wave[:, None], (1, channels)), rate_hz)


def text(path: Path, *lines: str) -> None:
    """A text file of these lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


# --- the layouts, as published ----------------------------------------------------------------------------------------


def make_esc50(root: Path) -> None:
    text(
        root / "meta" / "esc50.csv",
        "filename,fold,target,category,esc10,src_file,take",
        "1-100032-A-0.wav,1,0,dog,True,100032,A",
        "5-9032-A-0.wav,5,0,dog,True,9032,A",
        "3-170312-A-26.wav,3,26,laughing,False,170312,A",
        "2-122104-B-0.wav,2,0,dog,True,122104,B",
        "4-181999-A-36.wav,4,36,vacuum_cleaner,False,181999,A",
    )
    for name in ("1-100032-A-0", "5-9032-A-0", "3-170312-A-26", "2-122104-B-0", "4-181999-A-36"):
        tone(root / "audio" / f"{name}.wav")


def make_urbansound8k(root: Path) -> None:
    text(
        root / "metadata" / "UrbanSound8K.csv",
        "slice_file_name,fsID,start,end,salience,fold,classID,class",
        "100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark",
        "7061-6-0-0.wav,7061,0.0,4.0,1,10,6,gun_shot",
        "102305-6-0-0.wav,102305,0.0,2.6,2,1,6,gun_shot",
    )
    tone(root / "audio" / "fold5" / "100032-3-0-0.wav", rate_hz=22_050, channels=2)
    tone(root / "audio" / "fold10" / "7061-6-0-0.wav", rate_hz=96_000)
    tone(root / "audio" / "fold1" / "102305-6-0-0.wav", channels=2)


def make_fsd50k(root: Path) -> None:
    text(
        root / "FSD50K.ground_truth" / "dev.csv",
        "fname,labels,mids,split",
        '64760,"Electric_guitar,Guitar,Plucked_string_instrument,Musical_instrument,Music","/m/02sgy",train',
        '9032,"Bark,Dog,Domestic_animals_and_pets,Animal","/m/05tny_",train',
        '300,"Gunshot_and_gunfire,Explosion","/m/032s66",val',
        '301,"Bark,Dog,Wind","/m/05tny_",train',
        '302,"Whispering,Human_voice","/m/02rtxlg",train',
        '303,"Cricket,Insect,Wild_animals,Animal","/m/09xqv",train',
    )
    text(
        root / "FSD50K.ground_truth" / "eval.csv",
        "fname,labels,mids",
        '1340,"Fixed-wing_aircraft_and_airplane,Aircraft,Vehicle","/m/0cmf2"',
    )
    clip = {
        "title": "a",
        "description": "b",
        "tags": [],
        "license": "http://creativecommons.org/publicdomain/zero/1.0/",
    }
    text(root / "FSD50K.metadata" / "dev_clips_info_FSD50K.json", json.dumps({"300": clip | {"uploader": "c"}}))
    for name in (64760, 9032, 300, 301, 302, 303):
        tone(root / "FSD50K.dev_audio" / f"{name}.wav")
    tone(root / "FSD50K.eval_audio" / "1340.wav")


def make_dads(root: Path) -> None:
    (root / "data").mkdir(parents=True)
    for shard, labels in enumerate(((1, 0), (1,))):
        rows = []
        for row, _ in enumerate(labels):
            wav = io.BytesIO()
            wave = 0.5 * np.sin(2.0 * np.pi * 200.0 * (row + 1) * np.arange(9600) / 16_000)
            soundfile.write(wav, wave, 16_000, format="WAV", subtype="PCM_16")
            rows.append({"bytes": wav.getvalue(), "path": f"{row}.wav"})
        shown = table({"audio": rows, "label": list(labels)})
        parquet.write_table(shown, root / "data" / f"train-{shard:05}-of-00039.parquet")


def make_folders(root: Path) -> None:
    tone(root / "drone" / "DJI_Mini_3" / "hover" / "1.wav", rate_hz=48_000, channels=2)
    tone(root / "drone" / "DJI_Mini_3" / "transit" / "2.flac")
    tone(root / "wind" / "night.wav")


def make_dcase(folder: str, name: str, *rows: str) -> Make:
    def make(root: Path) -> None:
        tone(root / "mic_dev" / folder / f"{name}.wav", rate_hz=24_000, channels=4, seconds=1.0)
        text(root / "metadata_dev" / folder / f"{name}.csv", *rows)

    return make


def make_asa2(root: Path) -> None:
    tone(root / "test" / "mixed" / "17.wav", rate_hz=16_000, channels=4)
    text(
        root / "test" / "info" / "17.csv",
        "frame,source,class,azimuth,elevation",
        "0,0,10,-45.0,100.0",
        "0,1,4,90.0,90.0",
        "1.0,0,10,-45.0,60.0",
    )
    for stem in ("10", "0", "2"):
        for kind in ("reverb", "anechoic"):
            tone(root / "test" / kind / "17" / f"{stem}.wav", rate_hz=16_000, channels=4)


def make_dregon(root: Path) -> None:
    name = "DREGON_free-flight_speech-high_room1"
    began_s = 1_511_903_584.0
    tone(root / name / f"{name}.wav", channels=8, seconds=2.0)
    savemat(root / name / f"{name}_audiots.mat", {"audio_timestamps": began_s + np.arange(88_200.0)[:, None] / 44_100})
    tracked_s = np.arange(0.5, 1.5, 0.02)[:, None]  # tracking begins after the sound and ends before it
    position = {
        "timestamps": began_s + tracked_s,
        "azimuth": (170.0 + 20.0 * tracked_s + 180.0) % 360.0 - 180.0,  # passes behind the array at 0.5 s
        "elevation": np.full_like(tracked_s, -30.0),
        "distance": np.full_like(tracked_s, 2.0),
    }
    savemat(root / name / f"{name}_sourcepos.mat", {"source_position": position})
    silent = "DREGON_free-flight_nosource_room1"
    tone(root / silent / f"{silent}.wav", channels=8)
    tone(root / "DREGON_individual_motors_recordings" / "Motor1_50.wav", channels=8)
    corners = [f"0.042 0.0615 -{row}.1e-2 % mic {row}" for row in range(8)]
    text(root / "micPos.txt", "% in metres", "micPos = [", ";\n".join(corners), "];")


MAKERS: dict[str, Make] = {
    "esc50": make_esc50,
    "urbansound8k": make_urbansound8k,
    "fsd50k": make_fsd50k,
    "dads": make_dads,
    "folders": make_folders,
    "starss23": make_dcase(
        "dev-test-tau", "fold4_room2_mix001", "0,1,2,-50,10,230", "0,8,0,10,0,110", "9,6,2,-50,-60,200"
    ),
    "tau2020": make_dcase("", "fold1_room1_mix001_ov1", "3,4,0,-180,5", "4,3,1,20,5"),
    "tau2021": make_dcase("dev-train", "fold1_room1_mix001", "3,3,0,-180,5", "4,4,1,20,5"),
    "asa2": make_asa2,
    "dregon": make_dregon,
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Public sets, each where it is looked for, and an audio pack of one clip."""
    folder = tmp_path_factory.mktemp("published")
    for name, make in MAKERS.items():
        make(folder / "sets" / DATASETS[name].card.folder)
    tone(folder / "pack" / "dog" / "judged.flac", rate_hz=16_000)
    text(
        folder / "pack" / "manifest.csv",
        "path,class,source_repo,license,seconds,fold,subclass,recording_id",
        "dog/judged.flac,dog,someone/sounds,CC0,0.25,5,dog,freesound:100032",
    )
    return folder


@pytest.fixture
def shelf(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the public sets, to be broken at will."""
    shutil.copytree(published, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("APPLIANCE_DATA", str(tmp_path / "sets"))
    monkeypatch.setenv("APPLIANCE_PACK", str(tmp_path / "pack"))
    return tmp_path / "sets"


def items(shelf: Path, name: str) -> dict[str, Item]:
    clip_set = CLIP_SETS[name]
    return {item.path: item for item in clip_set.items(shelf / clip_set.card.folder)}


def scenes(shelf: Path, name: str) -> list[SceneRecording]:
    return recordings_of(SCENE_SETS[name], shelf / SCENE_SETS[name].card.folder)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["lab", "data", *arguments])
    error = result.exception
    return getattr(error, "exit_status", result.exit_code), f"{result.output}{error or ''}"


# --- all of them ------------------------------------------------------------------------------------------------------


def test_every_set_is_tested_here() -> None:
    assert set(MAKERS) == set(DATASETS)


@pytest.mark.parametrize("name", DATASETS)
def test_classes_become_ours_or_nothing(name: str) -> None:
    meant = set(DATASETS[name].card.classes.values())
    assert meant <= {*SOUNDS, None}
    assert meant & set(CLASSES)


@pytest.mark.parametrize("name", DATASETS)
def test_a_set_in_order_is_found_in_order(shelf: Path, name: str) -> None:
    findings = check_dataset(DATASETS[name], shelf / DATASETS[name].card.folder, partial=True)
    assert findings.problems == []
    assert findings.files > 0
    assert findings.seconds > 0.0


@pytest.mark.parametrize("name", DATASETS)
def test_an_empty_folder_is_not_a_set(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=str(tmp_path)):
        DATASETS[name].items(tmp_path)


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"folders", "dads", "dregon"}))
def test_a_missing_file_is_named(shelf: Path, name: str) -> None:
    """Where the set has a list. The others' files are their own list."""
    root = shelf / DATASETS[name].card.folder
    lost = next(path for path in sorted(root.rglob("*.wav" if name in CLIP_SETS else "*.csv")))
    lost.unlink()
    problems = check_dataset(DATASETS[name], root, partial=True).problems
    assert len(problems) == 1
    assert str(lost) in problems[0]


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"urbansound8k", "folders", "dads"}))
def test_another_sampling_rate_is_named(shelf: Path, name: str) -> None:
    """Two of the sets come at any rate; DADS' files lie within another."""
    root = shelf / DATASETS[name].card.folder
    channels = DATASETS[name].channels
    wrong = next(
        path for path in sorted(root.rglob("*.wav")) if "reverb" not in str(path) and "anechoic" not in str(path)
    )
    tone(wrong, rate_hz=8000, channels=channels if isinstance(channels, int) else 1, seconds=4.0)
    problems = check_dataset(DATASETS[name], root, partial=True).problems
    assert len(problems) == 1
    assert str(wrong) in problems[0]
    assert "8000 Hz, not" in problems[0]


def test_a_corrupt_file_and_other_channels_are_named(shelf: Path) -> None:
    root = shelf / DATASETS["starss23"].card.folder
    wav = root / "mic_dev" / "dev-test-tau" / "fold4_room2_mix001.wav"
    tone(wav, rate_hz=24_000, channels=2, seconds=1.0)
    assert "2 channel(s), not 4" in check_dataset(DATASETS["starss23"], root, partial=True).problems[0]
    wav.write_bytes(b"RIFF of nothing")
    assert "cannot be read" in check_dataset(DATASETS["starss23"], root, partial=True).problems[0]


def test_truth_beyond_the_end_of_the_sound_is_named(shelf: Path) -> None:
    root = shelf / DATASETS["starss23"].card.folder
    text(root / "metadata_dev" / "dev-test-tau" / "fold4_room2_mix001.csv", "11,1,0,0,0")
    problems = check_dataset(DATASETS["starss23"], root, partial=True).problems
    assert "tells of 1.1 s, but fold4_room2_mix001.wav ends at 1.0 s" in problems[0]


def test_a_part_is_a_problem_unless_it_is_meant(shelf: Path) -> None:
    root = shelf / DATASETS["esc50"].card.folder
    (problem,) = check_dataset(DATASETS["esc50"], root).problems
    assert "5 recordings, the whole set has 2000" in problem


# --- each of them -----------------------------------------------------------------------------------------------------


def test_esc50_tells_recording_fold_and_licence(shelf: Path) -> None:
    found = items(shelf, "esc50")
    assert found["audio/5-9032-A-0.wav"] == Item("audio/5-9032-A-0.wav", "dog", "dog", "freesound:9032", 5, "CC BY 3.0")
    assert found["audio/3-170312-A-26.wav"].label is None
    assert found["audio/4-181999-A-36.wav"].license == "CC BY-NC 3.0"


def test_an_unknown_class_or_a_lost_column_is_named_by_line(shelf: Path) -> None:
    table_path = shelf / DATASETS["esc50"].card.folder / "meta" / "esc50.csv"
    head, first, *_ = table_path.read_text(encoding="utf-8").splitlines()
    text(table_path, head, first.replace(",dog,", ",wolf,"))
    with pytest.raises(RecordingError, match=r"esc50\.csv:2: class 'wolf'"):
        items(shelf, "esc50")
    text(table_path, head.replace("src_file", "source"), first)
    with pytest.raises(RecordingError, match="no column src_file"):
        items(shelf, "esc50")


def test_urbansound8k_uses_what_is_in_the_foreground(shelf: Path) -> None:
    found = items(shelf, "urbansound8k")
    assert found["audio/fold1/102305-6-0-0.wav"].label is None
    assert (found["audio/fold10/7061-6-0-0.wav"].label, found["audio/fold10/7061-6-0-0.wav"].fold) == ("gunshot", 5)
    assert found["audio/fold5/100032-3-0-0.wav"].fold == 3


def test_fsd50k_uses_what_means_one_sound(shelf: Path) -> None:
    found = {item.recording_id.removeprefix("freesound:"): item for item in items(shelf, "fsd50k").values()}
    assert {name: item.label for name, item in found.items()} == {
        "64760": "music",
        "9032": "dog",
        "300": "gunshot",  # an explosion only by the ontology
        "301": None,  # two sounds
        "302": None,  # a voice that is neither speech nor something else
        "303": "crickets",  # an insect only by the ontology
        "1340": "airplane",
    }
    assert (found["300"].fold, found["1340"].fold) == (4, 5)
    assert {found[name].fold for name in ("64760", "9032", "303")} <= {1, 2, 3}
    assert found["300"].license == "http://creativecommons.org/publicdomain/zero/1.0/"


def test_fsd50k_may_come_without_its_evaluation_part(shelf: Path) -> None:
    root = shelf / DATASETS["fsd50k"].card.folder
    (root / "FSD50K.eval_audio" / "1340.wav").unlink()
    (root / "FSD50K.eval_audio").rmdir()
    (root / "FSD50K.ground_truth" / "eval.csv").unlink()
    assert all(path.startswith("FSD50K.dev_audio/") for path in items(shelf, "fsd50k"))


def test_dads_is_read_out_of_its_parquet_files(shelf: Path) -> None:
    found = items(shelf, "dads")
    assert [item.label for item in found.values()] == ["drone", None, "drone"]
    assert {item.fold for item in found.values()} <= {1, 2, 3}
    clips = load_clips(["dads"], (1, 2, 3))
    assert {clip.seconds for clip in clips} == {0.6}
    heard = read_clip(next(clip for clip in clips if clip.path.endswith("00001-of-00039.parquet#0")))
    assert np.argmax(np.abs(np.fft.rfft(heard))) == 200 * 0.6


def test_a_corrupt_parquet_file_is_named(shelf: Path) -> None:
    shard = shelf / DATASETS["dads"].card.folder / "data" / "train-00000-of-00039.parquet"
    shard.write_bytes(b"PAR1 of nothing")
    with pytest.raises(RecordingError, match=shard.name):
        items(shelf, "dads")


def test_a_folder_per_sound_keeps_sessions_together(shelf: Path) -> None:
    found = items(shelf, "folders")
    hover, transit = found["drone/DJI_Mini_3/hover/1.wav"], found["drone/DJI_Mini_3/transit/2.flac"]
    assert (hover.recording_id, hover.fold) == (transit.recording_id, transit.fold)
    (shelf / "folders" / "ufo").mkdir()
    with pytest.raises(ConfigError, match="'ufo' is no sound of ours"):
        items(shelf, "folders")


def test_starss23_is_a_recording_of_a_shipped_array_with_truth(shelf: Path) -> None:
    (scene,) = scenes(shelf, "starss23")
    assert scene.array is not None
    assert scene.array.name in shipped_arrays()
    assert [row[:4] for row in scene.truth[0]] == [(1, 2, -50.0, 10.0), (8, 0, 10.0, 0.0)]
    assert {frame: [row[:4] for row in rows] for frame, rows in scene.our_truth().items()} == {
        0: [(CLASSES.index("speech"), 2, -50.0, 10.0)],  # music is none of ours
        9: [(CLASSES.index("footsteps"), 2, -50.0, -60.0)],
    }
    assert scene.split == "dev-test-tau"


def test_the_two_tau_nigens_sets_count_classes_differently(shelf: Path) -> None:
    (early,), (late,) = scenes(shelf, "tau2020"), scenes(shelf, "tau2021")
    assert early.our_truth() == {
        3: [SeldRow(CLASSES.index("vehicle_engine"), 0, -180.0, 5.0)],
        4: [SeldRow(CLASSES.index("dog"), 1, 20.0, 5.0)],
    }
    assert late.our_truth() == {3: [SeldRow(CLASSES.index("dog"), 0, -180.0, 5.0)]}  # a scream is neither
    assert (early.split, late.split) == ("fold1", "dev-train")


def test_asa2_brings_its_stems_and_our_elevation(shelf: Path) -> None:
    (scene,) = scenes(shelf, "asa2")
    speech = CLASSES.index("speech")
    assert scene.our_truth() == {0: [SeldRow(speech, 0, -45.0, 10.0)], 1: [SeldRow(speech, 0, -45.0, -30.0)]}
    assert [stem.stem for stem in scene.stems] == ["0", "2", "10"]


def test_dregon_tells_where_the_source_is_while_it_is_tracked(shelf: Path) -> None:
    quiet, flight = scenes(shelf, "dregon")
    assert quiet.truth == {}
    assert list(flight.truth) == list(range(5, 15))
    for frame, (row,) in flight.truth.items():
        expected_deg = 170.0 + 20.0 * 0.1 * (frame + 0.5)
        assert azimuth_elevation_deg(
            np.array([np.cos(np.radians(row.azimuth_deg)), np.sin(np.radians(row.azimuth_deg)), 0.0])
        )[0] == pytest.approx((expected_deg + 180.0) % 360.0 - 180.0, abs=0.01)
        assert row.elevation_deg == pytest.approx(-30.0, abs=0.01)
    assert flight.our_truth()[5][0].class_index == CLASSES.index("speech")
    assert flight.array is not None
    from_first_m = flight.array.positions_m - flight.array.positions_m[0]
    assert from_first_m[3] == pytest.approx([0.0, 0.0, -0.03])


def test_a_lost_clock_and_a_broken_array_of_dregon_are_named(shelf: Path) -> None:
    name = "DREGON_free-flight_speech-high_room1"
    (shelf / "DREGON" / name / f"{name}_audiots.mat").unlink()
    (shelf / "DREGON" / "micPos.txt").write_text("micPos = [1 2 3];", encoding="utf-8")
    problems = check_dataset(DATASETS["dregon"], shelf / "DREGON", partial=True).problems
    assert len(problems) == 2
    assert "3 numbers in brackets, not 8 × 3" in problems[0]
    assert f"{name}_audiots.mat" in problems[1]


# --- judged on --------------------------------------------------------------------------------------------------------


def test_a_system_is_judged_on_recorded_scenes_through_the_pipeline(tmp_path: Path, intensity_model: Path) -> None:
    """A model that needs no training hears a hum at -100°, 20°: a drone, found where it is and nowhere else."""
    array = load_array("tetrahedron_4cm2")
    samples = soxr.resample(at_array(hum(6.0, 0.05), array, -100.0, 20.0).T, 16_000, 24_000)
    soundfile.write(tmp_path / "scene.wav", samples, 24_000)
    scores = {}
    for azimuth_deg in (-100.0, 60.0):
        truth = {frame: [SeldRow(1, 0, azimuth_deg, 20.0)] for frame in range(60)}
        classes = ("music", "drone")
        scene = SceneRecording(tmp_path / "scene.wav", array, truth, classes, (None, "drone"), "test", "CC0", ())
        scores[azimuth_deg] = judge_recordings([scene], OnnxSystem("intensity", str(intensity_model)), print)
    assert scores[-100.0].f20 > 0.7
    assert scores[-100.0].le_cd_deg < 10.0
    assert scores[60.0].f20 == 0.0


def test_the_command_judges_a_shipped_model(shelf: Path) -> None:
    status, said = run("judge", "tau2020")
    assert (status, "SELD" in said) == (0, True), said
    (shelf / "DREGON" / "micPos.txt").unlink()
    for name, status_expected, reason in (
        ("esc50", ConfigError.exit_status, "not a set of scenes"),
        ("asa2", ConfigError.exit_status, "nobody says where its microphones are"),
        ("dregon", RecordingError.exit_status, "micPos.txt: cannot be read"),
    ):
        status, said = run("judge", name)
        assert (status, reason in said) == (status_expected, True), said


# --- drawn from together ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("shelf")
def test_clips_of_all_sets_are_read_as_the_pack_is() -> None:
    """Mono at 16 kHz with no mean, whatever the set's rate and channels: the tone stays where it was."""
    clips = load_clips(["pack", "esc50", "urbansound8k", "fsd50k", "folders"], range(1, 6))
    assert {clip.label for clip in clips} == {
        "dog",
        "machine_hum",
        "gunshot",
        "music",
        "crickets",
        "airplane",
        "drone",
        "wind",
    }
    for clip in clips:
        heard = read_clip(clip)
        assert len(heard) == pytest.approx(16_000 * clip.seconds, abs=1)
        assert np.argmax(np.abs(np.fft.rfft(heard))) == pytest.approx(1000 * clip.seconds, abs=1)
        assert abs(float(heard.mean())) < 1e-6


@pytest.mark.usefixtures("shelf")
def test_a_recording_is_on_one_side_of_a_fold_and_taken_once() -> None:
    """100032 is judged on in the pack; ESC-50 and UrbanSound8K would train on it. 9032 is in ESC-50's fold 5."""
    sources = ["pack", "esc50", "urbansound8k", "fsd50k"]
    trained = {clip.recording_id for clip in load_clips(sources, (1, 2, 3))}
    judged = [clip.recording_id for clip in load_clips(sources, (5,))]
    assert "freesound:100032" not in trained
    assert "freesound:9032" not in trained
    assert judged.count("freesound:100032") == 1
    assert judged.count("freesound:9032") == 1
    assert "freesound:100032" not in {clip.recording_id for clip in load_clips(["esc50"], (1, 2, 3))}


@pytest.mark.usefixtures("shelf")
def test_a_set_gives_no_label_more_than_its_hours() -> None:
    clips = load_clips(["esc50"], range(1, 6), hours_per_label=0.3 / 3600.0)
    assert sorted(clip.label for clip in clips) == ["dog", "dog", "machine_hum"]  # the third dog is left out
    assert clips == load_clips(["esc50"], range(1, 6), hours_per_label=0.3 / 3600.0)


def test_a_source_may_lie_anywhere_and_must_lie_somewhere(shelf: Path, tmp_path: Path) -> None:
    elsewhere = (shelf / "folders").rename(tmp_path / "mine")
    assert {clip.label for clip in load_clips([f"folders={elsewhere}"], range(1, 6))} == {"drone", "wind"}
    with pytest.raises(ConfigError, match="lab data where folders"):
        load_clips(["folders"], (1,))
    with pytest.raises(ConfigError, match="source 'starss23'"):
        load_clips(["starss23"], (1,))


def test_a_listed_file_that_is_not_there_stops_the_loading(shelf: Path) -> None:
    lost = shelf / "ESC-50-master" / "audio" / "4-181999-A-36.wav"
    lost.unlink()
    with pytest.raises(RecordingError, match=str(lost)):
        load_clips(["esc50"], (4,))


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_list_says_what_is_here(shelf: Path) -> None:
    (shelf / "DREGON").rename(shelf / "elsewhere")
    status, said = run("list")
    assert status == 0
    assert [line.split()[:2] for line in said.splitlines()[:-1]] == [
        [name, "-" if name == "dregon" else "here"] for name in DATASETS
    ]


def test_the_readme_lists_the_sets_with_size_and_licence() -> None:
    readme = (Path(appliance.lab.__file__).parent / "README.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)` \| (.+?) \| (training|judging) \| (.+?) \| (.+?) \|$", readme, re.MULTILINE)
    use = {name: "training" if name in CLIP_SETS else "judging" for name in DATASETS}
    cards = {name: dataset.card for name, dataset in DATASETS.items() if name != "folders"}
    assert told == [(name, card.title, use[name], card.size, card.license) for name, card in cards.items()]


@pytest.mark.parametrize("name", DATASETS)
def test_a_set_says_where_it_belongs(shelf: Path, name: str) -> None:
    status, said = run("where", name)
    card = DATASETS[name].card
    assert status == 0
    assert all(
        part in said for part in (str(shelf / card.folder), card.license, card.homepage, card.layout.split("\n")[0])
    )
    assert all(theirs in said for theirs in card.classes)


def test_the_check_says_what_is_there_and_ends_with_an_error_where_something_is_wrong(shelf: Path) -> None:
    status, said = run("check", "esc50", "--partial")
    assert status == 0
    assert "5 files in order" in said
    lost = shelf / "ESC-50-master" / "audio" / "4-181999-A-36.wav"
    lost.unlink()
    status, said = run("check", "esc50", "--partial")
    assert status == RecordingError.exit_status
    assert f"{lost}: listed, but not there" in said
    assert "1 problem(s) with ESC-50" in said


def test_the_check_of_an_absent_or_unknown_set_tells_the_remedy(shelf: Path, tmp_path: Path) -> None:
    status, said = run("check", "esc50", str(tmp_path / "nowhere"))
    assert (status, "https://github.com/karolpiczak/ESC-50" in said) == (ConfigError.exit_status, True)
    status, said = run("check", "esc51")
    assert (status, "there are esc50, fsd50k" in said) == (ConfigError.exit_status, True)
    status, said = run("check", "fsd50k", str(shelf / "folders"))
    assert (status, "FSD50K.ground_truth: missing" in said) == (ConfigError.exit_status, True)
