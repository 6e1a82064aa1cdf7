"""`appliance demo`: a recording with known truth through the whole appliance, down to an MQTT subscriber."""

import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from appliance.audio.replay import ReplaySource
from appliance.cli.demo_broker import BrokerKind, installed_broker, loopback_broker
from appliance.cli.demo_truth import NEAR_DEG, SentEvent, TrueObject, false_events, findings, read_truth
from appliance.cli.live_view import LiveView
from appliance.config import MountSettings, MqttSettings, SiteSettings, StoreSettings, UnitSettings
from appliance.events import seeded_ulids
from appliance.firmware import FIRMWARE_DIR
from appliance.pipeline import Moment, run
from appliance.publisher import run_publisher
from appliance.stages import build_stages, load_array_and_model
from appliance.store import EventLog
from appliance.types import Event

DEMO_DIR = FIRMWARE_DIR / "demo"
_DELIVERY_S = 30.0


def demo(
    realtime: Annotated[bool, typer.Option("--realtime", help="At the pace of real time; else flat out.")] = False,
    broker: Annotated[
        str | None, typer.Option(help="mosquitto or amqtt; empty: Mosquitto where installed.", metavar="KIND")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Another model than the shipped one.", metavar="NAME|FILE")] = None,
    db: Annotated[Path | None, typer.Option(help="Keep the event log here (a new file).", metavar="FILE")] = None,
) -> None:
    """Replay the demonstration recording: live view, event log, MQTT, and a verdict against the truth.

    Ends with status 1 where an object was missed, came as more than one event, its bearing is off by more than 15
    degrees, an alert was false, or an event did not reach the subscriber.
    """
    if broker not in (None, "mosquitto", "amqtt"):
        raise typer.BadParameter(f"{broker}: give mosquitto or amqtt", param_hint="--broker")
    kind: BrokerKind = installed_broker() if broker is None else "mosquitto" if broker == "mosquitto" else "amqtt"
    console = Console()
    array, truths = read_truth(DEMO_DIR / "fence.json")
    with tempfile.TemporaryDirectory(prefix="appliance-demo-") as folder, contextlib.ExitStack() as stack:
        port = stack.enter_context(loopback_broker(kind, Path(folder)))
        settings = SiteSettings(
            unit=UnitSettings(site="demo", node="fence"),
            array=array,
            mount=MountSettings(heading_true_deg=90.0),
            store=StoreSettings(path=db or Path(folder) / "events.db"),
            mqtt=MqttSettings(host="127.0.0.1", port=port, protocol="5.0" if kind == "mosquitto" else "3.1.1"),
        )
        received = stack.enter_context(_subscriber(port))
        log = stack.enter_context(EventLog(settings.store.path))
        stack.enter_context(_publisher(settings))
        sent = _hear(settings, log, console, model, realtime=realtime)
        _await_delivery(sent, received)
    console.print(f"\n[bold]What a subscriber received[/] (broker: {kind})")
    for topic, payload in received:
        if topic.endswith("/alerts"):
            console.print(f"  alert  {payload['state']:<6} {escape(payload['text'])}")
    delivered = {(payload["event_id"], payload["sequence"]) for topic, payload in received if "/events/" in topic}
    missing = {(event.event_id, event.sequence) for _, event in sent} - delivered
    console.print(f"  {len(delivered)} of {len(delivered) + len(missing)} event states arrived\n")
    if not _verdict(console, truths, sent) or missing:
        raise typer.Exit(1)


def _hear(
    settings: SiteSettings, log: EventLog, console: Console, model: str | None, *, realtime: bool
) -> list[SentEvent]:
    """Replay through the pipeline of the field; what was sent, and when."""
    geometry, scene_model = load_array_and_model(settings, model=model)
    stages = build_stages(settings, geometry, scene_model, ulids=seeded_ulids(b"demo"), clock=lambda: "replay")
    keeper = _Keeper()
    with (
        # The present as start: the broker's clock decides which alerts have expired.
        ReplaySource(DEMO_DIR / "fence.flac", geometry, realtime=realtime, start_utc_ns=time.time_ns()) as source,
        LiveView("demo", scene_model.classes, settings, duration_s=source.duration_s, console=console) as view,
    ):
        run(source, stages, log, [keeper, view])
    return keeper.sent


class _Keeper:
    """An observer that keeps every event with its stream time."""

    def __init__(self) -> None:
        self.sent: list[SentEvent] = []

    def frame(self, moment: Moment) -> None:
        self.sent += [(moment.stream_s, event) for event in moment.events]

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        self.sent += [(stream_s, event) for event in events]


@contextlib.contextmanager
def _publisher(settings: SiteSettings) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=run_publisher, args=(settings, stop), name="publisher")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def _subscriber(port: int) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """A command centre of one: everything below acoustic/v1 as (topic, payload)."""
    received: list[tuple[str, dict[str, Any]]] = []
    subscribed = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, client_id="demo-subscriber")

    def on_message(_client: Client, _userdata: object, message: MQTTMessage) -> None:
        received.append((message.topic, json.loads(message.payload)))

    def on_subscribe(*_: object) -> None:
        subscribed.set()

    client.on_subscribe = on_subscribe
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.subscribe("acoustic/v1/#", qos=1)
    client.loop_start()
    subscribed.wait(_DELIVERY_S)
    try:
        yield received
    finally:
        client.disconnect()
        client.loop_stop()


def _await_delivery(sent: list[SentEvent], received: list[tuple[str, dict[str, Any]]]) -> None:
    """Wait until the subscriber has every state, as long as there is hope."""
    wanted = {(event.event_id, event.sequence) for _, event in sent}
    deadline_s = time.monotonic() + _DELIVERY_S
    while time.monotonic() < deadline_s:
        if wanted <= {
            (payload.get("event_id"), payload.get("sequence")) for topic, payload in received if "/events/" in topic
        }:
            return
        time.sleep(0.1)


def _verdict(console: Console, truths: list[TrueObject], sent: list[SentEvent]) -> bool:
    """Print how each true object fared; True where all did and no alert was false."""
    table = Table(
        "object", "from", "to", "events", "heard after", "bearing error", "verdict", title="Against the truth"
    )
    results = findings(truths, sent)
    for found in results:
        table.add_row(
            found.truth.label,
            f"{found.truth.start_s:.1f} s",
            f"{found.truth.end_s:.1f} s",
            str(found.events),
            "–" if found.latency_s is None else f"{found.latency_s:.1f} s",
            "–" if found.bearing_error_deg is None else f"{found.bearing_error_deg:.1f}°",
            "[green]right[/]" if found.passed else "[red]WRONG[/]",
        )
    console.print(table)
    wrong = false_events(truths, sent)
    for sent_s, event in wrong:
        console.print(
            f"  false {event.severity} at {sent_s:.1f} s: {escape(event.class_label)} ({event.confidence:.0%})"
        )
    passed = all(found.passed for found in results) and not any(event.severity == "alert" for _, event in wrong)
    console.print(
        f"[bold green]passed[/]: every object heard once, within {NEAR_DEG:.0f}°, no false alert"
        if passed
        else "[bold red]failed[/]"
    )
    return passed
