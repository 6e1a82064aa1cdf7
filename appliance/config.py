"""The site file: one TOML file per unit becomes frozen settings.

Every key, its unit and its default stand in `firmware_configs/README.md`. An unknown key is an error that names the
file, the key and the likely key. Secrets never stand here: a key names the *file* that holds one.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from appliance.errors import DENIED, ConfigError
from appliance.toml_file import read_toml
from appliance.types import CommandName, Severity
from appliance.validation import one_line


def _topic_level(name: str) -> str:
    """Nothing that MQTT gives a meaning ("/", "+", "#"), nothing that needs quoting in a shell."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise ValueError(
            "may hold up to 64 letters, digits, _, . and -, without accents, and begins with a letter or digit"
        )
    return name


TopicLevel = Annotated[str, AfterValidator(_topic_level)]
"""A level of an MQTT topic."""

_Named = TypeVar("_Named", str, Path)


def _beside_the_site_file(name: _Named, info: ValidationInfo) -> _Named:
    """A relative path begins where the site file lies, not where whoever calls is: systemd calls from `/`."""
    folder: Path | None = (info.context or {}).get("folder")
    # What is shipped goes by a name without a suffix.
    if folder is None or (isinstance(name, str) and Path(name).suffix not in (".toml", ".onnx")):
        return name
    return type(name)(folder / name)


def _names_a_file(path: Path) -> Path:
    if not path.name:
        raise ValueError("names no file; give one, such as /var/lib/appliance/events.db")
    return path


NameOrPath = Annotated[str, AfterValidator(_beside_the_site_file)]
"""Name of something shipped, or path of a file."""

SitePath = Annotated[Path, AfterValidator(_beside_the_site_file)]
"""Path of a file."""


class Table(BaseModel):
    """A table of the site file: frozen, and closed to keys it does not know."""

    # TOML knows inf and nan. JSON, in which the unit tells what it runs, knows neither.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class UnitSettings(Table):
    """[unit]: who this unit is."""

    site: TopicLevel = "site"
    """Site name; a level of every MQTT topic."""
    node: TopicLevel = "node"
    """Unit name, unique within the site; a level of every MQTT topic."""
    texts: NameOrPath = "en"
    """Sentences for people: name of a shipped language or path of a file of texts."""


Surface = Literal["none", "snow", "forest_floor", "grass", "bare_soil", "gravel", "asphalt"]
"""What lies around below an array."""


class MountSettings(Table):
    """[mount]: how the array hangs."""

    heading_true_deg: float = Field(default=0.0, ge=0.0, lt=360.0)
    """True bearing of the array's front (+x), degrees clockwise from true north."""
    pitch_deg: float = Field(default=0.0, ge=-90.0, le=90.0)
    """Front up is positive."""
    roll_deg: float = Field(default=0.0, ge=-180.0, le=180.0)
    """Left side up is positive."""
    heading_sigma_deg: float = Field(default=2.0, ge=0.0, le=180.0)
    """1-sigma uncertainty of the heading; it is added to every bearing's sigma."""
    ground: Surface = "grass"
    """What lies around below the array; its reflection flattens elevations, which is undone. none: nothing reflects."""


class CaptureSettings(Table):
    """[capture]: the ALSA device."""

    backend: Literal["sounddevice", "pyaudio"] = "sounddevice"
    """PortAudio binding to capture with."""
    device: str = ""
    """ALSA card id (as in `arecord -L`, e.g. "ArrayUAC10") or PCM name (e.g. "hw:CARD=ArrayUAC10"); never an index. Empty: the array file's card id."""
    channels: int | None = Field(default=None, ge=1, le=64)
    """Channels to open; empty: the array file's, else the highest channel in use + 1."""
    sample_rate_hz: Literal[16000, 44100, 48000] | None = None
    """16000, 44100 or 48000; empty: the array file's, else 16000. Other rates than 16 kHz are resampled (soxr)."""
    sample_format: Literal["S16_LE", "S24_LE", "S24_3LE", "S32_LE"] | None = None
    """Sample format of the device; empty: the array file's, else S16_LE."""
    queue_seconds: float = Field(default=5.0, gt=0.0, le=60.0)
    """Audio held between the callback and the pipeline; beyond it samples are dropped and counted."""


