"""Finding a capture device by what it is called. ALSA and PortAudio number devices anew at each boot and replug,
so a name is turned into a number only at the moment of opening, and a number is never accepted as a name.
"""

import ctypes
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ConfigError, DeviceError

PROC_ASOUND = Path("/proc/asound")

_CARD_LINE = re.compile(r"^\s*(\d+) \[(\S+)\s*\]", re.MULTILINE)
_HARDWARE_NAME = re.compile(r"^(?P<plug>plug)?hw:(CARD=)?(?P<card>\w+)(,(DEV=)?(?P<dev>\d+))?$")
_LISTED_HARDWARE = re.compile(r"\((plug)?hw:(\d+),(\d+)\)$")


@dataclass(frozen=True, slots=True)
class ListedDevice:
    """One line of PortAudio's list of ALSA devices."""

    index: int
    """PortAudio's number of the moment."""
    name: str
    """"Card: Device (hw:1,0)" for hardware, else the PCM's name in the ALSA configuration."""
    input_channels: int
    """Most channels it can capture; 0 for playback only."""


@dataclass(frozen=True, slots=True)
class FoundDevice:
    """Where a name leads at this moment."""

    index: int
    """PortAudio's number, valid until PortAudio is initialised again."""
    hardware: tuple[int, int] | None = None
    """ALSA's (card, device) numbers where the name means hardware."""


def refuse_index(name: str) -> None:
    """Raise `ConfigError` where `name` addresses a card by its number."""
    match = _HARDWARE_NAME.match(name)
    if name.isdigit() or (match and match["card"].isdigit()):
        raise ConfigError(
            f'[capture] device: "{name}" counts cards, and they are numbered anew at each boot; give the card id instead, as in "hw:CARD=ArrayUAC10" (see `arecord -L`)'
        )


def wants_plug(name: str) -> bool:
    """True where the name asks for ALSA's conversion layer above the hardware."""
    match = _HARDWARE_NAME.match(name)
    return bool(match and match["plug"])


def cards(proc_asound: Path = PROC_ASOUND) -> dict[str, int]:
    """ALSA card id → number of the moment."""
    try:
        text = (proc_asound / "cards").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return {card_id: int(number) for number, card_id in _CARD_LINE.findall(text)}


def find_device(name: str, listed: Sequence[ListedDevice], card_numbers: Mapping[str, int]) -> FoundDevice:
    """The device called `name`: a PCM of the ALSA configuration, a card id, or hw:CARD=id,DEV=n.

    Raises `DeviceError` that names the devices there are, `ConfigError` where `name` is a number.
    """
    refuse_index(name)
    capturing = [device for device in listed if device.input_channels > 0]
    for device in capturing:
        if device.name == name and not _LISTED_HARDWARE.search(name):
            return FoundDevice(device.index)
    match = _HARDWARE_NAME.match(name)
    card_id, dev = (match["card"], int(match["dev"] or 0)) if match else (name, None)
    if card_id in card_numbers:
        for device in capturing:
            hardware = _LISTED_HARDWARE.search(device.name)
            if hardware and int(hardware[2]) == card_numbers[card_id] and dev in (None, int(hardware[3])):
                return FoundDevice(device.index, (int(hardware[2]), int(hardware[3])))
        raise DeviceError(
            f'capture device "{name}": card {card_id} is there, but in use by another program or without such an input; see `fuser -v /dev/snd/*` and `arecord -l`'
        )
    raise _not_found(name, capturing, card_numbers)


def check_present(name: str, proc_asound: Path = PROC_ASOUND) -> None:
    """Raise `DeviceError` where `name` is neither a card that is plugged in nor a PCM of the ALSA configuration.

    Opens nothing: the sensor may hold the device. Raises `ConfigError` where `name` is a number.
    """
    refuse_index(name)
    match = _HARDWARE_NAME.match(name)
    card_numbers = cards(proc_asound)
    if (match["card"] if match else name) not in card_numbers and (match or not _is_configured(name)):
        raise _not_found(name, [], card_numbers)


def _is_configured(name: str) -> bool:
    """True where the ALSA configuration defines a PCM of this name."""
    try:
        library = ctypes.CDLL("libasound.so.2")
    except OSError:
        return False
    library.snd_config_update()
    tree, found = ctypes.c_void_p.in_dll(library, "snd_config"), ctypes.c_void_p()
    return bool(library.snd_config_search(tree, f"pcm.{name}".encode(), ctypes.byref(found)) == 0)


def _not_found(name: str, capturing: Sequence[ListedDevice], card_numbers: Mapping[str, int]) -> DeviceError:
    return DeviceError(
        f'capture device "{name}": not found; ALSA has {_inventory(capturing, card_numbers)}; plug it in, or name one of these as [capture] device'
    )


def _inventory(capturing: Sequence[ListedDevice], card_numbers: Mapping[str, int]) -> str:
    names = [f"card {card_id}" for card_id in card_numbers]
    names += [f"PCM {device.name}" for device in capturing if not _LISTED_HARDWARE.search(device.name)]
    return ", ".join(names) or "no capture device"


def check_hardware(
    found: FoundDevice, name: str, channels: int, sample_rate_hz: int, proc_asound: Path = PROC_ASOUND
) -> None:
    """Raise `DeviceError` where the opened hardware runs otherwise than asked.

    The plug layer would make up for a missing channel or another rate in silence; the kernel says what really runs.
    """
    if found.hardware is None:
        return
    card, device = found.hardware
    try:
        text = (proc_asound / f"card{card}/pcm{device}c/sub0/hw_params").read_text(encoding="ascii", errors="replace")
    except OSError:
        return
    running = dict(re.findall(r"^(channels|rate): (\d+)", text, re.MULTILINE))
    running_channels = int(running.get("channels", channels))
    running_rate_hz = int(running.get("rate", sample_rate_hz))
    if running_channels < channels or running_rate_hz != sample_rate_hz:
        raise DeviceError(
            f'capture device "{name}": runs {running_channels} channels at {running_rate_hz} Hz, not {channels} at {sample_rate_hz}; set [capture] channels and sample_rate_hz to what `arecord --dump-hw-params` shows'
        )


def refused(name: str, channels: int, sample_rate_hz: int, sample_format: str, error: Exception) -> DeviceError:
    """The error for a device that is there but does not open as asked."""
    return DeviceError(
        f'capture device "{name}": refuses {channels} channels {sample_format} at {sample_rate_hz} Hz ({error}); set [capture] channels, sample_rate_hz and sample_format to what `arecord --dump-hw-params` shows'
    )
