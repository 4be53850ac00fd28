"""A backup is a whole database that another store opens, readable by its owner alone, and never overwrites."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
from tests.store_samples import alert, event, state

from expiryd.store.connect import database_url
from expiryd.store.port import Change, StoreError
from expiryd.store.sql import SqlStore


async def test_a_backup_made_while_changes_go_on_is_whole(tmp_path: Path) -> None:
    store = SqlStore(database_url(tmp_path / "expiryd.db"))
    await store.open()
    changes = [
        store.commit(Change(items=[state(str(n), alerts=(alert(str(n)),))], events=[(event(name=str(n)), ("slack",))]))
        for n in range(50)
    ]
    copy = tmp_path / "copy of it's state.db"
    await asyncio.gather(*changes[:25], store.backup(copy), *changes[25:])
    installation = (await store.load()).installation
    await store.aclose()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    restored = SqlStore(database_url(copy))
    await restored.open()
    loaded, outbox = await restored.load(), await restored.outbox()
    await restored.aclose()
    assert loaded.installation == installation
    assert all(item.alerts for item in loaded.items)
    assert sum(outbox.counts.values()) == len(loaded.items)


async def test_a_backup_overwrites_nothing(tmp_path: Path) -> None:
    store = SqlStore(database_url(tmp_path / "expiryd.db"))
    await store.open()
    there = tmp_path / "precious"
    there.write_text("mine")
    with pytest.raises(StoreError, match=r"the backup .*precious.*File exists"):
        await store.backup(there)
    await store.aclose()
    assert there.read_text() == "mine"


async def test_a_database_that_is_not_there_is_not_backed_up_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"expiryd\.db is not there"):
        await SqlStore(database_url(tmp_path / "expiryd.db")).backup(tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


async def test_a_backup_that_fails_leaves_no_file(tmp_path: Path) -> None:
    store = SqlStore(database_url(tmp_path / "expiryd.db"))
    await store.open()
    with pytest.raises(StoreError, match=r"the backup .*nowhere/copy"):
        await store.backup(tmp_path / "nowhere" / "copy")
    await store.aclose()
    assert [path.name for path in tmp_path.iterdir()] == ["expiryd.db"]


async def test_a_backup_of_what_is_damaged_leaves_no_file_and_nothing_open(tmp_path: Path) -> None:
    damaged, opened = tmp_path / "expiryd.db", Path("/proc/self/fd")
    damaged.write_bytes(b"no database" * 1000)
    store = SqlStore(database_url(damaged))
    for _ in range(2):  # the first also opens what stays open, such as the thread's own
        before = len(list(opened.iterdir()))
        with pytest.raises(StoreError, match=r"the backup .*copy is damaged"):
            await store.backup(tmp_path / "copy")
    assert len(list(opened.iterdir())) == before
    assert list(tmp_path.iterdir()) == [damaged]
