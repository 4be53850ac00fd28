"""The database keeps to its size, gives room back to the file system, and follows a clock that was set back."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.store_samples import state

from expiryd.store.port import Change, Look, Outcome, StoreError
from expiryd.store.sql import SqlStore

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    store = SqlStore(f"sqlite:///{tmp_path / 'state.db'}", busy_timeout=timedelta(milliseconds=50))
    await store.open()
    yield store
    await store.aclose()


async def fill(store: SqlStore, looks: int) -> None:
    """20 kB each, which may go."""
    for n in range(looks):
        await store.commit(Change(look=Look("tokens", NOW, NOW, Outcome.PARTIAL, n, "x" * 20_000)))
    await store.journaled(looks, "the trail has them")


async def prune(store: SqlStore) -> None:
    while await store.prune(events=NOW, looks=NOW + timedelta(days=1)):
        pass


async def test_what_was_pruned_is_given_back_to_the_file_system(store: SqlStore, tmp_path: Path) -> None:
    assert await store.shrink() is False, "a new file has nothing to give"
    await fill(store, 300)
    full = await store.size()
    assert full is not None
    assert full > 4_000_000
    await prune(store)
    while await store.shrink():
        pass
    left = await store.size()
    assert left is not None
    assert left < 500_000
    await store.aclose()  # the log is written back
    assert (tmp_path / "state.db").stat().st_size < 1_000_000
    await store.open()


async def test_who_reads_while_room_is_given_back_sees_the_moment_it_began_with(
    store: SqlStore, tmp_path: Path
) -> None:
    await store.commit(Change(items=[state("kept")]))
    await fill(store, 50)
    await prune(store)
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM item").fetchall() == [(1,)]
        assert await store.shrink() is True
        await store.commit(Change(items=[state("later")]))
        assert reader.execute("SELECT count(*) FROM item").fetchall() == [(1,)]
    assert len((await store.load()).items) == 2


async def test_a_database_that_is_locked_gives_its_room_back_another_time(store: SqlStore, tmp_path: Path) -> None:
    await fill(store, 50)
    await prune(store)
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another process"):
            await store.shrink()
    assert await store.shrink() is True


async def test_a_log_that_one_large_transaction_made_large_does_not_stay_so(store: SqlStore, tmp_path: Path) -> None:
    await store.commit(Change(look=Look("tokens", NOW, NOW, Outcome.PARTIAL, 1, "x" * 25_000_000)))  # in three tables
    log = tmp_path / "state.db-wal"
    assert log.stat().st_size > 72_000_000
    await store.journaled((await store.journal())[-1].seq, "the trail has it")
    await prune(store)
    for n in range(3):
        await store.commit(Change(items=[state(str(n))]))
    assert log.stat().st_size <= 64 * 1024 * 1024


async def test_what_lies_after_a_time_that_was_set_back_was_earlier_by_as_much(tmp_path: Path) -> None:
    store = SqlStore(f"sqlite:///{tmp_path / 'state.db'}")
    await store.open()
    ended = NOW + timedelta(seconds=1)
    await store.commit(Change(look=Look("tokens", NOW, ended, Outcome.COMPLETE, 1)))
    await store.set_back(NOW - timedelta(days=2), -timedelta(days=3))
    known = await store.load()
    assert known.last_looks["tokens"].finished_at == ended - timedelta(days=3)
    assert known.last_good["tokens"] == ended - timedelta(days=3)
    await store.set_back(NOW, -timedelta(days=3))
    assert (await store.load()).last_looks["tokens"].finished_at == ended - timedelta(days=3)
    await store.aclose()
