"""What the sensor tells the publisher without keeping it: datagrams to a socket beside the event log.

The event log is for what must not be lost; each commit wears the flash. This is for what is worthless a second later:
the sensor sends without ever waiting, and where nobody listens, or not fast enough, it is gone.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

MAX_LIVE_BYTES = 32 * 1024
"""More is not sent: it would not fit into what the kernel holds for one socket."""

# What sockaddr_un holds, less its closing zero.
_LONGEST_ADDRESS = 107


def live_path(log_path: Path) -> Path:
    """The socket that belongs to an event log."""
    return log_path.with_name(f"{log_path.name}.live")


class LiveSender:
    """The sensor's end."""

    def __init__(self, log_path: Path) -> None:
        self._path = live_path(log_path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def send(self, payload: bytes) -> bool:
        """Never waits; False where nobody took it."""
        if len(payload) > MAX_LIVE_BYTES:
            return False
        try:
            with _address(self._path) as address:
                self._socket.sendto(payload, address)
        # Nobody there, nobody reads, no such folder: all the same to the sensor.
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class LiveReceiver:
    """The publisher's end, to which the sensor sends by its path. A second publisher takes the path over from a first."""

    def __init__(self, log_path: Path) -> None:
        """Bind the path; raises `OSError`."""
        self._path = live_path(log_path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            with _address(self._path) as address:
                self._path.unlink(missing_ok=True)
                self._socket.bind(address)
            self._inode = self._path.stat().st_ino
        except OSError:
            self._socket.close()
            raise

    def latest(self) -> bytes | None:
        """What was sent last; None where nothing came. What came before that is passed over: it is old."""
        newest = None
        with contextlib.suppress(BlockingIOError):
            while True:
                newest = self._socket.recv(MAX_LIVE_BYTES)
        return newest

    @property
    def is_there(self) -> bool:
        """False where the path does not lead here any more."""
        try:
            return self._path.stat().st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        """Close the socket and take the path away."""
        self._socket.close()
        if self.is_there:
            with contextlib.suppress(OSError):
                self._path.unlink()


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """The path as an address; one that is too long for that is reached by way of its folder."""
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
