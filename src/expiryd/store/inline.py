"""SQLite without a thread: for a file that nobody else has and whose loss is none, as a copy to forecast with.

A statement of aiosqlite goes to a thread and back, which takes ten times as long as most statements themselves. This
is as much of its interface as SQLAlchemy uses. Each statement holds the event loop: not for a daemon at work.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class InlineCursor:
    """A cursor whose methods are coroutines that never wait."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    def __getattr__(self, name: str) -> Any:
        """`description`, `rowcount`, `lastrowid` and `arraysize` are told as they are."""
        return getattr(self._cursor, name)

    async def __aenter__(self) -> InlineCursor:
        return self

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        self._cursor.execute(statement, parameters)

    async def executemany(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        self._cursor.executemany(statement, rows)

    async def fetchall(self) -> list[Any]:
        return self._cursor.fetchall()

    async def close(self) -> None:
        self._cursor.close()


class InlineConnection:
    """A connection in autocommit mode: transactions begin and end by statements and by these methods."""

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file, isolation_level=None)

    def cursor(self) -> InlineCursor:
        return InlineCursor(self._connection.cursor())

    async def create_function(self, *args: Any, **kwargs: Any) -> None:
        self._connection.create_function(*args, **kwargs)

    async def commit(self) -> None:
        self._connection.commit()

    async def rollback(self) -> None:
        self._connection.rollback()

    async def close(self) -> None:
        self._connection.close()

    def stop(self) -> None:
        """There is no thread to end."""
        self._connection.close()
