"""The command line as a person meets it: as a process, with its exit status and what stands on stdout and stderr."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from intensity_model import write_intensity_model
from plane_waves import FROM_20_DEG, RATE_HZ, at_array, hum, silence, write_flac

from appliance import __version__
from appliance.cli.main import COMMANDS
from appliance.errors import DENIED
from appliance.geometry import ARRAYS_DIR, load_array, shipped_arrays
from appliance.model.meta import load_meta
from appliance.store import EventLog, Outbox

ARRAY = "tetrahedron_4cm2"


def appliance(*args: object, begin: Sequence[str] = (), **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [*begin, sys.executable, "-c", "from appliance.cli.main import main; main()", *map(str, args)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=os.environ | {"COLUMNS": "200"} | environment
    )


def refusal(status: int, *args: object, begin: Sequence[str] = ()) -> str:
    """The one line on stderr of a command that must end with `status` and print nothing else."""
    done = appliance(*args, begin=begin)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("appliance: ")
    return line


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """11 s: a drone at 40° left, 20° up, from second 1 to second 5."""
    sound = np.concatenate([silence(1.0), hum(4.0), silence(6.0)])
    path = tmp_path_factory.mktemp("recording") / "drone.flac"
    return write_flac(path, at_array(sound, load_array(ARRAY), 40.0, FROM_20_DEG))


@pytest.fixture
def replay_args(recording: Path, intensity_model: Path) -> list[object]:
    return ["replay", recording, "--array", ARRAY, "--model", intensity_model]


# --- help and lists ---


def test_help_lists_every_command_without_importing_the_network() -> None:
    script = """
