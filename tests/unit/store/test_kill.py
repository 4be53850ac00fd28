"""A daemon that is killed at any moment leaves whole changes behind, and all that it had said were made."""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import timedelta
from pathlib import Path
from random import Random

from tests.store_samples import NOW

from expiryd.store.connect import database_url
from expiryd.store.port import Fate
from expiryd.store.sql import SqlStore

_CHILD = """
import asyncio, sys
from datetime import timedelta
sys.path.insert(0, sys.argv[2])
from dataclasses import replace
from expiryd.store.port import Change
from expiryd.store.sql import SqlStore
from tests.store_samples import NOW, alert, event, state

async def main():
    store = SqlStore(sys.argv[1])
    await store.open()
    n = len(await store.events(limit=100_000)) // 3
    while True:
        n += 1
        at = NOW + timedelta(seconds=n)
        items = [replace(state(x, alerts=(replace(alert(x), asked_at=at),)), blind_looks=n) for x in "abc"]
        events = [(event(name=x, at=at), ("slack", "email")) for x in "abc"]
        await store.commit(Change(items=items, events=events))
        print(n, flush=True)

asyncio.run(main())
"""


async def kill_at(random: Random, url: str) -> int:
    """Run a committing daemon, kill it, and return the number of the last change it said was made."""
    root = str(Path(__file__).parents[3])
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CHILD, url, root, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    said = [await child.stdout.readline()]
    await asyncio.sleep(random.random() * 0.2)
    child.send_signal(signal.SIGKILL)
    said += (await child.stdout.read()).splitlines()
    await child.wait()
    return int(said[-1] or said[-2])


async def test_killed_at_random_moments_every_change_is_whole(tmp_path: Path) -> None:
    url, random = database_url(tmp_path / "expiryd.db"), Random(20300101)
    for _ in range(5):
        said = await kill_at(random, url)
        store = SqlStore(url)
        await store.open()
        loaded, records = await store.load(), await store.events(limit=100_000)
        outbox = await store.outbox()
        await store.aclose()
        made = len(records) // 3
        assert made in (said, said + 1), "what was said to be made is there"
        assert len(records) == 3 * made
        assert all([notifier for notifier, _, _ in record.deliveries] == ["slack", "email"] for record in records)
        assert outbox.counts == {(name, Fate.PENDING): 3 * made for name in ("slack", "email")}
        at = NOW + timedelta(seconds=made)
        assert [item.blind_looks for item in loaded.items] == [made] * 3
        assert [item.alerts[0].asked_at for item in loaded.items] == [at] * 3
        assert {record.event.at for record in records[:3]} == {at}