class ModelSettings(Table):
    """[model]: the network."""

    file: NameOrPath = "deepasa-edge-small-int8"
    """Name of a shipped model or path of an .onnx file; its .meta.json lies beside it."""
    provider: Literal["auto", "cpu", "cuda", "tensorrt"] = "cpu"
    """What runs it; `auto` times all that this ONNX Runtime has and takes the fastest that is right."""


class HearingSettings(Table):
    """[hearing]: the proof that the unit still detects."""

    check_minutes: int = Field(default=10, ge=0, le=1440)
    """A synthetic drone is played into a second front end and model this often; 0: only where a self-test asks."""


_MOST_FRAMES = 6000
"""Label frames that anything is confirmed over: ten minutes."""


class TrackingSettings(Table):
    """[tracking]: from detections to identities."""

    detection_activity: float | None = Field(default=None, gt=0.0, lt=1.0)
    """A slot is a detection from this activity x class probability on; empty: the model's own, as its meta file says."""
    gate_deg: float = Field(default=25.0, gt=0.0, le=180.0)
    """A detection farther than this from a track's prediction never joins it."""
    confirm_hits: int = Field(default=2, ge=1, le=_MOST_FRAMES)
    """K: detections needed to confirm a track …"""
    confirm_window_frames: int = Field(default=5, ge=1, le=_MOST_FRAMES)
    """… N: within this many label frames (100 ms each)."""
    coast_s: float = Field(default=3.0, gt=0.0)
    """A confirmed track unheard for longer than this is deleted."""
    arrival_strength: float = Field(default=3.0, gt=0.0)
    """Sound that the network does not report is followed too, where it stands out of the ambience by so much."""
    height_tells: bool = True
    """What flies is taken to be the likelier, the higher it is heard. False where the unit looks down on what flies."""
    process_noise_deg_s: float = Field(default=8.0, gt=0.0, le=180.0)
    """How fast directions of sources are expected to move, degrees per second (1 sigma)."""

    @model_validator(mode="after")
    def _can_confirm(self) -> "TrackingSettings":
        if self.confirm_hits > self.confirm_window_frames:
            raise ValueError(
                f"confirm_hits must not be above confirm_window_frames, and they are {self.confirm_hits} and {self.confirm_window_frames}: no track would ever be confirmed; lower the one or raise the other"
            )
        return self


