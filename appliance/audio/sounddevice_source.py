"""Capture with sounddevice, the default PortAudio binding."""

import os
from typing import Any

from appliance.audio import alsa
from appliance.audio.inlet import Inlet
from appliance.audio.pcm import WIRE_FORMATS
from appliance.audio.spec import CaptureSpec
from appliance.errors import ConfigError, DeviceError

# PortAudio makes ALSA's buffer four periods long. At "low" a period is one of our chunks, so the callback may be 0.4 s
# late; a higher latency would only make the periods longer. PyAudio always asks for "low".
_LATENCY = "low"


class SounddeviceStream:
    """A `live.Stream`."""

    def __init__(self, spec: CaptureSpec, inlet: Inlet) -> None:
        """Find the device by name and open it. Raises `DeviceError`; `ConfigError` where PortAudio is not installed."""
        try:
            import sounddevice
        except OSError:
            raise ConfigError(
                "the PortAudio library is missing, nothing can be captured; sudo apt-get install libportaudio2"
            ) from None
        self._spec = spec
        self._sounddevice = sounddevice

        def copy(data: Any, frames: int, _time: Any, status: Any) -> None:
            inlet.push(bytes(data), frames, overrun=bool(status.input_overflow))

        try:
            found = alsa.find_device(spec.device, _listed(sounddevice, spec), alsa.cards())
            self._stream = sounddevice.RawInputStream(
                samplerate=spec.sample_rate_hz,
                blocksize=spec.chunk_frames,
                device=found.index,
                channels=spec.channels,
                dtype=WIRE_FORMATS[spec.sample_format].portaudio,
                latency=_LATENCY,
                callback=copy,
            )
        except sounddevice.PortAudioError as error:
            raise alsa.refused(spec.device, spec.channels, spec.sample_rate_hz, spec.sample_format, error) from error
        try:
            alsa.check_hardware(found, spec.device, spec.channels, spec.sample_rate_hz)
        except DeviceError:
            self.close()
            raise

    def start(self) -> None:
        """Begin. Raises `DeviceError`."""
        try:
            self._stream.start()
        except self._sounddevice.PortAudioError as error:
            raise DeviceError(
                f'capture device "{self._spec.device}": does not start ({error}); plug it out and in'
            ) from error

    @property
    def active(self) -> bool:
        """False once the stream has ended."""
        try:
            return bool(self._stream.active)
        except self._sounddevice.PortAudioError:
            return False

    def close(self) -> None:
        """Stop and close, whatever state the device is in."""
        self._stream.abort(ignore_errors=True)
        self._stream.close(ignore_errors=True)


def _listed(sounddevice: Any, spec: CaptureSpec) -> list[alsa.ListedDevice]:
    """PortAudio's ALSA devices of this moment."""
    if WIRE_FORMATS[spec.sample_format].needs_plug or alsa.wants_plug(spec.device):
        os.environ["PA_ALSA_PLUGHW"] = "1"
    # PortAudio looks for devices only when it is initialised; sounddevice documents this pair for looking again.
    sounddevice._terminate()  # noqa: SLF001
    sounddevice._initialize()  # noqa: SLF001
    return [
        alsa.ListedDevice(device["index"], device["name"], device["max_input_channels"])
        for device in sounddevice.query_devices()
        if sounddevice.query_hostapis(device["hostapi"])["name"] == "ALSA"
    ]
