"""Pages together are the whole, in order, once each; the loop is never held up for long."""

from __future__ import annotations

import asyncio
import time
from base64 import urlsafe_b64encode
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from expiryd.core.view import Rank
from expiryd.testing import EPOCH
from expiryd.web.paging import STEP, page, read_cursor, write_cursor
from expiryd.web.route import Problem

RANKS = some.tuples(
    some.sampled_from([-4.0, -1.5, 0.0]),
    some.booleans(),
    some.integers(0, 5).map(lambda days: EPOCH + timedelta(days=days)),
    some.text(some.characters(codec=None), max_size=5),
)


def itself(rank: Rank) -> list[tuple[Rank, Rank]]:
    return [(rank, rank)]


@given(some.sets(RANKS, max_size=60), some.integers(1, 20))
def test_following_the_cursor_shows_everything_once_and_in_order(ranks: set[Rank], limit: int) -> None:
    async def follow() -> list[Rank]:
        found: list[Rank] = []
        after: Rank | None = None
        while True:
            shown, after = await page(ranks, itself, limit, after)
            assert len(shown) <= limit
            found += shown
            if after is None:
                return found
            after = read_cursor(write_cursor(after) or "")

    assert asyncio.run(follow()) == sorted(ranks)


async def test_a_hundred_thousand_entries_do_not_hold_up_the_loop() -> None:
    ranks: list[Rank] = [(-float(n % 5), False, EPOCH, f"item {n * 7919 % 100_003}") for n in range(100_000)]
    beats = [time.perf_counter()]

    async def beat() -> None:
        while True:
            await asyncio.sleep(0)
            beats.append(time.perf_counter())

    beating = asyncio.create_task(beat())
    shown, more = await page(ranks, itself, 1000)
    beating.cancel()
    assert shown == sorted(ranks)[:1000]
    assert more == shown[-1]
    assert len(beats) >= 100_000 / STEP  # it paused that often, so that a pause is a matter of milliseconds


TOO_LARGE = urlsafe_b64encode(b'[1%s, true, "2026-01-01T00:00:00Z", "x"]' % (b"0" * 400)).decode().rstrip("=")


@pytest.mark.parametrize(
    "text", ["", "abc", "W10", "bnVsbA", "WzEsMiwzLDRd", "é", "[" * 5000, "W3RydWUsMSwiMjAyMCIsIngiXQ", TOO_LARGE]
)
def test_a_cursor_that_was_not_given_out_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="cursor"):
        read_cursor(text)
