"""Confidence against the share that was right, worked out by hand."""

import numpy as np
import pytest

from appliance.lab.metrics.reliability import reliability


def test_what_is_as_right_as_it_says_has_no_error() -> None:
    found = reliability([0.75] * 4 + [0.2] * 5, [1, 1, 1, 0, 1, 0, 0, 0, 0])
    assert found is not None
    assert found.ece == pytest.approx(0.0)
    assert [[entry.confidence, entry.right, entry.count] for entry in found.bins] == [
        pytest.approx([0.2, 0.2, 5]),
        pytest.approx([0.75, 0.75, 4]),
    ]
    assert [found.count, found.confidence, found.right] == pytest.approx([9, 4 / 9, 4 / 9])


def test_the_error_is_the_mean_over_what_was_said_not_over_bins() -> None:
    """One bin of three is off by 0.9, one of one by 0.35."""
    found = reliability([0.9, 0.9, 0.9, 0.35], [False, False, False, False])
    assert found is not None
    assert found.ece == pytest.approx((3 * 0.9 + 0.35) / 4)


def test_too_much_and_too_little_in_one_bin_cancel_but_not_in_two() -> None:
    one, two = reliability([0.81, 0.89], [True, False]), reliability([0.79, 0.91], [True, False])
    assert one is not None
    assert two is not None
    assert (len(one.bins), len(two.bins)) == (1, 2)
    assert one.ece == pytest.approx(0.35)
    assert two.ece == pytest.approx((0.21 + 0.91) / 2)


def test_certainty_is_in_the_last_bin_and_nothing_is_nothing() -> None:
    found = reliability([1.0, 0.95, 0.0], np.array([True, True, False]))
    assert found is not None
    assert [entry.count for entry in found.bins] == [1, 2]
    assert reliability([], []) is None
