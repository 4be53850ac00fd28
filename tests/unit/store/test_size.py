"""The database keeps to its size, gives room back to the file system, and follows a clock that was set back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from expiryd.store.port import Change, Look, Outcome
from expiryd.store.sql import SqlStore

NOW = datetime(2030, 1, 1, tzinfo=UTC)


async def test_what_was_pruned_is_given_back_to_the_file_system(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    store = SqlStore(f"sqlite:///{file}")
    await store.open()
    for n in range(300):
        await store.commit(Change(look=Look("tokens", NOW, NOW, Outcome.PARTIAL, n, "x" * 20_000)))
    await store.journaled(300, "the trail has them")
    full = await store.size()
    assert full is not None
    assert full > 4_000_000
    while await store.prune(events=NOW, looks=NOW + timedelta(days=1)):
        pass
    await store.shrink()
    left = await store.size()
    assert left is not None
    assert left < 500_000
    await store.aclose()  # the log is written back
    assert file.stat().st_size < 1_000_000


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
