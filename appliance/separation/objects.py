"""Which sound is whose: the masks of the network's slots, gathered per track. Identity begins at the track, not the slot."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from appliance.dsp.features import BAND_EDGES
from appliance.dsp.stft import BINS
from appliance.errors import ModelError
from appliance.types import Event, Float32Array, SceneFrame, Track

_AROUND_FRAMES = 20
"""So long an object may have sounded before it was found, and may go on after it was heard last: 2 s."""


def bin_gains(mask: Float32Array) -> Float32Array:
    """(..., bands) → (..., bins): each bin has the gain of its band, and 0 where there is no band."""
    gains = np.zeros((*mask.shape[:-1], BINS), np.float32)
    gains[..., BAND_EDGES[0] : BAND_EDGES[-1]] = np.repeat(mask, np.diff(BAND_EDGES), axis=-1)
    return gains


@dataclass(frozen=True, slots=True)
class HeardMoment:
    """An object in one label frame."""

    azimuth_deg: float
    """Of the track, in the array frame; it goes on while the track coasts."""
    elevation_deg: float
    """Of a planar array how far above its plane, or as far below; 0 where nothing tells."""
    mask: Float32Array | None
    """(hops, bands) share of the sound that is the object's; None where the network did not report it."""
    direct_mask: Float32Array | None = None
    """(hops, bands) of that the direct sound alone, nowhere more; None where it was not heard or is not told apart."""


@dataclass(slots=True)
class HeardObject:
    """One track, from 2 s before to 2 s after what was heard of it, as far as the recording goes."""

    track_id: int
    """Its identity."""
    first_frame: int
    """Label frame of the recording that `moments` begins with."""
    class_label: str
    """Of its event, or the most probable class where it was none."""
    elevation_valid: bool
    """False where the array cannot tell above from below."""
    event_ids: list[str] = field(default_factory=list)
    """Of the events it became."""
    moments: list[HeardMoment] = field(default_factory=list)
    """One per label frame."""

    @property
    def reverb_apart(self) -> bool:
        """True where the model tells its direct from its reverberant sound."""
        return any(moment.direct_mask is not None for moment in self.moments)


class ObjectMasks:
    """Gathers a run of the pipeline, label frame by label frame from the start of a recording without gaps."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._frames = 0
        self._objects: dict[int, HeardObject] = {}
        self._confirmed: set[int] = set()
        self._sounding: dict[int, int] = {}
        self._surest: dict[int, float] = {}

    def add(self, scene: SceneFrame, tracks: Sequence[Track], events: Sequence[Event]) -> None:
        """The next label frame. Raises `ModelError` where the model gives no masks."""
        for track in tracks:
            if track.status != "deleted":
                self._add_track(scene, track)
        for event in events:
            heard = self._objects.get(event.track_id)
            if heard is not None and event.event_id not in heard.event_ids:
                heard.event_ids.append(event.event_id)
                heard.class_label = event.class_label
        self._frames += 1

    def objects(self) -> list[HeardObject]:
        """Every track that was confirmed, oldest first; but not what the network never reported, unless it became an event."""
        return [
            self._with_surroundings(heard)
            for track_id, heard in sorted(self._objects.items())
            if track_id in self._confirmed
            and (heard.event_ids or any(moment.mask is not None for moment in heard.moments))
        ]

    def _with_surroundings(self, heard: HeardObject) -> HeardObject:
        moments = heard.moments[: self._sounding[heard.track_id]]
        before = min(_AROUND_FRAMES, heard.first_frame)
        after = min(_AROUND_FRAMES, self._frames - heard.first_frame - len(moments))
        silent = [replace(moment, mask=None, direct_mask=None) for moment in (moments[0], moments[-1])]
        around = [silent[0]] * before + moments + [silent[1]] * after
        return replace(heard, first_frame=heard.first_frame - before, moments=around)

    def _add_track(self, scene: SceneFrame, track: Track) -> None:
        if track.status == "confirmed":
            self._confirmed.add(track.track_id)
        best = int(np.argmax(track.class_probs))
        if track.track_id not in self._objects:
            self._objects[track.track_id] = HeardObject(
                track.track_id, self._frames, self._classes[best], track.doa.elevation_valid
            )
        heard = self._objects[track.track_id]
        if not heard.event_ids and track.class_probs[best] > self._surest.get(track.track_id, 0.0):
            heard.class_label = self._classes[best]
            self._surest[track.track_id] = float(track.class_probs[best])
        share: Float32Array | None = None
        direct: Float32Array | None = None
        for slot in scene.objects:
            if slot.slot in track.slots:
                if slot.mask is None:
                    raise ModelError("this model gives no masks, so it separates nothing; name one exported with them")
                share = slot.mask if share is None else share + slot.mask
                if slot.direct_mask is not None:
                    # A quantised model may give a little more direct sound than there is sound.
                    part = np.minimum(slot.direct_mask, slot.mask)
                    direct = part if direct is None else direct + part
        heard.moments.append(HeardMoment(track.doa.azimuth_deg, track.height_deg or 0.0, share, direct))
        if track.updated:
            self._sounding[track.track_id] = len(heard.moments)
