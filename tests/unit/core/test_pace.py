"""When to try again and how fast to send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expiryd.core.pace import FIRST_WAIT, LONGEST_WAIT, Rate, backoff

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_reads_rates_as_people_write_them() -> None:
    assert Rate.parse("1/1s") == Rate(1, SECOND)
    assert Rate.parse("20/10m") == Rate(20, timedelta(minutes=10))
    assert Rate.parse(" 5/1h30m ") == Rate(5, timedelta(minutes=90))


@pytest.mark.parametrize(
    "text", ["", "1", "0/1s", "-1/1s", "1/", "/1s", "1/0s", "1/-5s", "1.5/1s", "²/1s", "x/1s", "9" * 5000 + "/1s"]
)
def test_says_how_to_write_a_rate_that_it_cannot_read(text: str) -> None:
    with pytest.raises(ValueError, match=r'write a (rate such as "1/1s"|duration such as)'):
        Rate.parse(text)


def test_waits_until_the_oldest_of_the_last_messages_leaves_the_window() -> None:
    rate = Rate(2, timedelta(minutes=1))
    assert rate.wait([], NOW) == timedelta(0)
    assert rate.wait([NOW], NOW) == timedelta(0)
    sent = [NOW - 90 * SECOND, NOW - 50 * SECOND, NOW - 10 * SECOND]
    assert rate.wait(sent, NOW) == 10 * SECOND
    assert rate.wait(sent, NOW + 10 * SECOND) == timedelta(0)


def test_a_clock_that_was_put_back_makes_nobody_wait_longer_than_the_window() -> None:
    assert Rate(1, SECOND).wait([NOW + timedelta(days=300)], NOW) == SECOND


@given(
    st.lists(st.timedeltas(timedelta(0), timedelta(hours=1)), max_size=30),
    st.builds(Rate, st.integers(1, 5), st.timedeltas(SECOND, timedelta(hours=1)) | st.just(timedelta.max)),
)
def test_no_window_ever_holds_more_than_its_count(pauses: list[timedelta], rate: Rate) -> None:
    now, sent = NOW, list[datetime]()
    for pause in pauses:
        now += pause
        wait = rate.wait(sent, now)
        assert timedelta(0) <= wait <= rate.per
        if wait > timedelta(days=3650):
            return  # nobody lives to see it
        now += wait
        assert sum(now - at < rate.per for at in sent) < rate.count
        sent.append(now)


@given(st.integers(-5, 10_000), st.text(max_size=20))
def test_backoff_is_never_nothing_never_over_an_hour_and_always_the_same(attempts: int, salt: str) -> None:
    wait = backoff(attempts, salt)
    assert FIRST_WAIT / 2 <= wait < LONGEST_WAIT
    assert wait == backoff(attempts, salt)


def test_backoff_doubles_up_to_an_hour_and_spreads_what_failed_together() -> None:
    bounds = [(5 * 2**n) for n in range(12)]
    for attempts, seconds in enumerate(bounds, 1):
        ceiling = min(seconds * SECOND, LONGEST_WAIT)
        waits = [backoff(attempts, f"parcel {n}") for n in range(50)]
        assert all(ceiling / 2 <= wait < ceiling for wait in waits)
        assert len(set(waits)) > 40
