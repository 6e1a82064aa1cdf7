"""From settings to a running capture: which device, which channels, which binding."""

from pathlib import Path

from appliance.audio import alsa
from appliance.audio.live import LiveSource, StreamOpener
from appliance.audio.pyaudio_source import PyAudioStream
from appliance.audio.sounddevice_source import SounddeviceStream
from appliance.audio.spec import CaptureSpec
from appliance.config import CaptureSettings
from appliance.errors import ConfigError, in_file
from appliance.geometry import ArrayGeometry

_RATES_HZ = (16000, 44100, 48000)
_BACKENDS: dict[str, StreamOpener] = {"sounddevice": SounddeviceStream, "pyaudio": PyAudioStream}


def open_capture(settings: CaptureSettings, geometry: ArrayGeometry, site_file: Path | None = None) -> LiveSource:
    """Open the array's capture device; listening begins with `blocks`.

    Raises `ConfigError` (naming `site_file`) where settings and array file contradict each other, or the binding is not installed;
    `DeviceError` where the device is missing, busy, or refuses rate, channels or format.
    """
    return LiveSource(capture_spec(settings, geometry, site_file), _BACKENDS[settings.backend])


def capture_spec(settings: CaptureSettings, geometry: ArrayGeometry, site_file: Path | None = None) -> CaptureSpec:
    """What to open: the site's [capture] first, then the array file's [device], then the default."""
    hints = geometry.device
    device = settings.device or hints.alsa_card_id
    if not device:
        raise in_file(
            site_file,
            f"[capture] device: empty, and array {geometry.name!r} names no alsa_card_id; set it to the card id that `arecord -L` shows",
        )
    try:
        alsa.refuse_index(device)
    except ConfigError as error:
        raise in_file(site_file, error) from None
    highest = max(geometry.alsa_channels)
    channels = settings.channels or hints.channels or highest + 1
    if channels <= highest:
        raise in_file(
            site_file,
            f"[capture] channels: {channels} leaves out channel {highest} of array {geometry.name!r}; set at least {highest + 1}",
        )
    rate_hz = settings.sample_rate_hz or hints.sample_rate_hz or _RATES_HZ[0]
    if rate_hz not in _RATES_HZ:
        raise ConfigError(
            f"array {geometry.name!r}: [device] sample_rate_hz: {rate_hz} is not supported; set one of {', '.join(map(str, _RATES_HZ))}"
        )
    sample_format = settings.sample_format or hints.sample_format or "S16_LE"
    return CaptureSpec(device, channels, rate_hz, sample_format, geometry.alsa_channels, settings.queue_seconds)
