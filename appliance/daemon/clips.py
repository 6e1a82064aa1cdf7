"""Which events have a clip, and what became of those that a sensor which was cut off had promised."""

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path

import soundfile

from appliance.audio.excerpt import read_back
from appliance.config import ClipSettings
from appliance.daemon.outcomes import failed, written
from appliance.daemon.recorder import Recorder
from appliance.pipeline import EventSink
from appliance.store.clips import ClipLog, clips_folder, remove_parts
from appliance.types import Clip, Event

_LOG = logging.getLogger(__name__)

_CUT_OFF = "the sensor was cut off before it was written"


class ClipSink:
    """Between muting and event log: each event that is to have a clip bears its name, from its first message on."""

    def __init__(self, sink: EventSink, settings: ClipSettings, recorder: Recorder) -> None:
        self._sink = sink
        self._settings = settings
        self._recorder = recorder

    def append(self, event: Event) -> None:
        """Pass the event on, with what is known of its clip; one that becomes an alert only later has its clip from then on."""
        wanted = self._settings.is_on and event.severity in self._settings.severities and event.state != "end"
        if wanted and self._recorder.told(event.event_id) is None:
            self._recorder.begin(event)
        if (clip := self._recorder.told(event.event_id)) is not None:
            event = with_clip(event, clip)
        self._sink.append(event)
        if event.state == "end":
            self._recorder.forget(event.event_id)


def with_clip(event: Event, clip: Clip) -> Event:
    """The event with what is known of its clip."""
    return dataclasses.replace(event, clip=clip.name, clip_state=clip.state, clip_sha256=clip.sha256 or None)


def settle_cut_off(log_path: Path) -> None:
    """Settle the clips that an earlier run of the sensor promised: those whose file is whole are there, others failed.

    Raises `StoreError`.
    """
    try:
        remove_parts(log_path)
    except OSError as error:
        _LOG.warning("%s: %s; give the appliance's user its folder", error.filename, error.strerror)
    with ClipLog(log_path) as log:
        for clip in _cut_off(log_path, log):
            log.settle(clip)


def _cut_off(log_path: Path, log: ClipLog) -> Iterator[Clip]:
    for clip in log.recording():
        file = clips_folder(log_path) / clip.name
        try:
            excerpt = read_back(file)
        except FileNotFoundError:
            yield failed(clip, _CUT_OFF)
        except (OSError, ValueError, TypeError, soundfile.LibsndfileError) as error:
            _LOG.warning("%s: %s", file, error)
            yield failed(clip, _CUT_OFF)
        else:
            yield written(clip, excerpt)
