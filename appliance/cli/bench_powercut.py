"""`appliance bench powercut`: a process that writes the event log is killed, again and again.

A killed process is not yet a cut of the power: what the kernel was given survives it. That a commit is forced to the disk
is `synchronous = FULL`; whether the disk then tells the truth no program can prove.
"""

import contextlib
import random
import sqlite3
import time
from pathlib import Path
from typing import Any

from appliance.cli.bench_rig import Writer, wait_until
from appliance.cli.bench_writer import Order
from appliance.store.database import integrity_faults

# More than any life is long enough for.
_ENDLESS = 1_000_000_000
_LONGEST_LIFE_S = 0.2


def prove_powercut(folder: Path, *, kills: int, seed: int) -> dict[str, Any]:
    """Kill `kills` times, and look into the file each time before the next writer may mend it."""
    began_s = time.monotonic()
    draw = random.Random(seed)
    db = folder / "events.db"
    integrity_ok = torn = 0
    missing: set[tuple[str, int]] = set()
    with Writer(folder) as writer:
        for _ in range(kills):
            before = len(writer.acknowledged)
            first = len({event for event, *_ in writer.acknowledged})
            writer.start(Order(seed, first, _ENDLESS, None, "lifecycles", db=str(db)))
            wait_until(lambda: len(writer.acknowledged) > before, "the writer writes")  # noqa: B023 - called within the round
            time.sleep(draw.uniform(0.0, _LONGEST_LIFE_S))
            writer.kill()
            integrity_ok += integrity_faults(db) == []
            kept, without_message = _committed(db)
            missing |= {(event, sequence) for event, sequence, *_ in writer.acknowledged} - kept
            torn = max(torn, without_message)
    return {
        "kills": kills,
        "integrity_ok": integrity_ok,
        "acknowledged": len(writer.acknowledged),
        "missing": len(missing),
        "torn": torn,
        "seed": seed,
        "duration_s": round(time.monotonic() - began_s, 1),
        "passed": integrity_ok == kills and not missing and not torn,
    }


def _committed(db: Path) -> tuple[set[tuple[str, int]], int]:
    """(event id, sequence) of what is in the log, and how many of them lack their message to send."""
    with contextlib.closing(sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True)) as connection:
        kept = set(connection.execute("SELECT event_id, sequence FROM events"))
        (without_message,) = connection.execute(
            "SELECT count(*) FROM events WHERE id NOT IN (SELECT event_row FROM outbox WHERE kind = 'events')"
        ).fetchone()
    return kept, without_message
