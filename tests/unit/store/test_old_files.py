"""A file of an older version, which was not made for giving back room, is made anew once, and nothing in it is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.store_samples import alert, state

from expiryd.store.connect import database_url
from expiryd.store.port import Change, Look, Outcome, StoreError
from expiryd.store.sql import SqlStore

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NEVER, INCREMENTAL = 0, 2
KEPT = state(alerts=(alert(),))


def mode(file: Path) -> int:
    """How the file gives room back, as SQLite says."""
    with closing(sqlite3.connect(file)) as connection:
        ((found,),) = connection.execute("PRAGMA auto_vacuum")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return int(found)


def on_disk(file: Path) -> int:
    return sum(path.stat().st_size for path in file.parent.iterdir())


@pytest.fixture
async def old(tmp_path: Path) -> Path:
    file = tmp_path / "expiryd.db"
    store = SqlStore(database_url(file))
    await store.open()
    await store.commit(Change(items=[KEPT]))
    await store.aclose()
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA auto_vacuum={NEVER}")
        connection.execute("VACUUM")
    assert mode(file) == NEVER
    return file


async def fill(store: SqlStore, looks: int) -> None:
    """20 kB each, a second apart."""
    for n in range(looks):
        await store.commit(Change(look=Look("tokens", NOW, NOW + n * SECOND, Outcome.PARTIAL, n, "x" * 20_000)))
        entries = await store.journal()
        await store.journaled(entries[-1].seq, "the trail has it")


async def prune(store: SqlStore, looks: int) -> None:
    while await store.prune(events=NOW, looks=NOW + looks * SECOND):
        pass


async def test_it_is_opened_as_it_is_and_rewritten_when_there_is_room_to_give_back(old: Path) -> None:
    store = SqlStore(database_url(old))
    await store.open()
    await fill(store, 400)
    assert await store.shrink() is False, "a full file is not worth it"
    assert mode(old) == NEVER
    await prune(store, 300)
    full = old.stat().st_size
    assert await store.shrink() is True
    assert await store.shrink() is False, "once"
    assert mode(old) == INCREMENTAL
    assert old.stat().st_size < full / 2
    assert oct(old.stat().st_mode & 0o777) == "0o600"
    await prune(store, 400)
    while await store.shrink():
        pass
    assert old.stat().st_size < full / 10, "from now on piece by piece"
    assert (await store.load()).items == [KEPT]
    await store.commit(Change(items=[state("later")]))
    await store.aclose()
    assert mode(old) == INCREMENTAL
    store = SqlStore(database_url(old))
    await store.open()
    assert {each.id for each in (await store.load()).items} == {KEPT.id, "tls/later"}
    await store.aclose()


async def test_what_is_read_and_written_meanwhile_is_neither_torn_nor_in_the_way(old: Path) -> None:
    store = SqlStore(database_url(old))
    await store.open()
    await fill(store, 400)
    await prune(store, 400)
    with closing(sqlite3.connect(old, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM item").fetchall() == [(1,)]
        assert await store.shrink() is True
        await store.commit(Change(items=[state("later")]))
        assert reader.execute("SELECT count(*) FROM item").fetchall() == [(1,)], "of the moment it began with"
    assert len((await store.load()).items) == 2
    await store.aclose()
    assert mode(old) == INCREMENTAL


async def test_a_database_that_is_locked_stays_as_it_is_and_is_tried_again(old: Path) -> None:
    store = SqlStore(database_url(old), busy_timeout=timedelta(milliseconds=50))
    await store.open()
    await fill(store, 50)
    await prune(store, 50)
    with closing(sqlite3.connect(old, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another process"):
            await store.shrink()
    assert mode(old) == NEVER
    assert await store.shrink() is True
    assert (await store.load()).items == [KEPT]
    await store.aclose()
    assert mode(old) == INCREMENTAL


async def test_a_log_that_one_large_transaction_made_large_does_not_stay_so(tmp_path: Path) -> None:
    file = tmp_path / "expiryd.db"
    store = SqlStore(database_url(file))
    await store.open()
    await store.commit(Change(look=Look("tokens", NOW, NOW, Outcome.PARTIAL, 1, "x" * 25_000_000)))  # in three tables
    log = tmp_path / "expiryd.db-wal"
    assert log.stat().st_size > 72_000_000
    entries = await store.journal()
    await store.journaled(entries[-1].seq, "the trail has it")
    await prune(store, 1)
    for n in range(3):
        await store.commit(Change(items=[state(str(n))]))
    assert log.stat().st_size <= 64 * 1024 * 1024
    await store.aclose()
