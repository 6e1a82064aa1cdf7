"""Event ↔ JSON, as it is logged, published and printed, and answers to commands. The contract is `schemas/event.v1.json`.

Nothing is rounded on the way: floats keep their shortest exact form and times their nanoseconds, so that
`event_from_json(event_to_json(event)) == event`. Only `text`, the sentence for a person, is rounded.
"""

import dataclasses
import json
import re
from datetime import datetime, timedelta, timezone
from importlib.resources import files
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from appliance.errors import WireError
from appliance.texts import Texts, load_texts
from appliance.types import CommandError, Event

EVENT_SCHEMA = "acoustic.event.v1"
STATUS_SCHEMA = "acoustic.status.v1"
ANSWER_SCHEMA = "acoustic.answer.v1"
TRACKS_SCHEMA = "acoustic.tracks.v1"

_LEVEL_DEG = 10.0
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)", re.ASCII | re.IGNORECASE)

# Fields of `Event` that bear another name, or another form, on the wire.
_TIMES = {"utc_ns": "time", "onset_utc_ns": "onset_time"}
_RENAMED = {"class_label": "class", **_TIMES}
_NEAREST = "nearest"
_KEYS = {field.name: _RENAMED.get(field.name, field.name) for field in dataclasses.fields(Event)}

MESSAGE_KEYS = ("specversion", "id", "source", "type", "schema", "text", *_KEYS.values())
"""Every key that a message may have, in the order in which it is written."""

# `Event` as the wire spells it, to check types strictly: "0.9" is no number.
_Message: type[BaseModel] = create_model(
    "_Message",
    __config__=ConfigDict(strict=True),
    **{  # type: ignore[call-overload]
        field.name: (
            get_type_hints(Event)[field.name],
            Field(
                alias=_KEYS[field.name], **({} if field.default is dataclasses.MISSING else {"default": field.default})
            ),
        )
        for field in dataclasses.fields(Event)
    },
)


def event_to_dict(event: Event, texts: Texts | None = None) -> dict[str, Any]:
    """The event as the JSON object of `schemas/event.v1.json`: CloudEvents attributes first, then its own fields.

    `text` is in English unless `texts` says otherwise. Raises `WireError` where a number is not finite, or a time is outside the years 1 to 9999.
    """
    message: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"{event.event_id}.{event.sequence}",
        "source": _source(event.site, event.node),
        "type": f"acoustic.event.{event.state}",
        "schema": EVENT_SCHEMA,
        "text": event_text(event, texts),
    }
    for field, key in _KEYS.items():
        value = getattr(event, field)
        # What nobody has said is left out: no clip, no word of one.
        if value is not None:
            message[key] = utc_text(value) if field in _TIMES else value
    message[_NEAREST] = [{"class": name, "probability": probability} for name, probability in event.nearest]
    return message


def event_to_json(event: Event, texts: Texts | None = None) -> str:
    """One line of JSON; see `event_to_dict`."""
    try:
        return json.dumps(event_to_dict(event, texts), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError) as error:
        raise WireError(f"event {event.event_id}: cannot be written as JSON: {error}") from error


def under_name(payload: str, site: str, node: str) -> str:
    """The message of an event as the unit that bears this name says it; as it is where it says so, or is no message."""
    own = {"source": _source(site, node), "site": site, "node": node}
    try:
        message = json.loads(payload)
        if all(message[key] == value for key, value in own.items()):
            return payload
    except (ValueError, RecursionError, KeyError, TypeError):
        return payload
    return json.dumps(message | own, ensure_ascii=False, separators=(",", ":"))


def event_from_json(payload: str | bytes) -> Event:
    """The event in a message; keys it does not know are passed over, as a later minor version may add some.

    Raises `WireError` that names the key where the message is not an event of this version.
    """
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise WireError(f"message: not JSON: {error}") from None
    if not isinstance(message, dict) or message.get("schema") != EVENT_SCHEMA:
        raise WireError(f"message: not an event; `schema` must be {EVENT_SCHEMA!r}")
    times = {key: utc_ns_of(message[key], key) for key in _TIMES.values() if key in message}
    try:
        return Event(**dict(_Message.model_validate(message | times | _nearest_of(message))))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise WireError(f"message: {fault['loc'][0]}: {fault['msg'][0].lower()}{fault['msg'][1:]}") from None