class ClassPolicy(Table):
    """[policy.<class>]: when a track of a class becomes an event.

    What contradicts another key is found by `events.policies_for`: what the file leaves out is the class's own.
    """

    threshold: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Class probability of the track from which a frame counts towards confirmation."""
    release: float = Field(default=0.3, gt=0.0, lt=1.0)
    """The event ends once the probability stays below this (hysteresis) …"""
    release_s: float = Field(default=3.0, ge=0.0)
    """… for this long, or the track is deleted."""
    confirm_frames: int = Field(default=5, ge=1, le=_MOST_FRAMES)
    """K: frames above threshold needed …"""
    window_frames: int = Field(default=10, ge=1, le=_MOST_FRAMES)
    """… N: within this many label frames (100 ms each)."""
    cooldown_s: float = Field(default=10.0, ge=0.0)
    """After an event ends, no new one of the same class within 20 degrees of it for this long."""
    update_s: float = Field(default=2.0, gt=0.0)
    """Shortest time between two updates of one event."""
    severity: Severity = "detection"
    """alert: an operator must act; detection: logged and published."""


class StoreSettings(Table):
    """[store]: the event log."""

    path: Annotated[Path, AfterValidator(_names_a_file), AfterValidator(_beside_the_site_file)] = Path(
        "/var/lib/appliance/events.db"
    )
    """SQLite file where the sensor and the publisher meet."""
    hash_chain: bool = False
    """Bind every new row to all before it, so that `appliance events verify` names the first that was altered; once begun in a file it goes on."""


class ClipSettings(Table):
    """[clips]: the audio that is kept with events."""

    enabled: bool = True
    """Keep audio clips; false: no audio is ever written to the disk."""
    severities: tuple[Severity, ...] = ("alert",)
    """Of which events a clip is kept; what is muted is a detection."""
    before_s: float = Field(default=5.0, ge=0.0, le=30.0)
    """Seconds of a clip before the event was raised …"""
    after_s: float = Field(default=5.0, ge=0.0, le=30.0)
    """… and after."""

    @property
    def is_on(self) -> bool:
        """True where any clip is kept."""
        return self.enabled and bool(self.severities) and self.before_s + self.after_s > 0.0


class RetentionSettings(Table):
    """[retention]: how long what is kept, and what goes first when the disk is nearly full."""

    clips_days: int = Field(default=30, ge=1)
    """Audio clips older than this are removed."""
    clips_mb: int = Field(default=2048, ge=0)
    """Audio clips take at most this; the oldest go first."""
    tracks_days: int = Field(default=30, ge=1)
    """Recorded tracks older than this are removed."""
    tracks_mb: int = Field(default=512, ge=0)
    """Recorded tracks take at most this; the oldest go first."""
    detections_days: int = Field(default=365, ge=1)
    """Detections that ended longer ago than this and are delivered are removed."""
    events_mb: int = Field(default=512, ge=1)
    """The event log holds at most this; beyond it the oldest delivered detections are removed, alerts never."""
    alerts_days: int | None = Field(default=None, ge=1)
    """Alerts that ended longer ago than this and are delivered are removed; empty: alerts are never removed."""
    free_mb: int = Field(default=256, ge=0)
    """Below this much free disk (at most a fifth of it) clips go, then tracks, then copies of the event log."""
    reserve_mb: int = Field(default=8, ge=0)
    """Disk held back for alerts (at most a tenth of it), half of it inside the event log; below that half detections go too."""


class NoveltySettings(Table):
    """[novelty]: sounds that this site does not normally make."""

    enabled: bool = False
    """Learn what the site sounds like, and raise events of class anomaly for what is unlike it."""
    learning_hours: float = Field(default=4.0, ge=0.1, le=24.0 * 14)
    """Nothing is an anomaly before so much has been heard."""
    false_per_day: float = Field(default=1.0, gt=0.0, le=1000.0)
    """How often a day the site's own sounds may be as strange as what raises an anomaly, by what was learned of them."""


