"""Statements for very many rows: their text is made once, and their rows are as the driver takes them.

SQLAlchemy's own way looks at each parameter of each row, which in a storm takes longer than the database does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Dialect, Insert, Update
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.dialects.sqlite import aiosqlite
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True, eq=False)
class Bulk:
    """`make` gives the statement in the SQL of the database of this name; a row holds a value for each parameter."""

    make: Callable[[str], Insert | Update]
    parameters: tuple[str, ...]

    async def __call__(self, connection: AsyncConnection, rows: Iterable[tuple[Any, ...]]) -> None:
        """Raises SQLAlchemyError, also when a row cannot be made."""
        try:
            ready = list(rows)
        except TypeError as error:
            raise ArgumentError(f"a row cannot be stored: {error}") from None
        if ready:
            await connection.exec_driver_sql(_text(self, connection.dialect.name), ready)


@cache
def _text(bulk: Bulk, name: str) -> str:
    dialects: dict[str, Callable[..., Dialect]] = {"postgresql": psycopg.dialect, "sqlite": aiosqlite.dialect}
    dialect = dialects[name](paramstyle="format" if name == "postgresql" else "qmark")
    compiled: Any = bulk.make(name).compile(dialect=dialect)
    if tuple(compiled.positiontup) != bulk.parameters:
        raise ValueError(f"the parameters are {compiled.positiontup}, not {bulk.parameters}")
    return str(compiled)
