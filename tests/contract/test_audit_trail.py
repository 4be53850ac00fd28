"""The audit trail of a daemon whose state is in PostgreSQL: everything once, in order and proven, whatever dies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.postgres import Cluster
from tests.rig import DAY, HOUR, KEY, MINUTE, Rig, expiring

from expiryd.audit.trail import Query, Trail, search, verify
from expiryd.engine.auditing import Auditor
from expiryd.store.port import Change, Entry, StoreError
from expiryd.store.sql import SqlStore

pytestmark = pytest.mark.postgres


@pytest.fixture
async def rig(tmp_path: Path, postgres_url: str) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path, receivers=("slack", "mail"))
    rig.wrap = lambda _: SqlStore(postgres_url)
    async with rig:
        yield rig


class Dying:
    """A store whose daemon dies between writing the lines and marking them."""

    def __init__(self, store: Any) -> None:
        self._store = store

    async def journaled(self, upto: int, digest: str) -> None:
        raise StoreError(f"no mark at {upto} with {digest}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def auditor(rig: Rig, store: Any) -> Auditor:
    assert rig.daemon.auditor is not None
    trail = Trail(rig.daemon.auditor.directory, KEY)
    return Auditor(store, trail, rig.clock, rig.log, rig.daemon.voice.complain_of_trail)


def lines(rig: Rig, **query: Any) -> list[dict[str, Any]]:
    assert rig.daemon.auditor is not None
    return list(reversed(list(search(rig.daemon.auditor.directory, Query(**query)))))


async def proven(rig: Rig) -> None:
    assert rig.daemon.auditor is not None
    proof = verify(rig.daemon.auditor.directory, KEY, await rig.daemon.store.trail_head())
    assert proof.problems == []
    assert proof.lines == len(lines(rig))
    assert await rig.daemon.store.journal() == []


async def expires(rig: Rig, *names: str) -> None:
    rig.sources["tokens"].shows(*(expiring(name, rig.begins_at + 3 * DAY) for name in names))
    await rig.look()


async def test_a_life_is_on_record_once_over_a_restart(rig: Rig) -> None:
    await expires(rig, "A", "B")
    await rig.wait(MINUTE)
    await rig.audit()
    deeds = [Entry(rig.clock.now(), "anna", f"deed.{number}", "tokens/A", {"odd": "\x00é"}) for number in range(60)]
    await rig.daemon.store.commit(Change(journal=deeds))
    await rig.restart()
    await expires(rig, "B", "C")
    await rig.wait(MINUTE)
    await rig.audit()
    raised = [line["item"] for line in lines(rig, action="alert.raised")]
    assert sorted(raised) == ["tokens/A", "tokens/B", "tokens/C"]
    told = [(line["detail"]["notifier"], line["detail"]["events"]) for line in lines(rig, action="message.delivered")]
    assert len(told) == len({str(each) for each in told}) == sum(len(r.sent) for r in rig.receivers.values())
    assert [line["action"] for line in lines(rig, actor="user:anna")] == [deed.action for deed in deeds]
    assert len(lines(rig, action="look.ended")) == 2
    entries = [line["entry"] for line in lines(rig) if line["entry"]]
    assert entries == sorted(entries)
    await proven(rig)


async def test_lines_whose_writer_died_before_it_marked_them_are_not_written_again(rig: Rig) -> None:
    """And the next one has more of them to carry than one append holds."""
    names = [f"T{number}" for number in range(700)]
    await expires(rig, *names)
    with pytest.raises(StoreError):
        await auditor(rig, Dying(rig.daemon.store)).export()
    await rig.restart()
    await rig.wait(HOUR)
    await rig.audit()
    raised = [line["item"] for line in lines(rig, action="alert.raised")]
    assert sorted(raised) == sorted(f"tokens/{name}" for name in names)
    assert len(lines(rig, action="look.ended")) == 1
    await proven(rig)


async def test_numbers_that_a_rolled_back_transaction_took_are_no_loss(rig: Rig, postgres_url: str) -> None:
    """A sequence of PostgreSQL does not give them back."""
    await expires(rig, "A")
    await rig.audit()
    with psycopg.connect(postgres_url) as connection:
        connection.execute("INSERT INTO journal (at, actor, action, item, detail) VALUES (0, 'x', 'x', '', '{}')")
        connection.rollback()
    await expires(rig, "A", "B")
    await rig.audit()
    await rig.restart()
    await expires(rig, "A", "B", "C")
    await rig.audit()
    assert len(lines(rig, action="alert.raised")) == 3
    await proven(rig)


async def test_a_server_that_went_away_in_between_costs_no_line_and_doubles_none(
    rig: Rig, postgres_url: str, postgres_server: Cluster
) -> None:
    await expires(rig, "A")
    await rig.audit()
    await expires(rig, "A", "B")
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        database = postgres_url.rpartition("/")[2]
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])
    await rig.audit()
    assert [line["item"] for line in lines(rig, action="alert.raised")] == ["tokens/A", "tokens/B"]
    await proven(rig)


async def test_a_removed_end_is_noticed_by_what_the_database_knows(rig: Rig) -> None:
    await expires(rig, "A")
    await rig.audit()
    assert rig.daemon.auditor is not None
    (file,) = rig.daemon.auditor.directory.iterdir()
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    proof = verify(rig.daemon.auditor.directory, KEY, await rig.daemon.store.trail_head())
    assert ["its end is missing" in str(problem) for problem in proof.problems] == [True]
