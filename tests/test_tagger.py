"""The tagger: whole or refused, a second opinion on each track, and listened to no more often than it says."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from appliance.audio.target import at_array, drone
from appliance.cli.main import app
from appliance.dsp.steered import EARS, BeamHistory
from appliance.dsp.stft import HOP_SAMPLES
from appliance.errors import ModelError
from appliance.geometry import load_array
from appliance.lab.hear import hear
from appliance.lab.systems import onnx_systems
from appliance.model.meta import MODELS_DIR, find_model, find_tagger, load_meta, shipped_models
from appliance.model.scene import SceneModel
from appliance.model.tagger import ObjectTagger, TaggerNetwork, joined
from appliance.pipeline import Moment
from appliance.types import Direction, Event, FeatureFrame, Float32Array, Track

_NAME = "deepasa-edge-small-int8"
_ARRAY = load_array("tetrahedron_4cm2")
_CLASSES = load_meta(find_model(_NAME)).classes
_REFERENCE = load_meta(find_model(_NAME)).tagger


def shipped() -> Path:
    assert _REFERENCE is not None
    return find_tagger(find_model(_NAME), _REFERENCE)


def hops(count: int = 5, seed: int = 0) -> list[FeatureFrame]:
    samples = np.random.default_rng(seed).normal(size=(count, 4, HOP_SAMPLES)).astype(np.float32)
    return [
        FeatureFrame(np.zeros((0, 0), np.float32), own, tuple(range(len(own))), 0.02 * hop, 0)
        for hop, own in enumerate(samples)
    ]


def joint(frames: Sequence[FeatureFrame]) -> Float32Array:
    return np.concatenate([frame.samples for frame in frames], axis=1)


def track(track_id: int = 1, *, updated: bool = True, azimuth_deg: float = 20.0, score: float = 0.9) -> Track:
    probs = np.full(len(_CLASSES), score, np.float32)
    covariance, doa = ((4.0, 0.0), (0.0, 4.0)), Direction(azimuth_deg, 0.0)
    return Track(track_id, "confirmed", doa, covariance, probs, 0, 0, updated=updated, height_deg=0.0)


class Counting(TaggerNetwork):
    """The shipped one, which counts how often it was asked."""

    asked = 0

    def probabilities(self, levels: Mapping[str, Float32Array]) -> Float32Array:
        self.asked += 1
        return super().probabilities(levels)


class Keeping(TaggerNetwork):
    """The shipped one, which keeps what it was last asked."""

    levels: Mapping[str, Float32Array]

    def probabilities(self, levels: Mapping[str, Float32Array]) -> Float32Array:
        self.levels = levels
        return super().probabilities(levels)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the shipped model and its tagger, to be damaged."""
    for file in (MODELS_DIR / f"{_NAME}.onnx", MODELS_DIR / f"{_NAME}.meta.json", shipped()):
        shutil.copy(file, tmp_path)
    return tmp_path / f"{_NAME}.onnx"


def test_every_shipped_model_has_one_and_it_is_no_model_itself() -> None:
    for name in shipped_models():
        meta = load_meta(find_model(name))
        assert meta.tagger is not None
        assert meta.tagger.file == f"object-tagger-{meta.precision}.onnx"
        assert SceneModel.load(name).new_tagger(_ARRAY) is not None
        assert Path(meta.tagger.file).stem not in shipped_models()


def test_it_is_found_beside_the_model_first_and_else_among_the_shipped(copied: Path) -> None:
    assert _REFERENCE is not None
    own = copied.with_name(_REFERENCE.file)
    assert find_tagger(copied, _REFERENCE) == own
    own.unlink()
    assert find_tagger(copied, _REFERENCE) == shipped()
    with pytest.raises(ModelError, match=r"nowhere\.onnx: missing, but the meta of .*int8\.onnx names it; install"):
        find_tagger(copied, _REFERENCE.model_copy(update={"file": "nowhere.onnx"}))


def test_a_damaged_one_is_refused_as_a_damaged_model_is(copied: Path) -> None:
    own = copied.with_name(shipped().name)
    own.write_bytes(own.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"object-tagger-int8\.onnx: sha256 .* tampered with or cut short, install"):
        SceneModel.load(copied)
    result = CliRunner().invoke(app, ["model", "verify", str(copied)])
    assert result.exit_code != 0


def test_one_that_does_not_know_a_class_is_refused(copied: Path) -> None:
    with pytest.raises(ModelError, match=r"object-tagger-int8\.onnx: .*does not know unicorn"):
        TaggerNetwork.load(copied.with_name(shipped().name), ("drone", "unicorn"))
    with pytest.raises(ModelError, match=r"int8\.onnx: cannot be run"):
        TaggerNetwork.load(copied, _CLASSES)


def test_verify_names_it() -> None:
    result = CliRunner().invoke(app, ["model", "verify", _NAME])
    assert result.exit_code == 0, result.output
    assert shipped().stem in result.output


