"""The journal is carried into the trail: everything once, in order, whatever fails, and without holding up the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.rig import DAY, KEY, Rig, expiring

from expiryd.audit.trail import Query, Trail, search, verify
from expiryd.core.model import ItemId
from expiryd.engine.auditing import Auditor
from expiryd.store.port import Change, Entry, StoreError


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path) as rig:
        yield rig


class Forgetful:
    """A store of which so many marks fail, after the lines were written."""

    def __init__(self, store: Any, failures: int) -> None:
        self._store = store
        self.failures = failures

    async def journaled(self, upto: int, digest: str) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreError("the database is full")
        await self._store.journaled(upto, digest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def auditor(rig: Rig, store: Any = None) -> Auditor:
    """Another life, which knows nothing but the database and the files."""
    trail = Trail(directory(rig), KEY)
    return Auditor(store or rig.daemon.store, trail, rig.clock, rig.log, rig.daemon.voice.complain_of_trail)


def directory(rig: Rig) -> Path:
    assert rig.daemon.auditor is not None
    return rig.daemon.auditor.directory


def lines(rig: Rig, **query: Any) -> Sequence[dict[str, Any]]:
    return list(reversed(list(search(directory(rig), Query(**query)))))


async def proven(rig: Rig) -> None:
    assert verify(directory(rig), KEY, await rig.daemon.store.trail_head()).problems == []


async def sees_many(rig: Rig, count: int) -> None:
    rig.sources["tokens"].shows(*(expiring(f"T{number}", rig.clock.now() + 3 * DAY) for number in range(count)))
    await rig.look()


async def test_lines_that_were_written_when_marking_them_failed_are_not_written_again(rig: Rig) -> None:
    await sees_many(rig, 700)
    one = auditor(rig, Forgetful(rig.daemon.store, failures=2))
    for _ in range(2):
        with pytest.raises(StoreError):
            await one.export()
    await one.export()
    assert len(lines(rig, action="alert.raised")) == 700
    assert len({line["item"] for line in lines(rig, action="alert.raised")}) == 700
    await proven(rig)


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.999])
async def test_a_power_failure_in_the_middle_of_an_append_loses_and_doubles_nothing(rig: Rig, kept: float) -> None:
    await rig.audit()
    before = (directory(rig) / "audit-000001.jsonl").stat().st_size
    await sees_many(rig, 300)
    with pytest.raises(StoreError):
        await auditor(rig, Forgetful(rig.daemon.store, failures=1)).export()
    path = directory(rig) / "audit-000001.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: before + int((len(whole) - before) * kept)])
    with pytest.raises(StoreError):  # and it dies again after the repair
        await auditor(rig, Forgetful(rig.daemon.store, failures=1)).export()
    await auditor(rig).export()
    raised = [line["item"] for line in lines(rig, action="alert.raised")]
    assert sorted(raised) == sorted(f"tokens/T{number}" for number in range(300))
    assert len(lines(rig, action="look.ended")) == 1
    assert len(lines(rig, action="trail.repaired")) == 1
    await proven(rig)


async def test_a_database_that_was_put_back_loses_no_line_though_its_numbers_begin_anew(
    rig: Rig, tmp_path: Path
) -> None:
    await sees_many(rig, 3)
    await rig.audit()
    (tmp_path / "other").mkdir()
    async with Rig(tmp_path / "other") as younger:
        await younger.clock.advance(DAY)
        await sees_many(younger, 2)
        other = Auditor(
            younger.daemon.store, Trail(directory(rig), KEY), rig.clock, rig.log, rig.daemon.voice.complain_of_trail
        )
        while await other.export():
            pass
        assert verify(directory(rig), KEY, await younger.daemon.store.trail_head()).problems == []
    assert len(lines(rig, action="alert.raised")) == 5
    assert len(lines(rig, action="look.ended")) == 2


async def test_files_that_cannot_be_written_are_told_of_and_nothing_is_lost(rig: Rig) -> None:
    directory(rig).write_text("in the way")
    one = auditor(rig)
    serving = asyncio.ensure_future(one.serve())
    await _until(lambda: codes(rig) == ["audit-failing"])
    directory(rig).unlink()
    one.stop()
    await serving
    assert lines(rig, action="daemon.started")
    assert codes(rig) == []
    await proven(rig)


def codes(rig: Rig) -> list[str]:
    state = rig.daemon.ledger.get(ItemId("expiryd/audit"))
    return [finding.code for finding in state.observation.findings] if state else []


async def _until(holds: Any) -> None:
    for _ in range(10_000):
        if holds():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("never")


async def test_a_thousand_events_at_once_do_not_hold_up_the_loop(rig: Rig) -> None:
    await sees_many(rig, 2000)
    turns = 0
    carried = asyncio.Event()

    async def count() -> None:
        nonlocal turns
        while not carried.is_set():
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.ensure_future(count())
    await rig.audit()
    carried.set()
    await counting
    assert turns > 20, "others had their turn in between"
    assert len(lines(rig, action="alert.raised")) == 2000


async def test_entries_of_people_keep_their_actor_and_their_order(rig: Rig) -> None:
    now = rig.clock.now()
    entries = [Entry(now, "user:anna (uid 1000)", f"deed.{number}", "tokens/T") for number in range(120)]
    await rig.daemon.store.commit(Change(journal=entries))
    await rig.audit()
    assert [line["action"] for line in lines(rig, actor="user:anna (uid 1000)")] == [each.action for each in entries]


@pytest.mark.parametrize(
    ("known_as", "actor"),
    [("system", "system"), ("anna", "user:anna"), ("token ci", "token:ci"), ("token", "user:token")],
)
async def test_an_actor_is_the_daemon_a_user_or_a_token_and_none_passes_for_another(
    rig: Rig, known_as: str, actor: str
) -> None:
    await rig.daemon.store.commit(Change(journal=[Entry(rig.clock.now(), known_as, "deed")]))
    await rig.audit()
    assert [line["actor"] for line in lines(rig, action="deed")] == [actor]
