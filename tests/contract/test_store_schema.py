"""How a database becomes, and stays, one that this code understands: on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, text
from tests.store_samples import alert, state

from expiryd.store.connect import reach
from expiryd.store.migrate import HISTORY, VERSION_TABLE, History, ensure_schema
from expiryd.store.port import Change, StoreError
from expiryd.store.sql import SqlStore

_NEXT = """
import sqlalchemy as sa
from alembic import op
revision = "{revision}"
down_revision = "{before}"

def upgrade():
    rebuild = "always" if op.get_bind().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("item", recreate=rebuild) as item:
        item.add_column(sa.Column("note", sa.Text, nullable=False, server_default="old"))
"""


@contextmanager
def writing(url: str) -> Iterator[Connection]:
    database = reach(url, timedelta(seconds=5), exclusive=False)
    try:
        with database.migrator.begin() as connection:
            yield connection
    finally:
        database.dispose()


def described(connection: Connection) -> Any:
    """Everything that is to be known of the schema: on SQLite its very words, on PostgreSQL what is reflected."""
    if connection.dialect.name == "sqlite":
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master"))
        return {name: " ".join((sql or "").split()) for name, sql in rows}
    look = inspect(connection)
    tables = sorted(look.get_table_names())
    parts = (look.get_pk_constraint, look.get_foreign_keys, look.get_unique_constraints, look.get_indexes)
    columns = {
        t: [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in look.get_columns(t)] for t in tables
    }
    return columns, {t: [part(t) for part in parts] for t in tables}


def grown(tmp_path: Path) -> History:
    """The history of a later release: one more revision after ours."""
    scripts = tmp_path / "migrations"
    shutil.copytree(HISTORY.scripts, scripts)
    before = HISTORY.revisions[-1]
    (scripts / "versions" / "v9999.py").write_text(_NEXT.format(revision="9999", before=before))
    return replace(HISTORY, revisions=(*HISTORY.revisions, "9999"), scripts=scripts)


async def test_the_migrations_from_zero_make_the_schema_that_a_new_database_gets(url: str) -> None:
    with writing(url) as connection:
        ensure_schema(connection, "it")
        made = described(connection)
        HISTORY.metadata.drop_all(connection)
        connection.execute(text(f"DELETE FROM {VERSION_TABLE}"))
        ensure_schema(connection, "it", replace(HISTORY, revisions=("", *HISTORY.revisions)))
        assert described(connection) == made
        assert connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}")) == HISTORY.revisions[-1]


def test_every_script_is_a_known_revision_in_one_line() -> None:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - slow to import

    walked = [script.revision for script in ScriptDirectory(str(HISTORY.scripts)).walk_revisions()]
    assert tuple(reversed(walked)) == HISTORY.revisions


async def test_an_older_database_is_migrated_with_everything_in_it(url: str, tmp_path: Path) -> None:
    """Also by rebuilding a table that others refer to, which is how SQLite changes one."""
    store = SqlStore(url)
    await store.open()
    kept = state(alerts=(alert(),))
    await store.commit(Change(items=[kept]))
    await store.aclose()
    with writing(url) as connection:
        ensure_schema(connection, "it", grown(tmp_path))
        assert connection.scalar(text("SELECT note FROM item")) == "old"
        assert connection.scalar(text("SELECT count(*) FROM alert")) == 1
        assert connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}")) == "9999"


async def test_a_migration_that_fails_leaves_the_database_as_it_was(url: str, tmp_path: Path) -> None:
    history = grown(tmp_path)
    script = history.scripts / "versions" / "v9999.py"
    script.write_text(script.read_text() + "    op.execute('SELECT * FROM nowhere')\n")
    with writing(url) as connection:
        ensure_schema(connection, "it")
        before = described(connection)
    with pytest.raises(Exception, match="nowhere"), writing(url) as connection:
        ensure_schema(connection, "it", history)
    with writing(url) as connection:
        assert described(connection) == before
        assert connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}")) == HISTORY.revisions[-1]


async def test_a_newer_schema_is_refused_and_left_alone(url: str, tmp_path: Path) -> None:
    with writing(url) as connection:
        ensure_schema(connection, "it", grown(tmp_path))
    with writing(url) as connection:
        ensure_schema(connection, "it", History(HISTORY.metadata, ("9999",), tmp_path / "migrations"))
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
        before = described(connection)
    store = SqlStore(url)
    with pytest.raises(StoreError, match=r"schema '9999'.*newer.*Nothing was changed"):
        await store.open()
    with writing(url) as connection:
        assert described(connection) == before


async def test_a_database_of_something_else_is_refused_and_left_alone(url: str) -> None:
    with writing(url) as connection:
        connection.execute(text("CREATE TABLE event (id INTEGER)"))
        before = described(connection)
    with pytest.raises(StoreError, match=r"tables of something else \(event\)"):
        await SqlStore(url).open()
    with writing(url) as connection:
        assert described(connection) == before


async def test_opening_a_database_that_is_new_or_up_to_date_does_not_import_alembic(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from expiryd.store.sql import SqlStore
async def twice():
    for _ in range(2):
        store = SqlStore(sys.argv[1]); await store.open(); await store.aclose()
asyncio.run(twice())
assert "alembic" not in sys.modules
"""
    url = f"sqlite:///{tmp_path}/expiryd.db"
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program, url], check=True)
