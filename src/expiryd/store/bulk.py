"""Very many rows in one statement, whose text is made here and whose values are as the driver takes them.

SQLAlchemy's own way looks at each parameter of each row, and SQLite's driver takes the interpreter's lock for each
row: in a storm that takes longer than the database does, and very much longer while something else is at work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

from sqlalchemy import Column, Dialect, Insert
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.dialects.sqlite import aiosqlite
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True, eq=False)
class Bulk:
    """`make` gives the insert of one row in the SQL of the database of this name; a row holds a value per column."""

    make: Callable[[str], Insert]
    columns: tuple[str, ...]

    async def __call__(self, connection: AsyncConnection, rows: Iterable[tuple[Any, ...]]) -> None:
        """Raises SQLAlchemyError, also when a row cannot be made."""
        try:
            ready = list(rows)
        except TypeError as error:
            raise ArgumentError(f"a row cannot be stored: {error}") from None
        if ready:
            head, row, tail = _parts(self, connection.dialect.name)
            text = f"{head}{', '.join([row] * len(ready))}{tail}"
            await connection.exec_driver_sql(text, tuple(chain.from_iterable(ready)))


async def update_among(
    connection: AsyncConnection, column: Column[Any], value: Any, key: Column[Any], among: Sequence[Any]
) -> None:
    """Set one column of the rows whose key is among these. Raises SQLAlchemyError."""
    mark = "%s" if connection.dialect.name == "postgresql" else "?"
    # only names of the schema and placeholders are put together
    text = f"UPDATE {key.table} SET {column.name} = {mark} WHERE {key.name} IN ({', '.join([mark] * len(among))})"  # noqa: S608 - see above
    await connection.exec_driver_sql(text, (value, *among))


@cache
def _parts(bulk: Bulk, name: str) -> tuple[str, str, str]:
    """What comes before the placeholders of a row, those with their parentheses, and what follows."""
    dialects: dict[str, Callable[..., Dialect]] = {"postgresql": psycopg.dialect, "sqlite": aiosqlite.dialect}
    dialect = dialects[name](paramstyle="format" if name == "postgresql" else "qmark")
    compiled: Any = bulk.make(name).compile(dialect=dialect)
    if tuple(compiled.positiontup) != bulk.columns:
        raise ValueError(f"the columns are {compiled.positiontup}, not {bulk.columns}")
    head, values, rest = str(compiled).partition(" VALUES ")
    row, end, tail = rest.partition(")")
    return head + values, row + end, tail
