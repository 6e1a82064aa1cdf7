"""Prometheus text on localhost: what the unit knows of itself, for who watches many machines."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from appliance.errors import ConfigError

LOCALHOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One line of the documentation."""

    name: str
    """As Prometheus stores it."""
    labels: tuple[str, ...]
    """What tells its series apart."""
    meaning: str
    """A phrase, with the unit."""

    @property
    def is_counter(self) -> bool:
        """Counters end in _total, as Prometheus wants it."""
        return self.name.endswith("_total")


METRICS = (
    MetricSpec("acoustic_status", ("state",), "1 for the state that the unit publishes, 0 for the others"),
    MetricSpec("acoustic_hearing", (), "1 where the sensor hears"),
    MetricSpec("acoustic_hearing_check", (), "1 where the drone of the latest hearing check was heard"),
    MetricSpec("acoustic_sensor_age_seconds", (), "since the sensor last reported"),
    MetricSpec("acoustic_faults", (), "reasons for being degraded"),
    MetricSpec("acoustic_microphone_level_dbfs", ("microphone",), "level of a microphone, RMS, 0 is full scale"),
    MetricSpec("acoustic_frames_total", (), "label frames of 100 ms heard since the sensor started"),
    MetricSpec("acoustic_step_seconds", ("quantile",), "time that a label frame took, 0.5 and 0.99"),
    MetricSpec("acoustic_tracks", (), "confirmed tracks"),
    MetricSpec("acoustic_open_events", (), "events that have not ended"),
    MetricSpec("acoustic_tracks_rejected_total", ("class", "cause"), "tracks that never became an event"),
    MetricSpec("acoustic_audio_gaps_total", (), "times that audio was lost"),
    MetricSpec("acoustic_audio_lost_samples_total", (), "samples per microphone that never came"),
    MetricSpec("acoustic_clips_total", ("outcome",), "audio clips since the sensor started: written, failed"),
    MetricSpec("acoustic_temperature_celsius", (), "of the hottest zone"),
    MetricSpec("acoustic_clock_synchronised", (), "1 where UTC is disciplined"),
    MetricSpec(
        "acoustic_outbox_messages", ("outcome",), "messages in the event log: pending, delivered, superseded, expired"
    ),
    MetricSpec("acoustic_disk_free_bytes", (), "where the event log lies"),
    MetricSpec("acoustic_mqtt_connected", (), "1 while the broker has accepted the unit"),
    MetricSpec("acoustic_mqtt_connections_total", (), "connections since the publisher started"),
    MetricSpec("acoustic_mutes", (), "mutes that hold"),
    MetricSpec("acoustic_commands_total", (), "commands carried out, repeats included"),
    MetricSpec("acoustic_commands_rejected_total", ("cause",), "commands that were not, answered or ignored"),
)
"""Everything that may be there. What nobody has said yet is left out rather than made up."""

_Series = Mapping[tuple[str, ...], float]


class Metrics(Collector):
    """What was set last, in Prometheus' form."""

    def __init__(self) -> None:
        self._snapshot: dict[str, _Series] = {}

    def set(
        self,
        *,
        state: str,
        sensor: Mapping[str, Any] | None,
        health: Mapping[str, Any] | None,
        sensor_age_s: float | None,
        outbox: Mapping[str, int],
        disk_free_bytes: int | None,
        connected: bool,
        connections: int,
        mutes: int,
        accepted: int,
        rejected: Mapping[str, int],
    ) -> None:
        """Take a snapshot; whoever asks gets all of one moment. `sensor` and `health` are what the sensor said."""
        health = health or {}
        audio = _mapping(health.get("audio"))
        found: dict[str, object] = {
            "acoustic_status": {(name,): name == state for name in ("online", "degraded", "offline")},
            "acoustic_hearing": (sensor or {}).get("hearing"),
            "acoustic_hearing_check": _mapping(health.get("hearing_check")).get("heard"),
            "acoustic_sensor_age_seconds": sensor_age_s,
            "acoustic_faults": len(faults) if isinstance(faults := (sensor or {}).get("faults"), list) else None,
            "acoustic_microphone_level_dbfs": _numbered(health.get("levels_dbfs")),
            "acoustic_frames_total": health.get("frames"),
            "acoustic_step_seconds": {
                (quantile,): value / 1e3
                for quantile, key in (("0.5", "step_p50_ms"), ("0.99", "step_p99_ms"))
                if isinstance(value := health.get(key), int | float)
            },
            "acoustic_tracks": health.get("tracks"),
            "acoustic_open_events": health.get("open_events"),
            "acoustic_tracks_rejected_total": {
                (class_label, cause): count
                for class_label, causes in _mapping(health.get("rejected")).items()
                for cause, count in _mapping(causes).items()
            },
            "acoustic_audio_gaps_total": audio.get("gaps"),
            "acoustic_audio_lost_samples_total": audio.get("lost_samples"),
            "acoustic_clips_total": {(outcome,): n for outcome, n in _mapping(health.get("clips")).items()},
            "acoustic_temperature_celsius": health.get("temperature_c"),
            "acoustic_clock_synchronised": health["clock"] == "synchronised" if "clock" in health else None,
            "acoustic_outbox_messages": {(outcome,): count for outcome, count in outbox.items()},
            "acoustic_disk_free_bytes": disk_free_bytes,
            "acoustic_mqtt_connected": connected,
            "acoustic_mqtt_connections_total": connections,
            "acoustic_mutes": mutes,
            "acoustic_commands_total": accepted,
            "acoustic_commands_rejected_total": {(cause,): count for cause, count in rejected.items()},
        }
        self._snapshot = {name: _series(value) for name, value in found.items()}

    def collect(self) -> Iterator[Metric]:
        """One family per metric that has a value; called from the server's threads."""
        snapshot = self._snapshot
        for spec in METRICS:
            if not (series := snapshot.get(spec.name)):
                continue
            family = CounterMetricFamily if spec.is_counter else GaugeMetricFamily
            metric = family(spec.name, spec.meaning, labels=spec.labels)
            for labels, value in series.items():
                metric.add_metric(labels, value)
            yield metric


class MetricsServer:
    """Answers on localhost, and nowhere else, while it is open."""

    def __init__(self, metrics: Metrics, port: int) -> None:
        """Raises `ConfigError` where the port is taken."""
        registry = CollectorRegistry()
        registry.register(metrics)
        try:
            started: tuple[WSGIServer, Thread] = start_http_server(port, LOCALHOST, registry)
        except OSError as error:
            raise ConfigError(f"[metrics] port: {LOCALHOST}:{port}: {error.strerror}; give another port") from error
        self._server, self._thread = started

    def __enter__(self) -> "MetricsServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _numbered(values: object) -> dict[tuple[str, ...], object]:
    """By number of the microphone, counted from 1."""
    return {(str(number),): value for number, value in enumerate(values, start=1)} if isinstance(values, list) else {}


def _series(value: object) -> _Series:
    """Only numbers; what the sensor of another version said in another form is left out."""
    named = value if isinstance(value, dict) else {(): value}
    return {
        labels: float(each) for labels, each in named.items() if isinstance(each, int | float) and math.isfinite(each)
    }
