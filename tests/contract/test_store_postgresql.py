"""What only a real PostgreSQL server can show: one daemon per database, lost connections, and no password anywhere."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import psycopg
import pytest
from tests.postgres import PASSWORD, Cluster
from tests.store_samples import state

from expiryd.store.port import Change, StoreError
from expiryd.store.sql import SqlStore

pytestmark = pytest.mark.postgres


async def refusal(url: str) -> str:
    with pytest.raises(StoreError) as caught:
        await SqlStore(url).open()
    shown = f"{caught.value!r} {caught.value.__cause__!r}"
    assert PASSWORD not in shown
    return str(caught.value)


def break_connections(server: Cluster, url: str) -> None:
    database = url.rpartition("/")[2]
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])


async def test_a_second_daemon_is_refused_until_the_first_is_gone(postgres_url: str) -> None:
    first, second = SqlStore(postgres_url), SqlStore(postgres_url)
    await first.open()
    assert "in use by another expiryd" in await refusal(postgres_url)
    await first.ping()
    await first.aclose()
    await second.open()
    await second.aclose()


async def test_daemons_in_schemas_of_their_own_share_a_database(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA other")
    stores = SqlStore(postgres_url), SqlStore(f"{postgres_url}?options=-csearch_path%3Dother")
    for store in stores:
        await store.open()
    here, there = [(await store.load()).installation for store in stores]
    for store in stores:
        await store.aclose()
    assert here != there


async def test_a_daemon_that_lost_its_connections_takes_its_lock_again_and_goes_on(
    postgres_url: str, postgres_server: Cluster
) -> None:
    store = SqlStore(postgres_url)
    await store.open()
    break_connections(postgres_server, postgres_url)
    await store.commit(Change(items=[state()]))
    assert (await store.load()).items == [state()]
    assert "in use by another expiryd" in await refusal(postgres_url)
    await store.aclose()


async def test_a_daemon_that_lost_its_lock_to_another_cannot_write(postgres_url: str, postgres_server: Cluster) -> None:
    first, second = SqlStore(postgres_url), SqlStore(postgres_url)
    await first.open()
    break_connections(postgres_server, postgres_url)
    await second.open()
    with pytest.raises(StoreError, match="in use by another expiryd"):
        await first.commit(Change(items=[state()]))
    assert (await second.load()).items == []
    await first.aclose()
    await second.aclose()


async def test_two_that_open_a_new_database_at_once_make_it_once(postgres_url: str) -> None:
    stores = [SqlStore(postgres_url, exclusive=False) for _ in range(3)]
    await asyncio.gather(*(store.open() for store in stores))
    installations = {(await store.load()).installation for store in stores}
    for store in stores:
        await store.aclose()
    assert len(installations) == 1


async def test_a_refused_password_is_said_and_not_shown(postgres_url: str) -> None:
    wrong = postgres_url.replace(PASSWORD, f"{PASSWORD}-wrong")
    assert "refuses this user or password" in await refusal(wrong)


async def test_a_server_that_does_not_answer_is_named(postgres_url: str) -> None:
    assert "on 127.0.0.1 does not answer" in await refusal(f"postgresql://expiryd:{PASSWORD}@127.0.0.1:1/state")


async def test_a_database_that_is_not_there_is_named(postgres_server: Cluster) -> None:
    message = await refusal(postgres_server.url("nowhere"))
    assert "database nowhere on 127.0.0.1 does not exist" in message


async def test_a_user_who_may_not_create_tables_is_told_so(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS guest")
        connection.execute(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
    assert "does not let this user do that" in await refusal(postgres_url.replace("//expiryd:", "//guest:"))


async def test_a_backup_of_postgresql_is_the_matter_of_its_own_tool(postgres_url: str, tmp_path: object) -> None:
    store = SqlStore(postgres_url)
    await store.open()
    with pytest.raises(StoreError, match="pg_dump"):
        await store.backup(tmp_path / "copy.db")  # type: ignore[operator]  # a Path
    await store.aclose()


async def test_without_the_driver_one_line_says_what_to_install() -> None:
    program = """
import sys
sys.modules["psycopg"] = None
from expiryd.store.port import StoreError
from expiryd.store.sql import SqlStore
try:
    SqlStore("postgresql://user:canary@host/name")
except StoreError as error:
    print(error)
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.count("\n") == 1
    assert "pip install 'expiryd[postgres]'" in done.stdout
    assert "canary" not in done.stdout + done.stderr
