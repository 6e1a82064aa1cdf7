"""What flows through the appliance, stage by stage. Frozen, slotted; each field has a sentence with shape and unit."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Complex64Array = npt.NDArray[np.complex64]

TrackStatus = Literal["tentative", "confirmed", "coasting", "deleted"]
EventState = Literal["new", "update", "end"]
Severity = Literal["detection", "alert"]
ANOMALY = "anomaly"
"""The class of what a site does not normally sound like; no model names it."""

ClockQuality = Literal["synchronised", "unsynchronised", "replay"]
MessageKind = Literal["events", "alerts"]
MessageOutcome = Literal["delivered", "superseded", "expired"]
ClipState = Literal["recording", "written", "failed"]
CommandName = Literal["acknowledge", "mute", "unmute", "threshold", "selftest", "clip", "restart"]
CommandError = Literal[
    "malformed",
    "unknown_command",
    "not_allowed",
    "no_expiry",
    "rate_limited",
    "out_of_limits",
    "not_found",
    "unavailable",
]

# What the sensor tells the publisher through the event log. `sensor` is its heartbeat, at least every 10 s:
# {"hearing": bool, "faults": [a sentence each]}; `health` and `config` are passed on under the topics of these names.
StateKey = Literal["sensor", "health", "config"]


@dataclass(frozen=True, slots=True)
class Direction:
    """A direction in the array frame."""

    azimuth_deg: float
    """Counter-clockwise from the front seen from above, [-180, 180)."""
    elevation_deg: float
    """Above the array's horizon, [-90, 90]; 0 where the array cannot tell."""
    elevation_valid: bool = True
    """False where the array is planar, so that `elevation_deg` says nothing."""


@dataclass(frozen=True, slots=True)
class AudioBlock:
    """A run of samples straight from the source; channels are already in microphone order."""

    samples: Float32Array
    """(mics, n), full scale ±1.0."""
    sample_rate_hz: int
    """Samples per second of each microphone."""
    start_sample: int
    """Index of the first sample since the stream began, lost samples included."""
    utc_ns: int
    """UTC of the first sample, nanoseconds since 1970."""
    gap: bool = False
    """True where samples were lost (or the stream was reopened) directly before this block."""


@dataclass(frozen=True, slots=True)
class FeatureFrame:
    """One hop of the front end."""

    values: Float32Array
    """(features, bands), as `dsp.features.FEATURE_NAMES` orders them."""
    samples: Float32Array
    """(mics, samples) of the hop itself, for whoever points a beam later."""
    mics: tuple[int, ...]
    """Which microphones, counted from 0, were listened to; the others do not work."""
    end_s: float
    """Seconds of the stream up to its end, lost audio included: what has passed is told by this, not by a clock that may be set."""
    utc_ns: int
    """UTC of the end of the hop."""


@dataclass(frozen=True, slots=True)
class SceneObject:
    """What one output slot of the network says for one label frame. A slot is a place in a tensor, not an identity."""

    slot: int
    """Index of the output slot."""
    activity: float
    """Probability that the slot holds a sounding target object, 0..1."""
    class_probs: Float32Array
    """(classes,) probability of each class given that the slot is active; what is missing to 1 is *none*."""
    doa: Direction
    """Direction of arrival."""
    doa_sigma_deg: float
    """1-sigma scatter of the direction from one label frame to the next."""
    mask: Float32Array | None = None
    """(frames, bands) gain on W, where asked for."""
    direct_mask: Float32Array | None = None
    """(frames, bands) gain on W of its direct sound alone, a part of `mask`; None where the model does not tell it apart."""


@dataclass(frozen=True, slots=True)
class SceneFrame:
    """One label frame (100 ms) of the model's output."""

    objects: tuple[SceneObject, ...]
    """One per slot, in slot order, active or not; none at all where the network gave no numbers."""
    end_s: float
    """Seconds of the stream up to its end, lost audio included: what has passed is told by this, not by a clock that may be set."""
    utc_ns: int
    """UTC of the end of the label frame."""
    after_gap: bool = False
    """True for the first frame after lost audio: features and model were reset."""
    azimuth_valid: bool = True
    """False where the microphones that still work cannot tell it: three of a tetrahedron, in a plane that is tilted."""
    clock_set_by_ns: int = 0
    """How far UTC was set since the frame before, nanoseconds; what was dated by then is dated anew by as much."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where one of the strongest sounds of the last second comes from, whatever it is."""

    doa: Direction
    """Direction of arrival."""
    strength: float
    """How far it stands out of the directions around, in variances of what ambience alone would make of a bin, averaged over bins."""
    sounding: bool = True
    """False where it is there no more: what is heard of it is over, and within the second."""