def test_both_have_a_say_and_what_has_heard_more_has_more() -> None:
    sure, unsure, silent = (np.array([value], np.float32) for value in (0.9, 0.3, 0.0))
    for heard in (0.2, 1.0):
        for mixed in (joined(sure, unsure, heard), joined(unsure, sure, heard)):
            assert joined(sure, sure, heard) > mixed > joined(unsure, unsure, heard)
        root, other = unsure**0.5, (1.0 - unsure) ** 0.5
        np.testing.assert_allclose(joined(unsure, unsure, heard), root / (root + other), rtol=1e-5)
        assert joined(silent, sure, heard) == joined(sure, silent, heard) == 0.0
    assert joined(unsure, sure, 1.0) > joined(unsure, sure, 0.2)
    assert joined(sure, unsure, 1.0) < joined(sure, unsure, 0.2)


def test_what_one_rules_out_makes_the_rest_likelier() -> None:
    network, opinion = np.array([0.5, 0.5, 0.0], np.float32), np.array([0.05, 0.5, 0.45], np.float32)
    both = joined(network, opinion, 0.5)
    assert both[1] > joined(network[1:2], opinion[1:2], 0.5)
    assert both[2] == 0.0


def test_the_network_s_probabilities_become_what_both_think() -> None:
    network = TaggerNetwork.load(shipped(), _CLASSES)
    (mended,) = ObjectTagger(network, _ARRAY).tag(hops(), [track(score=0.5)])
    history, levels = BeamHistory(_ARRAY, 0.0), {}
    history.push(joint(hops()))
    for name, beam in history.powers((20.0, 0.0)).items():
        before = beam[:1].repeat(EARS[name].hops - len(beam), axis=0)
        levels[name] = EARS[name].relative_levels(np.concatenate([before, beam]))
    opinion = network.of_classes(network.probabilities(levels))
    assert opinion.shape == (len(_CLASSES),)
    assert 0.0 < opinion.sum() <= 1.0
    np.testing.assert_allclose(mended.class_probs, joined(track(score=0.5).class_probs, opinion, 1 / 26), rtol=1e-5)
    assert replace(mended, class_probs=track().class_probs).doa == track().doa


def test_two_tracks_in_different_directions_get_opinions_of_their_own() -> None:
    tagger = ObjectTagger(TaggerNetwork.load(shipped(), _CLASSES), _ARRAY)
    one, other = tagger.tag(hops(40), [track(1, azimuth_deg=20.0), track(2, azimuth_deg=-160.0)])
    assert not np.allclose(one.class_probs, other.class_probs, rtol=1e-3)


def test_a_beam_of_a_planar_array_is_aimed_as_high_as_the_track_is() -> None:
    keeping = Keeping.load(shipped(), _CLASSES)
    assert isinstance(keeping, Keeping)
    array = load_array("respeaker_usb_4mic")
    for height_deg in (10.0, 60.0, None):
        ObjectTagger(keeping, array).tag(hops(), [replace(track(), height_deg=height_deg)])
        history = BeamHistory(array, 0.0)
        history.push(joint(hops()))
        for name, beam in history.powers((20.0, height_deg)).items():
            told = EARS[name].relative_levels(beam)
            heard = keeping.levels[name][-len(told) :]
            np.testing.assert_allclose(heard - heard.mean(), told - told.mean(), atol=1e-3)


def test_it_listens_when_a_track_begins_and_then_twice_a_second_while_it_is_heard() -> None:
    network = Counting.load(shipped(), _CLASSES)
    assert isinstance(network, Counting)
    tagger, before = ObjectTagger(network, _ARRAY), network.asked
    asked = []
    for frame in range(30):
        tagger.tag(hops(seed=frame), [track(updated=frame < 20)])
        asked.append(network.asked - before)
    assert [frame for frame in range(30) if asked[frame] > (asked[frame - 1] if frame else 0)] == [
        *(0, 1, 2, 4, 5, 7, 10, 15)
    ]
    tagger.tag(hops(), [])
    tagger.tag(hops(), [track()])
    assert network.asked - before == asked[-1] + 1


def test_what_has_just_begun_is_named_at_once_and_the_others_one_after_another() -> None:
    network = Counting.load(shipped(), _CLASSES)
    assert isinstance(network, Counting)
    tagger = ObjectTagger(network, _ARRAY)
    opinions: dict[int, int] = {}
    said: dict[int, Float32Array] = {}
    for frame in range(40):
        before = network.asked
        tracks = [track(one, azimuth_deg=40.0 * one) for one in range(4 if frame < 20 else 5)]
        tagged = tagger.tag(hops(seed=frame), tracks)
        assert network.asked - before <= (4 if frame == 0 else 1)
        for own in tagged:
            assert own.sounds is not None
            new = not np.array_equal(own.sounds, said.get(own.track_id, 0.0))
            opinions[own.track_id] = opinions.get(own.track_id, 0) + new
            said[own.track_id] = own.sounds
    assert network.asked == sum(opinions.values()) + 1
    # Alone each would be named twelve times, the last one eight times.
    assert all(opinions[one] >= 8 for one in range(4)), opinions
    assert opinions[4] >= 7, opinions


