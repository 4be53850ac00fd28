"""The last working day at or before a moment: earlier, never later, at the same time of day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expiryd.core.workdays import Workdays

DAY = timedelta(days=1)
BERLIN = ZoneInfo("Europe/Berlin")
WEEKENDS = Workdays(frozenset({5, 6}), frozenset(), BERLIN)
EASTER = Workdays(frozenset({5, 6}), frozenset({date(2026, 4, 3), date(2026, 4, 6)}), BERLIN)

moments = st.builds(lambda since: datetime(2020, 1, 1, tzinfo=UTC) + since, st.timedeltas(timedelta(0), 5000 * DAY))
zones = st.sampled_from([ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "Pacific/Apia", "America/St_Johns")])
calendars = st.builds(
    Workdays, st.frozensets(st.integers(0, 6)), st.frozensets(st.dates(date(2020, 1, 1), date(2035, 1, 1))), zones
)


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("moment", "moved"),
    [
        ("2026-11-20T23:59", "2026-11-20T23:59"),  # Friday
        ("2026-11-21T00:00", "2026-11-20T00:00"),
        ("2026-11-22T10:30:15.000001", "2026-11-20T10:30:15.000001"),
        ("2026-11-23T00:00", "2026-11-23T00:00"),
    ],
)
def test_a_weekend_moves_to_the_friday_before_at_the_same_time(moment: str, moved: str) -> None:
    assert WEEKENDS.before(berlin(moment)) == berlin(moved)


def test_holidays_beside_a_weekend_move_before_all_of_them() -> None:
    assert EASTER.before(berlin("2026-04-06T09:00")) == berlin("2026-04-02T09:00")
    assert EASTER.before(berlin("2026-04-07T09:00")) == berlin("2026-04-07T09:00")


def test_the_day_is_that_of_the_zone_not_of_utc() -> None:
    sunday_in_utc = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)  # Monday in Berlin
    assert WEEKENDS.before(sunday_in_utc) is sunday_in_utc


@pytest.mark.parametrize(
    ("sunday", "friday"),
    [
        ("2026-03-29T12:00", "2026-03-27T12:00"),  # the clock is put forward on the Sunday
        ("2026-10-25T12:00", "2026-10-23T12:00"),  # and back
    ],
)
def test_a_change_of_the_clock_in_between_keeps_the_local_time(sunday: str, friday: str) -> None:
    moved = WEEKENDS.before(berlin(sunday))
    assert moved == berlin(friday)
    assert berlin(sunday).astimezone(UTC) - moved.astimezone(UTC) != 2 * DAY


def test_a_local_time_that_was_left_out_is_the_moment_the_clock_made_of_it() -> None:
    calendar = Workdays(frozenset({0}), frozenset(), BERLIN)  # nobody works on Mondays; Sunday has no 02:30
    assert calendar.before(berlin("2026-03-30T02:30")) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


def test_a_calendar_without_any_working_day_moves_nothing() -> None:
    moment = berlin("2026-11-21T10:00")
    assert Workdays(frozenset(range(7)), frozenset(), BERLIN).before(moment) is moment


@given(calendars, moments)
def test_it_is_never_later_never_far_and_always_a_working_day(calendar: Workdays, moment: datetime) -> None:
    moved = calendar.before(moment)
    assert moment - calendar.reach < moved <= moment
    if moved != moment:
        day = moved.astimezone(calendar.zone).date()
        assert day.weekday() not in calendar.weekend
        assert day not in calendar.holidays
        assert calendar.before(moved) == moved


@pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_the_ends_of_the_calendar_are_no_error(moment: datetime) -> None:
    for zone in (ZoneInfo("Pacific/Apia"), ZoneInfo("America/New_York")):
        assert Workdays(frozenset({0, 4, 5, 6}), frozenset(), zone).before(moment) <= moment
