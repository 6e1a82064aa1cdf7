"""Wires microphones, stages and event log together, and keeps the books straight at both ends."""

import contextlib
import dataclasses
import logging
import threading
from pathlib import Path
from typing import Any

from appliance import __version__
from appliance.audio.live import LiveSource
from appliance.audio.open import capture_spec, open_capture
from appliance.audio.source import AudioSource
from appliance.audio.spec import CaptureSpec
from appliance.config import SiteSettings
from appliance.daemon.clips import ClipSink
from appliance.daemon.controls import Controls, MutingSink
from appliance.daemon.cut_off import settle_books
from appliance.daemon.hearing import HearingCheck
from appliance.daemon.heartbeat import Heartbeat
from appliance.daemon.live_tracks import LiveTracks
from appliance.daemon.microphones import MicrophoneWatch
from appliance.daemon.recorder import Recorder, bits_for
from appliance.daemon.selftest import checks
from appliance.daemon.sink import PatientSink
from appliance.daemon.site_memory import MemoryKeeper
from appliance.daemon.tap import TappedSource
from appliance.errors import ApplianceError, DeviceError, StoreError
from appliance.events import policies_for, random_ulids
from appliance.geometry import ArrayGeometry
from appliance.model.scene import SceneModel
from appliance.pipeline import PipelineSummary, Stages, run
from appliance.stages import build_stages, load_array_and_model, texts_of
from appliance.store import EventLog
from appliance.store.ladder import has_room_for_clips
from appliance.store.live import LiveSender
from appliance.telemetry import clock_quality

_LOG = logging.getLogger(__name__)

_STOP_POLL_S = 0.2
# Shorter than the audio that capture can hold: a locked event log must not make the unit deaf, and the sink tries again.
_BUSY_TIMEOUT_S = 1.0


def run_sensor(settings: SiteSettings, stop: threading.Event, *, site_file: Path | None = None) -> None:
    """Capture, understand and log until `stop` is set.

    Raises `ConfigError` or `ModelError` where a file must be mended, `DeviceError` once the device is given up,
    `StoreError` where the event log cannot be opened or events are lost at the end. Whatever ends the run is told to
    the publisher first, so that the unit says `degraded` and why.
    """
    texts = texts_of(settings, site_file)
    with EventLog(
        settings.store.path,
        replace_corrupt=True,
        hash_chain=settings.store.hash_chain,
        texts=texts,
        busy_timeout_s=_BUSY_TIMEOUT_S,
    ) as log:
        try:
            settle_books(log)
            geometry, model = load_array_and_model(settings, site_file)
            keeper = MemoryKeeper(settings, model, site_file) if settings.novelty.enabled else None
            stages = build_stages(
                settings,
                geometry,
                model,
                ulids=random_ulids(),
                clock=clock_quality,
                site_file=site_file,
                memory=keeper.memory if keeper else None,
            )
            capture = capture_spec(settings.capture, geometry, site_file)
            log.set_state("config", _description(settings, geometry, model, capture))
            microphones = MicrophoneWatch(geometry)
            hearing = HearingCheck(
                settings,
                geometry,
                model.classes,
                lambda: controls.thresholds,
                microphones.look_at_wiring,
                site_file=site_file,
            )
            controls = Controls(
                settings.store.path,
                settings.unit,
                stages.policy,
                lambda: [*checks(settings, log, hearing)],
                stop.set,
                log.mended,
            )
            recorder = Recorder(
                log.path,
                settings.clips,
                mics=geometry.mics,
                bits=bits_for(capture.sample_format),
                has_room=lambda: has_room_for_clips(log.path, settings.retention),
            )
            with controls, recorder, hearing, open_capture(settings.capture, geometry, site_file) as source:
                beside = Beside(controls, recorder, microphones, hearing, keeper)
                summary = serve(settings, source, stages, log, stop, beside)
        except ApplianceError as error:
            _farewell(log, str(error))
            raise
        _farewell(log, "the sensor was stopped")
    _LOG.info("stopped after %.0f s of audio with %d gaps, %d events", summary.audio_s, summary.gaps, summary.events)


