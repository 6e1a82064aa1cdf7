"""Installation for real: a bundle is built, installed twice into a tree, and what came out is examined."""

import configparser
import json
import os
import re
import runpy
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from inspect import signature
from pathlib import Path
from typing import Literal

import pytest
from mqtt import Broker, Subscriber, wait_until

from appliance.audio.live import LiveSource
from appliance.config import MqttSettings, SiteSettings, StoreSettings, UnitSettings
from appliance.errors import BrokerError
from appliance.geometry import load_array, shipped_arrays
from appliance.store import EventLog
from appliance.store.stamp import Stamp

REPO = Path(__file__).resolve().parent.parent
DEPLOY = REPO / "deploy"
UNITS = ("appliance-sensor.service", "appliance-publisher.service")
RETENTION = ("appliance-retention.service", "appliance-retention.timer")
SCRIPTS = [*sorted(DEPLOY.glob("*.sh")), REPO / ".ci" / "run"]


def run(*command: str | Path, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command with its output; a failure shows what it said."""
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "PYTHON": sys.executable, "LC_ALL": "C", "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 or not check, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done


# --- installation -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tree:
    """A tree that `install.sh` made."""

    root: Path
    wheels: Path
    first_output: str

    def install(self) -> str:
        return run(DEPLOY / "install.sh", "--root", self.root, "--wheels", self.wheels).stdout

    def programme(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The installed programme; its first line names the path on the target, so the interpreter is named here."""
        venv = self.root / "opt/appliance/venv/bin"
        return run(venv / "python", venv / "appliance", *arguments, check=check)

    def state(self) -> dict[str, tuple[int, int, int]]:
        """Mode, size and time of change of everything in the tree."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            if path.suffix != ".pyc" and path.name not in {"__pycache__", ".pwd.lock"}:
                stat = path.lstat()
                found[str(path.relative_to(self.root))] = (
                    stat.st_mode,
                    stat.st_size if path.is_file() else 0,
                    stat.st_mtime_ns,
                )
        return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    folder = tmp_path_factory.mktemp("installed")
    run(DEPLOY / "bundle.sh", folder / "wheels")
    empty = Tree(folder / "root", folder / "wheels", "")
    return Tree(empty.root, empty.wheels, empty.install())


def test_a_second_installation_changes_nothing(tree: Tree) -> None:
    before = tree.state()
    assert "installed /opt/appliance/venv" in tree.first_output
    second_output = tree.install()
    assert tree.state() == before
    assert "installed" not in second_output
    assert "created" not in second_output


def test_an_upgrade_mends_the_units_and_keeps_the_sites_own_files(tree: Tree) -> None:
    site, password = tree.root / "etc/appliance/site.toml", tree.root / "etc/appliance/mqtt-password"
    unit = tree.root / "etc/systemd/system/appliance-sensor.service"
    pristine = site.read_text(encoding="utf-8"), unit.read_text(encoding="utf-8")
    site.write_text('[unit]\nsite = "north"\n', encoding="utf-8")
    password.write_text("secret\n", encoding="utf-8")
    unit.write_text("[Service]\nExecStart=/bin/false\n", encoding="utf-8")
    try:
        assert "installed /etc/systemd/system/appliance-sensor.service" in tree.install()
        assert site.read_text(encoding="utf-8") == '[unit]\nsite = "north"\n'
        assert password.read_text(encoding="utf-8") == "secret\n"
        assert unit.read_text(encoding="utf-8") == pristine[1]
    finally:
        site.write_text(pristine[0], encoding="utf-8")
        password.write_text("", encoding="utf-8")


@pytest.fixture
def other_tree(tree: Tree, tmp_path: Path) -> Tree:
    """A copy of the tree, to be damaged."""
    shutil.copytree(tree.root, tmp_path / "root", symlinks=True)
    return Tree(tmp_path / "root", tree.wheels, "")


def test_what_was_installed_is_taken_away_and_the_sites_own_files_only_when_purged(other_tree: Tree) -> None:
    root = other_tree.root
    log, site, other = root / "var/lib/appliance/events.db", root / "etc/appliance/site.toml", root / "etc/hostname"
    log.parent.mkdir(parents=True)
    for file in (log, site, other):
        file.write_text("kept\n", encoding="utf-8")
    said = run(DEPLOY / "uninstall.sh", "--root", root).stdout
    assert "removed /opt/appliance\n" in said
    assert "kept /etc/appliance and /var/lib/appliance" in said
    ours = sorted(str(path.relative_to(root)) for path in root.rglob("*appliance*"))
    assert ours == ["etc/appliance", "usr/lib/sysusers.d/appliance.conf", "var/lib/appliance"]
    assert [file.read_text(encoding="utf-8") for file in (log, site, other)] == ["kept\n"] * 3
    assert "removed /etc/appliance\n" in run(DEPLOY / "uninstall.sh", "--purge", "--root", root).stdout
    assert list(root.rglob("*appliance*")) == []
    assert other.read_text(encoding="utf-8") == "kept\n"
    assert run(DEPLOY / "uninstall.sh", "--purge", "--root", root).stdout == ""


@pytest.mark.parametrize("damage", ["cut off while it was made", "the system's Python is another now"])
def test_an_environment_that_cannot_run_is_made_anew(other_tree: Tree, damage: str) -> None:
    venv = other_tree.root / "opt/appliance/venv"
    (library,) = (venv / "lib").iterdir()
    if damage == "cut off while it was made":
        shutil.rmtree(library / "site-packages" / "pip")
    else:
        library.rename(library.with_name("python3.9"))
    assert other_tree.programme("--version", check=False).returncode != 0 or "cut off" in damage
    assert "installed /opt/appliance/venv" in other_tree.install()
    assert other_tree.programme("--version").stdout.startswith("appliance ")


def test_the_services_can_read_what_a_strict_root_installs(other_tree: Tree) -> None:
    programme = other_tree.root / "opt/appliance"
    run("chmod", "-R", "go-rwx", programme)
    (programme / "wheel.sha256").unlink()
    install = (DEPLOY / "install.sh", "--root", other_tree.root, "--wheels", other_tree.wheels)
    run("sh", "-c", 'umask 077; exec "$@"', "sh", *install)
    closed = [
        path for path in [programme, *programme.rglob("*")] if not path.is_symlink() and not path.stat().st_mode & 0o4
    ]
    assert closed == []


@pytest.mark.parametrize("folder", ["my card", "c" * 100])
def test_a_root_whose_scripts_would_not_start_is_refused(tmp_path: Path, folder: str) -> None:
    refused = run(DEPLOY / "install.sh", "--root", tmp_path / folder, check=False)
    assert refused.returncode == 1
    assert refused.stderr.endswith("; mount the card elsewhere\n")


def test_secrets_are_for_root_and_the_site_file_for_the_services(tree: Tree) -> None:
    folder = tree.root / "etc/appliance"
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in [folder, *folder.iterdir()]}
    assert modes == {"appliance": "0o750", "site.toml": "0o640", "mqtt-password": "0o600"}


def test_the_user_exists_and_cannot_log_in(tree: Tree) -> None:
    assert re.search(r"^appliance:x:\d+:\d+:.*nologin$", (tree.root / "etc/passwd").read_text(encoding="utf-8"), re.M)


def test_both_services_and_the_timer_start_at_boot(tree: Tree) -> None:
    system = tree.root / "etc/systemd/system"
    wanted = {path.name: [unit.name for unit in path.iterdir()] for path in system.glob("*.wants")}
    assert {target: sorted(units) for target, units in wanted.items()} == {
        "multi-user.target.wants": sorted(UNITS),
        "timers.target.wants": ["appliance-retention.timer"],
    }


def test_the_field_has_no_torch_and_needs_none(tree: Tree) -> None:
    """The wheel holds no lab, nothing pulls torch in, and every module of the runtime imports without it."""
    look = (
        "import importlib, importlib.util, json, pkgutil, sys, appliance;"
        "names = [m.name for m in pkgutil.walk_packages(appliance.__path__, 'appliance.')"
        " if not m.name.endswith('pyaudio_source')];"
        "[importlib.import_module(name) for name in names];"
        "print(json.dumps([names, bool(importlib.util.find_spec('torch')), appliance.__file__]))"
    )
    python = tree.root / "opt/appliance/venv/bin/python"
    names, has_torch, where = json.loads(run(python, "-I", "-c", look).stdout)
    assert Path(where).is_relative_to(tree.root)
    assert {"appliance.dsp.srp", "appliance.config"} <= set(names)
    assert not [name for name in names if name.startswith("appliance.lab")]
    assert not has_torch


def test_every_package_that_the_field_installs_is_imported() -> None:
    listed = re.search(
        r"^dependencies = \[(.+?)^\]", (REPO / "pyproject.toml").read_text(encoding="utf-8"), re.M | re.S
    )
    assert listed
    required = {name.replace("-", "_") for name in re.findall(r'"([\w-]+)', listed[1])}
    runtime = [path for path in REPO.glob("appliance/**/*.py") if "lab" not in path.parts]
    texts = [path.read_text(encoding="utf-8") for path in runtime]
    imported = {name for text in texts for name in re.findall(r"^ *(?:import|from) (\w+)", text, re.M)}
    packages = {name: [one.replace("-", "_") for one in ones] for name, ones in packages_distributions().items()}
    assert required - imported - {one for name in imported for one in packages.get(name, [])} == set()


def test_the_installed_programme_starts_and_the_units_call_what_it_has(tree: Tree) -> None:
    for unit in UNITS:
        start = unit_settings(unit)["ExecStart"][0]
        binary, command, option, site = start.split()
        assert (binary, option, site) == ("/opt/appliance/venv/bin/appliance", "--site", "/etc/appliance/site.toml")
        assert (tree.root / binary.removeprefix("/")).exists()
        assert option in tree.programme(command, "--help").stdout


def test_what_the_timer_starts_keeps_the_quotas(tree: Tree, tmp_path: Path) -> None:
    """As the unit file calls it, on a site of its own: what is too much is gone."""
    binary, *arguments, site = unit_settings(RETENTION[0])["ExecStart"][0].split()
    assert (binary, site) == ("/opt/appliance/venv/bin/appliance", "/etc/appliance/site.toml")
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("first", "second"):
        (clips / f"{name}.flac").write_bytes(bytes(700_000))
    own = tmp_path / "site.toml"
    own.write_text(f'[store]\npath = "{tmp_path}/events.db"\n[retention]\nclips_mb = 1\n', encoding="utf-8")
    tree.programme(*arguments, str(own))
    assert [clip.name for clip in clips.iterdir()] == ["second.flac"]


def test_shipped_configurations_travel_in_the_wheel(tree: Tree) -> None:
    listed = tree.programme("arrays").stdout
    assert all(name in listed for name in shipped_arrays())


# --- systemd ----------------------------------------------------------------------------------------------------------


def unit_settings(unit: str) -> dict[str, list[str]]:
    """Every value of every key of a unit file."""
    settings: dict[str, list[str]] = {}
    for line in (REPO / "systemd" / unit).read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            settings.setdefault(key, []).append(value)
    return settings


@pytest.fixture
def unit_on_this_machine(tree: Tree, tmp_path: Path) -> Path:
    """The installed units, with ExecStart= pointing into the tree, since systemd insists that it exists."""
    for unit in (*UNITS, *RETENTION):
        text = (tree.root / "etc/systemd/system" / unit).read_text(encoding="utf-8")
        (tmp_path / unit).write_text(text.replace("=/opt/appliance", f"={tree.root}/opt/appliance"), encoding="utf-8")
    return tmp_path


def test_systemd_finds_no_fault_in_the_units(unit_on_this_machine: Path) -> None:
    done = run("systemd-analyze", "verify", *(unit_on_this_machine / unit for unit in (*UNITS, *RETENTION)))
    assert done.stdout + done.stderr == ""


def test_systemd_would_have_found_a_fault(unit_on_this_machine: Path) -> None:
    unit = unit_on_this_machine / UNITS[0]
    unit.write_text(unit.read_text(encoding="utf-8").replace("WatchdogSec", "WatchdogSecs"), encoding="utf-8")
    assert "WatchdogSecs" in run("systemd-analyze", "verify", unit, check=False).stderr


@pytest.mark.parametrize("unit", [*UNITS, RETENTION[0]])
def test_the_units_are_locked_down(unit: str) -> None:
    """The rating systemd gives: what a broken-into service could reach, 10 is everything, below 2 is "OK" or better."""
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager", REPO / "systemd" / unit)
    exposure = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert exposure is not None
    assert float(exposure[1]) <= 1.5


@pytest.mark.parametrize("unit", UNITS)
def test_what_the_units_promise(unit: str) -> None:
    settings = unit_settings(unit)
    assert settings["Type"] == ["notify"]
    assert int(settings["WatchdogSec"][0]) > 0
    assert settings["Restart"] == ["always"]
    assert settings["RestartPreventExitStatus"] == ["78"]
    assert settings["User"] == ["appliance"]
    assert settings["ProtectSystem"] == ["strict"]
    assert settings["StateDirectory"] == ["appliance"]


def test_a_source_gives_up_before_it_is_killed() -> None:
    """With a wait between two attempts: what is killed ends no events and keeps no clips."""
    patience_s = signature(LiveSource).parameters["give_up_s"].default
    assert patience_s + 5.0 < int(unit_settings(UNITS[0])["WatchdogSec"][0])


def test_retention_comes_again_by_the_time_since_boot_and_never_by_the_calendar() -> None:
    """A clock that jumps must neither skip it nor run it a thousand times."""
    timer, service = unit_settings(RETENTION[1]), unit_settings(RETENTION[0])
    assert (timer["OnBootSec"], timer["OnUnitActiveSec"]) == (["2min"], ["10min"])
    assert "OnCalendar" not in timer
    assert (service["Type"], service["User"]) == (["oneshot"], ["appliance"])
    assert service["StateDirectory"] == ["appliance"]


def test_only_the_sensor_reaches_the_microphones_and_only_the_publisher_the_network() -> None:
    sensor, publisher = (unit_settings(unit) for unit in UNITS)
    assert sensor["DeviceAllow"] == ["char-alsa rw"]
    assert sensor["PrivateNetwork"] == ["yes"]
    assert sensor["SupplementaryGroups"] == ["audio"]
    assert publisher["PrivateDevices"] == ["yes"]
    assert "SupplementaryGroups" not in publisher


def test_the_sensor_may_ask_the_clock_and_not_set_it() -> None:
    """Behind a filter that forbids the question, every event of a unit with chrony would be called unsynchronised."""
    settings = unit_settings("appliance-sensor.service")
    assert "ProtectClock" not in settings
    assert settings["SystemCallFilter"][-1] == "adjtimex clock_adjtime"
    assert settings["CapabilityBoundingSet"] == [""]


def test_the_back_off_drop_in_is_a_unit_fragment() -> None:
    parser = configparser.ConfigParser()
    parser.read(REPO / "systemd/restart-backoff.conf", encoding="utf-8")
    assert {key: int(value) for key, value in parser["Service"].items()} == {
        "restartsteps": 6,
        "restartmaxdelaysec": 60,
    }


# --- udev -------------------------------------------------------------------------------------------------------------


def udev_rules() -> list[dict[str, str]]:
    """Every rule as {key and operator: value}; a line that udev would not understand fails here."""
    rules = []
    for line in (DEPLOY / "99-appliance-audio.rules").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pairs = [
                re.fullmatch(r'([A-Z]+(?:\{[\w/]+\})?(?:==|!=|\+=|=))"([^"]*)"', part) for part in line.split(", ")
            ]
            assert all(pairs), line
            rules.append({pair[1]: pair[2] for pair in pairs if pair})
    return rules


def test_each_usb_array_gets_the_card_id_its_file_names() -> None:
    ids = {
        f"{rule['ATTRS{idVendor}==']}:{rule['ATTRS{idProduct}==']}": rule["ATTR{id}="]
        for rule in udev_rules()
        if "ATTRS{idProduct}==" in rule
    }
    devices = [load_array(name).device for name in shipped_arrays()]
    assert ids == {device.usb_id: device.alsa_card_id for device in devices if device.usb_id}


def test_every_card_id_is_one_that_alsa_accepts_and_an_array_file_uses() -> None:
    """ALSA cuts an id at 15 characters and takes only letters, digits and underscores."""
    named = {rule["ATTR{id}="] for rule in udev_rules() if "ATTR{id}=" in rule}
    used = {load_array(name).device.alsa_card_id for name in shipped_arrays()}
    assert named <= used
    assert all(re.fullmatch(r"[A-Za-z0-9_]{1,15}", name) for name in used if name)


# --- appliance-verify -------------------------------------------------------------------------------------------------


def verify(tree: Tree, site: Path, **environment: str) -> dict[str, str]:
    """{check: ok or FAIL and what it says} of `appliance-verify`."""
    command = (tree.root / "usr/local/sbin/appliance-verify", "--root", tree.root, "--site", site)
    done = run(*command, check=False, **environment)
    assert done.stderr == ""
    lines = [re.fullmatch(r"(ok  |FAIL)  ([\w -]+): (.+)", line) for line in done.stdout.splitlines()]
    assert all(lines), done.stdout
    found = {line[2]: f"{line[1].strip()} {line[3]}" for line in lines if line}
    assert done.returncode == any(text.startswith("FAIL") for text in found.values())
    return found


@pytest.fixture
def closed_broker(tmp_path: Path) -> Iterator[Broker]:
    """A Mosquitto that lets only `gate` in, and only speak as the shipped access list says: as a unit of the site `north`."""
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    run("mosquitto_passwd", "-b", passwords, "gate", "gate-password")
    access = tmp_path / "access"
    access.touch(mode=0o600)
    access.write_text((DEPLOY / "mosquitto-acl.example").read_text(encoding="utf-8"), encoding="utf-8")
    # With an unlimited queue Mosquitto 2.0.11 hangs up on whoever was refused, instead of saying so.
    settings = ("allow_anonymous false", f"password_file {passwords}", f"acl_file {access}", "max_queued_messages 1000")
    broker = Broker(tmp_path, settings=settings)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def test_verify_tells_what_is_well_and_what_to_do_about_the_rest(
    tree: Tree, tmp_path: Path, closed_broker: Broker
) -> None:
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("gate-password\n", encoding="utf-8")
    site = tmp_path / "site.toml"
    site.write_text(
        f"""
        [unit]
        site = "north"
        node = "gate"
        [capture]
        device = "hw:CARD=NoSuchCard"
        [store]
        path = "{tmp_path}/events.db"
        [mqtt]
        port = {closed_broker.port}
        host = "127.0.0.1"
        username = "gate"
        password_file = "{password}"
        """,
        encoding="utf-8",
    )
    found = verify(tree, site)
    assert found["user"] == "ok appliance"
    assert found["site"] == f"ok north/gate in {site}"
    assert found["array"] == "ok respeaker_usb_4mic, 4 microphones"
    assert found["model"].startswith("ok deepasa-edge-small-int8, ")
    assert found["policy"] == "ok as shipped"
    assert found["event log"].startswith(f"ok {tmp_path}/events.db, not there yet")
    assert found["sensor"].startswith("FAIL ")
    assert found["broker"] == f"ok 127.0.0.1:{closed_broker.port}"
    assert found["card"].startswith('FAIL capture device "hw:CARD=NoSuchCard": not found; ')

    password.write_text("wrong\n", encoding="utf-8")
    assert re.match(
        r"FAIL .*refused: Not authorized; check \[mqtt\] username and password_file", verify(tree, site)["broker"]
    )


def test_verify_finds_an_event_log_that_cannot_be_read(tree: Tree, tmp_path: Path) -> None:
    log, site = tmp_path / "events.db", tmp_path / "site.toml"
    site.write_text(f'[mqtt]\nport = 1\n[store]\npath = "{log}"\n', encoding="utf-8")
    log.write_bytes(b"no SQLite " * 1000)
    assert verify(tree, site)["event log"] == (
        f"FAIL {log}: this is not an event log; move it away, a new one is made at the next start"
    )


def test_verify_passes_on_what_the_sensor_says_of_itself_now(tree: Tree, tmp_path: Path) -> None:
    """What it said of itself a minute ago is no news; that it has been silent since is."""
    site = tmp_path / "site.toml"
    site.write_text(
        f'[mqtt]\nport = 1\n[capture]\ndevice = "yard"\n[store]\npath = "{tmp_path}/events.db"\n', encoding="utf-8"
    )
    (tmp_path / "asound.conf").write_text("pcm.yard { type null }\n", encoding="utf-8")
    ago_ns = [0]

    def clock() -> Stamp:
        now = Stamp.now()
        return Stamp(now.utc_ns - ago_ns[0], now.boot_id, now.boot_ns - ago_ns[0])

    def found(hearing: bool, *faults: str) -> dict[str, str]:
        log.set_state("sensor", {"hearing": hearing, "faults": faults})
        return verify(tree, site, ALSA_CONFIG_PATH=str(tmp_path / "asound.conf"))

    with EventLog(tmp_path / "events.db", clock=clock) as log:
        well = found(True)
        assert (well["sensor"], well["card"]) == ("ok hears", "ok yard")
        assert well["event log"] == f"ok {tmp_path}/events.db"
        assert found(True, "not detecting: a drone was not heard", "microphone 2 gives digital silence")["sensor"] == (
            "FAIL not detecting: a drone was not heard; microphone 2 gives digital silence; "
            "look: journalctl -u appliance-sensor -n 20"
        )
        ago_ns[0] = 60_000_000_000
        assert found(False, "the sensor was stopped")["sensor"].startswith(
            "FAIL the sensor has stopped reporting; look"
        )


def test_verify_waits_for_the_first_word_of_a_sensor_that_was_restarted(tmp_path: Path) -> None:
    sensor = runpy.run_path(str(DEPLOY / "verify_site.py"))["sensor"]
    with EventLog(tmp_path / "events.db") as log:
        log.set_state("sensor", {"hearing": False, "faults": ["the sensor was stopped"]})
        speaks = threading.Timer(1.0, log.set_state, ("sensor", {"hearing": True, "faults": []}))
        speaks.start()
        assert sensor(SiteSettings(store=StoreSettings(path=log.path))) == "hears"
        speaks.join()


def test_verify_says_that_no_broker_answers(tree: Tree, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        site = tmp_path / "site.toml"
        site.write_text(f'[mqtt]\nhost = "127.0.0.1"\nport = {unused.getsockname()[1]}\n', encoding="utf-8")
        assert "check [mqtt] host and port, and the network" in verify(tree, site)["broker"]


@pytest.mark.parametrize(
    ("site", "protocol", "says"),
    [
        ("north", "5.0", "{broker}"),
        (
            "south",
            "5.0",
            "MQTT broker {broker}: acoustic/v1/south/gate/answers/verify: refused: Not authorized; check the broker's access list",
        ),
        ("south", "3.1.1", "{broker}, but MQTT 3.1.1 tells of no refusal: see whether status arrives"),
    ],
)
def test_verify_finds_an_access_list_that_lets_the_unit_in_and_not_speak(
    tmp_path: Path, closed_broker: Broker, site: str, protocol: Literal["5.0", "3.1.1"], says: str
) -> None:
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("gate-password\n", encoding="utf-8")
    broker = runpy.run_path(str(DEPLOY / "verify_site.py"))["broker"]
    mqtt = MqttSettings(
        host="127.0.0.1", port=closed_broker.port, protocol=protocol, username="gate", password_file=password
    )
    try:
        said = broker(SiteSettings(unit=UnitSettings(site=site, node="gate"), mqtt=mqtt))
    except BrokerError as error:
        said = str(error)
    assert said == says.format(broker=f"127.0.0.1:{closed_broker.port}")


def test_what_verify_says_to_the_broker_is_of_the_contract_and_kept_by_nobody(broker: Broker) -> None:
    check = runpy.run_path(str(DEPLOY / "verify_site.py"))["broker"]
    site = SiteSettings(
        unit=UnitSettings(site="north", node="gate"), mqtt=MqttSettings(host="127.0.0.1", port=broker.port)
    )
    with Subscriber(broker.port) as subscriber:
        check(site)
        wait_until(lambda: subscriber.on("answers", "verify"), "the message")
        (message,) = subscriber.on("answers", "verify")
        assert (message.payload["command"], message.retained) == ("verify", False)


def test_verify_finds_a_policy_that_the_sensor_would_refuse(tree: Tree, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text("[mqtt]\nport = 1\n[policy.gunshot]\nconfirm_frames = 9\n", encoding="utf-8")
    assert verify(tree, site)["policy"].startswith("FAIL [policy.gunshot]: confirm_frames must not be above")


def test_verify_passes_on_the_one_line_about_a_broken_site_file(tree: Tree, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text("[mqtt]\nhots = 'x'\n", encoding="utf-8")
    assert verify(tree, site)["site"] == f'FAIL {site}: [mqtt] hots: unknown key; did you mean "host"?'


# --- scripts and make -------------------------------------------------------------------------------------------------


def test_shellcheck_finds_no_fault_in_the_scripts() -> None:
    assert len(SCRIPTS) >= 5
    assert run("shellcheck", *SCRIPTS).stdout == ""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_can_be_run(script: Path) -> None:
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize("script", ["install.sh", "uninstall.sh", "verify.sh"])
def test_help_is_the_scripts_own_head(script: str) -> None:
    shown = run(DEPLOY / script, "--help").stdout
    assert "--root DIR" in shown
    assert "#" not in shown


@pytest.mark.parametrize("name", ["install", "uninstall"])
def test_an_unknown_option_is_refused(name: str, tmp_path: Path) -> None:
    done = run(DEPLOY / f"{name}.sh", "--rot", tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{name}: unknown option --rot; see --help\n"


def test_only_missing_packages_are_named() -> None:
    assert run(DEPLOY / "debian-packages.sh", "--dry-run", "dpkg").stdout == ""
    assert (
        run(DEPLOY / "debian-packages.sh", "--dry-run", "dpkg", "no-such-package").stdout
        == "Debian packages needed: no-such-package\n"
    )


def test_make_help_lists_every_target() -> None:
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.+)$", makefile, re.M)
    assert targets is not None
    listed = re.findall(r"^  make (\w+)", run("make", "-C", REPO, "--no-print-directory").stdout, re.M)
    assert sorted(listed) == sorted(targets[1].split())


def test_make_says_in_one_line_that_python_is_too_old(tmp_path: Path) -> None:
    """In a copy, where nothing is set up yet."""
    (tmp_path / "Makefile").write_text((REPO / "Makefile").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "pyproject.toml").touch()
    done = run("make", "-C", tmp_path, "demo", "PYTHON=/bin/false", check=False)
    assert done.returncode != 0
    assert "/bin/false is missing or older than Python 3.10: install a newer one" in done.stderr


def test_ci_makes_test_and_nothing_else() -> None:
    lines = (REPO / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "exec make test"
    assert [line for line in lines if "make" in line] == ["exec make test"]


def test_torch_is_pinned_where_make_looks_for_it() -> None:
    torch = run("sed", "-n", r's/.*"\(torch==[^"]*\)".*/\1/p', REPO / "pyproject.toml").stdout
    assert re.fullmatch(r"torch==\d+\.\d+\.\d+\n", torch)
