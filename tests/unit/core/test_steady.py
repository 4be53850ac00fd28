"""Which time is believed, whatever is done to the wall clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from expiryd.core.steady import Belief, Steadiness, begin, is_over, regard

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TERMS = Steadiness()
YEAR = timedelta(days=365)
SECOND = timedelta(seconds=1)


def test_small_steps_are_followed() -> None:
    belief = regard(Belief(NOW, 0), NOW + 11 * SECOND, 1, TERMS)
    assert belief == Belief(NOW + 11 * SECOND, 1)


def test_a_slow_drift_never_adds_up_to_a_jump() -> None:
    belief = Belief(NOW, 0)
    for second in range(1, 1000):
        belief = regard(belief, NOW + second * 2 * SECOND, second, TERMS)
    assert belief.doubt is None


def test_during_a_jump_the_time_known_before_goes_on_until_it_was_steady_for_so_long() -> None:
    belief = regard(Belief(NOW, 0), NOW + YEAR, 0, TERMS)
    for second in (10, 100, 299):
        belief = regard(belief, NOW + YEAR + second * SECOND, second, TERMS)
        assert belief.time(second) == NOW + second * SECOND
        assert not is_over(belief, second, TERMS)
    assert is_over(belief, 300, TERMS)


def test_a_second_jump_begins_the_wait_anew() -> None:
    belief = regard(Belief(NOW, 0), NOW + YEAR, 0, TERMS)
    belief = regard(belief, NOW - YEAR + 200 * SECOND, 200, TERMS)
    assert not is_over(belief, 400, TERMS)
    assert is_over(belief, 500, TERMS)


def test_a_sleep_that_both_clocks_counted_is_no_jump() -> None:
    assert regard(Belief(NOW, 0), NOW + YEAR, YEAR.total_seconds(), TERMS).doubt is None


@given(st.lists(st.tuples(st.integers(0, 250), st.integers(-10_000_000, 10_000_000)), max_size=20))
def test_whatever_jumps_and_comes_back_in_time_leaves_no_trace(jumps: list[tuple[int, int]]) -> None:
    belief, at = Belief(NOW, 0), 0
    for passed, off in jumps:
        at += passed
        belief = regard(belief, NOW + (at + off) * SECOND, at, TERMS)
        if abs(off) >= 60 or off == 0:
            belief = regard(belief, NOW + at * SECOND, at, TERMS)
            assert abs(belief.time(at) - (NOW + at * SECOND)) < TERMS.jump
        else:
            belief = Belief(NOW + at * SECOND, at)


def test_a_start_before_what_is_remembered_and_long_after_it_is_doubtful() -> None:
    assert begin(NOW, 0, None, None, TERMS).doubt is None
    assert begin(NOW, 0, NOW - timedelta(days=29), None, TERMS).doubt is None
    for newest in (NOW + YEAR, NOW - timedelta(days=31)):
        belief = begin(NOW, 0, newest, None, TERMS)
        assert belief.time(1) == newest + SECOND
        assert belief.doubt is not None


def test_after_a_restart_a_clock_that_has_come_back_is_believed_and_one_that_has_not_is_not() -> None:
    hour = timedelta(hours=1)
    assert begin(NOW + hour, 0, NOW, timedelta(days=5), TERMS).doubt is None
    assert begin(NOW + hour + timedelta(days=5), 0, NOW, timedelta(days=5), TERMS).doubt is not None
    assert begin(NOW + hour, 0, NOW, -YEAR, TERMS).doubt is None
    assert begin(NOW + hour - YEAR, 0, NOW, -YEAR, TERMS).doubt is not None
