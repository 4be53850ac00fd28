"""How SQLite and PostgreSQL are reached: one connection that writes, and a few that cannot."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from expiryd.store.port import StoreError

READERS = 4
_MOST_LOG = 64 * 1024 * 1024
"""Bytes of SQLite's log that stay when one large transaction, as after a storm, made it larger."""
_DAEMON_LOCK = 0x65787069  # "expi"; the second half of the key is the schema, so two schemas hold two daemons
_SERVER_OPTIONS = (
    # a session whose client is gone ends within a minute, and with it the lock that keeps a second daemon out
    "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3 "
    # statements are short: compiling one takes longer than running it
    "-c statement_timeout=30s -c jit=off"
)


@dataclass(frozen=True, slots=True)
class Database:
    """`name` is fit for messages. `writer` does one transaction after another; `reader` cannot change anything.

    `migrator` is for the schema only: it leaves foreign keys alone, for rebuilding a table on SQLite must not
    delete the rows that refer to it. `secrets` must not appear in any message.
    """

    name: str
    writer: Engine
    reader: Engine
    migrator: Engine
    secrets: tuple[str, ...] = ()
    file: Path | None = None

    @property
    def driver_error(self) -> type[Exception]:
        """What the driver raises beneath SQLAlchemy, as while a connection is being made ready."""
        driver: Any = self.writer.dialect.loaded_dbapi
        error: type[Exception] = driver.Error
        return error

    def dispose(self) -> None:
        for engine in (self.reader, self.migrator, self.writer):  # the writer last: it tidies the log away
            engine.dispose()


def database_url(file: Path) -> str:
    """The URL of an SQLite file, whatever characters its path holds."""
    return URL.create("sqlite", database=str(file)).render_as_string()


def reach(url: str, busy_timeout: timedelta, exclusive: bool, private: bool = False) -> Database:
    """Nothing is opened yet. Raises StoreError for a URL that is none, and for a driver that is not installed.

    `private`: an SQLite file that only this process knows and that need not outlive it.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreError(
            "daemon.database is not a database URL: write sqlite:////path/to/file or postgresql://user@host/name"
        ) from None
    match parsed.get_backend_name():
        case "sqlite":
            return _sqlite(parsed, busy_timeout, private)
        case "postgresql" | "postgres":
            return _postgresql(parsed, exclusive)
        case other:
            raise StoreError(f"daemon.database names {other!r}: expiryd keeps its state in sqlite or postgresql")


# ── SQLite ────────────────────────────────────────────────────────────────────────────────────────────


def _sqlite(url: URL, busy_timeout: timedelta, private: bool) -> Database:
    if url.database in (None, "", ":memory:"):
        raise StoreError("daemon.database must name a file: sqlite:////path/to/file")
    file = Path(url.database or "")
    url = URL.create("sqlite", database=str(file))
    patience = f"PRAGMA busy_timeout={busy_timeout // timedelta(milliseconds=1)}"
    # a connection is used by one thread at a time, though not always by the same
    how: dict[str, Any] = {"connect_args": {"isolation_level": None, "check_same_thread": False}}
    writer = _engine(url, pool_size=1, max_overflow=0, **how)
    reader = _engine(url, pool_size=READERS, max_overflow=0, **how)
    migrator = _engine(url, poolclass=NullPool, **how)
    # auto_vacuum counts only for a file without tables, so it comes first: what is pruned can be given back then
    durable = (
        "PRAGMA auto_vacuum=INCREMENTAL",
        "PRAGMA journal_mode=WAL",
        f"PRAGMA synchronous={'OFF' if private else 'NORMAL'}",
    )
    # in a storm every commit touches pages all over the indexes: they are kept at hand, and copied back less often
    roomy = ("PRAGMA cache_size=-32000", "PRAGMA wal_autocheckpoint=8000", f"PRAGMA journal_size_limit={_MOST_LOG}")
    _prepare(writer, patience, *durable, *roomy, "PRAGMA foreign_keys=ON")
    _prepare(reader, patience, "PRAGMA query_only=ON")
    _prepare(migrator, patience, *durable)
    # A transaction that reads first and writes later is refused when another wrote in between, however patient it
    # is (SQLITE_BUSY_SNAPSHOT). So a writer says at once that it will write.
    if not private:  # else whoever writes says so itself, and nobody comes between what is read
        _begin(writer, "BEGIN IMMEDIATE")
        _begin(reader, "BEGIN")
    _begin(migrator, "BEGIN IMMEDIATE")
    return Database(f"the database {file}", writer, reader, migrator, file=file)


def create_file(file: Path) -> None:
    """Readable by its owner alone; SQLite gives its log files the same mode. Raises StoreError or OSError."""
    if not file.parent.is_dir():
        raise StoreError(f"the database {file} cannot be made: its directory {file.parent} does not exist")
    os.close(os.open(file, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _begin(engine: Engine, statement: str) -> None:
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)


# ── PostgreSQL ────────────────────────────────────────────────────────────────────────────────────────


def _postgresql(url: URL, exclusive: bool) -> Database:
    try:
        import psycopg  # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise StoreError(
            "daemon.database names PostgreSQL, whose driver is not installed: pip install 'expiryd[postgres]'"
        ) from None
    host = url.host or url.query.get("host") or "the local socket"
    name = f"the PostgreSQL database {url.database or url.username or ''} on {host}"
    secrets = (url.password or "", *(str(url.query.get(key, "")) for key in ("password", "sslpassword")))
    url = url.set(drivername="postgresql+psycopg")
    keep = {"pool_pre_ping": True, "pool_recycle": -1 if exclusive else 1800}
    writer = _engine(url, pool_size=1, max_overflow=0, connect_args=_arguments(url), **keep)
    reader = _engine(
        url,
        pool_size=READERS,
        max_overflow=0,
        connect_args=_arguments(url, "-c default_transaction_read_only=on"),
        **keep,
    )
    migrator = _engine(url, poolclass=NullPool, connect_args=_arguments(url))
    if exclusive:
        _prepare_alone(writer, name)
    return Database(name, writer, reader, migrator, secrets)


def _arguments(url: URL, *options: str) -> dict[str, Any]:
    """What the URL says wins."""
    given = str(url.query.get("options", ""))
    return {
        "connect_timeout": url.query.get("connect_timeout", "10"),
        "tcp_user_timeout": url.query.get("tcp_user_timeout", "30000"),  # ms: a server that vanished is not waited for
        "application_name": url.query.get("application_name", "expiryd"),
        "options": " ".join((_SERVER_OPTIONS, *options, given)).strip(),
    }


def _prepare_alone(engine: Engine, name: str) -> None:
    """The lock lives and dies with the one connection that writes: whoever has lost it cannot write either."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        with ExitStack() as undo:
            undo.callback(connection.close)
            cursor = connection.cursor()
            cursor.execute("SELECT pg_try_advisory_lock(%s, hashtext(current_schema()))", (_DAEMON_LOCK,))
            (held,) = cursor.fetchone()
            cursor.close()
            connection.commit()
            if not held:
                raise StoreError(
                    f"{name} is in use by another expiryd: stop that one, or give this one a database of its own. "
                    "(After a broken connection the server needs up to a minute to notice.)"
                )
            undo.pop_all()


# ── both ──────────────────────────────────────────────────────────────────────────────────────────────


def _engine(url: URL, **options: Any) -> Engine:
    # parameters are titles and reasons: they have no place in an error's text
    return create_engine(url, hide_parameters=True, **options)


def _prepare(engine: Engine, *statements: str) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        with ExitStack() as undo:
            undo.callback(connection.close)
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            cursor.close()
            undo.pop_all()