import sys
from typer.testing import CliRunner
from appliance.cli.main import COMMANDS, app
result = CliRunner().invoke(app, ["--help"])
assert result.exit_code == 0 and all(name in result.output for name in COMMANDS), result.output
assert not {"onnxruntime", "scipy", "paho", "sqlite_utils"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = appliance(command, "--help")
    assert done.returncode == 0
    assert re.search(rf"Usage: .*\b{command} \[OPTIONS\]", done.stdout)
    assert len(done.stdout.splitlines()) > 8


def test_version() -> None:
    assert appliance("--version").stdout == f"appliance {__version__}\n"


def test_an_unknown_command_is_a_usage_error() -> None:
    done = appliance("reply")
    assert done.returncode == 2
    assert "reply" in done.stderr


def test_arrays_lists_all_and_shows_one() -> None:
    listed = appliance("arrays").stdout
    assert all(name in listed for name in shipped_arrays())
    shown = appliance("arrays", "respeaker_usb_4mic").stdout
    assert "ArrayUAC10" in shown
    assert "elevation: not told by this array" in shown
    third = next(line.split() for line in shown.splitlines() if line.startswith("3 "))
    assert third[:3] == ["3", "3", "+32.0"]


def test_what_a_file_says_is_no_markup(tmp_path: Path) -> None:
    """A description that holds "[/x]" ended in a traceback."""
    path = tmp_path / "mine.toml"
    shipped = (ARRAYS_DIR / f"{ARRAY}.toml").read_text(encoding="utf-8")
    path.write_text(
        re.sub('description = ".*"', 'description = "[/x] [bold]front[/] :bell:"', shipped), encoding="utf-8"
    )
    done = appliance("arrays", path)
    assert done.returncode == 0, done.stderr
    assert "[/x] [bold]front[/] :bell:" in done.stdout


# --- replay ---


def test_replay_prints_json_lines_that_hold_what_the_contract_names(replay_args: list[object]) -> None:
    done = appliance(*replay_args, "--jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    new, end = map(json.loads, done.stdout.splitlines())
    assert (new["state"], end["state"]) == ("new", "end")
    assert new["class"] == "drone"
    assert new["event_id"] == end["event_id"]
    assert new["track_id"] == end["track_id"] == 1
    assert new["clock"] == "replay"
    assert new["azimuth_deg"] == pytest.approx(40.0, abs=3.0)
    assert new["elevation_deg"] == pytest.approx(20.0, abs=3.0)
    assert new["bearing_true_deg"] == pytest.approx(320.0, abs=3.0)
    assert 0.0 < new["bearing_sigma_deg"] < 10.0
    assert 0.5 < new["confidence"] <= 1.0
    assert 1.0 < new["offset_s"] < 2.5 < 5.0 < end["offset_s"] < 10.0


def test_replay_is_deterministic_and_ids_depend_on_the_settings(replay_args: list[object], tmp_path: Path) -> None:
    first, second = (appliance(*replay_args, "--jsonl", "--dcase-csv", tmp_path / name) for name in ("a", "b"))
    assert first.stdout == second.stdout != ""
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != b""
    site = tmp_path / "site.toml"
    site.write_text("[mount]\nheading_true_deg = 10.0\n")
    turned = json.loads(appliance(*replay_args, "--jsonl", "--site", site).stdout.splitlines()[0])
    plain = json.loads(first.stdout.splitlines()[0])
    assert turned["event_id"] != plain["event_id"]
    assert turned["bearing_true_deg"] == pytest.approx((plain["bearing_true_deg"] + 10.0) % 360.0)


def test_replay_writes_dcase_rows_where_the_drone_is(replay_args: list[object], tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert appliance(*replay_args, "--dcase-csv", out).returncode == 0
    rows = [tuple(map(int, line.split(","))) for line in out.read_text().splitlines()]
    assert {(row[1], row[2]) for row in rows} == {(0, 1)}
    assert all(abs(row[3] - 40) <= 5 and abs(row[4] - 20) <= 5 for row in rows)
    assert {row[0] for row in rows} >= set(range(13, 49))
    assert {row[0] for row in rows} <= set(range(10, 53))


def test_replay_reads_well_without_options(replay_args: list[object]) -> None:
    done = appliance(*replay_args)
    assert "drone, bearing 320° true" in done.stdout
    assert "drone no longer heard" in done.stdout
    assert done.stderr.startswith("11.0 s heard: 1 events, 1 alerts")


def test_replay_logs_to_a_database_once_however_often_it_runs(replay_args: list[object], tmp_path: Path) -> None:
    db = tmp_path / "events.db"
    for _ in range(2):
        assert appliance(*replay_args, "--db", db).returncode == 0
    with EventLog(db, read_only=True) as log:
        assert [event.state for event in log.read()] == ["new", "end"]
    with Outbox(db) as outbox:
        assert outbox.counts()["pending"] == 4


def test_replay_takes_the_array_from_the_site(recording: Path, intensity_model: Path, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(f'array = "{ARRAY}"\n[model]\nfile = "{intensity_model}"\n')
    assert '"class":"drone"' in appliance("replay", recording, "--site", site, "--jsonl").stdout


def test_replay_at_the_pace_of_the_recording_says_the_same(
    replay_args: list[object], tmp_path: Path, recording: Path
) -> None:
    samples, _ = soundfile.read(recording, stop=3 * RATE_HZ)
    short = tmp_path / "short.flac"
    soundfile.write(short, samples, RATE_HZ)
    args = ["replay", short, *replay_args[2:], "--jsonl"]
    assert appliance(*args, "--realtime").stdout == appliance(*args).stdout != ""


def test_listen_draws_levels_objects_and_events(intensity_model: Path, tmp_path: Path) -> None:
    path = write_flac(tmp_path / "hum.flac", at_array(hum(2.0), load_array(ARRAY), 40.0, FROM_20_DEG))
    done = appliance("listen", path, "--array", ARRAY, "--model", intensity_model)
    assert done.returncode == 0, done.stderr
    for part in ("hum.flac on tetrahedron_4cm2", "dBFS", "drone no longer heard"):
        assert part in done.stdout
    assert re.search(r"1 +drone +3(19|20|21)° ± \d+° +\+(19|20|21)°", done.stdout)


def test_listen_says_which_microphone_is_not_used(intensity_model: Path, tmp_path: Path) -> None:
    samples = at_array(hum(2.0), load_array(ARRAY), 40.0)
    samples[2] = 0.0
    done = appliance("listen", write_flac(tmp_path / "hum.flac", samples), "--array", ARRAY, "--model", intensity_model)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"(\d) .*not used", done.stdout) == ["3"]


def test_listen_takes_no_class_for_markup(tmp_path: Path) -> None:
    path = write_flac(tmp_path / "hum.flac", at_array(hum(2.0), load_array(ARRAY), 40.0, FROM_20_DEG))
    model = write_intensity_model(tmp_path / "odd.onnx", classes=("[/x]", "glass_break"))
    done = appliance("listen", path, "--array", ARRAY, "--model", model)
    assert done.returncode == 0, done.stderr
    assert "[/x] no longer heard" in done.stdout


# --- bad input: one line, the remedy, the right status ---


def test_a_missing_recording(replay_args: list[object]) -> None:
    assert "nowhere.flac" in refusal(65, "replay", "nowhere.flac", *replay_args[2:])


def test_a_file_that_is_no_recording(replay_args: list[object], tmp_path: Path) -> None:
    path = tmp_path / "text.wav"
    path.write_text("not audio")
    assert "not a readable recording" in refusal(65, "replay", path, *replay_args[2:])


def test_wrong_channel_count(recording: Path, intensity_model: Path) -> None:
    line = refusal(65, "replay", recording, "--array", "minidsp_uma8_v2", "--model", intensity_model)
    assert "has 4 channels" in line
    assert "--array" in line


def test_a_truncated_recording_is_heard_to_where_it_ends(
    replay_args: list[object], recording: Path, tmp_path: Path
) -> None:
    """What could be heard is not lost: the event is printed and ended, then the fault is told."""
    samples, _ = soundfile.read(recording)
    whole, cut = tmp_path / "whole.wav", tmp_path / "cut.wav"
    soundfile.write(whole, samples, RATE_HZ)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
    done = appliance("replay", cut, *replay_args[2:], "--jsonl")
    assert done.returncode == 65
    assert [json.loads(line)["state"] for line in done.stdout.splitlines()] == ["new", "end"]
    (line,) = done.stderr.splitlines()
    assert "truncated" in line


def test_a_recording_with_half_of_the_band_is_heard_with_a_warning(
    recording: Path, replay_args: list[object], tmp_path: Path
) -> None:
    half = tmp_path / "half.wav"
    soundfile.write(half, soundfile.read(recording)[0][::2], RATE_HZ // 2)
    warning, summary = appliance("replay", half, *replay_args[2:]).stderr.splitlines()
    missing = "all above 4000 Hz, which the unit listens to, is missing"
    assert warning == f"{half}: recorded at 8000 Hz: {missing}; record at 16000 Hz or more"
    assert re.fullmatch(r"11\.0 s heard: .*, \d+\.\d times as fast as it was recorded", summary)
    brief = tmp_path / "brief.wav"
    soundfile.write(brief, soundfile.read(half, frames=4000)[0], RATE_HZ // 2)
    assert appliance("listen", brief, *replay_args[2:]).stderr.splitlines() == [
        warning.replace("half.wav", "brief.wav")
    ]


def test_no_array_named(recording: Path, intensity_model: Path) -> None:
    assert "--array: missing" in refusal(78, "replay", recording, "--model", intensity_model)


def test_an_unknown_array_names_the_known_ones(recording: Path) -> None:
    assert ARRAY in refusal(78, "replay", recording, "--array", "tetrahedron")


def test_an_unknown_key_names_file_and_likely_key(recording: Path, tmp_path: Path) -> None:
    site = tmp_path / "north.toml"
    site.write_text("[policy.drone]\nthreshhold = 0.5\n")
    line = refusal(78, "replay", recording, "--site", site)
    assert str(site) in line
    assert 'did you mean "threshold"?' in line


def test_an_unknown_class_names_file_and_likely_class(replay_args: list[object], tmp_path: Path) -> None:
    site = tmp_path / "north.toml"
    site.write_text("[policy.drones]\nthreshold = 0.5\n")
    line = refusal(78, *replay_args, "--site", site)
    assert str(site) in line
    assert 'did you mean "drone"?' in line


def test_a_policy_that_contradicts_what_is_shipped_names_the_file(replay_args: list[object], tmp_path: Path) -> None:
    site = tmp_path / "north.toml"
    site.write_text(f'[policy.drone]\nconfirm_frames = 16\n[store]\npath = "{tmp_path}/events.db"\n')
    line = f"{site}: [policy.drone]: confirm_frames must not be above window_frames, and they are 16 and 15"
    assert line in refusal(78, *replay_args, "--site", site)
    assert line in refusal(78, "run", "--site", site)


@pytest.mark.parametrize("command", ["replay", "listen"])
def test_a_missing_model(command: str, recording: Path) -> None:
    assert "no such model" in refusal(78, command, recording, "--array", ARRAY, "--model", "nothing")


def test_a_tampered_model(replay_args: list[object], intensity_model: Path, tmp_path: Path) -> None:
    for suffix in (".onnx", ".meta.json"):
        shutil.copy(intensity_model.with_suffix(suffix), tmp_path / f"copy{suffix}")
    model = tmp_path / "copy.onnx"
    model.write_bytes(model.read_bytes() + b"\0")
    assert "sha256" in refusal(78, *replay_args[:-1], model)


def test_what_the_site_file_names_in_vain_is_named_with_file_and_key(recording: Path, tmp_path: Path) -> None:
    site, db = tmp_path / "site.toml", tmp_path / "events.db"
    for text, key, why in (
        ('array = "respeaker"', "array", "no such array file"),
        ('[model]\nfile = "mine.onnx"', "[model] file", f"{tmp_path}/mine.onnx: no such model"),
        ('[unit]\ntexts = "de.toml"', "[unit] texts", f"{tmp_path}/de.toml: no such file of texts"),
    ):
        site.write_text(f'{text}\n[store]\npath = "{db}"\n')
        line = refusal(78, "run", "--site", site)
        assert line.startswith(f"appliance: {site}: {key}: ")
        assert why in line
    site.write_text('array = "respeaker"')
    assert f"{site}: array: " in refusal(78, "replay", recording, "--site", site)
    assert str(site) not in refusal(78, "replay", recording, "--array", "other", "--site", site)
    site.write_text('[unit]\ntexts = "de.toml"')
    assert f"{site}: [unit] texts: " in refusal(78, "replay", recording, "--array", ARRAY, "--site", site)


def test_a_replay_says_and_logs_what_the_unit_would_in_its_own_words(replay_args: list[object], tmp_path: Path) -> None:
    words, site, db = tmp_path / "de.toml", tmp_path / "site.toml", tmp_path / "events.db"
    words.write_text(
        'schema = 1\n[event]\nnew = "{class} gehört"\nupdate = "{class} noch da"\nend = "{class} weg"\n[classes]\ndrone = "Drohne"\n',
        encoding="utf-8",
    )
    site.write_text('[unit]\ntexts = "de.toml"\n')
    lines = appliance(*replay_args, "--site", site, "--db", db).stdout.splitlines()
    assert "  Drohne gehört  " in lines[0]
    told = [json.loads(line)["text"] for line in appliance(*replay_args, "--site", site, "--jsonl").stdout.splitlines()]
    assert told[0] == "Drohne gehört"
    with sqlite3.connect(db) as log:
        logged = [json.loads(payload)["text"] for (payload,) in log.execute("SELECT payload FROM events ORDER BY id")]
    assert logged == told


def test_a_csv_that_cannot_be_written(replay_args: list[object], tmp_path: Path) -> None:
    assert "--dcase-csv: cannot be written" in refusal(78, *replay_args, "--dcase-csv", tmp_path / "no" / "out.csv")


@pytest.mark.parametrize(
    ("command", "file", "status"),
    [
        ("events --db {}", "events.db", 78),
        ("events verify --db {}", "events.db", 78),
        ("db check --db {}", "events.db", 78),
        ("events --site {}", "site.toml", 78),
        ("model verify {}", "model.onnx", 78),
        (f"replay {{}} --array {ARRAY}", "drone.flac", 65),
        ("watch --broker 127.0.0.1:1 --tls --ca-file {}", "ca.crt", 78),
    ],
)
def test_who_forgot_sudo_is_told_so(
    without_sudo: list[str], locked_folder: Path, command: str, file: str, status: int
) -> None:
    path = locked_folder / file
    line = refusal(status, *command.format(path).split(), begin=without_sudo)
    assert f"{path}: " in line
    assert "permission denied; run it with sudo, or" in line


def test_a_service_that_may_not_read_its_files_ends_for_a_person(
    without_sudo: list[str], locked_folder: Path, tmp_path: Path, tagged_model: Path
) -> None:
    """After a 78 systemd does not try again; the tagger stands for whatever file nobody thought of."""
    site = tmp_path / "site.toml"
    site.write_text(f'[store]\npath = "{locked_folder}/events.db"\n', encoding="utf-8")
    for service in ("run", "publish"):
        line = refusal(78, service, "--site", site, begin=without_sudo)
        assert line == f"appliance: {locked_folder}/events.db: {DENIED}"
    model = Path(shutil.copy(tagged_model, tmp_path))
    shutil.copy(tagged_model.with_suffix(".meta.json"), tmp_path)
    meta = load_meta(model)
    assert meta.tagger is not None
    tagger = tmp_path / meta.tagger.file
    tagger.touch(mode=0)
    assert refusal(78, "model", "verify", model, begin=without_sudo) == f"appliance: {tagger}: {DENIED}"


def test_a_database_that_cannot_be_opened(replay_args: list[object], tmp_path: Path) -> None:
    assert "directory does not exist" in refusal(74, *replay_args, "--db", tmp_path / "no" / "events.db")


def test_the_sensor_refuses_to_start_without_a_model_and_leaves_the_reason(tmp_path: Path) -> None:
    """No model must never look like a quiet night: status 78, and the publisher will say `degraded`."""
    site, db = tmp_path / "site.toml", tmp_path / "events.db"
    site.write_text(f'[model]\nfile = "nothing"\n[store]\npath = "{db}"\n')
    line = refusal(78, "run", "--site", site)
    assert "no such model" in line
    with EventLog(db, read_only=True) as log:
        said = log.states()["sensor"].value
    assert said["hearing"] is False
    assert "no such model" in said["faults"][0]


def test_the_sensor_names_a_device_that_is_not_there(intensity_model: Path, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(
        f'[capture]\ndevice = "NoSuchCard"\n[model]\nfile = "{intensity_model}"\n[store]\npath = "{tmp_path / "e.db"}"\n'
    )
    assert "NoSuchCard" in refusal(69, "run", "--site", site)
