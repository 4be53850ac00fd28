"""A clock that was set back for good, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

from tests.store_samples import DAY, HOUR, NOW, alert, event, state

from expiryd.store.port import Change, Look, Outcome
from expiryd.store.sql import SqlStore


async def test_set_back_moves_what_lies_ahead_and_nothing_else(store: SqlStore) -> None:
    before, ahead = NOW - HOUR, NOW + 2 * DAY
    told = state("told", alerts=(replace(alert("told"), opened_at=before, asked_at=ahead, told_at=ahead),))
    looks = [
        Look("tls", before, before, Outcome.COMPLETE, 1),
        Look("files", ahead, ahead + HOUR, Outcome.COMPLETE, 1),
    ]
    await store.commit(Change(items=[told], look=looks[0]))
    await store.commit(Change(events=[(event(), ("slack",))], due=ahead, look=looks[1]))
    await store.set_back(NOW, -2 * DAY)
    known = await store.load()
    (item,) = known.items
    (open_alert,) = item.alerts
    assert (open_alert.opened_at, open_alert.asked_at, open_alert.told_at) == (before, NOW, NOW)
    assert known.last_looks["tls"] == looks[0]
    assert (known.last_looks["files"].started_at, known.last_good["files"]) == (NOW, NOW + HOUR)
    assert await store.next_due("slack") == NOW
