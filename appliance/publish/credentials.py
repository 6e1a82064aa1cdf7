"""What proves the unit to the broker: password, certificates, and a client id that no other unit has."""

import hashlib
import os
import socket
import ssl
import stat
from pathlib import Path

from appliance.config import MqttSettings, UnitSettings
from appliance.errors import ConfigError

_CREDENTIAL = Path("/run/credentials/appliance-publisher.service/mqtt-password")
_MACHINE_ID = Path("/etc/machine-id")


class _TidySocket(ssl.SSLSocket):
    """Closes itself where the handshake fails; paho forgets to, at every attempt of an outage."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def read_password(mqtt: MqttSettings) -> str | None:
    """The password, without the line's end; raises `ConfigError` where its file is missing, empty or open to others."""
    if mqtt.password_file is None:
        return None
    _require_readable(mqtt.password_file, "password_file")
    _require_private(mqtt.password_file, "password_file")
    try:
        password = mqtt.password_file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{mqtt.password_file}: [mqtt] password_file: cannot be read: {error}") from error
    if not password:
        raise ConfigError(f"{mqtt.password_file}: [mqtt] password_file: is empty; write the password on its first line")
    return password


def tls_context(mqtt: MqttSettings) -> ssl.SSLContext | None:
    """TLS 1.2 or later with the broker's certificate and name verified; None where TLS is off.

    Raises `ConfigError` that names the file which is missing, closed to this user or open to others.
    """
    if not mqtt.tls:
        return None
    if (mqtt.cert_file is None) != (mqtt.key_file is None):
        raise ConfigError("[mqtt] cert_file and key_file: one without the other; give both or neither")
    for key, path in (("ca_file", mqtt.ca_file), ("cert_file", mqtt.cert_file), ("key_file", mqtt.key_file)):
        if path is not None:
            _require_readable(path, key)
    try:
        context = ssl.create_default_context(cafile=mqtt.ca_file)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"{mqtt.ca_file}: [mqtt] ca_file: not a PEM certificate: {error}") from error
    context.sslsocket_class = _TidySocket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if mqtt.cert_file is not None and mqtt.key_file is not None:
        _require_private(mqtt.key_file, "key_file")
        try:
            # Without an answer here, a key under a passphrase would wait for one at a keyboard that is not there.
            context.load_cert_chain(mqtt.cert_file, mqtt.key_file, password="")
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(f"{mqtt.cert_file}: [mqtt] cert_file and key_file: no matching pair: {error}") from error
    return context


def client_id(unit: UnitSettings) -> str:
    """Stable, and unlike that of any other unit: two that share one id throw each other off the broker in turn.

    23 characters, which every broker accepts. The machine id is hashed, as machine-id(5) asks.
    """
    identity = f"{machine_id()}/{unit.site}/{unit.node}"
    return f"{unit.node[:12]:-<12}-{hashlib.sha256(identity.encode()).hexdigest()[:10]}"


def machine_id() -> str:
    """Id of the machine (machine-id(5)); its host name where there is none, as in some containers."""
    try:
        found = _MACHINE_ID.read_text(encoding="ascii").strip()
    except OSError:
        found = ""
    return found or socket.gethostname()


def _require_readable(path: Path, key: str) -> None:
    # OpenSSL would call a file that it may not read no certificate, or no key of this certificate.
    try:
        path.open("rb").close()
    except PermissionError:
        remedy = f"run it with sudo, or `chown appliance {path}`"
        if key == "password_file":
            remedy += f"; systemd hands the publisher {_CREDENTIAL}"
        raise ConfigError(f"{path}: [mqtt] {key}: permission denied; {remedy}") from None
    except OSError:
        raise ConfigError(f"{path}: [mqtt] {key}: no such file; write it, or correct the path") from None


def _require_private(path: Path, key: str) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    # systemd grants a credential by an access list, which shows as a group's read bit (systemd issue 29435); its folder
    # is open to this service alone.
    if mode == 0o440 and str(path.parent) == os.environ.get("CREDENTIALS_DIRECTORY"):
        return
    if mode & 0o077:
        raise ConfigError(f"{path}: [mqtt] {key}: mode {mode:04o} lets others read it; run `chmod 0600 {path}`")
