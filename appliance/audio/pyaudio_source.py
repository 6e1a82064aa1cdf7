"""Capture with PyAudio (the `pyaudio` extra), for systems that already carry it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from appliance.audio import alsa
from appliance.audio.inlet import Inlet
from appliance.audio.pcm import WIRE_FORMATS
from appliance.audio.spec import CaptureSpec
from appliance.errors import ConfigError, DeviceError


class PyAudioStream:
    """A `live.Stream`."""

    def __init__(self, spec: CaptureSpec, inlet: Inlet) -> None:
        """Find the device by name and open it. Raises `DeviceError`; `ConfigError` where PyAudio is not installed."""
        try:
            import pyaudio
        except ImportError:
            raise ConfigError(
                '[capture] backend: "pyaudio" is not installed; pip install "appliance[pyaudio]" (needs portaudio19-dev), or set "sounddevice"'
            ) from None
        self._spec = spec
        wire = WIRE_FORMATS[spec.sample_format]
        if wire.needs_plug or alsa.wants_plug(spec.device):
            os.environ["PA_ALSA_PLUGHW"] = "1"
        # PortAudio looks for devices only when it is initialised, so each stream brings its own.
        try:
            with _quiet_stderr():
                self._portaudio = pyaudio.PyAudio()
        except OSError as error:
            raise DeviceError(
                f'capture device "{spec.device}": PortAudio does not start ({error}); see `arecord -L`'
            ) from error

        def copy(data: bytes, frames: int, _time: Mapping[str, float], status: int) -> tuple[None, int]:
            inlet.push(data, frames, overrun=bool(status & pyaudio.paInputOverflow))
            return None, pyaudio.paContinue

        try:
            found = alsa.find_device(spec.device, _listed(pyaudio, self._portaudio), alsa.cards())
            self._stream = self._portaudio.open(
                rate=spec.sample_rate_hz,
                channels=spec.channels,
                format=getattr(pyaudio, f"pa{wire.portaudio.capitalize()}"),
                input=True,
                input_device_index=found.index,
                frames_per_buffer=spec.chunk_frames,
                stream_callback=copy,
                start=False,
            )
        except (OSError, ValueError) as error:
            self._portaudio.terminate()
            raise alsa.refused(spec.device, spec.channels, spec.sample_rate_hz, spec.sample_format, error) from error
        except (DeviceError, ConfigError):
            self._portaudio.terminate()
            raise
        try:
            alsa.check_hardware(found, spec.device, spec.channels, spec.sample_rate_hz)
        except DeviceError:
            self.close()
            raise

    def start(self) -> None:
        """Begin. Raises `DeviceError`."""
        try:
            self._stream.start_stream()
        except OSError as error:
            raise DeviceError(
                f'capture device "{self._spec.device}": does not start ({error}); plug it out and in'
            ) from error

    @property
    def active(self) -> bool:
        """False once the stream has ended."""
        try:
            return bool(self._stream.is_active())
        except OSError:
            return False

    def close(self) -> None:
        """Stop and close, whatever state the device is in."""
        with suppress(OSError):
            self._stream.close()
        self._portaudio.terminate()


def _listed(pyaudio: Any, portaudio: Any) -> list[alsa.ListedDevice]:
    """PortAudio's ALSA devices of this moment."""
    infos = [portaudio.get_device_info_by_index(index) for index in range(portaudio.get_device_count())]
    host_apis = [portaudio.get_host_api_info_by_index(index) for index in range(portaudio.get_host_api_count())]
    return [
        alsa.ListedDevice(info["index"], info["name"], info["maxInputChannels"])
        for info in infos
        if host_apis[info["hostApi"]]["type"] == pyaudio.paALSA
    ]


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Silence the complaints with which ALSA's library greets every unused entry of its own configuration.

    They go to the file descriptor, past Python. sounddevice does the same by itself.
    """
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
