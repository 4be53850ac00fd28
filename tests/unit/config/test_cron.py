"""Cron expressions mean what Debian's cron means by them, and one that never fires is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expiryd.config import next_fire, parse_cron


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("0 */6 * * *", "0 */6 * * *"),
        ("  0   0 1  1 mon ", "0 0 1 1 mon"),
        ("@hourly", "0 * * * *"),
        ("@Daily", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("0 0 29 2 *", "0 0 29 2 *"),
    ],
)
def test_an_expression_is_brought_into_one_form(text: str, normal: str) -> None:
    assert parse_cron(text) == normal


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("* * * *", "this has 4 fields; write five fields"),
        ("0 * * * * *", "this has 6 fields"),
        ("", "this has 0 fields"),
        ("@yearly-ish", "this has 1 field;"),
        ("60 * * * *", "bad minute"),
        ("* * * * funday", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("9" * 5000 + " * * * *", "at most 500 characters"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("0 0 */31 2 5#5", "no day ever matches"),
    ],
)
def test_what_is_no_schedule_is_refused_with_the_accepted_form(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason.replace("*", r"\*")):
        parse_cron(text)


@settings(deadline=None)
@given(st.text(alphabet="0123456789*/,-#LW@ monJAN\x00é²", max_size=40))
def test_any_text_is_a_schedule_or_a_value_error(text: str) -> None:
    try:
        normal = parse_cron(text)
    except ValueError:
        return
    assert parse_cron(normal) == normal


def test_a_time_skipped_by_the_clock_fires_right_after_and_a_doubled_one_once() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    spring = next_fire("30 2 * * *", datetime(2026, 3, 29, tzinfo=berlin))
    assert spring.astimezone(UTC) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    autumn = next_fire("30 2 * * *", datetime(2026, 10, 25, tzinfo=berlin))
    assert autumn.astimezone(UTC) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert next_fire("30 2 * * *", autumn).date().day == 26


def test_the_next_moment_is_later_than_the_given_one() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert next_fire("@daily", at) == datetime(2026, 1, 2, tzinfo=UTC)
