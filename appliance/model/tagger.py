"""The tagger: a second opinion on what each track sounds like, from the beam towards it over the last seconds.

The network names what it hears as it hears it, from all that there is at once. The tagger hears one track alone, for
longer and in finer bands, and learned from recordings as such beams would have them; DeepASA too has a classifier of
sounds beside it. The two err differently, so together they are right more often than either.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime

from appliance.dsp.steered import BEAM_BANDS, BeamHistory, relative_levels
from appliance.errors import ModelError
from appliance.geometry import ArrayGeometry
from appliance.types import FeatureFrame, Float32Array, Track

OPINION_WEIGHTS = (0.4, 0.8)
"""Of the tagger's opinion in the geometric mean of the two, before it heard anything and when it heard as much as it can: it
names a young track half as well as an old one, and the network does not get better with time."""
_LEAST_OTHER = 1e-3
_FIRST_FRAMES = frozenset({0, 1, 2, 4, 7})
_BEFORE_HOPS = 25
"""So much of what came before a track (half a second) counts as its own: it is there before it is found. What the beam heard
earlier was something else; a dog that had just barked made a dog of the drone that came after."""
_AGAIN_FRAMES = 5
"""A track is listened to in these frames of its life, and then twice a second: what has just begun has little to show yet."""


class TaggerNetwork:
    """One ONNX session: levels of a beam → probability of each class. It has no state; `load` is how to get one."""

    def __init__(self, session: onnxruntime.InferenceSession, classes: Sequence[str]) -> None:
        """Raises `ModelError` where the graph names other sounds, or hears in other bands."""
        told = session.get_modelmeta().custom_metadata_map
        sounds: list[str] = json.loads(told.get("sounds", "[]"))
        shape = session.get_inputs()[0].shape
        if missing := set(classes) - set(sounds):
            raise ModelError(f"it does not know {', '.join(sorted(missing))}")
        if shape[-1] != BEAM_BANDS:
            raise ModelError(f"it hears {shape[-1]} bands, this appliance gives {BEAM_BANDS}")
        self.hops = int(shape[-2])
        """Length of what it hears at once."""
        self._session = session
        self._columns = [sounds.index(label) for label in classes]

    @classmethod
    def load(cls, path: Path, classes: Sequence[str]) -> "TaggerNetwork":
        """Open a tagger and prove it by one inference. Raises `ModelError` that names file and remedy."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            network = cls(session, classes)
            network.probabilities(np.zeros((network.hops, BEAM_BANDS), np.float32))
        # ONNX Runtime raises a class of its own per status, all straight below Exception.
        except Exception as error:
            raise ModelError(
                f"{path}: cannot be run ({str(error).splitlines()[0]}); install the models again"
            ) from error
        return network

    def probabilities(self, levels: Float32Array) -> Float32Array:
        """`relative_levels` (hops, bands) of a beam → (classes,), what is missing to 1 being other sounds."""
        (said,) = self._session.run(["probabilities"], {"levels": levels[None, None]})
        named: Float32Array = said[0, self._columns]
        return named


@dataclass(slots=True)
class _Heard:
    """What came from a track so far, and what was last thought of it."""

    beam: Float32Array
    """(hops, bands) power, each hop's from where the track was then; no more hops than are heard at once."""
    probabilities: Float32Array
    """(classes,)."""
    frames: int = 0
    """In which it was heard, after the first."""


class ObjectTagger:
    """Listens to every track and mends its class probabilities. State: the last half second, and what was heard of each track."""

    def __init__(self, network: TaggerNetwork, geometry: ArrayGeometry) -> None:
        self._network = network
        self._history = BeamHistory(geometry, _BEFORE_HOPS)
        self._tracks: dict[int, _Heard] = {}

    def tag(self, hops: Sequence[FeatureFrame], tracks: Sequence[Track], *, after_gap: bool = False) -> list[Track]:
        """The same tracks after a label frame of these hops, with what both think of them as `class_probs`.

        No opinion is formed of a track while it coasts: what the beam hears then is something else.
        """
        if after_gap:
            self._history.reset()
            self._tracks = {}
        self._history.push(hops)
        known, self._tracks = self._tracks, {}
        return [self._tagged(track, known.get(track.track_id)) for track in tracks]

    def _tagged(self, track: Track, heard: _Heard | None) -> Track:
        if heard is None:
            beam = self._powers(track, _BEFORE_HOPS)
            heard = _Heard(beam, self._named(beam))
        else:
            heard.beam = np.concatenate([heard.beam, self._powers(track)])[-self._network.hops :]
            heard.frames += track.updated
            if track.updated and (heard.frames in _FIRST_FRAMES or heard.frames % _AGAIN_FRAMES == 0):
                heard.probabilities = self._named(heard.beam)
        self._tracks[track.track_id] = heard
        share = len(heard.beam) / self._network.hops
        return replace(track, class_probs=joined(track.class_probs, heard.probabilities, share))

    def _powers(self, track: Track, before: int = 0) -> Float32Array:
        return self._history.powers(track.doa.azimuth_deg, track.doa.elevation_deg, before)

    def _named(self, beam: Float32Array) -> Float32Array:
        """The first hop stands for what came before it."""
        missing = self._network.hops - len(beam)
        return self._network.probabilities(relative_levels(np.pad(beam, ((missing, 0), (0, 0)), "edge")))


def joined(network: Float32Array, opinion: Float32Array, heard: float) -> Float32Array:
    """Two probabilities of each class (classes,) as one: their weighted geometric mean, made a probability again.

    What is missing to 1 is another sound, and has its part in that. `heard` is the share of what the tagger can hear at once.
    """
    none, full = OPINION_WEIGHTS
    weight = none + (full - none) * heard
    mean = _with_others(network) ** (1.0 - weight) * _with_others(opinion) ** weight
    probabilities: Float32Array = (mean[:-1] / mean.sum()).astype(np.float32)
    return probabilities


def _with_others(probabilities: Float32Array) -> Float32Array:
    return np.append(probabilities, max(1.0 - float(probabilities.sum()), _LEAST_OTHER))
