"""The wire format keeps every bit of an event, and is what the schema says."""

import dataclasses
import json
import math

import jsonschema
import pytest
from conftest import MakeEvent
from hypothesis import given
from hypothesis import strategies as st

from appliance import wire
from appliance.errors import WireError
from appliance.types import Event

SCHEMA = wire.load_schema("event.v1")
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)

_ULID = st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=26, max_size=26)
_LEVEL = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True)
# 64 bits of nanoseconds: from 1677 to 2262.
_UTC_NS = st.integers(-(2**63), 2**63 - 1)

EVENTS = st.builds(
    Event,
    event_id=_ULID,
    sequence=st.integers(0, 2**63),
    state=st.sampled_from(["new", "update", "end"]),
    class_label=st.text(min_size=1),
    confidence=st.floats(0, 1),
    severity=st.sampled_from(["detection", "alert"]),
    track_id=st.integers(0, 2**63),
    onset_utc_ns=_UTC_NS,
    utc_ns=_UTC_NS,
    azimuth_deg=st.floats(-180, 180, exclude_max=True),
    elevation_deg=st.floats(-90, 90),
    elevation_valid=st.booleans(),
    bearing_true_deg=st.floats(0, 360, exclude_max=True),
    bearing_sigma_deg=st.floats(0, 1e6),
    clock=st.sampled_from(["synchronised", "unsynchronised", "replay"]),
    after_gap=st.booleans(),
    site=_LEVEL,
    node=_LEVEL,
    muted=st.booleans(),
    clip=st.none() | st.from_regex(r"[0-9A-HJKMNP-TV-Z]{26}\.(flac|wav)", fullmatch=True),
    clip_state=st.sampled_from([None, "recording", "written", "failed"]),
    clip_sha256=st.none() | st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    nearest=st.lists(st.tuples(st.sampled_from(["drone", "dog"]), st.floats(0.0, 1.0)), max_size=3).map(tuple),
    height_deg=st.none() | st.floats(-90, 90),
)
_HEIGHT = {"height_deg": 40.0}
_CLIP = {"clip": "01ARZ3NDEKTSV4RRFFQ69G5FAV.flac", "clip_state": "written", "clip_sha256": "0" * 64}


@given(EVENTS)
def test_round_trip_is_lossless_and_every_message_is_of_the_schema(event: Event) -> None:
    payload = wire.event_to_json(event)
    VALIDATOR.validate(json.loads(payload))
    assert wire.event_from_json(payload) == event


def test_schema_and_message_name_the_same_keys(make_event: MakeEvent) -> None:
    """The schema stays open for later fields; that nothing undocumented is sent is promised here."""
    message = wire.event_to_dict(make_event(**_CLIP, **_HEIGHT))
    assert tuple(message) == wire.MESSAGE_KEYS
    assert set(message) == set(SCHEMA["properties"])
    # What an older version logged and this one delivers has no field that came later.
    assert set(message) - set(SCHEMA["required"]) == {"muted", "nearest", *_CLIP, *_HEIGHT}
    assert set(wire.event_to_dict(make_event())) == set(message) - {*_CLIP, *_HEIGHT}


def test_a_message_of_the_first_release_is_read(make_event: MakeEvent) -> None:
    event = make_event()
    message = wire.event_to_dict(event)
    del message["muted"], message["nearest"]
    VALIDATOR.validate(message)
    assert wire.event_from_json(json.dumps(message)) == event


