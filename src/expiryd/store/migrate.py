"""Brings the database to the schema of this code: made at once when new, migrated when older, refused when newer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, inspect, select, text

from expiryd.store import schema
from expiryd.store.port import StoreError

VERSION_TABLE = "expiryd_version"
_LOCK = 0x6578706972796401
_version = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)


@dataclass(frozen=True, slots=True)
class History:
    """The schema of today, the revisions that led to it (oldest first) and the directory of alembic's scripts."""

    metadata: MetaData
    revisions: tuple[str, ...]
    scripts: Path


HISTORY = History(schema.metadata, ("0001", "0002"), Path(__file__).parent / "migrations")


def ensure_schema(connection: Connection, database: str, history: History = HISTORY) -> None:
    """In the connection's transaction. Raises StoreError, having changed nothing, for a schema that is not ours.

    A new database is made in one go: alembic, slow to import, is loaded only to migrate an older one.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    revision = _revision(connection)
    if revision == history.revisions[-1]:
        return
    if revision in history.revisions:
        _upgrade(connection, history)
    elif revision is not None:
        raise StoreError(
            f"{database} has schema {revision!r}, which this version of expiryd does not know: it was written by a "
            "newer one. Install that version again, or restore a backup made before the upgrade. Nothing was changed"
        )
    else:
        _create(connection, database, history)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.scalar(select(_version.c.version_num)) or ""


def _create(connection: Connection, database: str, history: History) -> None:
    if taken := sorted(set(history.metadata.tables) & set(inspect(connection).get_table_names())):
        raise StoreError(
            f"{database} already holds tables of something else ({', '.join(taken)}). "
            "Give expiryd a database (or on PostgreSQL a schema) of its own. Nothing was changed"
        )
    history.metadata.create_all(connection)
    _version.create(connection)
    connection.execute(_version.insert().values(version_num=history.revisions[-1]))


def _upgrade(connection: Connection, history: History) -> None:
    from alembic import command  # noqa: PLC0415 - 0.7 s and 10 MB, needed once per upgrade
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection, "history": history})
    config.set_main_option("script_location", str(history.scripts).replace("%", "%%"))
    command.upgrade(config, "head")
