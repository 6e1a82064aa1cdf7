"""What the sensor tells the publisher and systemd every few seconds: does it hear, and how well."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from appliance.errors import StoreError
from appliance.pipeline import Moment
from appliance.store import EventLog
from appliance.telemetry import Percentiles, Systemd, clock_quality, temperature_c
from appliance.types import Event

_LOG = logging.getLogger(__name__)

_PERIOD_S = 2.0
_DEAF_S = 3.0
_STEP_BUDGET_S = 0.1
_STEPS_TO_JUDGE = 100
"""Of fewer, one in a hundred is the slowest of all: one frame that had to wait as the sensor started."""
# Below the noise of any converter: the channel carries digital zeros.
_DEAD_DBFS = -115.0
_DEAD_FRAMES = 100
# After a gap all that hears begins anew: with one in every five seconds of a minute little is left to be announced.
_GAP_FRAMES, _FRAME_S = 600, 0.1
_MOST_GAPS = 12
# Fewer that are longer are no better. One may be a cable that was plugged out and in.
_LONG_GAPS, _MOST_LOST_S = 3, 2.0


class Heartbeat:
    """Observes the pipeline in its thread, and speaks in another, so that silence of the pipeline is told too.

    systemd's watchdog is fed by label frames alone: a process that lives but does not hear is restarted.
    """

    def __init__(
        self,
        log: EventLog,
        faults: Callable[[], Sequence[str]],
        details: Callable[[], dict[str, Any]],
        deaf: Callable[[], bool] = lambda: False,
    ) -> None:
        """`faults` adds reasons for being degraded; `details`, asked in the pipeline's thread, adds to the health message.

        `deaf`: True where audio comes, and none of it is sound.
        """
        self._deaf = deaf
        self._log = log
        self._faults = faults
        self._details = details
        self._detailed: dict[str, Any] = {}
        self._systemd = Systemd()
        self._lock = threading.Lock()
        self._began_s = time.monotonic()
        self._latest: Moment | None = None
        self._latest_s = self._fed_s = self._began_s
        self._frames = 0
        self._silent_frames: list[int] = []
        self._lately: deque[tuple[float, bool]] = deque(maxlen=_GAP_FRAMES)
        self._steps = Percentiles()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._speak_until_stopped, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._systemd.notify("STOPPING=1")

    def frame(self, moment: Moment) -> None:
        """A label frame was heard."""
        now_s = time.monotonic()
        with self._lock:
            first = self._latest is None
            self._latest, self._latest_s = moment, now_s
            self._detailed = self._details()
            self._frames += 1
            self._lately.append((moment.stream_s, moment.scene.after_gap))
            self._steps.add(moment.step_s)
            silent = self._silent_frames or [0] * len(moment.levels_dbfs)
            self._silent_frames = [
                count + 1 if level < _DEAD_DBFS else 0 for count, level in zip(silent, moment.levels_dbfs, strict=True)
            ]
        if first:
            self._systemd.notify("READY=1")
        if first or now_s - self._fed_s >= 1.0:
            self._fed_s = now_s
            self._systemd.notify("WATCHDOG=1")

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        """The audio has ended; from now on it is missing."""

    def speak(self, extra_faults: Sequence[str] = ()) -> None:
        """Write `sensor` and `health` to the event log and the status to systemd."""
        with self._lock:
            latest, silent_s = self._latest, time.monotonic() - self._latest_s
            p50_s, p99_s = self._steps.at(50), self._steps.at(99)
            dead = [mic for mic, frames in enumerate(self._silent_frames, start=1) if frames >= _DEAD_FRAMES]
            lossy = self._is_lossy()
            mics, frames, detailed = len(self._silent_frames), self._frames, self._detailed
        faults = [*extra_faults, *self._faults()]
        if silent_s > _DEAF_S:
            # The same words each time: a changed sentence would be published anew.
            faults.append("no audio comes from the microphones")
        faults += [f"microphone {mic} gives digital silence" for mic in dead]
        if lossy:
            faults.append("audio is lost again and again; check the array's cable, its hub and its power")
        if p99_s > _STEP_BUDGET_S and frames >= _STEPS_TO_JUDGE:
            faults.append(f"too slow: of 100 ms frames one in a hundred takes more than {_STEP_BUDGET_S * 1e3:.0f} ms")
        hearing = latest is not None and silent_s <= _DEAF_S and len(dead) < mics and not self._deaf()
        levels = latest.levels_dbfs if latest else ()
        health = {
            "hearing": hearing,
            "faults": faults,
            "levels_dbfs": [round(level, 1) for level in levels],
            "microphones_used": [mic + 1 for mic in latest.mics] if latest else [],
            "frames": frames,
            "step_p50_ms": round(p50_s * 1e3, 2),
            "step_p99_ms": round(p99_s * 1e3, 2),
            "tracks": sum(track.status == "confirmed" for track in latest.tracks) if latest else 0,
            "clock": clock_quality(),
            "temperature_c": temperature_c(),
            "uptime_s": round(time.monotonic() - self._began_s),
            **detailed,
        }
        try:
            self._log.set_state("sensor", {"hearing": hearing, "faults": faults})
            self._log.set_state("health", health)
        except StoreError as error:
            _LOG.warning("heartbeat: %s", error)
        self._systemd.notify(f"STATUS={_status(faults, levels)}")

    def _is_lossy(self) -> bool:
        """True where audio is lost again and again; the caller holds the lock."""
        gaps = sum(after_gap for _, after_gap in self._lately)
        if gaps < _LONG_GAPS:
            return False
        lost_s = self._lately[-1][0] - self._lately[0][0] - _FRAME_S * (len(self._lately) - 1)
        return gaps > _MOST_GAPS or lost_s > _MOST_LOST_S

    def _speak_until_stopped(self) -> None:
        while not self._stop.wait(_PERIOD_S):
            self.speak()


def _status(faults: Sequence[str], levels_dbfs: Sequence[float]) -> str:
    if faults:
        return f"degraded: {'; '.join(faults)}"
    return f"hearing, {min(levels_dbfs):.0f} to {max(levels_dbfs):.0f} dBFS" if levels_dbfs else "starting"
