"""Durations read and written, time left said, and the ends of the calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expiryd.core.duration import format_duration, in_utc, later, parse_duration, say_left

NOW = datetime(2030, 1, 1, tzinfo=UTC)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("1d12h", 129_600),
        ("1d 12h", 129_600),
        ("0.5s", 0.5),
        ("1.5h", 5400),
        ("-1d", -86_400),
        ("0s", 0),
        (" 7D ", 604_800),
        ("5 m", 300),
    ],
)
def test_reads_durations_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "7", "d", "7x", "7d!", "1 0d", "1d-1h", "--1d", "٣d", "1e3s", "inf", "nan", ".5h", "7d\n8", "P7D", "7dd"],
)
def test_says_how_to_write_a_duration_that_it_cannot_read(text: str) -> None:
    with pytest.raises(ValueError, match="write a duration such as 90s, 15m, 2h, 7d or 2w"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["99999999999d", "9" * 400 + "s", "-99999999999w", "999999999d999999999d"])
def test_refuses_a_duration_longer_than_any_calendar(text: str) -> None:
    with pytest.raises(ValueError, match="longer than any calendar"):
        parse_duration(text)


@given(st.text(max_size=30) | st.from_regex(r"-?[0-9. wdhms]{1,20}", fullmatch=True))
def test_any_text_is_a_duration_or_a_clear_error(text: str) -> None:
    try:
        assert isinstance(parse_duration(text), timedelta)
    except ValueError as error:
        assert "duration" in str(error)


@given(st.timedeltas())
def test_what_is_written_reads_back_as_the_same(span: timedelta) -> None:
    assert parse_duration(format_duration(span)) == span


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(), "0s"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(days=7), "1w"),
        (timedelta(days=8), "8d"),
        (timedelta(days=15, hours=1), "15d1h"),
        (timedelta(milliseconds=500), "0.5s"),
        (timedelta(minutes=1, microseconds=1), "1m0.000001s"),
        (-timedelta(days=1), "-1d"),
        (timedelta(seconds=20), "20s"),
    ],
)
def test_writes_the_shortest_exact_spelling(span: timedelta, text: str) -> None:
    assert format_duration(span) == text


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (timedelta(days=30), "30 days left"),
        (timedelta(days=30) - timedelta(microseconds=1), "29 days left"),
        (timedelta(hours=48), "2 days left"),
        (timedelta(hours=48) - timedelta(microseconds=1), "47 hours left"),
        (timedelta(hours=2), "2 hours left"),
        (timedelta(minutes=119, seconds=59), "119 minutes left"),
        (timedelta(seconds=119), "119 seconds left"),
        (timedelta(seconds=1), "1 second left"),
        (timedelta(microseconds=1), "0 seconds left"),
        (timedelta(), "0 seconds ago"),
        (-timedelta(hours=5), "5 hours ago"),
        (-timedelta(days=400, hours=23), "400 days ago"),
    ],
)
def test_says_what_is_left_floored_in_days_and_in_hours_under_two_days(left: timedelta, words: str) -> None:
    assert say_left(NOW + left, NOW) == words


def test_says_what_is_left_from_one_end_of_the_calendar_to_the_other() -> None:
    assert say_left(LAST, FIRST) == "3652058 days left"
    assert say_left(FIRST, LAST) == "3652058 days ago"


@given(st.datetimes(timezones=st.just(UTC)), st.timedeltas())
def test_a_moment_later_never_runs_over_the_ends_of_the_calendar(start: datetime, span: timedelta) -> None:
    end = later(start, span)
    if span >= timedelta(0):
        assert start <= end
        assert end - start <= span
    else:
        assert end <= start


@pytest.mark.parametrize("extreme", [FIRST, LAST])
@pytest.mark.parametrize("hours", [-14, 0, 14])
def test_every_moment_of_the_calendar_can_be_told_in_utc(extreme: datetime, hours: int) -> None:
    at = extreme.replace(tzinfo=timezone(timedelta(hours=hours)))
    assert in_utc(at).tzinfo is UTC
    assert abs(in_utc(at) - at) <= timedelta(hours=14)
