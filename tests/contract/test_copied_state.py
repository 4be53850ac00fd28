"""A copy of the state, made beside whoever works with it, is the state: from SQLite and from a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import select
from tests.postgres import PASSWORD
from tests.store_samples import DAY, HOUR, NOW, alert, event, state

from expiryd.core.matching import Matcher
from expiryd.core.model import Ack, Event, EventKind, ItemId
from expiryd.core.silencing import Silence
from expiryd.store.connect import database_url, reach
from expiryd.store.copying import copy_state
from expiryd.store.port import Change, Entry, Fate, Look, Outcome, Settlement, StoreError
from expiryd.store.schema import metadata
from expiryd.store.sql import SqlStore

LONG, ODD = "x" * 3000, "caf\udce9\x00\x1a"
MUTED = Silence(Matcher(), NOW, NOW + DAY, "anna", f"at work on it {ODD}", NOW, "s1")


def everything(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, as written."""
    database = reach(url, timedelta(seconds=5), exclusive=False)
    try:
        with database.reader.connect() as connection:
            return {
                table.name: sorted(map(tuple, connection.execute(select(table))), key=repr)
                for table in metadata.sorted_tables
            }
    finally:
        database.dispose()


def happened(name: str) -> Event:
    return replace(event(EventKind.RAISED, name), item=ItemId(f"tls/{name}"))


@pytest.fixture
async def lived(url: str) -> AsyncIterator[SqlStore]:
    """A store that is being worked with, with something in every table and much in some."""
    store = SqlStore(url)
    await store.open()
    told = replace(alert("a", told=NOW), ack=Ack("anna", NOW, "known", NOW + DAY), rung="7d", escalated=2)
    many = [state(f"many-{number}") for number in range(4500)]
    await store.commit(
        Change(
            items=[state("a", alerts=(told,)), state(LONG, alerts=(alert(LONG),)), state(ODD), *many],
            events=[(happened(name), ("slack", "mail")) for name in ("a", LONG, ODD)],
            due=NOW,
            look=Look("tls", NOW, NOW + HOUR, Outcome.PARTIAL, 3, ODD),
            silences=[MUTED],
            journal=[Entry(NOW, "anna", "silence.made", "tls/a", {"why": ODD})],
        )
    )
    parcels = await store.lease("slack", NOW, NOW + HOUR)
    thread = (ItemId("tls/a"), "g1", "thread-1")
    settled = Settlement((parcels[0].id,), Fate.DELIVERED, NOW, proof="ok", thread=thread)
    await store.settle("slack", [settled])
    await store.journaled(1, "hash")
    yield store
    await store.aclose()


async def test_a_copy_holds_what_the_database_holds_in_every_table(lived: SqlStore, url: str, tmp_path: Path) -> None:
    await copy_state(url, tmp_path / "copy.db")
    whole, copied = everything(url), everything(database_url(tmp_path / "copy.db"))
    assert all(whole.values()), "the test is about every table"
    assert copied == whole


async def test_the_copy_is_lived_in_and_the_database_hears_nothing_of_it(
    lived: SqlStore, url: str, tmp_path: Path
) -> None:
    """Numbers go on behind those that were copied, and whoever works with the database was not in the way."""
    known, before = await lived.load(), everything(url)
    await copy_state(url, tmp_path / "copy.db")
    copy = SqlStore(database_url(tmp_path / "copy.db"), private=True)
    await copy.open()
    assert await copy.load() == known
    await copy.commit(Change(events=[(happened("later"), ("slack",))], due=NOW))
    assert [record.id for record in await copy.events()] == [4, 3, 2, 1]
    assert {each.event.item for each in await copy.lease("slack", NOW, NOW + HOUR)} >= {"tls/later"}
    await copy.aclose()
    assert everything(url) == before
    await lived.ping()


@pytest.mark.postgres
async def test_what_is_written_while_it_is_copied_is_in_the_copy_whole_or_not_at_all(
    postgres_url: str, tmp_path: Path
) -> None:
    """Each round adds an item and its event together."""
    store = SqlStore(postgres_url)
    await store.open()
    copied = asyncio.ensure_future(copy_state(postgres_url, tmp_path / "copy.db"))
    rounds = 0
    while not copied.done():
        name = f"round-{rounds}"
        await store.commit(Change(items=[state(name)], events=[(happened(name), ("slack",))], due=NOW))
        rounds += 1
    await copied
    await store.aclose()
    copy = everything(database_url(tmp_path / "copy.db"))
    assert rounds > 1
    assert len(copy["item"]) == len(copy["event"]) == len(copy["parcel"])


@pytest.fixture
async def readable(postgres_url: str) -> str:
    """The database for the eyes of a user who owns nothing."""
    store = SqlStore(postgres_url)
    await store.open()
    await store.commit(Change(items=[state("a", alerts=(alert("a"),))], events=[(happened("a"), ("slack",))]))
    await store.aclose()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS reader")
        connection.execute(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    return postgres_url.replace("//expiryd:", "//reader:")


@pytest.mark.postgres
async def test_a_user_who_may_only_read_can_copy(readable: str, postgres_url: str, tmp_path: Path) -> None:
    await copy_state(readable, tmp_path / "copy.db")
    assert everything(database_url(tmp_path / "copy.db")) == everything(postgres_url)


@pytest.mark.postgres
async def test_a_database_in_which_no_daemon_has_begun_is_an_empty_state(postgres_url: str, tmp_path: Path) -> None:
    await copy_state(postgres_url, tmp_path / "copy.db")
    copied = everything(database_url(tmp_path / "copy.db"))
    assert [name for name, rows in copied.items() if rows] == ["installation"]
    with psycopg.connect(postgres_url) as connection:
        made = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert made == (0,), "and nothing was made there"


@pytest.mark.postgres
async def test_a_database_of_an_older_version_is_named_with_what_to_do(postgres_url: str, tmp_path: Path) -> None:
    store = SqlStore(postgres_url)
    await store.open()
    await store.aclose()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE alert DROP COLUMN rung")
    with pytest.raises(StoreError, match=r"on 127\.0\.0\.1 is not what this version.*start the daemon") as caught:
        await copy_state(postgres_url, tmp_path / "copy.db")
    assert PASSWORD not in f"{caught.value!r} {caught.value.__cause__!r}"