class MqttSettings(Table):
    """[mqtt]: the broker."""

    host: str = Field(default="localhost", min_length=1)
    """Name or address of the broker."""
    port: int = Field(default=1883, ge=1, le=65535)
    """TCP port; 8883 is usual with TLS."""
    protocol: Literal["5.0", "3.1.1"] = "5.0"
    """MQTT version."""
    username: str | None = None
    """User name, where the broker wants one."""
    password_file: SitePath | None = None
    """File (mode 0600, or a systemd credential) that holds the password."""
    tls: bool = False
    """Encrypt, and verify the broker's certificate."""
    ca_file: SitePath | None = None
    """Certificate authority; empty: the system's."""
    cert_file: SitePath | None = None
    """Client certificate."""
    key_file: SitePath | None = None
    """Client key, mode 0600."""
    keepalive_s: int = Field(default=30, ge=5, le=3600)
    """MQTT keep-alive."""
    reconnect_max_s: float = Field(default=60.0, gt=0.0)
    """Upper bound of the jittered wait between two attempts to connect."""
    alert_expiry_s: int = Field(default=600, ge=1)
    """Alerts older than this are not delivered to a late subscriber."""
    will_delay_s: int = Field(default=10, ge=0)
    """The broker waits this long before it says `offline`, so that a blip is no outage."""

    @field_validator("ca_file", "cert_file", "key_file")
    @classmethod
    def _is_used(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        # Who names a certificate believes that the password is not sent in clear.
        if path is not None and not info.data.get("tls", True):
            raise ValueError("tls is false, nothing would be encrypted; set tls = true, or remove it")
        return path


class LiveTrackSettings(Table):
    """[live_tracks]: bearings as they are now."""

    enabled: bool = True
    """Publish where each confirmed track is, for screens; nothing of it is kept."""
    rate_hz: float = Field(default=4.0, ge=2.0, le=5.0)
    """Messages per second while anything is tracked."""


class CommandSettings(Table):
    """[commands]: what may be asked of the unit over MQTT 5; nothing, unless it is named here."""

    allow: tuple[CommandName, ...] = ()
    """Commands that are carried out; empty: the unit does not even listen for any."""
    per_minute: int = Field(default=30, ge=1, le=600)
    """Commands carried out within a minute; more are refused."""
    mute_max_s: int = Field(default=3600, ge=1, le=7 * 24 * 3600)
    """Longest mute."""
    threshold_min: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Lowest threshold that may be asked for …"""
    threshold_max: float = Field(default=0.9, gt=0.0, lt=1.0)
    """… and the highest."""

    @model_validator(mode="after")
    def _consistent(self) -> "CommandSettings":
        if self.threshold_min > self.threshold_max:
            raise ValueError("threshold_min must not be above threshold_max")
        return self


class MetricsSettings(Table):
    """[metrics]: Prometheus."""

    port: int | None = Field(default=None, ge=1, le=65535)
    """TCP port on 127.0.0.1 where the publisher answers; empty: off."""


class HomeAssistantSettings(Table):
    """[home_assistant]: discovery over MQTT."""

    enabled: bool = False
    """Publish the retained messages from which Home Assistant makes this unit's entities."""
    prefix: TopicLevel = "homeassistant"
    """Discovery prefix, as Home Assistant's MQTT integration is set to."""


class SiteSettings(Table):
    """The whole site file."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    unit: UnitSettings = UnitSettings()
    array: NameOrPath = "respeaker_usb_4mic"
    """Name of a shipped array or path of an array file."""
    mount: MountSettings = MountSettings()
    capture: CaptureSettings = CaptureSettings()
    model: ModelSettings = ModelSettings()
    hearing: HearingSettings = HearingSettings()
    tracking: TrackingSettings = TrackingSettings()
    policy: dict[str, ClassPolicy] = {}
    """Per class; a class that is not named here keeps `events.policies.DEFAULT_POLICIES`."""
    store: StoreSettings = StoreSettings()
    clips: ClipSettings = ClipSettings()
    retention: RetentionSettings = RetentionSettings()
    novelty: NoveltySettings = NoveltySettings()
    mqtt: MqttSettings = MqttSettings()
    live_tracks: LiveTrackSettings = LiveTrackSettings()
    commands: CommandSettings = CommandSettings()
    metrics: MetricsSettings = MetricsSettings()
    home_assistant: HomeAssistantSettings = HomeAssistantSettings()

    @model_validator(mode="after")
    def _commands_can_be_answered(self) -> "SiteSettings":
        if self.commands.allow and self.mqtt.protocol != "5.0":
            raise ValueError('[commands] allow: needs [mqtt] protocol = "5.0", which knows where to send an answer')
        return self


def load_site(path: Path) -> SiteSettings:
    """Read a site file; paths in it that are relative begin at its folder.

    Raises `ConfigError` that names file, key and remedy; the process then ends with status 78.
    """
    try:
        raw = read_toml(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such site file; copy firmware_configs/sites/example.toml there") from None
    except PermissionError:
        raise ConfigError(f"{path}: {DENIED}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a readable TOML file: {error}") from error
    try:
        return SiteSettings.model_validate(raw, context={"folder": path.parent})
    except ValidationError as error:
        raise ConfigError(f"{path}: {one_line(error, SiteSettings)}") from None
