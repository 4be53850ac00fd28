"""Whatever a collector does, what it has shown counts, and why it ended is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Literal

import pytest

from expiryd.api import CollectError, Collector, CollectorConfig, Observation, Reading, Tools
from expiryd.engine.gathering import BATCH, Gathering
from expiryd.testing import Scripted, SilentLog


class SomeConfig(CollectorConfig):
    type: Literal["some"] = "some"

    def build(self, tools: Tools) -> Collector:
        raise NotImplementedError


class Endless(Collector):
    """Shows `shown` items, then hangs. `left` is set when its generator is closed."""

    def __init__(self, shown: int) -> None:
        self._shown = shown
        self.left = False

    async def look(self) -> AsyncIterator[Reading]:
        try:
            for number in range(self._shown):
                yield Observation(str(number))
            await asyncio.Event().wait()
        finally:
            self.left = True


class Plain(Collector):
    """An iterator that is no generator: nothing of it can be closed."""

    def look(self) -> AsyncIterator[Reading]:
        return self._readings()

    def _readings(self) -> AsyncIterator[Reading]:
        class Readings:
            left = 3

            def __aiter__(self) -> AsyncIterator[Reading]:
                return self

            async def __anext__(self) -> Reading:
                self.left -= 1
                if self.left < 0:
                    raise StopAsyncIteration
                return Observation(str(self.left))

        return Readings()


@pytest.fixture
def log() -> SilentLog:
    return SilentLog()


async def gathered(collector: Collector, log: SilentLog, **settings: timedelta) -> tuple[list[int], str]:
    """The sizes of the batches, and why it ended early."""
    gathering = Gathering("web", SomeConfig(**settings), collector, log)
    sizes = [len(batch) async for batch in gathering.batches()]
    return sizes, gathering.failure


def items(count: int) -> list[Reading]:
    return [Observation(str(number)) for number in range(count)]


async def test_an_empty_source_is_a_complete_look_without_a_batch(log: SilentLog) -> None:
    assert await gathered(Scripted([]), log) == ([], "")


@pytest.mark.parametrize("count", [1, BATCH, BATCH + 1])
async def test_every_reading_comes_once(log: SilentLog, count: int) -> None:
    sizes, failure = await gathered(Scripted(items(count)), log)
    assert (sum(sizes), failure) == (count, "")


async def test_a_hundred_thousand_readings_come_in_small_batches(log: SilentLog) -> None:
    sizes, failure = await gathered(Scripted(items(100_000)), log)
    assert (sum(sizes), max(sizes), failure) == (100_000, BATCH, "")


async def test_what_was_seen_before_the_deadline_counts_and_the_generator_is_closed(log: SilentLog) -> None:
    collector = Endless(BATCH + 7)
    sizes, failure = await gathered(collector, log, timeout=timedelta(milliseconds=50))
    assert (sum(sizes), failure) == (BATCH + 7, "not finished within 0.05s (`timeout`)")
    assert collector.left


async def test_a_look_that_is_given_up_on_closes_its_generator(log: SilentLog) -> None:
    collector = Endless(3 * BATCH)
    batches = Gathering("web", SomeConfig(), collector, log).batches()
    await anext(batches)
    await batches.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert collector.left


async def test_what_was_seen_before_an_error_counts_and_the_error_is_said(log: SilentLog) -> None:
    seen = [*items(3), CollectError("page 2 of https://vault timed out")]
    assert await gathered(Scripted(seen), log) == ([3], "page 2 of https://vault timed out")
    assert log.lines == []


async def test_a_bug_is_said_by_its_kind_alone_and_logged_in_full(log: SilentLog) -> None:
    assert await gathered(Scripted([*items(3), ZeroDivisionError("s3cret")]), log) == (
        [3],
        "bug in the collector: ZeroDivisionError",
    )
    ((level, event, keys),) = log.lines
    assert (level, event, keys["collector"]) == ("error", "collector.crashed", "web")


async def test_a_time_out_of_the_collectors_own_making_is_a_failed_look_too(log: SilentLog) -> None:
    sizes, failure = await gathered(Scripted([*items(2), TimeoutError()]), log)
    assert sizes == [2]
    assert failure


async def test_an_iterator_need_not_be_a_generator(log: SilentLog) -> None:
    assert await gathered(Plain(), log) == ([3], "")