def _source(site: str, node: str) -> str:
    return f"/acoustic/v1/{site}/{node}"


def _nearest_of(message: dict[str, Any]) -> dict[str, Any]:
    """The key `nearest` as `Event` holds it; one that was written before there was such a key has none."""
    if _NEAREST not in message:
        return {}
    try:
        return {_NEAREST: tuple((each["class"], each["probability"]) for each in message[_NEAREST])}
    except (KeyError, TypeError):
        raise WireError(f"message: {_NEAREST}: not a list of classes with probabilities") from None


def event_text(event: Event, texts: Texts | None = None) -> str:
    """What a person would say: "drone, bearing 047° true (± 4°), elevation 31°, 92 %", "anomaly like bells, bearing …"."""
    words = {
        "bearing": f"{round(event.bearing_true_deg) % 360:03d}",
        "sigma": str(max(1, round(event.bearing_sigma_deg))),
        "confidence": str(round(100 * event.confidence)),
        "site": event.site,
        "node": event.node,
    }
    nearest = event.nearest[0][0] if event.nearest else None
    return (texts or load_texts("en")).event_text(
        event.state, event.class_label, words, elevation_degrees=_elevation_degrees(event), nearest=nearest
    )


def _elevation_degrees(event: Event) -> str | None:
    """Where it is worth telling: most sounds come from about the horizon. A planar array does not tell above from below."""
    sign, elevation_deg = ("", event.elevation_deg) if event.elevation_valid else ("±", event.height_deg or 0.0)
    return None if abs(elevation_deg) < _LEVEL_DEG else f"{sign}{round(elevation_deg)}"


def answer_to_json(
    *,
    site: str,
    node: str,
    command: str,
    command_id: str | None,
    utc_ns: int,
    text: str,
    error: CommandError | None = None,
    result: dict[str, Any] | None = None,
) -> str:
    """What a unit answers to a command, as `schemas/answer.v1.json` says; it was carried out where `error` is None."""
    answer = {
        "schema": ANSWER_SCHEMA,
        "site": site,
        "node": node,
        "time": utc_text(utc_ns),
        "command": command,
        "id": command_id,
        "ok": error is None,
        "error": error,
        "text": text,
        "result": result,
    }
    return json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def utc_text(utc_ns: int) -> str:
    """RFC 3339 in UTC with all nine digits, so that texts sort as their times do."""
    seconds, nanoseconds = divmod(utc_ns, 1_000_000_000)
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        raise WireError(f"time: {utc_ns} ns since 1970 is outside the years 1 to 9999") from None
    return f"{moment.strftime('%Y').zfill(4)}{moment.strftime('-%m-%dT%H:%M:%S')}.{nanoseconds:09d}Z"


def utc_ns_of(text: object, key: str = "time") -> int:
    """Nanoseconds since 1970 of an RFC 3339 time in UTC; raises `WireError` that names `key`."""
    match = _RFC3339.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise WireError(f"message: {key}: {text!r:.60} is not an RFC 3339 time in UTC")
    whole, fraction = match.groups(default="0")
    try:
        moment = datetime.strptime(whole.upper(), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise WireError(f"message: {key}: {error}") from None
    return (moment - _EPOCH) // timedelta(seconds=1) * 1_000_000_000 + int(fraction.ljust(9, "0"))


def load_schema(name: str) -> dict[str, Any]:
    """A JSON Schema (2020-12) of the package by its name, such as "event.v1"."""
    schema: dict[str, Any] = json.loads((files("appliance") / "schemas" / f"{name}.json").read_text("utf-8"))
    return schema
