"""The contract with subscribers: version 1 as it was frozen, and the AsyncAPI document, held to the schemas and topics."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from compatibility import breaks, fields, retyped, without
from mqtt import channel_of

from appliance import wire
from appliance.publish.requests import REQUESTS
from appliance.publish.topics import UnitTopics
from appliance.types import CommandError, CommandName

FROZEN = {path.stem: json.loads(path.read_text("utf-8")) for path in (Path(__file__).parent / "contract_v1").iterdir()}
RECEIVED = {"command.v1"}
ASYNCAPI = wire.load_schema("asyncapi")
FIELDS = [(name, path) for name, schema in FROZEN.items() for path in fields(schema)]


def broken(name: str, current: dict[str, Any]) -> list[str]:
    return list(breaks(FROZEN[name], current, received=name in RECEIVED))


# --- version 1, frozen ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FROZEN))
def test_version_1_holds(name: str) -> None:
    """Whoever reads version 1 today reads it after the next upgrade. To change a field, write a version 2 beside it."""
    assert broken(name, wire.load_schema(name)) == []


@pytest.mark.parametrize("name", sorted(FROZEN))
def test_a_field_that_was_added_is_frozen_with_it(name: str) -> None:
    """Else it could be taken away again unnoticed: add it to tests/contract_v1 in the same commit."""
    assert set(fields(wire.load_schema(name))) == set(fields(FROZEN[name]))


@pytest.mark.parametrize(("name", "path"), FIELDS, ids=[f"{name}:{'.'.join(path)}" for name, path in FIELDS])
def test_a_removed_or_retyped_field_would_be_noticed(name: str, path: tuple[str, ...]) -> None:
    assert broken(name, without(FROZEN[name], path)) != []
    assert broken(name, retyped(FROZEN[name], path)) != []


def test_a_field_may_be_added() -> None:
    grown = json.loads(json.dumps(FROZEN["status.v1"]))
    grown["properties"]["weather"] = {"type": "string"}
    assert broken("status.v1", grown) == []
    grown["required"].append("weather")
    assert broken("status.v1", grown) == []
    grown["required"].remove("reasons")
    assert broken("status.v1", grown) == ["/reasons: is not required any more"]


def test_a_command_may_not_ask_for_more_than_it_did() -> None:
    grown = json.loads(json.dumps(FROZEN["command.v1"]))
    grown["$defs"]["mute"]["required"].append("class")
    assert broken("command.v1", grown) == ["/mute/class: is required now"]


def test_every_schema_is_one_and_is_frozen() -> None:
    folder = Path(wire.__file__).parent / "schemas"
    schemas = {path.stem for path in folder.glob("*.json")} - {"asyncapi"}
    assert schemas == set(FROZEN)
    for name in schemas:
        jsonschema.Draft202012Validator.check_schema(wire.load_schema(name))


# --- AsyncAPI ---------------------------------------------------------------------------------------------------------


def resolved(reference: str) -> Any:
    """What a reference of the document leads to: within it, or in a schema beside it."""
    file, _, pointer = reference.partition("#")
    found: Any = wire.load_schema(file.removesuffix(".json")) if file else ASYNCAPI
    for key in filter(None, pointer.split("/")):
        found = found[key]
    return found


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        here = [node["$ref"]] if "$ref" in node else []
        return here + [each for value in node.values() for each in references(value)]
    return [each for value in node for each in references(value)] if isinstance(node, list) else []


def test_every_reference_leads_somewhere() -> None:
    found = references(ASYNCAPI)
    assert len(found) > 50
    for reference in found:
        resolved(reference)


def test_channels_are_the_topics_of_a_unit() -> None:
    topics = UnitTopics("{site}", "{node}")
    expected = {str(topic) for topic in (topics.status, topics.health, topics.config, topics.alerts, topics.tracks)}
    expected |= {str(topics.command(name)) for name in get_args(CommandName)}
    # A topic takes no braces for a level that a caller gives.
    expected |= {f"{topics.event('x')}"[:-1] + "{event_id}", f"{topics.answers('x')}"[:-1] + "{asker}"}
    assert {channel["address"] for channel in ASYNCAPI["channels"].values()} == expected
    for channel in ASYNCAPI["channels"].values():
        assert re.findall(r"\{(\w+)\}", channel["address"]) == list(channel["parameters"])


def test_each_channel_is_used_once_and_in_the_right_direction() -> None:
    direction = {
        resolved(each["channel"]["$ref"])["address"]: each["action"] for each in ASYNCAPI["operations"].values()
    }
    for channel in ASYNCAPI["channels"].values():
        level = channel["address"].split("/")[4]
        # Answers are the replies of the commands, no operation of their own.
        assert direction.get(channel["address"]) == {"cmd": "receive", "answers": None}.get(level, "send")


def test_what_is_retained_there_is_retained_by_the_unit() -> None:
    retained = {
        resolved(operation["channel"]["$ref"])["address"].rpartition("/")[2]
        for operation in ASYNCAPI["operations"].values()
        if operation["bindings"]["mqtt"]["retain"]
    }
    assert retained == {"status", "health", "config"}


def test_each_message_names_its_schema_as_the_payload_does() -> None:
    for message in ASYNCAPI["components"]["messages"].values():
        reference = message["payload"]["schema"]["$ref"]
        told = resolved(f"{reference.partition('#')[0]}#/properties/schema/const") if "#" not in reference else None
        if "headers" in message:
            assert message["headers"]["properties"]["schema"]["const"] == told


def test_an_unknown_topic_has_no_channel() -> None:
    assert channel_of("acoustic/v1/north/mast-1/elsewhere") is None
    assert channel_of("acoustic/v1/north/mast-1/alerts") is not None


# --- types ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", get_args(CommandName))
def test_commands_have_the_keys_of_their_types(name: CommandName) -> None:
    schema = wire.load_schema("command.v1")["$defs"][name]
    model = {field.alias or key: field.is_required() for key, field in REQUESTS[name].model_fields.items()}
    assert set(schema["properties"]) == set(model)
    assert set(schema["required"]) == {key for key, required in model.items() if required}


def test_errors_of_answers_are_those_of_the_types() -> None:
    assert wire.load_schema("answer.v1")["properties"]["error"]["enum"] == [None, *get_args(CommandError)]
