"""The pulse keeps the past to its time and the database to its size, bite by bite, without holding up judgement."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.store_samples import alert, event, state

from expiryd.config.model import Retention
from expiryd.core.model import EventKind, ItemId
from expiryd.engine.clock import SteadyClock
from expiryd.engine.metrics import Metrics
from expiryd.engine.pulse import PRUNE_EVERY, YOUNGER, Pulse
from expiryd.store.connect import database_url
from expiryd.store.port import Change, Fate, Look, Outcome, Settlement, StoreError
from expiryd.store.sql import SqlStore
from expiryd.testing import FakeClock, SilentLog

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
MEGABYTE = 1 << 20


class Hasty(FakeClock):
    """Time flies while somebody sleeps."""

    async def sleep(self, delay: timedelta) -> None:
        self._pass(delay.total_seconds())


class Stage:
    """A pulse over a real database, and what it calls."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.clock, self.log = Hasty(), SilentLog()
        self.store: Any = SqlStore(database_url(file))
        self.kept = Retention()
        self.ticks = 0

    def pulse(self) -> Pulse:
        async def tick() -> None:
            self.ticks += 1
            if self.ticks == self._last:
                pulse.stop()

        pulse = Pulse(
            self.store,
            SteadyClock(self.clock),
            self.log,
            Metrics("test"),
            tick=tick,
            replan=lambda: None,
            retention=lambda: self.kept,
        )
        return pulse

    async def beats(self, count: int, pulse: Pulse | None = None) -> Pulse:
        """So many, the first of which finds that pruning is due."""
        pulse = pulse or self.pulse()
        await self.clock.advance(PRUNE_EVERY)
        self._last = self.ticks + count
        pulse._stopping = False
        await pulse.beat()
        return pulse

    async def tell(self, count: int, *, at: datetime, fate: Fate | None = Fate.DELIVERED) -> None:
        """Events of 2 kB a second apart that the trail has; without a fate they are still owed."""
        for first in range(0, count, 250):
            numbers = range(first, min(first + 250, count))
            events = [replace(event(name=f"n{n}", at=at + n * SECOND), detail="x" * 2000) for n in numbers]
            await self.store.commit(Change(events=[(each, ("slack",)) for each in events], due=at))
        if fate is not None:
            parcels = await self.store.lease("slack", at + DAY, at + 2 * DAY)
            await self.store.settle("slack", [Settlement([each.id for each in parcels], fate, at)])
        entries = await self.store.journal(limit=1000)
        await self.store.journaled(entries[-1].seq, "hash")

    async def told(self) -> list[ItemId]:
        """The items of the events that are known, oldest first."""
        return [record.event.item for record in reversed(await self.store.events(limit=100_000))]


@pytest.fixture(params=["made today", "of an older version"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path / "expiryd.db")
    await stage.store.open()
    if request.param != "made today":
        await stage.store.aclose()
        with closing(sqlite3.connect(stage.file, isolation_level=None)) as connection:
            connection.execute("PRAGMA auto_vacuum=0")
            connection.execute("VACUUM")
        await stage.store.open()
    yield stage
    await stage.store.aclose()


async def test_a_database_that_is_too_large_loses_its_oldest_news_until_it_is_not(stage: Stage) -> None:
    await stage.tell(3000, at=stage.clock.now())
    before = await stage.store.size()
    assert before > 6 * MEGABYTE
    stage.kept = Retention(size=4 * MEGABYTE)  # type: ignore[call-arg]  # as it is when it was read
    await stage.beats(40)
    assert 3 * MEGABYTE < await stage.store.size() <= 4 * MEGABYTE
    left = await stage.told()
    assert left == [f"tls/n{n}" for n in range(3000 - len(left), 3000)], "the youngest"
    assert len(left) % YOUNGER == 0
    await stage.store.aclose()
    assert stage.file.stat().st_size < 5 * MEGABYTE, "the file too"
    await stage.store.open()


async def test_it_goes_bite_by_bite_and_judging_comes_in_between(stage: Stage) -> None:
    await stage.tell(3000, at=stage.clock.now())
    stage.kept = Retention(events=SECOND)
    pulse = await stage.beats(1)
    assert len(await stage.told()) == 2000
    assert pulse.signs["pulse"] == stage.clock.monotonic(), "whoever watches sees it move"
    await stage.beats(1, pulse)
    assert len(await stage.told()) == 1000
    await stage.beats(10, pulse)
    assert await stage.told() == []
    assert await stage.store.size() < MEGABYTE
    assert stage.ticks == 12


async def test_a_large_file_is_given_back_entirely(stage: Stage) -> None:
    """Room that the past left is given back in bites as well."""
    look = Look("tokens", stage.clock.now(), stage.clock.now(), Outcome.PARTIAL, 1, "x" * 1_000_000)
    for _ in range(15):
        await stage.store.commit(Change(look=look))
        entries = await stage.store.journal()
        await stage.store.journaled(entries[-1].seq, "hash")
    with closing(sqlite3.connect(stage.file)) as connection:  # what a storm leaves: far more room than one bite
        connection.execute("CREATE TABLE ballast AS SELECT zeroblob(60000000) AS weight")
        connection.execute("DROP TABLE ballast")
        connection.commit()
    stage.kept = Retention(looks=SECOND)
    await stage.beats(30)
    await stage.store.aclose()
    assert stage.file.stat().st_size < 2 * MEGABYTE
    await stage.store.open()


async def test_what_is_owed_or_open_stays_however_large_it_is_and_that_is_said_once(stage: Stage) -> None:
    at = stage.clock.now()
    await stage.tell(1000, at=at)
    open_ones = [state(f"n{n}", alerts=(alert(f"n{n}"),)) for n in range(500, 1000)]
    await stage.store.commit(Change(items=open_ones))
    await stage.store.commit(Change(events=[(event(EventKind.RAISED, "owed", at=at), ("mail",))], due=at))
    entries = await stage.store.journal()
    await stage.store.journaled(entries[-1].seq, "hash")
    stage.kept = Retention(size=MEGABYTE)  # type: ignore[call-arg]
    pulse = await stage.beats(60)
    left = await stage.told()
    assert left == ["tls/owed", *(f"tls/n{n}" for n in range(500, 1000))] or set(left) == {
        "tls/owed",
        *(f"tls/n{n}" for n in range(500, 1000)),
    }
    assert [line for line in stage.log.lines if line[1] == "store.large"] != []
    assert len((await stage.store.load()).items) == 500
    await stage.beats(1, pulse)


class Failing:
    """A store in which nothing can be pruned."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self.tries = 0

    async def prune(self, **_: Any) -> int:
        self.tries += 1
        raise StoreError("the disk is full")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_pruning_that_fails_is_tried_again_at_its_time_and_not_at_every_beat(stage: Stage) -> None:
    real, stage.store = stage.store, Failing(stage.store)
    pulse = await stage.beats(20)
    assert stage.store.tries == 1
    assert stage.ticks == 20, "judging went on"
    await stage.beats(20, pulse)
    assert stage.store.tries == 2
    stage.store = real
