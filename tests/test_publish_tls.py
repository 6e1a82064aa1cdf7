"""TLS to a real Mosquitto that wants a client certificate: the right papers pass, all others are refused."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mqtt import Broker
from test_publish_connector import ONLINE, connect, connector_to, failure

from appliance.publish.connector import Connector


class Authority:
    """A certificate authority that lives for one test."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self.certificate = directory / f"{name}.crt"
        self._key = directory / f"{name}.key"
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        openssl("req", "-x509", "-subj", f"/CN={name}", "-out", self.certificate, *usage, *new_key(self._key))

    def issue(self, name: str, alternative_name: str = "IP:127.0.0.1", days: int = 30) -> dict[str, Path]:
        """Certificate and key, as the site file names them."""
        certificate, key = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        request, extensions = self._directory / f"{name}.csr", self._directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternative_name}\nauthorityKeyIdentifier=keyid\n")
        openssl("req", "-subj", f"/CN={name}", "-out", request, *new_key(key))
        signed_by = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial")
        openssl("x509", "-req", "-days", days, "-in", request, "-out", certificate, "-extfile", extensions, *signed_by)
        return {"cert_file": certificate, "key_file": key}


def new_key(path: Path) -> tuple[object, ...]:
    return "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


def tls_broker(directory: Path, authority: Authority, papers: dict[str, Path]) -> Broker:
    (directory / "broker").mkdir()
    settings = (
        "allow_anonymous true",
        f"cafile {authority.certificate}",
        f"certfile {papers['cert_file']}",
        f"keyfile {papers['key_file']}",
        "require_certificate true",
    )
    return Broker(directory / "broker", settings=settings)


@pytest.fixture
def guarded(tmp_path: Path, authority: Authority) -> Iterator[Broker]:
    broker = tls_broker(tmp_path, authority, authority.issue("broker"))
    broker.start()
    yield broker
    broker.stop()


def over_tls(broker: Broker, authority: Authority, papers: dict[str, Path], **mqtt: Any) -> Connector:
    settings: dict[str, Any] = {"tls": True, "ca_file": authority.certificate, **papers, **mqtt}
    return connector_to(broker.port, **settings)


@pytest.mark.parametrize("protocol", ["5.0", "3.1.1"])
def test_the_right_papers_pass(guarded: Broker, authority: Authority, protocol: str) -> None:
    connector = over_tls(guarded, authority, authority.issue("unit"), protocol=protocol)
    connect(connector)
    connector.publish(ONLINE)
    assert connector.flush(10)
    connector.close()


def test_a_broker_of_another_authority_is_refused(tmp_path: Path, guarded: Broker, authority: Authority) -> None:
    other = Authority(tmp_path, "other")
    said = failure(over_tls(guarded, other, authority.issue("unit")))
    assert "TLS failed (" in said
    assert "certificate" in said
    assert "check [mqtt] ca_file and the broker's certificate" in said


def test_a_broker_of_another_name_is_refused(tmp_path: Path, authority: Authority) -> None:
    broker = tls_broker(tmp_path, authority, authority.issue("elsewhere", "DNS:broker.example.org"))
    broker.start()
    said = failure(over_tls(broker, authority, authority.issue("unit")))
    broker.stop()
    assert "TLS failed (IP address mismatch, certificate is not valid for '127.0.0.1'.)" in said


def test_a_certificate_that_is_out_of_date_leads_to_the_clock_too(tmp_path: Path, authority: Authority) -> None:
    """A unit without a battery-backed clock believes any date."""
    broker = tls_broker(tmp_path, authority, authority.issue("broker", days=-1))
    broker.start()
    said = failure(over_tls(broker, authority, authority.issue("unit")))
    broker.stop()
    assert "TLS failed (certificate has expired); check the unit's clock (`timedatectl`), [mqtt] ca_file" in said


def test_a_unit_without_papers_is_refused(guarded: Broker, authority: Authority) -> None:
    assert f"MQTT broker 127.0.0.1:{guarded.port}: " in failure(over_tls(guarded, authority, {}))


def test_a_broker_without_tls_is_refused(broker: Broker, authority: Authority) -> None:
    """Nothing is ever sent in the clear because TLS happened not to work."""
    connector = over_tls(broker, authority, authority.issue("unit"))
    failure(connector)
    assert not connector.connected
