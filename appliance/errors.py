"""One error tree. Each class carries the exit status its process ends with.

Exit status 78 (`EX_CONFIG` of sysexits.h) means *a person must fix a file*; systemd does not restart on it.
A message is one line that names the file or device, the key and the remedy.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

DENIED = "permission denied; run it with sudo, or give the appliance's user access"
"""What is wrong with a file that this user may not read, or whose folder it may not look into."""


class ApplianceError(Exception):
    """Anything the appliance says in one line instead of a traceback."""

    exit_status: ClassVar[int] = 1


class ConfigError(ApplianceError):
    """A site, array or command-line setting is wrong; only a person can mend it."""

    exit_status = 78


def in_file(file: Path | None, why: object) -> ConfigError:
    """A `ConfigError` that names the file at fault, where one was given."""
    return ConfigError(f"{file}: {why}" if file else str(why))


@contextmanager
def named_by(file: Path | None, key: str) -> Iterator[None]:
    """Where what `key` of a file names is at fault, the error names that file and key too."""
    try:
        yield
    except (ConfigError, ModelError) as error:
        if file is None:
            raise
        raise type(error)(f"{file}: {key}: {error}") from None


class ModelError(ApplianceError):
    """The model is missing, tampered with, or not of this version. No model must never look like a quiet night."""

    exit_status = 78


class DeviceError(ApplianceError):
    """The capture device is absent, busy or refuses the format; it may come back by itself."""

    exit_status = 69


class RecordingError(ApplianceError):
    """A recording is unreadable, truncated or has other channels than the array."""

    exit_status = 65


class WireError(ApplianceError):
    """A message is not one of the published schemas."""

    exit_status = 65


class StoreError(ApplianceError):
    """The event log cannot be opened, read or written."""

    exit_status = 74


class BrokerError(ApplianceError):
    """The MQTT broker cannot be reached or refuses this unit."""

    exit_status = 69
