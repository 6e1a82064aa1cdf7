"""What operators see besides MQTT's own topics: Prometheus text, Home Assistant's entities, sentences in their language."""

import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
from conftest import MakeEvent
from mqtt import Broker, Subscriber, wait_until
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from prometheus_client.parser import text_string_to_metric_families
from test_publisher import HEARING, Publisher

from appliance import wire
from appliance.config import HomeAssistantSettings, UnitSettings
from appliance.errors import ConfigError
from appliance.firmware import FIRMWARE_DIR
from appliance.publish.home_assistant import discovery
from appliance.publish.metrics import METRICS, Metrics, MetricsServer
from appliance.publish.topics import UnitTopics
from appliance.store import EventLog
from appliance.texts import load_texts
from appliance.types import Event

REPO = Path(__file__).resolve().parent.parent
HEALTH = {
    "levels_dbfs": [-50.5, -51.0],
    "frames": 1234,
    "step_p50_ms": 2.0,
    "step_p99_ms": 9.5,
    "tracks": 1,
    "open_events": 1,
    "rejected": {"drone": {"cooldown": 2, "below_threshold": 40}},
    "audio": {"gaps": 3, "lost_samples": 480},
    "hearing_check": {"heard": True, "text": "a drone was heard", "age_s": 3},
    "clips": {"written": 2, "failed": 1},
    "temperature_c": 51.5,
    "clock": "synchronised",
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


# --- Prometheus -------------------------------------------------------------------------------------------------------


def scraped(port: int) -> dict[str, dict[tuple[str, ...], float]]:
    """Name as stored → values of the labels, in the order of their names → value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for sample in (sample for family in families for sample in family.samples):
        if not sample.name.endswith("_created"):
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


@pytest.fixture
def metrics_port() -> int:
    return free_port()


@pytest.fixture
def publisher(tmp_path: Path, broker: Broker, metrics_port: int) -> Iterator[Publisher]:
    tables = ("[metrics]", f"port = {metrics_port}", "[home_assistant]", "enabled = true")
    publisher = Publisher(tmp_path, broker.port, *tables)
    yield publisher
    publisher.clean()


def test_a_running_unit_gives_every_metric_of_the_table(
    broker: Broker, publisher: Publisher, metrics_port: int, event_log: EventLog, make_event: MakeEvent
) -> None:
    event_log.set_state("sensor", HEARING)
    event_log.set_state("health", HEALTH)
    event_log.append(make_event())
    with Subscriber(broker.port) as subscriber:
        publisher.start()
        wait_until(lambda: subscriber.on("alerts"), "connected")
        wait_until(lambda: scraped(metrics_port)["acoustic_outbox_messages"][("delivered",)] == 2, "scraped")
        found = scraped(metrics_port)
        assert publisher.stop() == 0
    # Nobody gave a command: that one has no series yet.
    assert set(found) == {spec.name for spec in METRICS} - {"acoustic_commands_rejected_total"}
    assert found["acoustic_status"] == {("online",): 1.0, ("degraded",): 0.0, ("offline",): 0.0}
    assert found["acoustic_microphone_level_dbfs"] == {("1",): -50.5, ("2",): -51.0}
    assert found["acoustic_step_seconds"] == {("0.5",): 0.002, ("0.99",): 0.0095}
    assert found["acoustic_tracks_rejected_total"] == {("cooldown", "drone"): 2.0, ("below_threshold", "drone"): 40.0}
    assert found["acoustic_audio_lost_samples_total"] == {(): 480.0}
    assert found["acoustic_clips_total"] == {("written",): 2.0, ("failed",): 1.0}
    assert found["acoustic_mqtt_connected"] == {(): 1.0}


def test_what_nobody_has_said_is_left_out_and_not_made_up() -> None:
    metrics = Metrics()
    assert list(metrics.collect()) == []
    metrics.set(
        state="degraded",
        sensor=None,
        health={"levels_dbfs": "loud", "rejected": [1], "frames": None, "audio": {"gaps": float("nan")}},
        sensor_age_s=None,
        outbox={},
        disk_free_bytes=None,
        connected=False,
        connections=0,
        mutes=0,
        accepted=0,
        rejected={},
    )
    told = {sample.name for metric in metrics.collect() for sample in metric.samples}
    assert told == {
        "acoustic_status", "acoustic_mqtt_connected", "acoustic_mqtt_connections_total", "acoustic_mutes", "acoustic_commands_total",
    }  # fmt: skip


def test_it_answers_on_localhost_alone_and_a_taken_port_is_named() -> None:
    port = free_port()
    with MetricsServer(Metrics(), port) as server:
        assert server._server.server_address == ("127.0.0.1", port)
        with pytest.raises(ConfigError, match=rf"\[metrics\] port: 127\.0\.0\.1:{port}: .*in use; give another port"):
            MetricsServer(Metrics(), port)


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    text = (FIRMWARE_DIR / "README.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(acoustic_\w+)` \| ([^|]*) \| ([^|]*) \|$", text, re.M)
    assert [(name, labels.strip(), meaning.strip()) for name, labels, meaning in told] == [
        (spec.name, ", ".join(f"`{label}`" for label in spec.labels) or "–", spec.meaning) for spec in METRICS
    ]


# --- Home Assistant ---------------------------------------------------------------------------------------------------


class HomeAssistant:
    """Subscribes as Home Assistant does, with its discovery prefix."""

    def __init__(self, port: int) -> None:
        self.retained: dict[str, dict[str, Any]] = {}
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("homeassistant/#", qos=1)
        self._client.on_message = lambda _client, _userdata, message: self._keep(
            message.topic, bytes(message.payload), message.retain
        )
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _keep(self, topic: str, payload: bytes, retained: bool) -> None:
        if retained:
            self.retained[topic] = json.loads(payload)

    def __enter__(self) -> "HomeAssistant":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def rendered(template: str, payload: dict[str, Any]) -> str:
    """As Home Assistant renders a value_template."""
    environment = jinja2.Environment(autoescape=False)  # noqa: S701 - as Home Assistant's is; nothing becomes HTML
    environment.filters["to_json"] = json.dumps
    return environment.from_string(template).render(value_json=payload)


def documented() -> list[str]:
    """Topics of the README's table, for the unit of the tests."""
    text = (FIRMWARE_DIR / "README.md").read_text(encoding="utf-8")
    topics = re.findall(r"^\| `(homeassistant/\S+)` \|", text, re.M)
    return [topic.format(site="north", node="mast-1") for topic in topics]


def test_retained_discovery_is_what_is_documented_and_reads_what_the_unit_says(
    broker: Broker, publisher: Publisher, event_log: EventLog, make_event: MakeEvent
) -> None:
    event_log.set_state("sensor", HEARING)
    event_log.set_state("health", HEALTH)
    event = make_event(class_label="glass_break")
    event_log.append(event)
    with Subscriber(broker.port) as subscriber:
        publisher.start()
        wait_until(lambda: subscriber.on("alerts") and subscriber.on("health") and subscriber.status(), "all is said")
        # Subscribes late: what it gets is what the broker has kept.
        with HomeAssistant(broker.port) as home:
            wait_until(lambda: len(home.retained) == 5, "discovered")
        said = {message.topic: message.payload for message in subscriber.on()}
        assert publisher.stop() == 0
        offline = subscriber.status()
    assert sorted(home.retained) == sorted(documented())
    values = {}
    for topic, entity in home.retained.items():
        name = topic.split("/")[3]
        values[name] = rendered(entity["value_template"], said[entity["state_topic"]])
        status = said[entity["availability_topic"]]
        assert rendered(entity["availability_template"], status) == "online"
        assert offline is not None
        assert rendered(entity["availability_template"], offline) == "offline"
    assert json.loads(values.pop("north_alert")) == {
        "event_type": "new",
        "text": wire.event_text(event),
        "class": "glass_break",
        "bearing_true_deg": event.bearing_true_deg,
        "event_id": event.event_id,
    }
    assert values == {
        "north_last_alert": wire.event_text(event),
        "north_problem": "OFF",
        "north_mutes": "0",
        "north_temperature": "51.5",
    }
    assert len({entity["unique_id"] for entity in home.retained.values()}) == 5
    assert len({json.dumps(entity["device"]) for entity in home.retained.values()}) == 1


def test_a_broker_that_refuses_discovery_gets_alerts_over_one_connection(
    tmp_path: Path, metrics_port: int, event_log: EventLog, make_event: MakeEvent
) -> None:
    """As the shipped access list does until somebody lets the unit write there."""
    directory = tmp_path / "guarded"
    directory.mkdir()
    (directory / "acl").write_text("topic readwrite acoustic/#\n")
    # With an unlimited queue Mosquitto 2.0.11 hangs up on whoever was refused, instead of saying so.
    broker = Broker(
        directory, settings=("allow_anonymous true", f"acl_file {directory}/acl", "max_queued_messages 1000")
    )
    publisher = Publisher(
        tmp_path, broker.port, "[metrics]", f"port = {metrics_port}", "[home_assistant]", "enabled = true"
    )
    event_log.set_state("sensor", HEARING)
    broker.start()
    try:
        with Subscriber(broker.port) as subscriber:
            publisher.start()
            wait_until(lambda: all(publisher.log().count(f"{topic}: refused") for topic in documented()), "refused")
            event_log.append(make_event())
            wait_until(lambda: subscriber.on("alerts"), "alert")
            wait_until(lambda: scraped(metrics_port)["acoustic_outbox_messages"][("delivered",)] == 2, "settled")
            assert scraped(metrics_port)["acoustic_mqtt_connections_total"] == {(): 1.0}
            assert {status.payload["state"] for status in subscriber.on("status")} == {"online"}
    finally:
        publisher.clean()
        broker.stop()


def test_it_is_off_by_default_and_ids_are_what_home_assistant_takes() -> None:
    unit = UnitSettings(site="north.gate", node="mast.1")
    assert discovery(unit, HomeAssistantSettings(), UnitTopics(unit.site, unit.node)) == []
    for message in discovery(unit, HomeAssistantSettings(enabled=True), UnitTopics(unit.site, unit.node)):
        _, component, node, entity, last = str(message.topic).split("/")
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", node)
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", entity)
        assert last == "config"
        assert component in ("event", "sensor", "binary_sensor")
        assert message.retain


# --- texts ------------------------------------------------------------------------------------------------------------

GERMAN = """
schema = 1
anomaly = "{class} wie {nearest}"
elevation = ", {degrees}° hoch"
[event]
new = "{class} in {bearing}° rechtweisend (± {sigma}°){elevation}, {confidence} %"
update = "{class} jetzt in {bearing}°"
end = "{class} nicht mehr zu hören, zuletzt in {bearing}°"
[classes]
drone = "Drohne"
"""


@pytest.fixture
def german(tmp_path: Path) -> Path:
    path = tmp_path / "de.toml"
    path.write_text(GERMAN, encoding="utf-8")
    return path


def test_a_translated_file_is_what_the_unit_logs_and_says(tmp_path: Path, german: Path, make_event: MakeEvent) -> None:
    drone = make_event()
    ended: Event = make_event(class_label="power_tool", state="end")
    with EventLog(tmp_path / "events.db", texts=load_texts(str(german))) as log:
        log.append(drone)
        log.append(ended)
        log.append(make_event(event_id="01K0000000000000000000ANOM", class_label="anomaly", nearest=(("drone", 0.4),)))
        payloads = [json.loads(payload) for (payload,) in log._rows("SELECT payload FROM events ORDER BY id")]
    assert [payload["text"] for payload in payloads] == [
        "Drohne in 047° rechtweisend (± 4°), 12° hoch, 92 %",
        "power tool nicht mehr zu hören, zuletzt in 047°",
        "anomaly wie Drohne in 047° rechtweisend (± 4°), 12° hoch, 92 %",
    ]
    assert wire.event_from_json(json.dumps(payloads[0])) == drone


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ("{bearing}° rechtweisend", "{baering}°", '"new": {baering} is none of {class}, {bearing}'),
        ('end = "', 'ende = "', "end"),
        ("[classes]", "[classs]", 'classs: unknown key; did you mean "classes"?'),
        ("schema = 1", "schema = 2", "schema: input should be 1"),
        ("{confidence}", "{confidence:03d}", "{confidence} is none of"),
        ("{confidence}", "{", '[event]: "new": '),
        ("{nearest}", "{sigma}", "toml: anomaly: {sigma} is none of {class}, {nearest}"),
        ("{degrees}", "{elevation}", "toml: elevation: {elevation} is none of {degrees}"),
    ],
)
def test_a_mistake_of_a_translator_names_file_and_remedy(german: Path, was: str, becomes: str, says: str) -> None:
    german.write_text(GERMAN.replace(was, becomes, 1), encoding="utf-8")
    load_texts.cache_clear()
    with pytest.raises(ConfigError) as caught:
        load_texts(str(german))
    assert str(caught.value).startswith(f"{german}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_translation_of_before_elevation_was_told_is_as_good_as_ever(german: Path, make_event: MakeEvent) -> None:
    older = GERMAN.replace('elevation = ", {degrees}° hoch"\n', "").replace("{elevation}", "")
    german.write_text(older, encoding="utf-8")
    load_texts.cache_clear()
    said = wire.event_text(make_event(), load_texts(str(german)))
    assert said == "Drohne in 047° rechtweisend (± 4°), 92 %"


def test_a_language_that_is_not_there_leads_to_those_that_are() -> None:
    with pytest.raises(
        ConfigError, match=r"xx\.toml: no such file of texts; give a path to a \.toml file or one of: en"
    ):
        load_texts("xx")
