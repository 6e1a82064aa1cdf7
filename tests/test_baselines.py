"""Detectors without training: what makes them speak, and where they point."""

from itertools import pairwise

import numpy as np
import pytest
from plane_waves import at_array, hum, silence

from appliance.geometry import load_array
from appliance.lab.baselines.detectors import DETECTORS, BaselineSystem
from appliance.lab.baselines.steered_cnn import SteeredCnnSystem
from appliance.lab.hear import hear
from appliance.lab.judge.calibrate import QuietScene, calibrated
from appliance.lab.judge.judged import WINDOW_S, trial_scores
from appliance.lab.judge.reached import Reached
from appliance.lab.judge.tune import FALSE_ALARMS_PER_HOUR
from appliance.types import AudioBlock, Float32Array

ARRAY = load_array("respeaker_usb_4mic")
LABEL_SAMPLES = 1600


def rotor_after_silence(azimuth_deg: float = 60.0) -> Float32Array:
    """Two seconds of microphone noise, then three of a hum from one direction."""
    return at_array(np.concatenate([silence(2.0), hum(3.0)]), ARRAY, azimuth_deg).astype(np.float32)


def hiss_after_silence(azimuth_deg: float = 60.0) -> Float32Array:
    """The same with white noise in place of the hum."""
    hiss = 0.05 * np.random.default_rng(1).standard_normal(3 * 16_000)
    return at_array(np.concatenate([silence(2.0), hiss]), ARRAY, azimuth_deg).astype(np.float32)


@pytest.mark.parametrize("name", list(DETECTORS))
def test_a_rotor_scores_above_the_noise_before_it(name: str) -> None:
    scores = BaselineSystem(name).scores(rotor_after_silence(), ARRAY)
    assert scores.shape == (50,)
    assert scores[27:].min() > scores[6:19].max()


def test_the_comb_knows_a_rotor_from_a_hiss_and_the_energy_does_not() -> None:
    comb, energy = BaselineSystem("harmonic-comb"), BaselineSystem("srp-energy")
    assert np.median(comb.scores(rotor_after_silence(), ARRAY)[27:]) > 2 * np.median(
        comb.scores(hiss_after_silence(), ARRAY)[27:]
    )
    assert np.median(energy.scores(hiss_after_silence(), ARRAY)[27:]) > 0.8


def test_the_gate_is_shut_to_what_never_changes() -> None:
    """A directed sound that was always there raises its own floor."""
    steady = at_array(hum(14.0), ARRAY, 60.0).astype(np.float32)
    assert (BaselineSystem("srp-energy").scores(steady, ARRAY)[10:] == 0.0).all()


@pytest.mark.parametrize("name", list(DETECTORS))
def test_through_the_pipeline_it_is_one_drone_there(name: str) -> None:
    samples = rotor_after_silence(-75.0)
    scores = BaselineSystem(name).scores(samples, ARRAY)
    heard = hear(samples, ARRAY, BaselineSystem(name, (scores[6:19].max() + scores[30:].min()) / 2))
    new = [(sent_s, event) for sent_s, event in heard.events if event.state == "new"]
    assert [event.class_label for _, event in new] == ["drone"]
    assert 2.0 < new[0][0] < 4.0
    assert new[0][1].azimuth_deg == pytest.approx(-75.0, abs=4.0)
    assert heard.target_score[30:].min() > 0.5 > heard.target_score[6:19].max()


@pytest.mark.parametrize("name", list(DETECTORS))
def test_scores_do_not_depend_on_how_the_audio_is_cut(name: str) -> None:
    samples = rotor_after_silence()
    extractor, model = BaselineSystem(name, 1.0).stages(ARRAY)
    cuts = [0, 700, 3333, 3334, 20_000, 50_001, samples.shape[1]]
    frames = []
    for start, stop in pairwise(cuts):
        utc_ns = start * 1_000_000_000 // 16_000
        frames += extractor.push(AudioBlock(samples[:, start:stop], 16_000, start, utc_ns))
    assert [frame.utc_ns for frame in frames] == [(i + 1) * 20_000_000 for i in range(250)]
    np.testing.assert_array_equal(np.concatenate([frame.samples for frame in frames], axis=1), samples)
    scenes = [model.step(frames[at : at + 5]) for at in range(0, 250, 5)]
    whole = hear(samples, ARRAY, BaselineSystem(name, 1.0)).target_score
    np.testing.assert_allclose([scene.objects[0].activity for scene in scenes], whole, atol=1e-4)


def test_thresholds_let_the_stated_rate_pass() -> None:
    """Three hours of trials allow a dozen false alarms, of detectors and of each class of a trained network."""
    hours, trials = 3, round(3 * 3600 / WINDOW_S)
    scores = np.linspace(0.0, 1.0, trials)
    quiet = [
        QuietScene(
            {name: [float(score)] for name in DETECTORS},
            {"steered-cnn": Reached(WINDOW_S, {}, {"drone": [0.9 * float(score)], "siren": [0.1 * float(score)]})},
        )
        for score in scores
    ]
    trained, *detectors = calibrated([SteeredCnnSystem("nowhere.pt")], quiet)
    assert [system.name for system in detectors] == list(DETECTORS)
    for detector in detectors:
        assert isinstance(detector, BaselineSystem)
        assert np.sum(scores >= detector.threshold) == hours * FALSE_ALARMS_PER_HOUR
    assert isinstance(trained, SteeredCnnSystem)
    assert 0 < np.sum(0.9 * scores >= trained.thresholds["drone"]) <= hours * FALSE_ALARMS_PER_HOUR
    assert trained.thresholds["siren"] < 0.5 < trained.thresholds["drone"]


def test_a_trial_counts_what_eight_of_fifteen_frames_reach() -> None:
    frames = np.zeros(120)
    frames[40:47] = 1.0
    assert trial_scores(frames) == pytest.approx([0.0])
    frames[50] = 0.7
    assert trial_scores(frames) == pytest.approx([0.7])
    assert trial_scores(np.concatenate([frames, np.full(30, 0.2)])) == pytest.approx([0.7, 0.2])


def test_a_scene_too_short_to_confirm_anything_scores_nothing() -> None:
    """Eight frames can be confirmed, seven cannot."""
    assert trial_scores(np.ones(8)) == pytest.approx([1.0])
    assert trial_scores(np.ones(7)) == pytest.approx([-np.inf])
    assert trial_scores(np.ones(0)) == pytest.approx([-np.inf])
