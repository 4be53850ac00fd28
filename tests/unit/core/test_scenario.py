"""The form in which behaviour over time is tested fails when it should."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.scenario import Heard, acts, at, check, want

HEARD: list[Heard] = [(timedelta(0), "raised expiry warning"), (timedelta(days=3), "renewed expiry healthy")]
FIRST, LAST = want("0s", "0s", "raised expiry warning"), want("2d", "4d", "renewed *")


def test_exactly_what_was_wanted_passes_in_whatever_order_the_windows_stand() -> None:
    check([FIRST, LAST], HEARD)
    check([LAST, FIRST], HEARD)
    check([want("1d", "2d")], [])


def test_too_little_too_much_too_late_or_in_the_wrong_order_fails() -> None:
    with pytest.raises(AssertionError, match=r"2d..4d: wanted \['renewed \*'\], heard \[\]"):
        check([FIRST, LAST], HEARD[:1])
    with pytest.raises(AssertionError, match="nothing was wanted at 3d, but there was: renewed"):
        check([FIRST], HEARD)
    with pytest.raises(AssertionError, match=r"1d..4d: wanted"):
        check([FIRST, want("1d", "4d")], HEARD)
    with pytest.raises(AssertionError, match=r"0s..1s: wanted"):
        check([want("0s", "1s", "b", "a")], [(timedelta(0), "a"), (timedelta(0), "b")])


def test_windows_that_overlap_are_a_mistake_of_the_script() -> None:
    with pytest.raises(AssertionError, match="overlap"):
        check([want("0s", "2d"), want("1d", "3d")], [])


def test_acts_come_in_the_order_of_time_and_then_of_the_script() -> None:
    script = [at("2d", "c"), FIRST, at("1d", "a", "b"), at("2d", "d")]
    assert [step.act for step in acts(script)] == ["a", "b", "c", "d"]
