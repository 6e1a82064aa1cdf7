"""What `appliance replay` writes: lines for people, JSON lines, and the DCASE metadata format."""

import json
from collections.abc import Sequence
from typing import TextIO

from appliance import wire
from appliance.angles import wrap_azimuth_deg
from appliance.events.confidence import Calibration, is_listed, likeliest
from appliance.pipeline import Moment
from appliance.texts import Texts
from appliance.types import Event

_LABEL_FRAME_S = 0.1


class EventLines:
    """An observer that writes one line per state change, in the words of `texts`: for people, or as JSON.

    `offset_s` in the JSON is how much of the recording had to be heard before the line could be sent.
    """

    def __init__(self, out: TextIO, texts: Texts, *, as_json: bool) -> None:
        self._out, self._texts = out, texts
        self._as_json = as_json

    def frame(self, moment: Moment) -> None:
        """Write the state changes of the frame."""
        self._write(moment.events, moment.stream_s)

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        """Write what ended with the recording."""
        self._write(events, stream_s)

    def _write(self, events: Sequence[Event], stream_s: float) -> None:
        for event in events:
            if self._as_json:
                message = wire.event_to_dict(event, self._texts) | {"offset_s": round(stream_s, 4)}
                line = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            else:
                text = wire.event_text(event, self._texts)
                line = f"{stream_s:8.1f} s  {event.state:<6}  {event.severity:<9}  {text}  {event.event_id}"
            self._out.write(line + "\n")
        self._out.flush()


class DcaseCsv:
    """An observer that writes `frame,class index,source index,azimuth,elevation` per 100-ms frame and object.

    An object is a track that `events.confidence.is_listed`, of its best class. Source index is the track; angles are whole
    degrees, in the array frame.
    """

    def __init__(self, out: TextIO, classes: Sequence[str], calibration: Calibration) -> None:
        self._out, self._classes, self._calibration = out, classes, calibration

    def frame(self, moment: Moment) -> None:
        """Write the objects of the frame; frames count from 0 at the start of the recording."""
        index = round(moment.scene.end_s / _LABEL_FRAME_S) - 1
        for track in moment.tracks:
            best, said = likeliest(track, self._classes, self._calibration)
            if is_listed(track, said):
                azimuth_deg = round(wrap_azimuth_deg(round(track.doa.azimuth_deg)))
                self._out.write(f"{index},{best},{track.track_id},{azimuth_deg},{round(track.doa.elevation_deg)}\n")

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        """Nothing more is written."""
