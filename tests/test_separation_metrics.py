"""Separation scores on signals whose ratios are known beforehand."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.lab.metrics.separation import (
    LIMIT_DB,
    LabelledSignal,
    ca_sdri_db,
    score_objects,
    sdr_db,
    si_sdr_db,
    si_sdri_db,
)

SAMPLES = 800
Signal = npt.NDArray[np.float64]


def tone(cycles: int) -> Signal:
    """One of a family of orthogonal signals, energy 400."""
    return np.sin(2 * np.pi * cycles * np.arange(SAMPLES) / SAMPLES)


DRONE, SIREN, DOG, NOISE = (tone(cycles) for cycles in (3, 5, 7, 11))
MIXTURE = DRONE + SIREN + DOG


@given(st.floats(-60, 60))
def test_noise_orthogonal_to_the_reference_lowers_both_ratios_to_its_level(ratio_db: float) -> None:
    estimate = DRONE + 10 ** (-ratio_db / 20) * NOISE
    assert sdr_db(estimate, DRONE) == pytest.approx(ratio_db, abs=1e-6)
    assert si_sdr_db(estimate, DRONE) == pytest.approx(ratio_db, abs=1e-6)


@given(st.floats(0.01, 100), st.booleans())
def test_si_sdr_forgives_scale_and_sign_where_sdr_does_not(gain: float, flipped: bool) -> None:
    estimate = (-gain if flipped else gain) * (DRONE + 0.1 * NOISE)
    assert si_sdr_db(estimate, DRONE) == pytest.approx(20, abs=1e-9)
    distortion = (np.sign(-flipped + 0.5) * gain - 1) ** 2 + (0.1 * gain) ** 2
    assert sdr_db(estimate, DRONE) == pytest.approx(-10 * np.log10(distortion), abs=1e-9)


def test_half_of_the_reference_is_six_decibels_of_sdr() -> None:
    assert sdr_db(0.5 * DRONE, DRONE) == pytest.approx(20 * np.log10(2))


def test_perfect_and_silent_and_foreign_estimates_have_finite_scores() -> None:
    silence = np.zeros(SAMPLES)
    assert sdr_db(DRONE, DRONE) == si_sdr_db(DRONE, DRONE) == LIMIT_DB
    assert si_sdr_db(silence, DRONE) == si_sdr_db(SIREN, DRONE) == -LIMIT_DB
    assert sdr_db(silence, DRONE) == 0


@pytest.mark.parametrize("ratio", [sdr_db, si_sdr_db])
def test_a_silent_reference_has_no_ratio(ratio: Callable[[Signal, Signal], Signal]) -> None:
    with pytest.raises(ValueError, match="silent"):
        ratio(DRONE, np.stack([DRONE, np.zeros(SAMPLES)]))


def test_ratios_are_taken_along_the_last_axis_also_of_single_precision() -> None:
    estimates = np.stack([DRONE + 0.1 * NOISE, SIREN + 0.01 * NOISE]).astype(np.float32)
    np.testing.assert_allclose(si_sdr_db(estimates, np.stack([DRONE, SIREN])), [20, 40], atol=1e-3)


def test_improvement_is_over_the_mixture() -> None:
    assert si_sdr_db(MIXTURE, DRONE) == pytest.approx(-10 * np.log10(2))
    assert si_sdri_db(DRONE + 0.1 * NOISE, DRONE, MIXTURE) == pytest.approx(20 + 10 * np.log10(2))
    assert si_sdri_db(MIXTURE, DRONE, MIXTURE) == 0


def test_objects_are_found_in_any_order() -> None:
    estimates = np.stack([DOG + 0.1 * NOISE, NOISE, DRONE + 0.01 * NOISE, SIREN + NOISE])
    scores = score_objects(estimates, np.stack([DRONE, SIREN, DOG]), MIXTURE)
    assert [(score.reference, score.estimate) for score in scores] == [(0, 2), (1, 3), (2, 0)]
    assert [score.si_sdr_db for score in scores] == pytest.approx([40, 0, 20])
    assert [score.si_sdri_db - score.si_sdr_db for score in scores] == pytest.approx([10 * np.log10(2)] * 3)


def test_a_reference_without_an_estimate_is_absent() -> None:
    (score,) = score_objects(SIREN[None], np.stack([DRONE, SIREN]), DRONE + SIREN)
    assert (score.reference, score.estimate) == (1, 0)
    assert score_objects(np.empty((0, SAMPLES)), DRONE[None], DRONE) == ()


def test_assignment_maximises_the_total_not_the_best_pair() -> None:
    """The first estimate is best of all for the drone, but the second holds nothing of the siren."""
    estimates = np.stack([DRONE + 0.9 * SIREN, DRONE + NOISE + 1e-3 * SIREN])
    scores = score_objects(estimates, np.stack([DRONE, SIREN]), DRONE + SIREN)
    assert [(score.reference, score.estimate) for score in scores] == [(0, 1), (1, 0)]


def labelled(*pairs: tuple[str, Signal]) -> list[LabelledSignal]:
    return [LabelledSignal(label, samples) for label, samples in pairs]


TWO = labelled(("drone", DRONE), ("siren", SIREN))
TWO_MIXED = DRONE + SIREN  # 0 dB SDR of either object before separation


def test_ca_sdri_is_the_mean_gain_of_the_classes_found() -> None:
    estimates = labelled(("siren", SIREN + 0.1 * NOISE), ("drone", DRONE + 0.01 * NOISE))
    assert ca_sdri_db(estimates, TWO, TWO_MIXED) == pytest.approx((20 + 40) / 2)


def test_ca_sdri_counts_missed_invented_and_confused_classes_as_no_gain() -> None:
    drone = ("drone", DRONE + 0.01 * NOISE)
    assert ca_sdri_db(labelled(drone), TWO, TWO_MIXED) == pytest.approx(40 / 2)
    assert ca_sdri_db(labelled(drone, ("dog", SIREN)), TWO, TWO_MIXED) == pytest.approx(40 / 3)
    assert ca_sdri_db([], TWO, TWO_MIXED) == 0
    assert ca_sdri_db(labelled(drone), [], TWO_MIXED) == 0


def test_ca_sdri_of_silence_heard_as_silence_is_not_a_score() -> None:
    assert ca_sdri_db([], [], NOISE) is None


def test_ca_sdri_does_not_forgive_scale() -> None:
    estimates = labelled(("drone", 0.5 * DRONE), ("siren", SIREN + 0.1 * NOISE))
    assert ca_sdri_db(estimates, TWO, TWO_MIXED) == pytest.approx((20 * np.log10(2) + 20) / 2)


def test_ca_sdri_pairs_objects_of_one_class_by_sound_and_counts_the_surplus() -> None:
    references = labelled(("drone", DRONE), ("drone", SIREN))
    swapped = labelled(("drone", SIREN + 0.1 * NOISE), ("drone", DRONE + 0.1 * NOISE))
    assert ca_sdri_db(swapped, references, TWO_MIXED) == pytest.approx(20)
    assert ca_sdri_db(swapped[:1], references, TWO_MIXED) == pytest.approx(20 / 2)
    assert ca_sdri_db([*swapped, *labelled(("drone", NOISE))], references, TWO_MIXED) == pytest.approx((20 + 20) / 3)


@given(st.permutations(range(3)), st.permutations(range(3)))
def test_order_changes_no_score(estimate_order: list[int], reference_order: list[int]) -> None:
    references = [LabelledSignal("drone", DRONE), LabelledSignal("drone", SIREN), LabelledSignal("dog", DOG)]
    estimates = [LabelledSignal(signal.label, signal.samples + 0.1 * NOISE) for signal in references]
    some, others = [estimates[i] for i in estimate_order], [references[i] for i in reference_order]
    assert ca_sdri_db(some, others, MIXTURE) == pytest.approx(20 + 10 * np.log10(2))
    scores = score_objects(np.stack([s.samples for s in some]), np.stack([s.samples for s in others]), MIXTURE)
    assert [estimate_order[score.estimate] for score in scores] == reference_order
