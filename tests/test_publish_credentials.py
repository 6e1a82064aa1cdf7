"""Secrets are refused where others could read them, and a unit's client id is its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_publish_tls import Authority

from appliance.config import MqttSettings, UnitSettings
from appliance.errors import ConfigError
from appliance.publish.credentials import client_id, machine_id, read_password, tls_context


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_password_is_the_file_without_its_line_end(tmp_path: Path) -> None:
    settings = MqttSettings(password_file=private(tmp_path / "password", " geheim \n"))
    assert read_password(settings) == " geheim "
    assert read_password(MqttSettings()) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_password_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = private(tmp_path / "password", "geheim")
    path.chmod(mode)
    with pytest.raises(
        ConfigError, match=rf"password: \[mqtt\] password_file: mode {mode:04o} .*; run `chmod 0600"
    ) as info:
        read_password(MqttSettings(password_file=path))
    assert "geheim" not in str(info.value)


@pytest.mark.parametrize(("folder", "status"), [("{tmp_path}", 0), ("/run/credentials/other.service", 1)])
def test_a_systemd_credential_may_show_a_groups_read_bit(tmp_path: Path, folder: str, status: int) -> None:
    """From systemd 254 on it does; only a file in the folder that systemd names to this very process is believed."""
    path = private(tmp_path / "mqtt-password", "geheim")
    path.chmod(0o440)
    programme = (
        "from appliance.config import MqttSettings; from appliance.publish.credentials import read_password;"
        f"assert read_password(MqttSettings(password_file={str(path)!r})) == 'geheim'"
    )
    environment = {**os.environ, "CREDENTIALS_DIRECTORY": folder.format(tmp_path=tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", programme], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    assert ("mode 0440 lets others read it" in done.stderr) == bool(status)


def test_a_missing_or_empty_password_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere: .*: no such file; write it"):
        read_password(MqttSettings(password_file=tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="empty"):
        read_password(MqttSettings(password_file=private(tmp_path / "password", "\n")))


def test_without_tls_there_is_no_context() -> None:
    assert tls_context(MqttSettings()) is None


def test_tls_verifies_certificate_and_name() -> None:
    context = tls_context(MqttSettings(tls=True))
    assert context is not None
    assert (context.check_hostname, context.verify_mode.name, context.minimum_version.name) == (
        True,
        "CERT_REQUIRED",
        "TLSv1_2",
    )


@pytest.mark.parametrize("key", ["ca_file", "cert_file"])
def test_a_missing_certificate_is_named(tmp_path: Path, key: str) -> None:
    files: dict[str, Any] = {"cert_file": private(tmp_path / "cert", ""), "key_file": private(tmp_path / "key", "")} | {
        key: tmp_path / "nowhere"
    }
    with pytest.raises(ConfigError, match=rf"nowhere: \[mqtt\] {key}: no such file"):
        tls_context(MqttSettings(tls=True, **files))


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one without the other"):
        tls_context(MqttSettings(tls=True, cert_file=private(tmp_path / "cert", "")))


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ca: \[mqtt\] ca_file: not a PEM certificate"):
        tls_context(MqttSettings(tls=True, ca_file=private(tmp_path / "ca", "hello")))
    pair: dict[str, Any] = {
        "cert_file": private(tmp_path / "cert", "hello"),
        "key_file": private(tmp_path / "key", "hello"),
    }
    with pytest.raises(ConfigError, match=r"cert: .* no matching pair"):
        tls_context(MqttSettings(tls=True, **pair))


@pytest.mark.parametrize("key", ["password_file", "ca_file", "cert_file", "key_file"])
def test_a_file_of_another_user_is_named_with_the_remedy(tmp_path: Path, without_sudo: list[str], key: str) -> None:
    """As OpenSSL tells it, it would be no certificate, or no key of the other file."""
    papers = Authority(tmp_path, "authority").issue("unit")
    settings: dict[str, Any] = {"tls": True, **papers, key: papers.get(key, tmp_path / "closed")}
    settings[key].touch()
    settings[key].chmod(0)
    programme = (
        "import sys; from appliance.config import MqttSettings; from appliance.publish import credentials;"
        "mqtt = MqttSettings.model_validate_json(sys.argv[1]);"
        "credentials.read_password(mqtt); credentials.tls_context(mqtt)"
    )
    command = [*without_sudo, sys.executable, "-c", programme, MqttSettings(**settings).model_dump_json()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stderr.splitlines()[-1].removeprefix("appliance.errors.ConfigError: ")
    path = settings[key]
    assert said.startswith(f"{path}: [mqtt] {key}: permission denied; run it with sudo, or `chown appliance {path}`")
    assert ("/run/credentials/appliance-publisher.service/mqtt-password" in said) == (key == "password_file")


def test_client_id_is_stable_distinct_and_fits_every_broker() -> None:
    units = [UnitSettings(site=site, node=node) for site in ("north", "south") for node in ("mast-1", "m" * 64)]
    ids = [client_id(unit) for unit in units]
    assert ids == [client_id(unit) for unit in units]
    assert len(set(ids)) == len(ids)
    assert {len(name) for name in ids} == {23}
    assert machine_id() not in "".join(ids)
