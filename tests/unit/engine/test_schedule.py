"""When to look: never silently dead, never pushed away, and cron as Debian means it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.base import BaseTrigger
from hypothesis import given
from hypothesis import strategies as st

from expiryd.engine.clock import SystemClock
from expiryd.engine.schedule import CronTrigger, PeriodTrigger, Rhythm, Schedule, spread
from expiryd.testing import SilentLog

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SOON = timedelta(milliseconds=20)
MOMENTS = st.integers(1_577_836_800, 2_208_988_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


class Fired:
    """What the schedule triggered, and a way to wait for it."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._happened = asyncio.Event()

    def __call__(self, name: str) -> None:
        self.names.append(name)
        self._happened.set()

    async def count(self, name: str, number: int) -> None:
        async with asyncio.timeout(10):
            while self.names.count(name) < number:
                self._happened.clear()
                await self._happened.wait()


@pytest.fixture
async def fired() -> Fired:
    return Fired()


@pytest.fixture
async def log() -> SilentLog:
    return SilentLog()


@pytest.fixture
async def schedule(fired: Fired, log: SilentLog) -> AsyncIterator[Schedule]:
    schedule = Schedule(SystemClock(), log, fired)
    schedule.start()
    yield schedule
    schedule.stop()


def every(span: timedelta) -> Rhythm:
    return Rhythm(None, span, ZoneInfo("UTC"))


def cron(expression: str, zone: ZoneInfo = BERLIN) -> Rhythm:
    return Rhythm(expression, DAY, zone)


def fires(expression: str, start: datetime, number: int, zone: ZoneInfo = BERLIN) -> list[str]:
    """The next moments in local words, as the scheduler would ask for them."""
    trigger, moments, now = CronTrigger(expression, zone), [], start
    for _ in range(number):
        now = trigger.get_next_fire_time(now, now)
        moments.append(now.astimezone(zone).strftime("%a %m-%d %H:%M%z"))
    return moments


class Broken(BaseTrigger):  # type: ignore[misc]  # APScheduler is not typed
    """Raises when it is asked a second time."""

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        if previous is not None:
            raise ZeroDivisionError("a trigger's bug")
        return now


async def test_a_trigger_that_raises_stops_no_other_job(schedule: Schedule, fired: Fired, log: SilentLog) -> None:
    schedule.install({"good": every(SOON)}, {"good": datetime.now(UTC)})
    schedule._timer.add_job(schedule._fire, Broken(), args=["bad"], id="bad")
    schedule._timer.wakeup()
    await fired.count("good", 1)
    await fired.count("good", 5)
    assert ("error", "schedule.stumbled") in {(level, event) for level, event, _ in log.lines}


async def test_a_reload_that_changes_nothing_touches_no_job(schedule: Schedule) -> None:
    rhythms = {"a": every(HOUR), "b": cron("0 9 * * *")}
    schedule.install(rhythms, {})
    before = {name: schedule.next_run(name) for name in rhythms}
    schedule.install(dict(rhythms), {})
    assert {name: schedule.next_run(name) for name in rhythms} == before


async def test_a_daily_look_runs_on_time_however_often_it_is_reloaded_or_restarted(schedule: Schedule) -> None:
    last = datetime.now(UTC) - timedelta(hours=23)
    for mark in range(5):
        schedule.install({"a": every(DAY + timedelta(seconds=mark))}, {"a": last})  # each reload edits the rhythm
        due = schedule.next_run("a")
        assert due is not None
        assert abs(due - (last + DAY)) < timedelta(seconds=10)


async def test_an_overdue_look_runs_at_once_and_only_once(schedule: Schedule, fired: Fired) -> None:
    schedule.install({"a": every(DAY), "b": cron("0 9 * * *")}, dict.fromkeys("ab", datetime.now(UTC) - 30 * DAY))
    await fired.count("a", 1)
    await fired.count("b", 1)
    assert sorted(fired.names) == ["a", "b"]


async def test_a_new_source_is_looked_at_within_seconds_and_not_all_at_the_same_instant() -> None:
    offsets = {spread(f"c{number}", HOUR) for number in range(100)}
    assert max(offsets) <= timedelta(seconds=10)
    assert len(offsets) > 90
    assert spread("a", HOUR) == spread("a", HOUR)


async def test_a_removed_source_is_not_looked_at_any_more(schedule: Schedule) -> None:
    schedule.install({"a": every(HOUR), "b": every(HOUR)}, {})
    schedule.retry("a", timedelta(minutes=1))
    schedule.install({"b": every(HOUR)}, {})
    assert schedule.next_run("a") is None
    assert schedule.next_run("b") is not None