@dataclasses.dataclass(frozen=True, slots=True)
class Beside:
    """What runs beside the pipeline, each in a thread of its own where it may have to wait."""

    controls: Controls
    """What operators ask for."""
    recorder: Recorder
    """Audio clips."""
    microphones: MicrophoneWatch
    """Whether each of them is one."""
    hearing: HearingCheck
    """Whether a drone would be heard."""
    keeper: MemoryKeeper | None = None
    """What the site sounds like, where [novelty] is enabled."""

    def faults(self) -> list[str]:
        """Why the unit does not do all of its work."""
        learned = self.keeper.faults if self.keeper else []
        return [
            *self.controls.faults,
            *self.recorder.faults,
            *self.microphones.faults,
            *self.hearing.faults,
            *learned,
        ]


def serve(
    settings: SiteSettings,
    source: AudioSource,
    stages: Stages,
    log: EventLog,
    stop: threading.Event,
    beside: Beside,
) -> PipelineSummary:
    """Run the pipeline on `source` until it ends or `stop` is set, with heartbeat, watchdog, clips and a patient sink."""
    controls, recorder, keeper = beside.controls, beside.recorder, beside.keeper
    sink = PatientSink(log)
    over = threading.Event()
    live = LiveSender(log.path)
    tracks = LiveTracks(settings, stages.model.classes, live)

    def close_when_stopped() -> None:
        while not over.is_set() and not stop.wait(_STOP_POLL_S):
            pass
        if stop.is_set():
            try:
                source.close()
            except DeviceError as error:
                _LOG.error("%s", error)

    closer = threading.Thread(target=close_when_stopped, name="stop", daemon=True)
    with Heartbeat(
        log,
        lambda: [*log.losses, *([sink.fault] if sink.fault else []), *beside.faults()],
        lambda: _details(source, stages, beside),
        lambda: beside.microphones.deaf,
    ) as heartbeat:
        closer.start()
        try:
            # Whoever watches the microphones has to hear them as they are; clips are kept as the pipeline heard them.
            microphones = TappedSource(source, [beside.microphones], beside.microphones.mended)
            return run(
                TappedSource(microphones, [recorder]),
                stages,
                MutingSink(ClipSink(sink, settings.clips, recorder), controls),
                observers=(sink, controls, tracks, beside.hearing, heartbeat, *([keeper] if keeper else [])),
            )
        finally:
            over.set()
            closer.join()
            live.close()


def _farewell(log: EventLog, why: str) -> None:
    # What ended the run may be the event log itself.
    with contextlib.suppress(StoreError):
        log.set_state("sensor", {"hearing": False, "faults": [why]})


def _details(source: AudioSource, stages: Stages, beside: Beside) -> dict[str, Any]:
    rejected: dict[str, dict[str, int]] = {}
    for (class_label, cause), count in stages.policy.rejected.copy().items():
        rejected.setdefault(class_label, {})[cause] = count
    lost = dataclasses.asdict(source.ledger) if isinstance(source, LiveSource) else {}
    return {
        "open_events": len(stages.policy.open_events),
        "rejected": rejected,
        "audio": lost,
        "clips": {state: beside.recorder.counts[state] for state in ("written", "failed")},
        "hearing_check": beside.hearing.told,
        **({"novelty": beside.keeper.state()} if beside.keeper else {}),
    }


def _description(
    settings: SiteSettings, geometry: ArrayGeometry, model: SceneModel, capture: CaptureSpec
) -> dict[str, Any]:
    """What the unit really runs, where the site file leaves it to others too; no [mqtt], which may name secrets."""
    policies = policies_for(model.classes, model.thresholds, settings.policy)
    return {
        "version": __version__,
        "model": {
            "name": model.meta.name,
            "sha256": model.meta.sha256,
            "precision": model.meta.precision,
            "provider": model.provider,
            "classes": list(model.classes),
            "tagger": model.meta.tagger.model_dump() if model.meta.tagger else None,
        },
        "array": {"name": geometry.name, "mics": geometry.mics, "planar": geometry.is_planar},
        "policy": {name: policy.model_dump(mode="json") for name, policy in policies.items()},
        "capture": {"backend": settings.capture.backend, **dataclasses.asdict(capture)},
        "tracking": settings.tracking.model_dump()
        | {"detection_activity": settings.tracking.detection_activity or model.detection_activity},
        **settings.model_dump(mode="json", include={"mount", "clips", "hearing", "live_tracks", "novelty"}),
    }
