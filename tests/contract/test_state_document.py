"""docs/state.md names every table, and its commands for backup and restore do what they say."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.postgres import server_binaries
from tests.store_samples import alert, event, state

from expiryd.store.connect import database_url
from expiryd.store.migrate import HISTORY, VERSION_TABLE
from expiryd.store.port import Change, Fate
from expiryd.store.sql import SqlStore

_PAGE = (Path(__file__).parents[2] / "docs" / "state.md").read_text()


def commands(heading: str) -> list[str]:
    """What a reader would type under this heading, without what needs an installed service."""
    section = _PAGE.split(f"# {heading}\n")[1].split("\n##")[0]
    typed = re.findall(r"^# (.*)$", "\n".join(re.findall(r"```console\n(.*?)```", section, re.DOTALL)), re.MULTILINE)
    return [line for line in typed if not line.startswith("systemctl")]


async def type_(lines: list[str], tmp_path: Path, **environment: str) -> None:
    script = (
        "\n".join(lines).replace("/var/lib/expiryd", str(tmp_path / "state")).replace("/backup", f"{tmp_path}/backup")
    )
    shell = ["bash", "-euc", script]
    done = await asyncio.to_thread(
        subprocess.run, shell, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


async def filled(url: str) -> SqlStore:
    store = SqlStore(url)
    await store.open()
    await store.commit(Change(items=[state(alerts=(alert(),))], events=[(event(), ("slack",))]))
    return store


async def spoiled_after_backup(store: SqlStore) -> None:
    await store.commit(Change(forgotten=[state().id], events=[(event(name="later"), ("slack",))]))
    await store.aclose()


async def is_as_filled(url: str) -> bool:
    store = SqlStore(url)
    await store.open()
    items, counts = (await store.load()).items, (await store.outbox()).counts
    await store.aclose()
    return items == [state(alerts=(alert(),))] and counts == {("slack", Fate.PENDING): 1}


@pytest.fixture
def places(tmp_path: Path) -> Path:
    for name in ("state", "backup"):
        (tmp_path / name).mkdir()
    (tmp_path / "state" / "fingerprint.key").write_bytes(b"k" * 32)
    return tmp_path


def test_every_table_is_described() -> None:
    for table in (*HISTORY.metadata.tables, VERSION_TABLE):
        assert f"\n| `{table}` | " in _PAGE


def test_every_fate_is_named() -> None:
    assert all(f"`{fate}`" in _PAGE for fate in Fate)


async def test_an_sqlite_file_is_backed_up_and_restored_as_written(places: Path) -> None:
    url = database_url(places / "state" / "expiryd.db")
    store = await filled(url)
    await type_(commands("Backup"), places)
    assert (places / "backup" / "expiryd.db").stat().st_mode & 0o077 == 0
    await spoiled_after_backup(store)
    await type_(commands("Restore"), places)
    assert await is_as_filled(url)


@pytest.mark.postgres
async def test_a_postgresql_database_is_dumped_and_restored_as_written(places: Path, postgres_url: str) -> None:
    lines = commands("Backup and restore")
    dump, restore = lines[:2], lines[2:]
    path = f"{server_binaries()}:{os.environ['PATH']}"
    store = await filled(postgres_url)
    await type_(dump, places, DATABASE_URL=postgres_url, PATH=path)
    await spoiled_after_backup(store)
    await type_(restore, places, DATABASE_URL=postgres_url, PATH=path)
    assert await is_as_filled(postgres_url)
