"""The log that cannot flood, the clock's quality, and percentiles."""

import ctypes
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from appliance.telemetry import Percentiles, RepeatFilter, Systemd, clock_quality, temperature_c


def record(text: str, seconds: float, *args: object, line: int = 1) -> logging.LogRecord:
    made = logging.LogRecord("appliance", logging.WARNING, "file.py", line, text, args, None)
    made.created = seconds
    return made


def test_repeats_are_held_back_and_counted_in_the_next_window() -> None:
    repeats = RepeatFilter(burst=2, window_s=60.0)
    passed = [repeats.filter(record("lost %d", float(second), second)) for second in range(10)]
    assert passed == [True, True] + [False] * 8
    late = record("lost %d", 61.0, 7)
    assert repeats.filter(late)
    assert late.getMessage() == "lost 7 (8 more like this in 60 s)"


def test_messages_of_other_places_or_texts_pass() -> None:
    repeats = RepeatFilter(burst=1)
    assert repeats.filter(record("a", 0.0))
    assert repeats.filter(record("b", 0.0))
    assert repeats.filter(record("a", 0.0, line=2))
    assert not repeats.filter(record("a", 0.0))


def test_a_clock_that_is_set_back_does_not_silence_the_log() -> None:
    repeats = RepeatFilter(burst=1)
    repeats.filter(record("a", 1e9))
    assert repeats.filter(record("a", 0.0))


def log_a_warning(**environment: str) -> str:
    script = "import logging; from appliance.telemetry import set_up_logging; set_up_logging(); logging.warning('wind')"
    clean = {key: value for key, value in os.environ.items() if key != "JOURNAL_STREAM"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=clean | environment, capture_output=True, text=True, check=True
    )
    return done.stderr


def test_lines_are_plain_and_carry_the_priority_into_the_journal() -> None:
    assert log_a_warning() == "WARNING wind\n"
    assert log_a_warning(JOURNAL_STREAM="8:1") == "<4>wind\n"


class Timex(ctypes.Structure):
    """The head of `struct timex`, adjtimex(2)."""

    _fields_: ClassVar = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    ]


def test_the_clock_is_judged_as_the_kernel_judges_it() -> None:
    """STA_UNSYNC (0x40) in the kernel's status is the other way to ask."""
    kernel = Timex()
    if ctypes.CDLL(None).adjtimex(ctypes.byref(kernel)) < 0:
        synchronised = Path("/run/systemd/timesync/synchronized").exists()
    else:
        synchronised = not kernel.status & 0x40
    assert clock_quality() == ("synchronised" if synchronised else "unsynchronised")


def test_temperature_is_that_of_the_hottest_zone(tmp_path: Path) -> None:
    assert temperature_c(tmp_path) is None
    for zone, text in enumerate(("41000\n", "63500\n", "broken\n")):
        (tmp_path / f"thermal_zone{zone}").mkdir()
        (tmp_path / f"thermal_zone{zone}" / "temp").write_text(text)
    assert temperature_c(tmp_path) == 63.5


def test_percentiles_are_by_nearest_rank_over_the_latest() -> None:
    values = Percentiles(size=100)
    assert values.at(99) == 0.0
    for value in range(200):
        values.add(float(value))
    assert (values.at(50), values.at(99), values.at(100)) == (149.0, 198.0, 199.0)


def test_a_systemd_that_hangs_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its socket holds ten messages or so; with the next one the sensor stood still, in the thread that hears."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hung:
        hung.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        systemd = Systemd()
        systemd.notify("READY=1")
        for _ in range(1000):
            systemd.notify("WATCHDOG=1")
        assert hung.recv(64) == b"READY=1"
        assert systemd._notifier is not None
        systemd._notifier.socket.close()


def test_without_systemd_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Systemd().notify("READY=1")