@pytest.mark.parametrize("key", SCHEMA["required"])
def test_schema_refuses_a_message_without_a_required_key(make_event: MakeEvent, key: str) -> None:
    message = wire.event_to_dict(make_event())
    del message[key]
    assert not VALIDATOR.is_valid(message)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "drone, bearing 047° true (± 4°), elevation 12°, 92 %"),
        (
            {"class_label": "power_tool", "bearing_true_deg": 7.4, "elevation_deg": 9.9},
            "power tool, bearing 007° true (± 4°), 92 %",
        ),
        ({"bearing_true_deg": 359.6, "elevation_deg": 0.0}, "drone, bearing 000° true (± 4°), 92 %"),
        ({"bearing_sigma_deg": 0.2, "elevation_deg": -31.0}, "drone, bearing 047° true (± 1°), elevation -31°, 92 %"),
        ({"elevation_valid": False, "elevation_deg": 0.0}, "drone, bearing 047° true (± 4°), 92 %"),
        (
            {"elevation_valid": False, "elevation_deg": 0.0, "height_deg": 31.6},
            "drone, bearing 047° true (± 4°), elevation ±32°, 92 %",
        ),
        ({"elevation_valid": False, "height_deg": 4.0}, "drone, bearing 047° true (± 4°), 92 %"),
        ({"state": "end"}, "drone no longer heard, last bearing 047° true (± 4°), 92 %"),
    ],
)
def test_text_says_it_as_a_person_would(make_event: MakeEvent, changes: dict[str, object], text: str) -> None:
    assert wire.event_text(make_event(**changes)) == text


def test_times_keep_nanoseconds_and_sort_as_text() -> None:
    times_ns = [-1, 0, 999_999_999, 1_000_000_000, 1_790_000_000_123_456_789]
    texts = [wire.utc_text(time_ns) for time_ns in times_ns]
    assert texts[-1] == "2026-09-21T14:13:20.123456789Z"
    assert texts == sorted(texts)
    assert [wire.utc_ns_of(text) for text in texts] == times_ns


@pytest.mark.parametrize(
    ("text", "utc_ns"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01t00:00:01.5z", 1_500_000_000),
        ("1970-01-01T00:00:01+00:00", 1_000_000_000),
    ],
)
def test_other_spellings_of_utc_are_read(text: str, utc_ns: int) -> None:
    assert wire.utc_ns_of(text) == utc_ns


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00+02:00", None, 5])
def test_a_time_that_is_not_utc_is_refused_by_key(text: object) -> None:
    with pytest.raises(WireError, match="message: onset_time: "):
        wire.utc_ns_of(text, "onset_time")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("confidence", "0.9", "confidence: "),
        ("sequence", 1.5, "sequence: "),
        ("state", "begin", "state: "),
        ("class", None, "class: "),
        ("time", "now", "time: "),
        ("schema", "acoustic.event.v9", "`schema` must be"),
    ],
)
def test_a_message_of_another_shape_is_refused_by_key(
    make_event: MakeEvent, key: str, value: object, reason: str
) -> None:
    message = wire.event_to_dict(make_event()) | {key: value}
    with pytest.raises(WireError, match=reason):
        wire.event_from_json(json.dumps(message))


def test_a_missing_key_is_named_as_on_the_wire(make_event: MakeEvent) -> None:
    message = wire.event_to_dict(make_event())
    del message["class"]
    with pytest.raises(WireError, match="message: class: field required"):
        wire.event_from_json(json.dumps(message))


def test_a_message_goes_under_another_name_whole_and_under_its_own_untouched(make_event: MakeEvent) -> None:
    event = make_event(site="site", node="node", class_label="ä")
    payload = wire.event_to_json(event)
    assert wire.under_name(payload, "site", "node") is payload
    renamed = dataclasses.replace(event, site="north", node="mast-1")
    assert wire.under_name(payload, "north", "mast-1") == wire.event_to_json(renamed)


@pytest.mark.parametrize("payload", ["", "{", "[]", "3", "null", "{}", '{"site":"x"}', "[" * 100_000])
def test_what_is_no_message_gets_no_name(payload: str) -> None:
    assert wire.under_name(payload, "north", "mast-1") is payload


def test_unknown_keys_are_passed_over(make_event: MakeEvent) -> None:
    event = make_event()
    assert wire.event_from_json(json.dumps(wire.event_to_dict(event) | {"offset_s": 1.0})) == event


@given(st.one_of(st.binary(), st.text(), st.recursive(st.none() | st.integers(), st.lists).map(json.dumps)))
def test_no_payload_raises_anything_but_wire_error(payload: str | bytes) -> None:
    with pytest.raises(WireError):
        wire.event_from_json(payload)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Event) if field.type is float])
def test_a_number_that_is_not_finite_never_leaves(make_event: MakeEvent, field: str) -> None:
    with pytest.raises(WireError, match=r"event \w+: "):
        wire.event_to_json(make_event(**{field: math.nan}))