async def test_a_retry_comes_only_when_it_is_sooner_than_the_regular_look(schedule: Schedule) -> None:
    now = datetime.now(UTC)
    schedule.install({"a": every(HOUR)}, {"a": now})
    regular = schedule.next_run("a")
    schedule.retry("a", 2 * HOUR)
    assert schedule.next_run("a") == regular
    schedule.retry("a", timedelta(minutes=1))
    sooner = schedule.next_run("a")
    assert sooner is not None
    assert sooner < now + timedelta(minutes=2)


async def test_a_wall_clock_that_is_put_back_leaves_no_look_in_a_lost_future(schedule: Schedule) -> None:
    future = datetime.now(UTC) + 3650 * DAY
    schedule.install({"a": every(HOUR)}, {"a": future})  # it looked while the clock was wrong
    schedule.rewind({"a": future})
    due = schedule.next_run("a")
    assert due is not None
    assert due <= datetime.now(UTC) + HOUR


async def test_immediate_looks_at_everything_at_once(schedule: Schedule, fired: Fired) -> None:
    schedule.install({"a": every(DAY)}, {"a": datetime.now(UTC)}, immediate=True)
    await fired.count("a", 1)


async def test_the_heartbeat_beats(schedule: Schedule) -> None:
    first = schedule.beat_at
    async with asyncio.timeout(10):
        while schedule.beat_at == first:
            await asyncio.sleep(0.05)


def test_sunday_is_0_and_7_and_names_work() -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)  # a Tuesday
    expected = ["Sun 01-06 09:00+0100", "Sun 01-13 09:00+0100"]
    assert fires("0 9 * * 0", start, 2) == fires("0 9 * * 7", start, 2) == fires("0 9 * * sun", start, 2) == expected


def test_day_of_month_or_day_of_week() -> None:
    assert fires("0 9 13 * 5", datetime(2030, 1, 8, tzinfo=UTC), 3) == [
        "Fri 01-11 09:00+0100",
        "Sun 01-13 09:00+0100",
        "Fri 01-18 09:00+0100",
    ]


def test_a_step_of_hours_fires_at_each_of_them() -> None:
    assert fires("0 */6 * * *", datetime(2030, 1, 1, 23, 30, tzinfo=UTC), 3) == [
        "Wed 01-02 06:00+0100",
        "Wed 01-02 12:00+0100",
        "Wed 01-02 18:00+0100",
    ]


def test_a_daily_look_fires_once_in_the_night_in_which_an_hour_comes_twice() -> None:
    assert fires("30 2 * * *", datetime(2030, 10, 26, 12, tzinfo=UTC), 2) == [
        "Sun 10-27 02:30+0200",
        "Mon 10-28 02:30+0100",
    ]


def test_a_daily_look_fires_in_the_night_in_which_its_hour_is_left_out() -> None:
    assert fires("30 2 * * *", datetime(2030, 3, 30, 12, tzinfo=UTC), 2) == [
        "Sun 03-31 03:00+0200",
        "Mon 04-01 02:30+0200",
    ]


def test_missed_runs_are_made_up_for_by_one_and_cost_nothing() -> None:
    now = datetime(2030, 6, 1, 12, 0, 30, tzinfo=UTC)
    long_ago = now - 3650 * DAY
    assert PeriodTrigger(timedelta(seconds=1)).get_next_fire_time(long_ago, now) == now + timedelta(seconds=1)
    assert CronTrigger("* * * * *", BERLIN).get_next_fire_time(long_ago, now) == now.replace(minute=1, second=0)


@given(
    MOMENTS,
    st.timedeltas(timedelta(seconds=1), 30 * DAY),
    st.timedeltas(timedelta(0), 400 * DAY),
)
def test_a_period_keeps_its_phase_and_never_lies_in_the_past(
    last: datetime, period: timedelta, away: timedelta
) -> None:
    now = last + away
    due = PeriodTrigger(period).get_next_fire_time(last, now)
    assert now < due <= now + period
    assert (due - last) % period == timedelta(0)


@given(
    MOMENTS,
    st.timedeltas(-400 * DAY, 400 * DAY),
    st.sampled_from([every(6 * HOUR), every(30 * DAY), cron("0 9 * * 1"), cron("*/5 * * * *")]),
)
def test_the_first_look_after_a_start_is_never_later_than_the_rhythm_says(
    now: datetime, ago: timedelta, rhythm: Rhythm
) -> None:
    first = rhythm.first("a", now - ago, now)
    assert first >= now
    period = timedelta(days=8) if rhythm.cron else rhythm.every
    assert first <= now + period
