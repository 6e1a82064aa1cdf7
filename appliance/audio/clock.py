"""When was a sample heard? The sound card counts samples, the computer counts nanoseconds; this joins the two."""

# The farthest apart that the card's and the computer's crystals are taken to run.
_DRIFT = 200e-6
# More than a callback can be late: the driver's buffer overruns before that, and PortAudio says so.
_BEHIND_NS = 500_000_000
_FOR_NS = 2_000_000_000


class SampleClock:
    """Monotonic time of positions in the stream, from when chunks arrived.

    A chunk may come late (scheduling), never early: so the origin follows early arrivals at once, and late ones only
    as fast as two crystals can drift apart. Steps of UTC (first NTP fix after boot) do not reach in here.

    Where all chunks come late, audio was lost of which nobody tells: USB audio leaves out packets that arrive damaged.
    """

    def __init__(self) -> None:
        self._origin_ns = 0
        self._latest_ns: int | None = None
        self._in_time_ns = 0

    @property
    def is_behind(self) -> bool:
        """True where everything has been coming too late for a while, by more than can be waiting somewhere."""
        return self._latest_ns is not None and self._latest_ns - self._in_time_ns > _FOR_NS

    def observe(self, end_s: float, arrival_ns: int) -> None:
        """Stream position `end_s` (seconds since the stream began) had just been captured at `arrival_ns`."""
        origin_ns = arrival_ns - round(end_s * 1e9)
        if self._latest_ns is None:
            self._origin_ns = origin_ns
        else:
            slack_ns = round(_DRIFT * (arrival_ns - self._latest_ns))
            self._origin_ns = min(origin_ns, self._origin_ns + slack_ns)
        if origin_ns - self._origin_ns < _BEHIND_NS:
            self._in_time_ns = arrival_ns
        self._latest_ns = arrival_ns

    def restart(self) -> None:
        """Forget the origin: how far the stream went on unheard is only an estimate."""
        self._latest_ns = None

    def position_s(self, now_ns: int) -> float | None:
        """Stream position captured at monotonic `now_ns`; None before anything was observed."""
        return None if self._latest_ns is None else (now_ns - self._origin_ns) * 1e-9

    def monotonic_ns(self, position_s: float) -> int:
        """Monotonic time at which stream position `position_s` was captured."""
        return self._origin_ns + round(position_s * 1e9)
