"""`appliance replay`: a recording through the pipeline of the field."""

import contextlib
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from appliance.audio.replay import ReplaySource
from appliance.cli.replay_output import DcaseCsv, EventLines
from appliance.config import SiteSettings, load_site
from appliance.errors import ConfigError, ModelError, RecordingError
from appliance.events import seeded_ulids
from appliance.geometry import ArrayGeometry
from appliance.model.scene import SceneModel
from appliance.pipeline import EventSink, Moment, Observer, run
from appliance.separation.objects import ObjectMasks
from appliance.separation.stems import write_stems
from appliance.stages import build_stages, load_array_and_model, texts_of
from appliance.store import EventLog
from appliance.types import Event

_HASH_BYTES = 1 << 20


def replay(
    file: Annotated[Path, typer.Argument(help="Recording (WAV or FLAC) with the array's microphones as channels.")],
    array: Annotated[
        str | None,
        typer.Option(help="Array it was recorded with: a shipped name or an array file.", metavar="NAME|FILE"),
    ] = None,
    site: Annotated[
        Path | None, typer.Option(help="Site file: array, mount, tracking, policy, model, texts.", metavar="FILE")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Shipped model or .onnx file, instead of the site's.", metavar="NAME|FILE")
    ] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="At the pace of the recording; else flat out.")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object per state change, with offset_s.")] = False,
    dcase_csv: Annotated[
        Path | None,
        typer.Option(help="Write objects per 100 ms: frame,class index,source index,azimuth,elevation.", metavar="OUT"),
    ] = None,
    db: Annotated[Path | None, typer.Option(help="Log events to this SQLite file too.", metavar="FILE")] = None,
    stems: Annotated[
        Path | None,
        typer.Option(
            help="Write the sound of each object (mono, and its share of the FOA) and the residual as WAV files, "
            "with stems.json; direct and reverberant sound apart where the model tells them apart.",
            metavar="FOLDER",
        ),
    ] = None,
) -> None:
    """Hear a recording as the unit would, and say what was heard: one line per state change of an event.

    Deterministic: the same file, settings and model give the same output, ids included. Times count from 1970.
    """
    settings = load_site(site) if site else SiteSettings()
    if array is None and site is None:
        raise ConfigError("--array: missing; name the array of the recording (see `appliance arrays`), or give --site")
    texts = texts_of(settings, site)
    geometry, scene_model = load_array_and_model(settings, site, array=array, model=model)
    if stems and not scene_model.gives_masks:
        raise ModelError(f"--stems: model {scene_model.meta.name} gives no masks; name one that was exported with them")
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(ReplaySource(file, geometry, realtime=realtime))
        if source.shortcoming:
            typer.echo(source.shortcoming, err=True)
        ulids = seeded_ulids(_seed(file, settings, geometry, scene_model))
        stages = build_stages(settings, geometry, scene_model, ulids=ulids, clock=lambda: "replay", site_file=site)
        sink: EventSink = _Once(stack.enter_context(EventLog(db, texts=texts))) if db else []
        observers: list[Observer] = [EventLines(sys.stdout, texts, as_json=jsonl)]
        if dcase_csv:
            try:
                out = stack.enter_context(dcase_csv.open("w", encoding="ascii", newline=""))
            except OSError as error:
                raise ConfigError(
                    f"{dcase_csv}: --dcase-csv: cannot be written ({error.strerror}); give another path"
                ) from None
            observers.append(DcaseCsv(out, scene_model.classes, scene_model.calibration))
        masks = ObjectMasks(scene_model.classes)
        if stems:
            observers.append(_Gather(masks))
        summary = run(source, stages, sink, observers)
    if stems:
        # A second time over the recording: only now is it known which tracks were worth a file.
        with ReplaySource(file, geometry) as source:
            blocks, model_name = source.blocks(), scene_model.meta.name
            manifest = write_stems(stems, blocks, geometry, masks.objects(), recording=file.name, model=model_name)
        typer.echo(f"{stems}: {len(manifest.objects)} objects and the residual", err=True)
    if not jsonl:
        pace = f", {summary.audio_s / summary.busy_s:.1f} times as fast as it was recorded" if summary.busy_s else ""
        typer.echo(f"{summary.audio_s:.1f} s heard: {summary.events} events, {summary.alerts} alerts{pace}", err=True)


class _Gather:
    """An observer that keeps whose mask is whose."""

    def __init__(self, masks: ObjectMasks) -> None:
        self._masks = masks

    def frame(self, moment: Moment) -> None:
        self._masks.add(moment.scene, moment.tracks, moment.events)

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        """What has no frame has no sound."""


class _Once:
    """Logs a replay to a file that may hold it already: the same replay has the same ids."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def append(self, event: Event) -> None:
        if all(known.sequence != event.sequence for known in self._log.read(event_id=event.event_id)):
            self._log.append(event)


def _seed(file: Path, settings: SiteSettings, geometry: ArrayGeometry, model: SceneModel) -> bytes:
    """What the outcome depends on, so that other settings give other events."""
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(_HASH_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise RecordingError(f"{file}: {error.strerror}; give a WAV or FLAC file") from None
    settings_json = settings.model_dump_json(include={"unit", "mount", "tracking", "policy"})
    heard_by = (model.meta.sha256, model.meta.tagger.sha256 if model.meta.tagger else "")
    for part in (settings_json, str(geometry.positions_m.tolist()), str(geometry.alsa_channels), *heard_by):
        digest.update(part.encode())
    return digest.digest()