@dataclass(frozen=True, slots=True)
class Track:
    """A sound object with an identity, followed over time on the sphere."""

    track_id: int
    """Unique within one run of the sensor, counted from 1."""
    status: TrackStatus
    """tentative until confirmed, coasting while unheard, deleted once given up (seen exactly once so)."""
    doa: Direction
    """Filtered direction."""
    covariance_deg2: tuple[tuple[float, float], tuple[float, float]]
    """((azimuth·cos(elevation), cross), (cross, elevation)) variance of the direction in square degrees."""
    class_probs: Float32Array
    """(classes,) smoothed probability that an active object of each class is there: activity times class. Low and the
    same for each where the network has never reported it, before the tagger has its say."""
    first_utc_ns: int
    """UTC of the first detection."""
    last_update_utc_ns: int
    """UTC of the latest detection that was associated."""
    updated: bool = True
    """True where this frame brought a detection; False where the track coasts."""
    sounding: bool = True
    """True where it sounds in this very frame: what is found by its power is so for a second, and a shot or a bark is over by then."""
    absorbed_by: int | None = None
    """The older track that goes on for it, of one that is deleted because the two have turned out to be one source."""
    slots: tuple[int, ...] = ()
    """The network's slots that reported it in this frame: whose masks are its sound. In one frame no slot has two tracks. None
    where its power alone tells of it."""
    height_deg: float | None = None
    """Elevation in the array frame: that of `doa` where it is valid, or of a planar array how far above its plane the sound is, or as
    far below; None where nothing tells."""
    sounds: Float32Array | None = None
    """(sounds,) what the tagger alone takes it for, of all the sounds that it tells apart; None without a tagger."""
    strangeness: float = 0.0
    """How unlike the site it sounds, 0..1; ½ where the site itself is expected to sound so strange as often as is borne."""
    nearest: tuple[tuple[str, float], ...] = ()
    """(sound, probability) of what the tagger finds it most like, most probable first; where the site has a memory."""

    @property
    def is_named(self) -> bool:
        """Whether its likeliest class is at least as likely as nothing that has a name."""
        return float(self.class_probs.max()) >= 1.0 - float(self.class_probs.sum())


@dataclass(frozen=True, slots=True)
class Event:
    """One state change of one event: what is logged, published and shown. `wire` turns it into JSON and back."""

    event_id: str
    """ULID, the same over the whole lifecycle; the key for de-duplication together with `sequence`."""
    sequence: int
    """0 for new, then counting up with each update and the end."""
    state: EventState
    """new | update | end."""
    class_label: str
    """Class of the sound, one of the model's classes, or anomaly."""
    confidence: float
    """Probability that the class is right, 0..1; of an anomaly, that the site itself does not make such a sound."""
    severity: Severity
    """alert: an operator must act; detection: logged and published, nobody is woken."""
    track_id: int
    """The track behind the event; another one goes on with it where both have turned out to be one source."""
    onset_utc_ns: int
    """UTC of the first detection of the track."""
    utc_ns: int
    """UTC of this state change."""
    azimuth_deg: float
    """In the array frame, counter-clockwise from the front, [-180, 180)."""
    elevation_deg: float
    """Above the local horizon after the mount's tilt is taken out, [-90, 90]; 0 where not valid."""
    elevation_valid: bool
    """False where a planar array cannot tell elevation."""
    bearing_true_deg: float
    """Clockwise from true north, [0, 360)."""
    bearing_sigma_deg: float
    """1-sigma uncertainty of the bearing, mount included."""
    clock: ClockQuality
    """Quality of the UTC times."""
    after_gap: bool
    """True where audio was lost shortly before the event began."""
    site: str
    """Site name, a topic level."""
    node: str
    """Unit name, a topic level."""
    muted: bool = False
    """True where an operator's mute covers what would be an alert; its severity is then detection."""
    clip: str | None = None
    """File of the audio clip that was promised with the event; None where none is recorded of it."""
    clip_state: ClipState | None = None
    """What had become of the clip when this was said."""
    clip_sha256: str | None = None
    """Of the clip, in hexadecimal, once it is written."""
    nearest: tuple[tuple[str, float], ...] = ()
    """(class, probability) of the known classes that an anomaly is most like, most probable first."""
    height_deg: float | None = None
    """Where elevation is not valid: how high above the local horizon it seems to be, were it not as far below the array's plane."""


