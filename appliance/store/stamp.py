"""When something was committed, in two clocks, so that its age survives a clock that is set."""

import functools
import time
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Stamp:
    """One moment. Without a battery-backed clock UTC jumps by years when the network comes; time since boot does not."""

    utc_ns: int
    """Nanoseconds since 1970, as the unit's clock had it."""
    boot_id: str
    """Which run of the kernel `boot_ns` counts in; empty where /proc is closed to us."""
    boot_ns: int
    """Nanoseconds since boot, sleep included."""

    @classmethod
    def now(cls) -> "Stamp":
        """The present moment."""
        return cls(time.time_ns(), _boot_id(), time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def age_s(self, now: "Stamp", *, utc_is_known: bool = True) -> float:
        """Seconds from this stamp to `now`, never negative; exact within one boot, by UTC across boots.

        What was committed before this boot is at least as old as it, however far back the clock was set. Without
        `utc_is_known` (the stamp is from a clock that nobody had set) that is all there is to say: years are no age.
        """
        if self.boot_id == now.boot_id != "":
            return max(0.0, (now.boot_ns - self.boot_ns) / 1e9)
        at_least_ns = now.boot_ns if self.boot_id and now.boot_id else 0
        by_utc_ns = now.utc_ns - self.utc_ns if utc_is_known else 0
        return max(at_least_ns, by_utc_ns) / 1e9


@functools.cache
def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
