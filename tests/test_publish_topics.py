"""A topic is valid, or it does not exist."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from appliance.errors import ConfigError
from appliance.publish.topics import Topic, UnitTopics


def test_topics_of_a_unit_are_those_of_the_document() -> None:
    topics = UnitTopics("north", "mast-1")
    assert [str(topic) for topic in (topics.status, topics.health, topics.config, topics.alerts)] == [
        "acoustic/v1/north/mast-1/status",
        "acoustic/v1/north/mast-1/health",
        "acoustic/v1/north/mast-1/config",
        "acoustic/v1/north/mast-1/alerts",
    ]
    assert str(topics.event("01J0")) == "acoustic/v1/north/mast-1/events/01J0"


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "a/+/b", "a/#", "a\0b", "$SYS/broker", "\ud800", "a" * 65536])
def test_what_a_broker_would_refuse_is_no_topic(name: str) -> None:
    with pytest.raises(ConfigError, match=r"topic .*; check"):
        Topic(name)


def test_a_level_cannot_smuggle_in_another() -> None:
    with pytest.raises(ConfigError, match="slash"):
        UnitTopics("north/south", "mast-1")


@given(st.text())
def test_every_topic_is_accepted_by_the_client(name: str) -> None:
    try:
        topic = Topic(name)
    except ConfigError:
        return
    code = Client(CallbackAPIVersion.VERSION2).publish(str(topic), qos=0).rc
    assert code == MQTTErrorCode.MQTT_ERR_NO_CONN
