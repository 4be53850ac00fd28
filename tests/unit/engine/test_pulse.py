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
from expiryd.core.model import ItemId
from expiryd.engine.clock import SteadyClock
from expiryd.engine.metrics import Metrics
from expiryd.engine.pulse import FIRST_PRUNE, PRUNE_EVERY, YOUNGER, Pulse
from expiryd.store.connect import database_url
from expiryd.store.port import Change, Fate, Settlement, StoreError
from expiryd.store.sql import SqlStore
from expiryd.testing import FakeClock, SilentLog

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
MEGABYTE = 1 << 20


class Hasty(FakeClock):
    """Time flies while somebody sleeps."""

    async def sleep(self, delay: timedelta) -> None:
        self._pass(delay.total_seconds())


class Enough(Exception):
    """The beats that were asked for are over."""


class Stage:
    """A pulse over a real database, and what it calls."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.clock, self.log = Hasty(), SilentLog()
        self.store: Any = SqlStore(database_url(file))
        self.kept = Retention()
        self.left = 0
        self.pulse = Pulse(
            self,  # a store that can be another one in the middle
            SteadyClock(self.clock),
            self.log,
            Metrics("test"),
            tick=self.tick,
            replan=lambda: None,
            retention=lambda: self.kept,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def tick(self) -> None:
        if not self.left:
            raise Enough
        self.left -= 1

    async def beats(self, count: int) -> None:
        self.left = count
        with pytest.raises(Enough):
            await self.pulse.beat()

    async def prunes(self, beats: int) -> None:
        """It is time to prune, and so many beats follow."""
        await self.clock.advance(PRUNE_EVERY)
        await self.beats(beats)

    def warned(self) -> int:
        return sum(line[1] == "store.large" for line in self.log.lines)

    async def tell(self, count: int, *, at: datetime, fate: Fate | None = Fate.DELIVERED) -> None:
        """Events a second apart, of a page each, that the trail has; without a fate they are still owed."""
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


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path / "expiryd.db")
    await stage.store.open()
    yield stage
    await stage.store.aclose()


async def test_a_database_that_is_too_large_loses_its_oldest_news_until_it_is_not(stage: Stage) -> None:
    await stage.tell(3000, at=stage.clock.now())
    assert await stage.store.size() > 6 * MEGABYTE
    stage.kept = Retention(size=4 * MEGABYTE)
    await stage.prunes(beats=40)
    assert 1 * MEGABYTE < await stage.store.size() <= 4 * MEGABYTE
    left = await stage.told()
    assert left == [f"tls/n{n}" for n in range(3000 - len(left), 3000)], "the youngest"
    assert len(left) % YOUNGER == 0
    assert stage.warned() == 0
    await stage.store.aclose()
    assert stage.file.stat().st_size < 5 * MEGABYTE, "the file too"
    await stage.store.open()


async def test_a_daemon_that_is_often_restarted_prunes_too(stage: Stage) -> None:
    await stage.tell(10, at=stage.clock.now())
    stage.kept = Retention(events=SECOND)
    await stage.clock.advance(FIRST_PRUNE - 10 * SECOND)
    await stage.beats(1)
    assert len(await stage.told()) == 10
    await stage.clock.advance(10 * SECOND)
    await stage.beats(3)
    assert await stage.told() == []


async def test_it_goes_bite_by_bite_and_judging_comes_in_between(stage: Stage) -> None:
    await stage.tell(3000, at=stage.clock.now())
    stage.kept = Retention(events=SECOND)
    await stage.prunes(beats=1)
    assert len(await stage.told()) == 2000
    seen = stage.pulse.signs["pulse"]
    await stage.beats(1)
    assert len(await stage.told()) == 1000
    assert stage.pulse.signs["pulse"] > seen, "whoever watches sees it move"
    await stage.beats(10)
    assert await stage.told() == []
    assert await stage.store.size() < MEGABYTE
    await stage.tell(10, at=stage.clock.now() - DAY)
    await stage.beats(10)
    assert len(await stage.told()) == 10, "then not before it is time again"
    await stage.prunes(beats=1)
    assert await stage.told() == []


async def test_room_that_the_past_left_is_given_back_to_the_last_bite(stage: Stage) -> None:
    with closing(sqlite3.connect(stage.file)) as connection:  # far more than one bite gives back
        connection.execute("CREATE TABLE ballast AS SELECT zeroblob(60000000) AS weight")
        connection.execute("DROP TABLE ballast")
        connection.commit()
    assert stage.file.stat().st_size > 50 * MEGABYTE
    await stage.prunes(beats=30)
    await stage.store.aclose()
    assert stage.file.stat().st_size < MEGABYTE
    await stage.store.open()


async def test_what_is_owed_or_open_stays_however_large_it_is_and_that_is_said_once(stage: Stage) -> None:
    at = stage.clock.now()
    await stage.tell(1000, at=at)
    open_ones = range(500, 1000)
    await stage.store.commit(Change(items=[state(f"n{n}", alerts=(alert(f"n{n}"),)) for n in open_ones]))
    await stage.tell(1, at=at, fate=None)
    stage.kept = Retention(size=MEGABYTE)
    await stage.prunes(beats=60)
    assert await stage.told() == ["tls/n0", *(f"tls/n{n}" for n in open_ones), "tls/n0"]
    assert stage.warned() == 1
    assert len((await stage.store.load()).items) == 500
    await stage.prunes(beats=60)
    assert stage.warned() == 2, "and again when it is time again"


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
    await stage.prunes(beats=20)
    assert stage.store.tries == 1
    await stage.prunes(beats=20)
    assert stage.store.tries == 2
    stage.store = real


async def test_a_database_whose_size_is_its_own_matter_is_pruned_by_time_alone(stage: Stage) -> None:
    """PostgreSQL."""

    class Sizeless(Failing):
        async def prune(self, **asked: Any) -> int:
            self.tries += 1
            return await self._store.prune(**asked)

        async def size(self) -> None:
            return None

        async def shrink(self) -> bool:
            return False

    await stage.tell(1000, at=stage.clock.now())
    real, stage.store = stage.store, Sizeless(stage.store)
    stage.kept = Retention(size=MEGABYTE)
    await stage.prunes(beats=20)
    assert stage.store.tries == 1
    assert len(await stage.told()) == 1000
    stage.store = real
