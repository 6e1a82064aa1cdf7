"""Sample formats: what ALSA calls them, what PortAudio is asked for, and how the bytes become ±1.0."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from appliance.types import Float32Array

SampleFormat = Literal["S16_LE", "S24_LE", "S24_3LE", "S32_LE"]
PortAudioFormat = Literal["int16", "int24", "int32"]


@dataclass(frozen=True, slots=True)
class WireFormat:
    """How samples of one ALSA format reach the callback."""

    portaudio: PortAudioFormat
    """Name of the format in PortAudio."""
    needs_plug: bool = False
    """True where PortAudio has no such format, so that ALSA's plug layer must widen it (which loses nothing)."""


WIRE_FORMATS: dict[SampleFormat, WireFormat] = {
    "S16_LE": WireFormat("int16"),
    "S24_3LE": WireFormat("int24"),
    "S32_LE": WireFormat("int32"),
    # 24 bits in the low end of 32: PortAudio knows no such thing; plug shifts them up into S32.
    "S24_LE": WireFormat("int32", needs_plug=True),
}


def decode(data: bytes, channels: int, portaudio_format: PortAudioFormat) -> Float32Array:
    """Interleaved samples as PortAudio delivers them → (frames, channels) float32 in ±1.0.

    16- and 24-bit samples keep every bit; of 32 bits the float keeps the upper 24.
    """
    if portaudio_format == "int16":
        values, full_scale = np.frombuffer(data, np.int16).astype(np.float32), 2.0**15
    elif portaudio_format == "int32":
        values, full_scale = np.frombuffer(data, np.int32).astype(np.float32), 2.0**31
    else:
        # PortAudio hands 24 bits over little-endian and packed (`paInt24`); they go to the upper end of 32.
        packed = np.frombuffer(data, np.uint8).reshape(-1, 3)
        widened = np.zeros((len(packed), 4), np.uint8)
        widened[:, 1:] = packed
        values, full_scale = widened.view("<i4")[:, 0].astype(np.float32), 2.0**31
    values /= np.float32(full_scale)
    return values.reshape(-1, channels)