def test_what_a_moving_track_sounded_like_was_heard_from_where_it_was() -> None:
    network = Keeping.load(shipped(), _CLASSES)
    assert isinstance(network, Keeping)
    tagger, history = ObjectTagger(network, _ARRAY), BeamHistory(_ARRAY, 0.0)
    beam: list[dict[str, Float32Array]] = []
    for frame in range(8):
        tagger.tag(hops(seed=frame), [track(azimuth_deg=10.0 * frame)])
        history.push(joint(hops(seed=frame)))
        beam.append(history.powers((10.0 * frame, 0.0)))
    for name, ear in EARS.items():
        told = ear.relative_levels(np.concatenate([each[name] for each in beam]))
        heard = network.levels[name][-len(told) :]
        np.testing.assert_allclose(heard - heard.mean(), told - told.mean(), atol=1e-3)


def test_what_was_heard_well_before_a_track_says_nothing_of_it() -> None:
    """Half a second of it counts, and the longest window before that: a sound is there before it is found."""
    network = TaggerNetwork.load(shipped(), _CLASSES)
    opinions = []
    for seed in (1, 2):
        tagger = ObjectTagger(network, _ARRAY)
        tagger.tag(hops(100, seed), [])
        tagger.tag(hops(35, 3), [])
        (found,) = tagger.tag(hops(5, 4), [track()])
        opinions.append(found.class_probs)
    np.testing.assert_allclose(opinions[0], opinions[1], rtol=1e-4)


def test_after_lost_audio_it_hears_nothing_of_before() -> None:
    network = TaggerNetwork.load(shipped(), _CLASSES)
    torn, fresh = ObjectTagger(network, _ARRAY), ObjectTagger(network, _ARRAY)
    torn.tag(hops(100, seed=1), [track(2)])
    (after,) = torn.tag(hops(seed=2), [track(2)], after_gap=True)
    (anew,) = fresh.tag(hops(seed=2), [track(2)])
    np.testing.assert_array_equal(after.class_probs, anew.class_probs)


def test_a_model_without_one_has_to_do_alone(copied: Path) -> None:
    meta = copied.with_suffix(".meta.json")
    document = json.loads(meta.read_text(encoding="utf-8"))
    document["tagger"] = None
    meta.write_text(json.dumps(document), encoding="utf-8")
    assert SceneModel.load(copied).new_tagger(_ARRAY) is None


class Drones:
    """An observer that keeps the greatest drone score of all tracks that are heard."""

    def __init__(self) -> None:
        self.scores: list[float] = []

    def frame(self, moment: Moment) -> None:
        heard = [float(each.class_probs[_CLASSES.index("drone")]) for each in moment.tracks if each.updated]
        self.scores.append(max(heard, default=0.0))

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        """Nothing more to keep."""


def test_the_judge_scores_what_operators_get() -> None:
    geometry, drones = load_array("tetrahedron_4cm2"), Drones()
    (system,) = onnx_systems([find_model(_NAME)])
    heard = hear(at_array(drone(3.0, 160.0, 1), geometry, 40.0, 10.0, 1).astype(np.float32), geometry, system, [drones])
    np.testing.assert_array_equal(heard.target_score, np.array(drones.scores, np.float64))
    assert max(drones.scores) > 0.0


def test_it_hears_with_the_microphones_that_work_and_what_it_heard_before_stays() -> None:
    array = load_array("minidsp_uma8_v2")
    samples = np.random.default_rng(0).normal(size=(10, array.mics, HOP_SAMPLES)).astype(np.float32)
    part = (0, 2, 3, 4, 5, 6)
    keeping = Keeping.load(shipped(), _CLASSES)
    assert isinstance(keeping, Keeping)
    tagger = ObjectTagger(keeping, array)
    for first, mics in ((0, tuple(range(array.mics))), (5, part)):
        frames = [
            FeatureFrame(np.zeros((0, 0), np.float32), samples[hop], mics, 0.02 * hop, 0)
            for hop in range(first, first + 5)
        ]
        tagger.tag(frames, [track()])
    whole, reduced = BeamHistory(array, 0.5), BeamHistory(array.part(part), 0.5)
    whole.push(np.concatenate(list(samples[:5]), axis=1))
    reduced.push(np.concatenate(list(samples[5:, part]), axis=1))
    for name, ear in EARS.items():
        parts = [history.powers((20.0, 0.0))[name] for history in (whole, reduced)]
        heard = np.concatenate(parts)
        levels = ear.relative_levels(np.pad(heard, ((ear.hops - len(heard), 0), (0, 0)), "edge"))
        np.testing.assert_allclose(keeping.levels[name], levels, atol=1e-4)
