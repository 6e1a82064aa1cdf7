"""Detection statistics against published and hand-worked figures."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from appliance.lab.metrics.detection import (
    calibration,
    detection_curve,
    false_alarms_per_hour,
    pd_by,
    spread,
    wilson,
)


def test_every_threshold_that_matters_is_on_the_curve() -> None:
    """Targets 0.9, 0.6, 0.6, 0.2; others 0.7, 0.6, 0.1: ties pass together."""
    curve = detection_curve([0.6, 0.9, 0.2, 0.6], [0.1, 0.7, 0.6])
    assert curve.threshold.tolist() == [math.inf, 0.9, 0.7, 0.6, 0.2, 0.1]
    assert curve.pd.tolist() == [0, 1 / 4, 1 / 4, 3 / 4, 1, 1]
    assert curve.pfa.tolist() == [0, 0, 1 / 3, 2 / 3, 2 / 3, 1]


@pytest.mark.parametrize(
    ("pfa", "threshold", "pd", "false_alarms"), [(0.0, 0.9, 1 / 4, 0), (1 / 3, 0.7, 1 / 4, 1), (0.7, 0.2, 1, 2)]
)
def test_pd_at_a_false_alarm_rate_is_what_a_threshold_can_give(
    pfa: float, threshold: float, pd: float, false_alarms: int
) -> None:
    point = detection_curve([0.6, 0.9, 0.2, 0.6], [0.1, 0.7, 0.6]).at_pfa(pfa)
    assert (point.threshold, point.pd.value, point.false_alarms) == (threshold, pd, false_alarms)


def test_pd_at_false_alarms_per_hour_counts_events_within_the_hours() -> None:
    curve = detection_curve([0.95, 0.85, 0.5], [0.9, 0.8, 0.7, 0.6])
    assert curve.at_false_alarms_per_hour(0.5, hours=2.0).pd.value == pytest.approx(2 / 3)
    assert curve.at_false_alarms_per_hour(0.5, hours=1.9).pd.value == pytest.approx(1 / 3)
    assert curve.at_false_alarms_per_hour(2.0, hours=2.0).pd.value == 1


def test_where_no_threshold_is_good_enough_nothing_is_detected() -> None:
    point = detection_curve([0.5], [0.9]).at_pfa(0.0)
    assert (point.threshold, point.pd.value, point.false_alarms) == (math.inf, 0, 0)


def test_targets_never_heard_hold_pd_below_one() -> None:
    curve = detection_curve([-math.inf, 0.4], [0.1])
    assert curve.pd[-1] == 1 / 2
    assert curve.pfa[-1] == 1


def test_rounding_of_a_rate_costs_no_false_alarm() -> None:
    """0.29 · 100 is a little less than 29 in floating point."""
    others = np.arange(100) / 100
    assert detection_curve([0.705], others).at_pfa(0.29).pd.value == 1


scores = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=20)


@given(scores, scores)
def test_the_area_under_the_roc_is_the_chance_that_a_target_outscores_another(
    targets: list[float], others: list[float]
) -> None:
    curve = detection_curve(targets, others)
    wins = np.mean([(t > o) + 0.5 * (t == o) for t in targets for o in others])
    assert integrate.trapezoid(curve.pd, curve.pfa) == pytest.approx(wins)


@pytest.mark.parametrize(("targets", "others"), [([], [1.0]), ([math.nan], [1.0]), ([1.0], [math.nan, math.inf])])
def test_scores_that_make_no_curve_are_refused(targets: list[float], others: list[float]) -> None:
    with pytest.raises(ValueError, match="score"):
        detection_curve(targets, others)


def test_without_other_scores_there_is_pd_per_hour_but_no_probability_of_false_alarm() -> None:
    curve = detection_curve([0.3, 0.9], [])
    assert curve.at_false_alarms_per_hour(0.0, hours=3.0).pd.value == 1
    with pytest.raises(ValueError, match="not defined"):
        _ = curve.pfa


@pytest.mark.parametrize(
    ("count", "low", "high"), [(0, 0.0, 3.6889), (1, 0.0253, 5.5716), (5, 1.6235, 11.6683), (20, 12.2165, 30.8884)]
)
def test_the_poisson_interval_is_the_published_one(count: int, low: float, high: float) -> None:
    rate = false_alarms_per_hour(count, hours=1.0)
    assert (rate.value, rate.low, rate.high) == pytest.approx((count, low, high), abs=1e-4)
    day = false_alarms_per_hour(count, hours=24.0)
    assert (day.value * 24, day.low * 24, day.high * 24) == pytest.approx((count, low, high), abs=1e-4)


@given(st.integers(1, 200), st.floats(0.5, 0.999))
def test_the_ends_of_the_poisson_interval_leave_the_tails_they_promise(count: int, confidence: float) -> None:
    rate = false_alarms_per_hour(count, 1.0, confidence)
    tail = (1 - confidence) / 2
    assert stats.poisson.sf(count - 1, rate.low) == pytest.approx(tail)
    assert stats.poisson.cdf(count, rate.high) == pytest.approx(tail)


@pytest.mark.parametrize(("count", "hours"), [(1, 0.0), (-1, 1.0)])
def test_no_rate_without_hours(count: int, hours: float) -> None:
    with pytest.raises(ValueError, match="no rate"):
        false_alarms_per_hour(count, hours)


def test_intervals_of_a_share_are_the_published_ones() -> None:
    """81 of 263 and 0 of 20 are worked in Newcombe, Statistics in Medicine 17, 1998, table I."""
    for estimate, published in ((wilson(81, 263), (0.2553, 0.3662)), (wilson(0, 20), (0.0, 0.1611))):
        assert (estimate.low, estimate.high) == pytest.approx(published, abs=1e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_lies_within_its_interval_which_mirrors_that_of_failures(counts: tuple[int, int]) -> None:
    successes, trials = counts
    estimate, mirrored = wilson(successes, trials), wilson(trials - successes, trials)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((estimate.low, estimate.high), abs=1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 5)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson(successes, trials)


def test_pd_is_told_per_condition_in_order() -> None:
    by_distance = pd_by([25.0, 50.0, 25.0, 50.0, 800.0], [True, True, True, False, False])
    assert list(by_distance) == [25.0, 50.0, 800.0]
    assert [estimate.value for estimate in by_distance.values()] == [1, 1 / 2, 0]
    assert by_distance[25.0] == wilson(2, 2)
    with pytest.raises(ValueError, match="zip"):
        pd_by([25.0], [])


def test_latency_is_told_by_median_and_ninety_per_cent() -> None:
    latency = spread([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0])
    assert latency is not None
    assert (latency.median, latency.p90, latency.count) == (6, 10, 11)
    assert spread([]) is None


def test_calibration_counts_truth_within_one_and_two_sigma() -> None:
    shares = calibration([1.0, -3.0, 5.0, -9.0], [2.0, 2.0, 2.0, 9.0])
    assert shares is not None
    assert (shares.within_1_sigma, shares.within_2_sigma, shares.count) == (2 / 4, 3 / 4, 4)
    assert calibration([], []) is None


def test_honest_sigmas_give_the_shares_of_the_docstring() -> None:
    quantiles = stats.norm.ppf((np.arange(10_000) + 0.5) / 10_000)
    bearing = calibration(5.0 * quantiles, np.full(10_000, 5.0))
    arc = calibration(stats.rayleigh.ppf((np.arange(10_000) + 0.5) / 10_000), np.ones(10_000))
    assert bearing is not None
    assert arc is not None
    assert (bearing.within_1_sigma, bearing.within_2_sigma) == pytest.approx((0.683, 0.954), abs=1e-3)
    assert (arc.within_1_sigma, arc.within_2_sigma) == pytest.approx((0.393, 0.865), abs=1e-3)