@dataclass(frozen=True, slots=True)
class Clip:
    """The audio of one event, or why there is none."""

    name: str
    """File in the folder of clips."""
    event_id: str
    """Its event."""
    state: ClipState
    """recording: promised, not there yet; written: whole and on the disk; failed: it never comes."""
    reason: str = ""
    """Why it failed, for people; empty otherwise."""
    start_utc_ns: int = 0
    """UTC of its first sample."""
    seconds: float = 0.0
    """Its length."""
    size_bytes: int = 0
    """Size of the file."""
    sha256: str = ""
    """Of the file, in hexadecimal."""
    gaps: tuple[tuple[float, float], ...] = ()
    """(offset, length) in seconds of each stretch that was lost and is silent in it; length 0 where it is not known."""


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """One message that waits to be published."""

    outbox_id: int
    """Key in the outbox."""
    kind: MessageKind
    """Topic it goes to: events, the full lifecycle; alerts, what an operator must act on."""
    event_id: str
    """ULID of its event."""
    payload: str
    """JSON, as `wire` wrote it."""
    age_s: float
    """Seconds since its event was committed."""
    is_open: bool
    """No end of its event is committed."""
    is_stale: bool
    """An update that a later change of its event makes stale."""


@dataclass(frozen=True, slots=True)
class UnitState:
    """What the sensor last said under one key."""

    value: Any
    """Whatever JSON holds; see `StateKey`."""
    age_s: float
    """Seconds since it was said."""


@dataclass(frozen=True, slots=True)
class Command:
    """What somebody asked of the unit, as it is logged, whether it was carried out or not."""

    name: str
    """Last level of its topic, cut to what a name may be."""
    command_id: str | None
    """The asker's own id for it, by which a repeat is known; None where it could not be read."""
    asked_by: str | None
    """Who says to have asked; None where it could not be read."""
    request: str
    """The command as it was understood, or the beginning of the payload where it is none of ours."""
    response_topic: str
    """Where the answer goes."""
    correlation: bytes | None
    """Comes back with the answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that waits to be sent."""

    row: int
    """Key in the log of commands."""
    response_topic: str
    """Where it goes."""
    correlation: bytes | None
    """What the asker gave to know it by."""
    payload: str
    """JSON, as `wire` wrote it."""
    age_s: float
    """Seconds since the command came."""


@dataclass(frozen=True, slots=True)
class Job:
    """A command that the sensor has to carry out and answer."""

    row: int
    """Key in the log of commands."""
    name: str
    """What to do."""
    command_id: str | None
    """The asker's own id for it."""
    age_s: float
    """Seconds since the command came."""


@dataclass(frozen=True, slots=True)
class Mute:
    """What somebody does not want to be alerted of for a while."""

    mute_id: int
    """By which it can be ended early."""
    class_label: str | None
    """Only this class; None: any."""
    from_deg: float | None
    """Only true bearings from here …"""
    to_deg: float | None
    """… clockwise to here; None: all around."""
    asked_by: str
    """Who asked for it."""
    until_utc_ns: int
    """UTC at which it ends, for people; a clock that is set meanwhile does not move the end."""
    left_s: float
    """Seconds until it ends."""

    def covers(self, class_label: str, bearing_true_deg: float) -> bool:
        """True where it speaks of this class and bearing."""
        if self.class_label not in (None, class_label):
            return False
        if self.from_deg is None or self.to_deg is None:
            return True
        width_deg = self.to_deg - self.from_deg
        return (bearing_true_deg - self.from_deg) % 360.0 <= (width_deg if width_deg > 0.0 else width_deg + 360.0)


@dataclass(frozen=True, slots=True)
class Adjustments:
    """What operators have changed and what therefore holds now, whatever is restarted."""

    mutes: tuple[Mute, ...] = ()
    """Those that have not ended, oldest first."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """Class → threshold in place of the site file's."""
    acknowledged: tuple[tuple[str, str, int], ...] = ()
    """(event_id, who, UTC nanoseconds) of the latest acknowledgements, newest first."""
