"""Windows are open exactly when the clock on the wall says so, and say to the second when that changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expiryd.core.windows import DAYS, Span, Window, parse_span, parse_times

BERLIN = ZoneInfo("Europe/Berlin")
SECOND = timedelta(seconds=1)


def window(*texts: str, zone: ZoneInfo = BERLIN) -> Window:
    return Window("w", parse_times(texts), zone)


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("mon-fri 08:00-18:00", ["2026-11-23T08:00", "2026-11-27T17:59:59"], ["2026-11-23T18:00", "2026-11-22T09:00"]),
        ("sun 02:00-04:00", ["2026-11-22T02:00"], ["2026-11-22T04:00", "2026-11-23T02:00"]),
        ("22:00-06:00", ["2026-11-22T22:00", "2026-11-23T05:59"], ["2026-11-23T06:00", "2026-11-23T21:59"]),
        ("fri 22:00-06:00", ["2026-11-28T05:59"], ["2026-11-28T22:00"]),
        ("sat,sun", ["2026-11-21T00:00", "2026-11-22T23:59:59"], ["2026-11-23T00:00", "2026-11-20T23:59"]),
        ("sat", ["2026-11-21T12:00"], ["2026-11-22T12:00"]),
        ("fri 22:00-mon 06:00", ["2026-11-20T22:00", "2026-11-23T05:59"], ["2026-11-23T06:00", "2026-11-20T21:59"]),
        ("sun 22:00-mon 06:00", ["2026-11-23T05:59"], ["2026-11-22T21:59"]),
        ("fri-mon 10:00-12:00", ["2026-11-23T10:00", "2026-11-20T10:00"], ["2026-11-24T10:00"]),
        ("Mon, Wed-Thu 8:00 - 9:00", ["2026-11-26T08:00"], ["2026-11-24T08:00"]),
        ("saturday 00:00-24:00", ["2026-11-21T23:59"], ["2026-11-22T00:00"]),
        ("mon 08:00-mon 07:00", ["2026-11-22T08:00", "2026-11-23T06:59"], ["2026-11-23T07:30"]),
    ],
)
def test_a_window_is_open_when_the_clock_on_the_wall_says_so(text: str, inside: list[str], outside: list[str]) -> None:
    assert [window(text).contains(at(moment)) for moment in inside] == [True] * len(inside)
    assert [window(text).contains(at(moment)) for moment in outside] == [False] * len(outside)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mon-fri 25:00-26:00", "`25:00` is no time of day: they go from 00:00 to 24:00"),
        ("mon-fri 08:60-18:00", "from 00:00 to 24:00"),
        ("24:01-06:00", "from 00:00 to 24:00"),
        ("mon-fri 8-18", "write times such as"),
        ("mon-fri 8:0-18:00", "`8:0` is no time of day: write hours and minutes, such as 08:00"),
        ("mon-fry 08:00-18:00", "`fry` is no day of the week: there are mon, tue, wed"),
        ("08:00", "`08:00` has no end"),
        ("mon 08:00", "has no end"),
        ("08:00-08:00", "for the whole day write 00:00-24:00"),
        ("24:00-00:00", "for the whole day write 00:00-24:00"),
        ("mon 08:00-mon 08:00", "for all days write 00:00-24:00"),
        ("", "write times such as"),
        ("mon, 08:00-09:00", "`mon,08:00` is no time of day"),
        ("every day at noon please", "write times such as"),
    ],
)
def test_what_is_no_time_is_refused_in_words(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".*") as refused:
        parse_span(text)
    assert str(refused.value).startswith(f'"{text}": ')
    assert says in str(refused.value)


def test_a_window_without_times_is_refused() -> None:
    with pytest.raises(ValueError, match="no times are given"):
        parse_times([])


def test_times_that_touch_are_one_window() -> None:
    both = window("sat,sun", "mon 00:00-06:00")
    assert both.closes_at(at("2026-11-21T10:00")) == at("2026-11-23T06:00")
    assert both.opens_at(at("2026-11-23T06:00")) == at("2026-11-28T00:00")


def test_what_is_always_open_never_closes() -> None:
    always = window("00:00-24:00")
    assert always.contains(at("2026-11-21T00:00"))
    assert always.closes_at(at("2026-11-21T10:00")) is None
    assert always.next_edge(at("2026-11-21T10:00")) is None


def test_what_is_not_open_has_closed_already_and_what_is_open_opens_now() -> None:
    now = at("2026-11-21T10:00")
    assert window("sun").closes_at(now) == now
    assert window("sat").opens_at(now) == now
    assert window("sat").next_edge(now) == at("2026-11-22T00:00")
    assert window("sun").next_edge(now) == at("2026-11-22T00:00")


# In Berlin the clock goes from 02:00 to 03:00 on 2026-03-29 (01:00 UTC), and from 03:00 to 02:00 on 2026-10-25.


def test_a_time_that_the_clock_skips_is_the_moment_of_the_jump() -> None:
    jump = datetime(2026, 3, 29, 1, tzinfo=UTC)
    starts = window("sun 02:30-04:00")
    assert starts.opens_at(jump - timedelta(hours=5)) == jump
    assert starts.closes_at(jump) == at("2026-03-29T04:00")
    ends = window("sun 01:00-02:30")
    assert ends.closes_at(jump - timedelta(minutes=30)) == jump
    assert not ends.contains(jump)


def test_a_span_inside_the_skipped_hour_does_not_happen() -> None:
    skipped = window("sun 02:10-02:50")
    night = datetime(2026, 3, 28, 22, tzinfo=UTC)
    assert skipped.opens_at(night) == at("2026-04-05T02:10")
    assert not any(skipped.contains(night + timedelta(minutes=minute)) for minute in range(600))


def test_a_time_that_comes_twice_opens_the_first_and_closes_the_last_time() -> None:
    night = at("2026-10-24T22:00")
    starts = window("sun 02:30-04:00")
    assert starts.opens_at(night) == at("2026-10-25T02:30", fold=0)
    assert starts.closes_at(at("2026-10-25T02:30", fold=0)) == at("2026-10-25T04:00")
    ends = window("sun 01:00-02:30")
    assert ends.closes_at(at("2026-10-25T01:00")) == at("2026-10-25T02:30", fold=1)
    assert ends.contains(at("2026-10-25T02:45", fold=0))
    assert not ends.contains(at("2026-10-25T02:30", fold=1))


def test_office_hours_follow_the_clock_over_both_changes() -> None:
    office = window("mon-fri 08:00-18:00")
    for monday in ("2026-03-23", "2026-03-30", "2026-10-19", "2026-10-26"):
        opens = at(f"{monday}T08:00")
        assert office.opens_at(opens - timedelta(hours=20)) == opens
        assert office.closes_at(opens) == at(f"{monday}T18:00")


def test_a_day_that_never_was_is_passed_over() -> None:
    """Apia went from Thursday 2011-12-29 to Saturday the 31st."""
    apia = ZoneInfo("Pacific/Apia")
    thursday = at("2011-12-29T12:00", apia)
    assert window("fri", zone=apia).opens_at(thursday) == at("2012-01-06T00:00", apia)
    assert window("sat", zone=apia).opens_at(thursday) == at("2011-12-31T00:00", apia)


def test_a_day_may_begin_later_than_midnight() -> None:
    """In Cairo the clock went from 00:00 to 01:00 on Friday 2023-04-28."""
    cairo = ZoneInfo("Africa/Cairo")
    assert window("fri", zone=cairo).opens_at(at("2023-04-27T12:00", cairo)) == at("2023-04-28T01:00", cairo)


clocks = st.integers(0, 24 * 60).map(lambda m: f"{m // 60:02}:{m % 60:02}")
days = st.sampled_from(DAYS)
texts = st.one_of(
    st.builds("{}-{} {}-{}".format, days, days, clocks, clocks),
    st.builds("{} {}-{} {}".format, days, clocks, days, clocks),
    st.builds("{}-{}".format, clocks, clocks),
    st.builds("{},{}".format, days, days),
)
zones = st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Asia/Kolkata"]).map(
    ZoneInfo
)
moments = st.integers(0, 2 * 365 * 24 * 3600).map(lambda seconds: datetime(2026, 1, 1, tzinfo=UTC) + seconds * SECOND)


def parsed(text: str) -> tuple[Span, ...]:
    try:
        return parse_span(text)
    except ValueError:
        return ()


spans = texts.map(parsed).filter(bool)


@given(spans, zones, moments)
def test_the_next_edge_is_exact_and_nothing_changes_before_it(
    times: tuple[Span, ...], zone: ZoneInfo, now: datetime
) -> None:
    some = Window("w", times, zone)
    is_open = some.contains(now)
    edge = some.next_edge(now)
    if edge is None:
        assert is_open
        return
    assert edge > now
    assert edge.tzinfo is UTC
    assert some.contains(edge) is not is_open
    for share in (0.1, 0.5, 0.9):
        assert some.contains(now + (edge - now) * share) is is_open
    assert some.contains(edge - SECOND / 1000) is is_open or edge - now < SECOND / 1000


@given(spans, moments)
def test_where_the_clock_is_never_changed_a_window_is_what_its_minutes_say(
    times: tuple[Span, ...], now: datetime
) -> None:
    week = timedelta(days=7)
    since_monday = timedelta(
        days=now.weekday(), hours=now.hour, minutes=now.minute, seconds=now.second, microseconds=now.microsecond
    )
    starts = [(span, timedelta(days=span.weekday)) for span in times]
    expected = any(
        day + span.start <= since_monday + shift < day + span.end
        for span, day in starts
        for shift in (timedelta(0), week)
    )
    assert Window("w", times, UTC).contains(now) is expected


@given(st.text(max_size=30))
def test_any_text_is_times_or_refused_with_a_reason(text: str) -> None:
    try:
        assert parse_span(text)
    except ValueError as refused:
        assert str(refused).startswith(f'"{text}": ')
