"""Event ids: ULIDs (https://github.com/ulid/spec) of the event's own time, random on the unit and repeatable in replay."""

import os
import random
from collections.abc import Callable

from ulid import ULID

UlidFactory = Callable[[int], str]
"""UTC nanoseconds → ULID as text."""

_LATEST_MS = (1 << 48) - 1


def random_ulids() -> UlidFactory:
    """Ids that no other unit will draw."""
    return lambda utc_ns: _ulid(utc_ns, os.urandom(10))


def seeded_ulids(seed: bytes) -> UlidFactory:
    """The same run of ids for the same seed, so that two replays of one recording agree."""
    draw = random.Random(seed)
    return lambda utc_ns: _ulid(utc_ns, draw.randbytes(10))


def _ulid(utc_ns: int, randomness: bytes) -> str:
    # A clock that was never set may say anything; 48 bits of milliseconds is what a ULID holds.
    milliseconds = min(max(utc_ns // 1_000_000, 0), _LATEST_MS)
    return str(ULID.from_bytes(milliseconds.to_bytes(6, "big") + randomness))
