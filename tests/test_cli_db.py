"""`appliance db` as a technician runs it: on a sound log, on a damaged one, beside the services, with a mistake."""

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from conftest import MakeEvent

from appliance.store import EventLog, Outbox
from appliance.store.chain import verify
from appliance.store.database import integrity_faults
from appliance.types import Event

APPLIANCE = str(Path(sys.executable).with_name("appliance"))


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([APPLIANCE, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def path(tmp_path: Path, make_event: MakeEvent) -> Path:
    """A log of 100 alerts with a hash chain, half of them delivered."""
    path = tmp_path / "events.db"
    with EventLog(path, hash_chain=True) as log, Outbox(path) as outbox:
        for _ in range(100):
            log.append(make_event())
        outbox.settle([message.outbox_id for message in outbox.pending(100)], "delivered")
    return path


def events(path: Path) -> list[Event]:
    with EventLog(path, read_only=True) as log:
        return list(log.read())


def damage(path: Path, table: str, fraction: float) -> None:
    """Overwrite a page in the midst of a table, as a dying card does."""
    with EventLog(path) as log:
        pages = [
            page
            for page in range(2, path.stat().st_size // 4096)
            if path.read_bytes()[4096 * (page - 1)] == 13
            and table.encode() in path.read_bytes()[4096 * (page - 1) : 4096 * page]
        ]
        log._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    raw = bytearray(path.read_bytes())
    page = pages[int(len(pages) * fraction)]
    raw[4096 * (page - 1) : 4096 * page] = os.urandom(4096)
    path.write_bytes(raw)


def test_check_says_what_is_in_it_and_that_it_is_well(path: Path) -> None:
    done = run("db", "check", "--db", path)
    assert done.returncode == 0, done.stdout
    lines = [line.partition("  ")[::2] for line in done.stdout.splitlines()]
    assert {state for state, _ in lines} == {"ok"}
    said = " ".join(text for _, text in lines)
    assert "100 state changes, 100 alerts" in said
    assert "100 waiting, 100 delivered, 0 superseded, 0 expired" in said
    assert "hash chain: 100 rows as they were written" in said


def test_check_names_the_damage_and_repair_saves_the_rest(path: Path) -> None:
    """The sum adds up, what waited still waits, and the damaged file is kept."""
    before = events(path)
    damage(path, "drone", 0.5)
    checked = run("db", "check", "--db", path)
    assert checked.returncode == 74
    assert re.search(r"^FAIL +integrity: .*stop the services, then run appliance db repair$", checked.stdout, re.M)

    repaired = run("db", "repair", "--db", path)
    assert repaired.returncode == 0, repaired.stderr
    said = re.search(r"(\d+) state changes saved, (\d+) lost; (\d+) messages wait", repaired.stdout)
    assert said is not None
    saved, lost, waiting = map(int, said.groups())
    after = events(path)
    assert 0 < lost < 20
    assert (len(after), len(after) + lost) == (saved, 100)
    assert [event for event in before if event in after] == after
    with Outbox(path) as outbox:
        assert outbox.counts()["pending"] == waiting > 80
    assert "the hash chain was begun anew (row" in repaired.stdout
    assert verify(path).fault == ""
    (kept,) = path.parent.glob("events.db.corrupt-*[0-9]")
    assert str(kept) in repaired.stdout
    assert integrity_faults(kept) != []
    assert integrity_faults(path) == []
    assert run("db", "check", "--db", path).returncode == 0
    assert run("db", "repair", "--db", path).stdout == f"{path}: nothing to repair\n"


def test_check_and_repair_find_the_damage_that_sqlite_does_not_see(path: Path) -> None:
    """A byte of a message's text: every page is sound."""
    before = events(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("""UPDATE events SET payload = replace(payload, '"state"', '"stade"') WHERE id IN (4, 60)""")
    assert integrity_faults(path) == []
    checked = run("db", "check", "--db", path)
    assert checked.returncode == 74
    said = r"^FAIL +events: row 4: message: state: field required \(2 in all\); stop the services, then run appliance db repair$"
    assert re.search(said, checked.stdout, re.M)
    repaired = run("db", "repair", "--db", path)
    assert "98 state changes saved, 2 lost" in repaired.stdout
    assert events(path) == [event for event in before if event not in (before[3], before[59])]
    assert run("db", "check", "--db", path).returncode == 0


def test_a_repaired_log_never_gives_a_row_number_twice(path: Path, make_event: MakeEvent) -> None:
    damage(path, "drone", 0.99)
    run("db", "repair", "--db", path)
    with EventLog(path) as log:
        log.append(make_event())
        assert log._rows("SELECT max(id) FROM events") == [(101,)]


def test_repair_does_not_touch_a_log_that_is_in_use(path: Path) -> None:
    damage(path, "drone", 0.5)
    code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM removals').fetchall(); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        before = path.read_bytes()
        refused = run("db", "repair", "--db", path)
        assert refused.returncode == 74
        assert "it is in use; stop the services first: systemctl stop" in refused.stderr
        assert path.read_bytes() == before
        reader.communicate("\n")
    assert run("db", "repair", "--db", path).returncode == 0


def test_repair_refuses_what_is_no_event_log(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("somebody's notes " * 1000)
    before = notes.read_bytes()
    refused = run("db", "repair", "--db", notes)
    assert refused.returncode == 74
    assert "no event in it can be read" in refused.stderr
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("notes.txt", before)]


def test_a_backup_is_whole_while_somebody_writes_and_can_be_started_from(
    path: Path, tmp_path: Path, make_event: MakeEvent
) -> None:
    folder = tmp_path / "usb"
    folder.mkdir()
    with EventLog(path) as log:
        uncommitted = make_event()
        log._db.conn.execute("BEGIN IMMEDIATE")
        done = run("db", "backup", folder, "--db", path)
        log._db.conn.rollback()
        log.append(uncommitted)
    assert done.returncode == 0, done.stderr
    (copy,) = folder.iterdir()
    assert done.stdout.startswith(f"{copy}: ")
    assert integrity_faults(copy) == []
    assert events(copy) == events(path)[:-1]
    with EventLog(copy) as log:
        log.append(uncommitted)
        assert log._db.journal_mode == "wal"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away, and so may be forbidden to")
def test_a_stick_that_knows_no_owners_takes_a_backup(path: Path, tmp_path: Path) -> None:
    """FAT refuses to give a file to the log's owner, as this kernel does to a root without that capability."""
    os.chown(path, 65534, 65534)
    done = subprocess.run(
        ["setpriv", "--bounding-set=-chown", APPLIANCE, "db", "backup", tmp_path / "copy.db", "--db", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert events(tmp_path / "copy.db") == events(path)


def test_a_damaged_log_gives_no_backup(path: Path, tmp_path: Path) -> None:
    damage(path, "drone", 0.5)
    refused = run("db", "backup", tmp_path / "copy.db", "--db", path)
    assert refused.returncode == 74
    assert "not kept, as the event log is damaged" in refused.stderr
    assert not (tmp_path / "copy.db").exists()


def test_vacuum_gives_room_back(path: Path, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch) -> None:
    with EventLog(path) as log:
        log.append(make_event(class_label="x" * 1_000_000))
        log._db.execute("DELETE FROM events WHERE id = 101")
        log._db.conn.commit()
    before = path.stat().st_size
    # A terminal that has no arrow.
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    done = run("db", "vacuum", "--db", path)
    assert done.returncode == 0, done.stderr
    assert path.stat().st_size < before - 1_000_000
    assert len(events(path)) == 100
    assert integrity_faults(path) == []


def test_retain_says_what_it_removed(path: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clips" / "a.flac"
    clip.parent.mkdir()
    clip.write_bytes(bytes(2_000_000))
    site = tmp_path / "site.toml"
    site.write_text(f'[store]\npath = "{path}"\n[retention]\nclips_mb = 1\nreserve_mb = 0\n')
    done = run("db", "retain", "--site", site)
    assert (done.returncode, done.stdout) == (0, "1 clips (2.0 MB): size\n")
    assert run("db", "retain", "--site", site).stdout == "nothing to remove\n"
    assert "removed: 1 clips (2.0 MB) by size" in run("db", "check", "--site", site).stdout


def test_retain_says_that_there_is_no_log_yet(tmp_path: Path) -> None:
    """No fault: the timer may come before the sensor."""
    site = tmp_path / "site.toml"
    site.write_text('[store]\npath = "events.db"\n')
    done = run("db", "retain", "--site", site)
    told = f"{tmp_path}/events.db: no event log yet; the sensor makes it at its first start\n"
    assert (done.returncode, done.stdout) == (0, told)


def test_events_verify_names_the_first_altered_row(path: Path) -> None:
    head = run("events", "verify", "--db", path)
    assert (head.returncode, head.stdout.splitlines()[0]) == (
        0,
        f"{path}: 100 rows as they were written, 0 removed by retention",
    )
    known = head.stdout.split()[-1]
    assert run("events", "verify", "--db", path, "--known", known).returncode == 0
    with EventLog(path) as log:
        log._db.execute("UPDATE events SET bearing_true_deg = 90 WHERE id IN (42, 43)")
        log._db.conn.commit()
        event_id = log._rows("SELECT event_id FROM events WHERE id = 42")[0][0]
    altered = run("events", "verify", "--db", path)
    assert altered.returncode == 74
    assert f"row 42 (event {event_id}, new, sequence 0) was altered; the 41 rows before it" in altered.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["check", "--db", "{tmp}/none.db"], 74, "none.db: no such event log; the sensor makes it at its first start"),
        (["check", "--db", "a", "--site", "b"], 78, "--db and --site: both name an event log; give one of them"),
        (["backup", "{tmp}/no/where", "--db", "{db}"], 78, "no: no such folder; make it, or plug the disk in"),
        (["backup", "{db}", "--db", "{db}"], 78, "events.db: exists; give another name, or a folder"),
    ],
)
def test_mistakes_are_one_line_with_the_remedy(
    path: Path, tmp_path: Path, arguments: list[str], status: int, complaint: str
) -> None:
    done = run("db", *(argument.format(tmp=tmp_path, db=path) for argument in arguments))
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.count("\n") == 1
    assert complaint in done.stderr


def test_another_programs_database_is_no_log_to_check_or_repair(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE x (a)")
    before = path.read_bytes()
    checked, repaired = run("db", "check", "--db", path), run("db", "repair", "--db", path)
    assert (checked.returncode, repaired.returncode) == (74, 74)
    for said in (checked.stdout, repaired.stderr):
        assert f"{path}: not an event log but another program's SQLite file (it holds the table 'x'); give" in said
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("other.db", before)]
