"""What the unit says about itself: the log, a word to systemd, the quality of its clock, its temperature."""

import ctypes
import logging
import math
import os
import sys
from collections import deque
from pathlib import Path

import sdnotify

from appliance.types import ClockQuality

_SYSLOG_PRIORITY = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))
_THERMAL = Path("/sys/class/thermal")
_TIMESYNC_FLAG = Path("/run/systemd/timesync/synchronized")

_TIMEX_BYTES = 256  # struct timex is 208 bytes on 64-bit systems; the kernel fills it
_TIME_ERROR = 5


def set_up_logging(level: int = logging.INFO) -> None:
    """Log to stderr: plain lines, with the priority in front that journald takes off again where it reads along."""
    handler = logging.StreamHandler(sys.stderr)
    to_journal = "JOURNAL_STREAM" in os.environ
    handler.setFormatter(_JournalFormatter() if to_journal else logging.Formatter("%(levelname)s %(message)s"))
    handler.addFilter(RepeatFilter())
    logging.basicConfig(level=level, handlers=[handler], force=True)


class Systemd:
    """Who started this process and watches over it; nobody, where that was not systemd."""

    def __init__(self) -> None:
        # Without systemd the library would leave a socket behind.
        self._notifier = sdnotify.SystemdNotifier() if "NOTIFY_SOCKET" in os.environ else None
        if self._notifier is not None and self._notifier.socket is not None:
            # A systemd that hangs must not make the unit deaf: what it does not take at once is not said.
            self._notifier.socket.setblocking(False)

    def notify(self, text: str) -> None:
        """Say it as sd_notify(3) does, without ever waiting."""
        if self._notifier is not None:
            self._notifier.notify(text)


class _JournalFormatter(logging.Formatter):
    """Lines as sd-daemon(3) takes them."""

    def format(self, record: logging.LogRecord) -> str:
        """`<priority>message`."""
        priority = next(priority for least, priority in _SYSLOG_PRIORITY if record.levelno >= least)
        return f"<{priority}>{super().format(record)}"


class RepeatFilter(logging.Filter):
    """Holds back a message that repeats: `burst` of a kind pass per `window_s`, the rest is counted.

    A fault that chatters must not fill the card. Messages are of one kind if they were written at one place with the
    same text before its arguments. Time is the record's own.
    """

    def __init__(self, burst: int = 5, window_s: float = 60.0) -> None:
        super().__init__()
        self._burst = burst
        self._window_s = window_s
        self._windows: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """True where the record may pass; the first after a window says how many did not."""
        kind = (record.pathname, record.lineno, str(record.msg))
        began_s, count = self._windows.get(kind, (record.created, 0))
        if record.created - began_s >= self._window_s or record.created < began_s:
            if count > self._burst:
                record.msg = f"{record.msg} ({count - self._burst} more like this in {self._window_s:.0f} s)"
            began_s, count = record.created, 0
        self._windows[kind] = (began_s, count + 1)
        return count < self._burst


def clock_quality() -> ClockQuality:
    """Whether the kernel's clock is disciplined (adjtimex(2), whoever does it), or else systemd-timesyncd says so."""
    libc = ctypes.CDLL(None, use_errno=True)
    # All zero: mode 0 only asks. Under systemd's ProtectClock= even that is refused, with -1.
    state = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    disciplined = 0 <= state < _TIME_ERROR or (state < 0 and _TIMESYNC_FLAG.exists())
    return "synchronised" if disciplined else "unsynchronised"


def temperature_c(thermal: Path = _THERMAL) -> float | None:
    """Temperature of the hottest zone in degrees Celsius; None where the machine tells none."""
    readings = []
    for zone in sorted(thermal.glob("thermal_zone*/temp")):
        try:
            readings.append(int(zone.read_text()) / 1000.0)
        # A zone whose sensor sleeps answers with an I/O error.
        except (OSError, ValueError):
            continue
    return max(readings, default=None)


class Percentiles:
    """Nearest-rank percentiles over the latest `size` values."""

    def __init__(self, size: int = 600) -> None:
        self._values: deque[float] = deque(maxlen=size)

    def add(self, value: float) -> None:
        """Take in one value."""
        self._values.append(value)

    def at(self, percent: float) -> float:
        """The value that `percent` of them do not exceed; 0 where there is none yet."""
        ordered = sorted(self._values)
        return ordered[max(0, math.ceil(percent / 100.0 * len(ordered)) - 1)] if ordered else 0.0
