"""What each command does, once it is read and allowed."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from appliance import wire
from appliance.config import CommandSettings
from appliance.publish import requests
from appliance.publish.requests import Request
from appliance.types import Clip, CommandError, Mute

MAX_MUTES = 16


class Effects(Protocol):
    """What the commands need of `store.commands.Effects`."""

    def acknowledge(self, event_id: str) -> tuple[str, int] | None:
        """Who deals with the event, since which UTC in nanoseconds; None where there is no such event."""

    def clip(self, event_id: str) -> Clip | None:
        """The clip of an event; None where none was promised."""

    def knows(self, event_id: str) -> bool:
        """True where there is such an event."""

    def mutes(self) -> list[Mute]:
        """Those that have not ended."""

    def mute(self, class_label: str | None, from_deg: float | None, to_deg: float | None, duration_s: float) -> int:
        """Begin a mute; returns its id."""

    def unmute(self, mute_id: int) -> bool:
        """End a mute early; False where none such holds."""

    def set_threshold(self, class_label: str, threshold: float | None) -> None:
        """Put a threshold in place of the site file's, or give that back its place."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a command is not carried out."""

    error: CommandError
    """For programs."""
    text: str
    """For people."""


Outcome = tuple[str, dict[str, Any] | None]
"""Of a command that was carried out: a sentence, and what came of it."""


def carry_out(
    request: Request, effects: Effects, settings: CommandSettings, classes: Collection[str] | None
) -> Outcome | Refusal | None:
    """Sentence and result, or why not; None where the sensor has to answer."""
    match request:
        case requests.Acknowledge():
            return _acknowledge(request, effects)
        case requests.Mute():
            return _mute(request, effects, settings, classes)
        case requests.Unmute():
            if not effects.unmute(request.mute_id):
                return Refusal("not_found", f"no mute {request.mute_id} holds")
            return f"mute {request.mute_id} has ended", None
        case requests.Threshold():
            return _threshold(request, effects, settings, classes)
        case requests.Clip():
            return _clip(request, effects)
        case requests.Restart() if request.process == "publisher":
            return "the publisher restarts", None
        case _:
            return None


def _mute(
    request: requests.Mute, effects: Effects, settings: CommandSettings, classes: Collection[str] | None
) -> Outcome | Refusal:
    if request.duration_s > settings.mute_max_s:
        return Refusal("out_of_limits", f"duration_s: at most {settings.mute_max_s}")
    if request.class_label and (unknown := _unknown(request.class_label, classes)):
        return unknown
    if len(effects.mutes()) >= MAX_MUTES:
        return Refusal("out_of_limits", f"{MAX_MUTES} mutes hold already; end one")
    mute_id = effects.mute(request.class_label or None, request.from_deg, request.to_deg, request.duration_s)
    until = next(mute.until_utc_ns for mute in effects.mutes() if mute.mute_id == mute_id)
    return f"muted until {wire.utc_text(until)[:19]}Z", {"mute_id": mute_id, "until": wire.utc_text(until)}


def _threshold(
    request: requests.Threshold, effects: Effects, settings: CommandSettings, classes: Collection[str] | None
) -> Outcome | Refusal:
    if unknown := _unknown(request.class_label, classes):
        return unknown
    low, high = settings.threshold_min, settings.threshold_max
    if request.threshold is not None and not low <= request.threshold <= high:
        return Refusal("out_of_limits", f"threshold: from {low} to {high}")
    effects.set_threshold(request.class_label, request.threshold)
    told = "the site file's" if request.threshold is None else str(request.threshold)
    return f"threshold of {request.class_label}: {told}", {
        "class": request.class_label,
        "threshold": request.threshold,
    }


def _acknowledge(request: requests.Acknowledge, effects: Effects) -> Outcome | Refusal:
    first = effects.acknowledge(request.event_id)
    if first is None:
        return Refusal("not_found", f"no event {request.event_id} in the log")
    who, utc_ns = first
    return f"acknowledged by {who}", {"event_id": request.event_id, "by": who, "time": wire.utc_text(utc_ns)}


def _clip(request: requests.Clip, effects: Effects) -> Outcome | Refusal:
    """What is known of it. The audio itself is added when the answer is sent: the log of commands is no place for it."""
    clip = effects.clip(request.event_id)
    if clip is None:
        if not effects.knows(request.event_id):
            return Refusal("not_found", f"no event {request.event_id} in the log")
        return Refusal("unavailable", "no clip was taken of it; [clips] in the unit's site file says of which events")
    if clip.state == "recording":
        return Refusal("unavailable", "its clip is being recorded; ask again in a few seconds")
    if clip.state == "failed":
        return Refusal("unavailable", f"its clip was not kept: {clip.reason or 'see the log of the sensor'}")
    if request.offset is not None and request.offset >= clip.size_bytes:
        return Refusal("out_of_limits", f"offset: the clip has {clip.size_bytes} bytes")
    return f"{clip.name}, {clip.seconds:.1f} s, {clip.size_bytes} bytes", {
        "event_id": clip.event_id,
        "clip": clip.name,
        "start": wire.utc_text(clip.start_utc_ns),
        "seconds": clip.seconds,
        "gaps": [{"offset_s": offset_s, "seconds": seconds} for offset_s, seconds in clip.gaps],
        "bytes": clip.size_bytes,
        "sha256": clip.sha256,
        **({} if request.offset is None else {"offset": request.offset}),
    }


def _unknown(class_label: str, classes: Collection[str] | None) -> Refusal | None:
    """Where the sensor has not said yet what it runs, any class is believed: it may be the night to mute."""
    if classes is None or class_label in classes:
        return None
    return Refusal("not_found", f"class: the model knows {', '.join(classes)}")
