"""The tagger: a second opinion on what each track sounds like, from the beam towards it over the last seconds.

The network names what it hears as it hears it, from all that there is at once. The tagger hears one track alone, for
longer and in finer bands, and learned from recordings as such beams would have them; DeepASA too has a classifier of
sounds beside it. The two err differently, so together they are right more often than either.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime

from appliance.angles import wrap_azimuth_deg
from appliance.dsp.steered import EARS, BeamHistory, Bearing
from appliance.errors import ModelError
from appliance.geometry import ArrayGeometry
from appliance.types import FeatureFrame, Float32Array, Track

OPINION_WEIGHTS = (0.3, 0.7)
"""Of the tagger's opinion in the geometric mean of the two, before it heard anything and when it heard as much as it can: it
names a young track half as well as an old one, and the network does not get better with time."""
_TEMPERED = 0.5
"""Power of that mean: both are surer than they are right, and where all is .99, no threshold tells one from another."""
_LEAST_OTHER = 1e-3
_FIRST_FRAMES = frozenset({0, 1, 2, 4, 7})
_BEFORE_S = 0.5
"""So much of what came before a track counts as its own: it is there before it is found. What the beam heard
earlier was something else; a dog that had just barked made a dog of the drone that came after."""
_AGAIN_FRAMES = 5
"""A track is named in these frames of its life, and then twice a second: what has just begun has little to show yet."""
_APART_DEG = 25.0
"""In azimuth: nearer to each other beams hear nearly the same."""


class TaggerNetwork:
    """One ONNX session: levels of a beam, by every ear → probability of each sound. It has no state; `load` is how to get one."""

    def __init__(self, session: onnxruntime.InferenceSession, classes: Sequence[str]) -> None:
        """Raises `ModelError` where the graph names other sounds, or hears with other ears."""
        told = session.get_modelmeta().custom_metadata_map
        sounds: list[str] = json.loads(told.get("sounds", "[]"))
        if missing := set(classes) - set(sounds):
            raise ModelError(f"it does not know {', '.join(sorted(missing))}")
        shapes = {each.name: tuple(each.shape[2:]) for each in session.get_inputs()}
        own = {name: (ear.hops, ear.bands) for name, ear in EARS.items()}
        if shapes != own:
            raise ModelError(f"it hears {shapes}, this appliance gives {own} hops and bands")
        self._session = session
        self.sounds = tuple(sounds)
        """All that it tells apart, the classes among them."""
        self._classes = [sounds.index(label) for label in classes]

    @classmethod
    def load(cls, path: Path, classes: Sequence[str]) -> "TaggerNetwork":
        """Open a tagger and prove it by one inference. Raises `ModelError` that names file and remedy."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            network = cls(session, classes)
            network.probabilities({name: np.zeros((ear.hops, ear.bands), np.float32) for name, ear in EARS.items()})
        # ONNX Runtime raises a class of its own per status, all straight below Exception.
        except Exception as error:
            raise ModelError(
                f"{path}: cannot be run ({str(error).splitlines()[0]}); install the models again"
            ) from error
        return network

    def probabilities(self, levels: Mapping[str, Float32Array]) -> Float32Array:
        """By ear the `relative_levels` (hops, bands) of a beam → (sounds,)."""
        (said,) = self._session.run(["probabilities"], {name: each[None, None] for name, each in levels.items()})
        probabilities: Float32Array = said[0]
        return probabilities

    def of_classes(self, probabilities: Float32Array) -> Float32Array:
        """(sounds,) → (classes,), what is missing to 1 being other sounds."""
        return probabilities[self._classes]


@dataclass(slots=True)
class _Heard:
    """What came from a track so far, and what was last thought of it."""

    beam: dict[str, Float32Array]
    """By ear the power (hops, bands), each hop's from where the track was then; no more hops than are heard at once."""
    sounds: Float32Array
    """(sounds,) probability of each."""
    frames: int = 0
    """In which it was heard, after the first."""
    due: int = 0
    """Since how many label frames it is to be named again; 0 where it is not."""


