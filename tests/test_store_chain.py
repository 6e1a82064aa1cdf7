"""The hash chain names the first row that is not as it was written, whatever was done to it."""

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from conftest import MakeEvent

from appliance.config import RetentionSettings
from appliance.errors import ConfigError
from appliance.store import EventLog, Outbox
from appliance.store.chain import Verdict, verify
from appliance.store.retention import retain
from appliance.types import Event

Tamper = Callable[[sqlite3.Connection], object]


@pytest.fixture
def chained(tmp_path: Path, make_event: MakeEvent) -> Path:
    """Two rows from before the chain was begun, then ten detections of two rows each: 3 to 22."""
    path = tmp_path / "events.db"
    with EventLog(path) as log:
        put(log, make_event, 1)
    with EventLog(path, hash_chain=True) as log:
        put(log, make_event, 10)
    return path


def put(log: EventLog, make_event: MakeEvent, count: int, **changes: object) -> list[Event]:
    events = []
    for _ in range(count):
        new = make_event(**{"severity": "detection", **changes})
        events += [
            new,
            make_event(**{"severity": "detection", **changes}, event_id=new.event_id, sequence=1, state="end"),
        ]
    for event in events:
        log.append(event)
    return events


def deliver_all(path: Path) -> None:
    with Outbox(path) as outbox:
        outbox.settle([message.outbox_id for message in outbox.pending(1000)], "delivered")


def after(path: Path, tamper: Tamper) -> Verdict:
    with closing(sqlite3.connect(path)) as connection, connection:
        tamper(connection)
    return verify(path)


def test_a_chain_that_nobody_touched_is_well_and_covers_what_came_after_it_was_begun(chained: Path) -> None:
    verdict = verify(chained)
    assert (verdict.rows, verdict.removed, verdict.fault) == (20, 0, "")


def test_a_log_without_a_chain_says_how_to_begin_one(event_log: EventLog) -> None:
    with pytest.raises(ConfigError, match=r"set \[store\] hash_chain = true"):
        verify(event_log.path)


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        (
            lambda db: db.execute("UPDATE events SET confidence = 0.5 WHERE id >= 9"),
            r"row 9 \(event .*, new, .*was altered",
        ),
        (lambda db: db.execute("UPDATE events SET payload = '{}' WHERE id = 22"), "row 22 .* was altered"),
        (lambda db: db.execute("UPDATE events SET boot_ns = boot_ns + 1 WHERE id = 3"), "row 3 .* was altered"),
        (lambda db: db.execute("DELETE FROM events WHERE id = 7"), "row 7 is missing"),
        (lambda db: db.execute("UPDATE events SET id = 1000 WHERE id = 7"), "row 7 is missing"),
        (
            lambda db: db.executescript("DELETE FROM events WHERE id = 7; DELETE FROM chain WHERE event_row = 7"),
            "row 7 is missing",
        ),
        (
            lambda db: db.executescript("DELETE FROM events WHERE id > 20; DELETE FROM chain WHERE event_row > 20"),
            "row 21 is missing",
        ),
        (lambda db: db.execute("DELETE FROM chain WHERE event_row = 12"), "row 12 .* was put in from outside"),
        (
            lambda db: db.execute("UPDATE chain SET link = zeroblob(32) WHERE event_row = 5"),
            "chain itself .* at row 5 ",
        ),
        (lambda db: db.execute("UPDATE chain SET digest = zeroblob(32) WHERE event_row = 5"), "row 5 .* was altered"),
        (
            lambda db: db.execute("UPDATE chain SET link = zeroblob(32) WHERE event_row = 2"),
            "chain itself .* at row 3 ",
        ),
        (
            lambda db: db.execute(
                "INSERT INTO events (event_id, sequence, state, class_label, confidence, severity, track_id, onset_utc_ns,"
                " utc_ns, azimuth_deg, elevation_deg, elevation_valid, bearing_true_deg, bearing_sigma_deg, clock,"
                " after_gap, site, node, payload, committed_utc_ns, boot_id, boot_ns) SELECT 'forged', sequence, state,"
                " class_label, confidence, severity, track_id, onset_utc_ns, utc_ns, azimuth_deg, elevation_deg,"
                " elevation_valid, bearing_true_deg, bearing_sigma_deg, clock, after_gap, site, node, payload,"
                " committed_utc_ns, boot_id, boot_ns FROM events WHERE id = 4"
            ),
            "row 23 .* was put in from outside",
        ),
    ],
)
def test_the_first_altered_row_is_named(chained: Path, tamper: Tamper, says: str) -> None:
    assert re.match(f"(the )?{says}", after(chained, tamper).fault)


def test_a_row_from_before_the_chain_is_not_covered(chained: Path) -> None:
    assert after(chained, lambda db: db.execute("UPDATE events SET confidence = 0 WHERE id = 2")).fault == ""


def test_a_chain_once_begun_goes_on_whoever_writes(chained: Path, make_event: MakeEvent) -> None:
    with EventLog(chained) as log:
        put(log, make_event, 1)
    assert verify(chained).rows == 22


def test_a_chain_computed_anew_is_given_away_by_a_link_that_was_noted(chained: Path, make_event: MakeEvent) -> None:
    known = verify(chained).head
    with EventLog(chained) as log:
        put(log, make_event, 1)
    assert verify(chained, known=known.upper()).fault == ""
    with closing(sqlite3.connect(chained)) as connection, connection:
        connection.execute("UPDATE events SET confidence = 0.1 WHERE id = 9")
        connection.execute("DELETE FROM chain")
        connection.execute("UPDATE sqlite_sequence SET seq = 0 WHERE name = 'events'")
        events = connection.execute("SELECT count(*) FROM events").fetchone()
    with EventLog(chained, hash_chain=True) as log:
        assert events == (24,)
        put(log, make_event, 1)
    assert verify(chained).fault == ""
    assert "the known link" in verify(chained, known=known).fault


def test_what_retention_removes_leaves_the_chain_whole(chained: Path, make_event: MakeEvent) -> None:
    with EventLog(chained) as log:
        put(log, make_event, 1, severity="alert")
        put(log, make_event, 400, class_label="x" * 2000)
    deliver_all(chained)
    deliver_all(chained)
    before = verify(chained)
    removals = retain(chained, RetentionSettings(events_mb=1, reserve_mb=0), clock_is_set=False)
    assert {removal.kind for removal in removals} == {"detections"}
    verdict = verify(chained, known=before.head)
    assert (verdict.fault, verdict.head) == ("", before.head)
    assert 0 < verdict.removed < sum(removal.items for removal in removals)
    assert verdict.rows < before.rows
    # What was removed can still not be swapped for something else, nor can what is left.
    with EventLog(chained, read_only=True) as log:
        alert, latest = next(log.read(severity="alert")), next(iter(log.read(limit=1)))
    for event in (alert, latest):
        with closing(sqlite3.connect(chained)) as connection:
            connection.execute("UPDATE events SET track_id = 77 WHERE event_id = ?", [event.event_id])
            connection.commit()
            assert event.event_id in verify(chained).fault
            connection.execute("UPDATE events SET track_id = 1 WHERE event_id = ?", [event.event_id])
            connection.commit()


def test_a_corrupt_log_that_is_begun_anew_begins_a_chain_too(tmp_path: Path, make_event: MakeEvent) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(bytes(8192))
    with EventLog(path, replace_corrupt=True, hash_chain=True) as log:
        put(log, make_event, 2)
    assert verify(path).rows == 4
