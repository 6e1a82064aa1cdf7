"""Fixtures that are things and not mocks."""

import contextlib
import dataclasses
import errno
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from intensity_model import write_intensity_model
from mqtt import Broker
from ulid import ULID

from appliance.lab.pack import SOUNDS
from appliance.model.scene import SceneModel
from appliance.store import EventLog
from appliance.types import Event

MakeEvent = Callable[..., Event]


def damage_root(path: Path, name: str) -> None:
    """Overwrite the first page of a table or index."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [name]).fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)


@pytest.fixture
def make_event() -> MakeEvent:
    """A factory of valid events; keyword arguments replace fields. Without `event_id` each call makes a new event."""

    def make(**changes: object) -> Event:
        event = Event(
            event_id=str(ULID()),
            sequence=0,
            state="new",
            class_label="drone",
            confidence=0.92,
            severity="alert",
            track_id=1,
            onset_utc_ns=1_790_000_000_123_456_789,
            utc_ns=1_790_000_000_623_456_789,
            azimuth_deg=-47.25,
            elevation_deg=12.5,
            elevation_valid=True,
            bearing_true_deg=47.25,
            bearing_sigma_deg=4.2,
            clock="synchronised",
            after_gap=False,
            site="north",
            node="mast-1",
        )
        return dataclasses.replace(event, **changes)  # type: ignore[arg-type]

    return make


@pytest.fixture
def event_log(tmp_path: Path) -> Iterator[EventLog]:
    """An empty event log on a real file."""
    with EventLog(tmp_path / "events.db") as log:
        yield log


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A running Mosquitto on loopback; stop and start it at will."""
    directory = tmp_path / "broker"
    directory.mkdir()
    broker = Broker(directory)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def intensity_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real ONNX model with its meta file, made without training: see `intensity_model.py`."""
    return write_intensity_model(tmp_path_factory.mktemp("model") / "intensity.onnx")


@pytest.fixture(scope="session")
def tagged_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, never sure enough of a class to announce it, with the shipped tagger beside it."""
    tagger = SceneModel.load("deepasa-edge-small-int8").meta.tagger
    assert tagger is not None
    unsure = {"drone": 0.99, "glass_break": 0.99}
    path = tmp_path_factory.mktemp("tagged") / "tagged.onnx"
    return write_intensity_model(path, thresholds=unsure, tagger=tagger.model_dump())


@pytest.fixture
def small_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack with one second of its own noise per sound: enough to draw scenes from."""
    monkeypatch.setenv("APPLIANCE_PACK", str(tmp_path / "pack"))
    (tmp_path / "pack").mkdir()
    lines = ["path,class,source_repo,license,seconds,fold,subclass,recording_id"]
    for number, label in enumerate(SOUNDS):
        noise = np.random.default_rng(number).normal(0.0, 0.1, 16_000)
        soundfile.write(tmp_path / "pack" / f"{label}.flac", noise, 16_000)
        lines.append(f"{label}.flac,{label},here,CC0,1.0,1,{label},{label}")
    (tmp_path / "pack" / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def late_bark(small_pack: None, tmp_path: Path) -> None:  # noqa: ARG001 (it is the pack that is changed)
    """In that pack a dog that barks at 300 Hz at first and at 900 Hz more than 5 s later."""
    time_s = np.arange(6 * 16_000) / 16_000
    low, high = (
        np.sin(2 * np.pi * hz * time_s) * ((time_s > at) & (time_s < at + 0.3)) for hz, at in ((300, 0.2), (900, 5.4))
    )
    soundfile.write(tmp_path / "pack" / "dog.flac", 0.1 * (low + high), 16_000)


@pytest.fixture
def without_sudo() -> list[str]:
    """How a command line begins whose process may do what the modes of files allow, also where the tests run as root."""
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


@pytest.fixture
def locked_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that only root may look into."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0)
    yield folder
    folder.chmod(0o700)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, 64 MB; only root may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64M,mode=0755", "appliance-test", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a 64-MB file system cannot be mounted here ({mounted.stderr.strip()}); run the tests as root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def silent_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that does not say how full it is, as one that fails or was taken away."""

    def usage(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(shutil, "disk_usage", usage)


def fill(disk: Path, name: str = "of_somebody_else") -> None:
    """Write until there is no room, down to the last page."""
    with (disk / name).open("ab", buffering=0) as file:
        for size in (1_000_000, 4096):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