class ObjectTagger:
    """Listens to every track and mends its class probabilities. State: the last half second, and what was heard of each track."""

    def __init__(self, network: TaggerNetwork, geometry: ArrayGeometry) -> None:
        self._network = network
        self._geometry, self._mics = geometry, tuple(range(geometry.mics))
        self._history = BeamHistory(geometry, _BEFORE_S)
        self._tracks: dict[int, _Heard] = {}

    def tag(self, hops: Sequence[FeatureFrame], tracks: Sequence[Track], *, after_gap: bool = False) -> list[Track]:
        """The same tracks after a label frame of these hops, with what both think of them as `class_probs`, and `sounds`.

        No opinion is formed of a track while it coasts: what the beam hears then is something else.
        """
        if after_gap:
            self._history.reset()
            self._tracks = {}
        if hops[-1].mics != self._mics:
            self._mics = hops[-1].mics
            self._history = BeamHistory(self._geometry.part(self._mics), _BEFORE_S)
        self._history.push(np.concatenate([hop.samples[list(self._mics)] for hop in hops], axis=1))
        known = self._tracks
        self._tracks = {
            track.track_id: self._heard(track, known.get(track.track_id), _beside(track, tracks)) for track in tracks
        }
        # Nothing in a label frame costs as much as naming: it is one track's turn, the one's that has waited longest for its age.
        waiting = [heard for track in tracks if (heard := self._tracks[track.track_id]).due and track.updated]
        if waiting and self._tracks.keys() <= known.keys():
            longest = max(waiting, key=lambda heard: heard.due / heard.frames)
            longest.sounds, longest.due = self._named(longest.beam), 0
        return [self._tagged(track, self._tracks[track.track_id]) for track in tracks]

    def _heard(self, track: Track, heard: _Heard | None, beside: Sequence[Bearing]) -> _Heard:
        towards = track.doa.azimuth_deg, track.height_deg
        if heard is None:
            beam = self._history.powers(towards, before=True, beside=beside)
            return _Heard(beam, self._named(beam))
        for name, powers in self._history.powers(towards, beside=beside).items():
            heard.beam[name] = np.concatenate([heard.beam[name], powers])[-EARS[name].hops :]
        heard.frames += track.updated
        again = track.updated and (heard.frames in _FIRST_FRAMES or heard.frames % _AGAIN_FRAMES == 0)
        heard.due += again or heard.due > 0
        return heard

    def _tagged(self, track: Track, heard: _Heard) -> Track:
        share = min(len(heard.beam[name]) / ear.hops for name, ear in EARS.items())
        class_probs = joined(track.class_probs, self._network.of_classes(heard.sounds), share)
        return replace(track, class_probs=class_probs, sounds=heard.sounds)

    def _named(self, beam: Mapping[str, Float32Array]) -> Float32Array:
        """The first hop stands for what came before it."""
        levels = {}
        for name, ear in EARS.items():
            missing = ear.hops - len(beam[name])
            levels[name] = ear.relative_levels(np.pad(beam[name], ((missing, 0), (0, 0)), "edge"))
        return self._network.probabilities(levels)


def _beside(track: Track, tracks: Sequence[Track]) -> list[Bearing]:
    """Where else something sounds, far enough away to be told apart."""
    return [
        (other.doa.azimuth_deg, other.height_deg)
        for other in tracks
        if other.updated and abs(wrap_azimuth_deg(other.doa.azimuth_deg - track.doa.azimuth_deg)) >= _APART_DEG
    ]


def joined(network: Float32Array, opinion: Float32Array, heard: float) -> Float32Array:
    """Two probabilities of each class (classes,) as one: their weighted geometric mean, tempered and made a probability again.

    What is missing to 1 is another sound, and has its part in that. `heard` is the share of what the tagger can hear at once.
    """
    none, full = OPINION_WEIGHTS
    weight = none + (full - none) * heard
    mean = (_with_others(network) ** (1.0 - weight) * _with_others(opinion) ** weight) ** _TEMPERED
    both: Float32Array = (mean[:-1] / mean.sum()).astype(np.float32)
    return both


def _with_others(probabilities: Float32Array) -> Float32Array:
    return np.append(probabilities, max(1.0 - float(probabilities.sum()), _LEAST_OTHER))
