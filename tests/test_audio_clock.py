"""Sample positions get their time from the monotonic clock, whatever scheduling and crystals do."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.audio.clock import SampleClock

_SECOND = 1_000_000_000


@given(late_ns=st.lists(st.integers(0, _SECOND // 20), min_size=20, max_size=60))
def test_late_callbacks_do_not_move_the_origin(late_ns: list[int]) -> None:
    """Callbacks up to 50 ms late: the estimate stays within the lateness of the best one, plus drift."""
    clock = SampleClock()
    for index, late in enumerate(late_ns, start=1):
        clock.observe(index * 0.1, index * _SECOND // 10 + late)
    error_ns = clock.monotonic_ns(0.0)
    assert min(late_ns) <= error_ns <= min(late_ns) + len(late_ns) * 20_000


def test_a_crystal_that_runs_slow_or_fast_is_followed() -> None:
    for error in (-100e-6, 100e-6):
        clock = SampleClock()
        for index in range(1, 36_001):  # an hour
            clock.observe(index * 0.1, round(index * 0.1 * (1.0 + error) * _SECOND))
        true_ns = round(3600.0 * (1.0 + error) * _SECOND)
        assert abs(clock.monotonic_ns(3600.0) - true_ns) < 100_000


def test_callbacks_that_catch_up_are_not_behind_and_what_never_does_is() -> None:
    clock, late_ns = SampleClock(), 0
    for index in range(1, 200):
        # As late as the driver's buffer lets them be, for seconds; then in time again.
        late_ns = _SECOND * 2 // 5 if index % 60 > 20 else 0
        clock.observe(index * 0.1, index * _SECOND // 10 + late_ns)
        assert not clock.is_behind
    behind = []
    for index in range(200, 230):
        clock.observe(index * 0.1, (index + 6) * _SECOND // 10)
        behind.append(clock.is_behind)
    clock.restart()
    behind.append(clock.is_behind)
    clock.observe(23.6, 24 * _SECOND)
    behind.append(clock.is_behind)
    assert behind == [False] * 14 + [True] * 16 + [False, False]


def test_position_and_time_are_each_other_s_inverse() -> None:
    clock = SampleClock()
    assert clock.position_s(5 * _SECOND) is None
    clock.observe(1.5, 7 * _SECOND)
    assert clock.monotonic_ns(1.5) == 7 * _SECOND
    assert clock.position_s(8 * _SECOND) == 2.5
    clock.restart()
    assert clock.position_s(9 * _SECOND) is None
