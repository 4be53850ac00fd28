"""SQL that is made once for each kind of database, and from then on costs what the database itself costs.

SQLAlchemy makes it, and its connections and transactions are used; what runs all the time goes to the driver past it.
For each statement that it puts together it takes ten times as long as SQLite needs, and with many rows its driver takes
the interpreter's lock for each of them.
"""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Executable,
    Insert,
    Text,
    TypeDecorator,
    any_,
    bindparam,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, psycopg
from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.exc import ArgumentError

POSTGRESQL, SQLITE = "postgresql", "sqlite"


@dataclass(frozen=True, slots=True)
class _Text:
    """`order`: the parameters as they stand; `known`: those with a value; `convert`: to what the driver takes."""

    text: str
    order: Sequence[str]
    known: Mapping[str, Any]
    convert: Mapping[str, Callable[[Any], Any]]


class Prepared:
    """A statement with parameters (`bindparam`), run with their values by name.

    `make` gives it for the database of this name; an insert is of all columns, or of these. What it reads comes as
    named tuples of values as they are stored: see the codec.
    """

    def __init__(self, make: Callable[[str], Executable], columns: Sequence[str] | None = None) -> None:
        self._make = make
        self._columns = columns
        self._texts: dict[str, _Text] = {}
        self._row: Callable[[Sequence[Any]], Any] | None = None

    def __call__(self, connection: Connection, **values: Any) -> list[Any]:
        """All rows, if it gives any. Raises the driver's errors, and ArgumentError for what cannot be stored."""
        made = self._texts.get(connection.dialect.name) or self._text(connection.dialect.name)
        try:
            ready = {
                name: made.convert[name](value) if name in made.convert else value for name, value in values.items()
            }
        except TypeError as error:
            raise ArgumentError(f"a value cannot be stored: {error}") from None
        ready = {**made.known, **ready}
        cursor = _cursor(connection)
        try:
            cursor.execute(made.text, tuple([ready[name] for name in made.order]))
            if cursor.description is None:
                return []
            if self._row is None:
                names = (column[0] for column in cursor.description)
                row: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc]  # known when it has run
                self._row = row._make
            return list(map(self._row, cursor.fetchall()))
        finally:
            cursor.close()

    def scalar(self, connection: Connection, **values: Any) -> Any:
        """The first value of the first row. Raises the same."""
        return self(connection, **values)[0][0]

    def _text(self, database: str) -> _Text:
        dialect = _dialect(database)
        statement: Any = self._make(database)
        compiled = statement.compile(dialect=dialect, column_keys=self._columns)
        convert = {
            name: processor
            for name, bind in compiled.binds.items()
            if (processor := bind.type.dialect_impl(dialect).bind_processor(dialect)) is not None
        }
        known = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        known = {name: convert[name](value) if name in convert else value for name, value in known.items()}
        if "POSTCOMPILE" in str(compiled):
            raise ValueError("a list of unknown length: use `among`")
        made = self._texts[database] = _Text(str(compiled), compiled.positiontup, known, convert)
        return made


class Rows:
    """An insert of any number of rows at once; a row holds a value for each column, as the driver takes it.

    On SQLite it is one statement: `executemany` takes the interpreter's lock once per row.
    """

    def __init__(self, make: Callable[[str], Insert], columns: Sequence[str]) -> None:
        self._make = make
        self._columns = tuple(columns)
        self._parts: dict[str, tuple[str, str, str]] = {}

    def __call__(self, connection: Connection, rows: Iterable[tuple[Any, ...]]) -> None:
        """Raises the driver's errors, and ArgumentError when a row cannot be made."""
        try:
            ready = list(rows)
        except TypeError as error:
            raise ArgumentError(f"a row cannot be stored: {error}") from None
        if ready:
            database = connection.dialect.name
            head, row, tail = self._parts.get(database) or self._split(database)
            cursor = _cursor(connection)
            try:
                if database == POSTGRESQL:  # its driver prepares the statement, and does not wait for each answer
                    cursor.executemany(f"{head}{row}{tail}", ready)
                else:
                    text = f"{head}{', '.join([row] * len(ready))}{tail}"
                    cursor.execute(text, tuple(chain.from_iterable(ready)))
            finally:
                cursor.close()

    def _split(self, database: str) -> tuple[str, str, str]:
        """What comes before the placeholders of a row, those with their parentheses, and what follows."""
        compiled: Any = self._make(database).compile(dialect=_dialect(database), column_keys=self._columns)
        if tuple(compiled.positiontup) != self._columns:
            raise ValueError(f"the columns are {compiled.positiontup}, not {self._columns}")
        head, values, rest = str(compiled).partition(" VALUES ")
        row, end, tail = rest.partition(")")
        self._parts[database] = head + values, row + end, tail
        return self._parts[database]


class _Listed(TypeDecorator[Sequence[Any]]):
    """A list as JSON, which SQLite takes apart itself: one parameter, however long it is."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Any) -> str:
        return json.dumps(list(value or ()))


def among(database: str, column: Column[Any], name: str) -> ColumnElement[bool]:
    """Whether the column is one of the values of this parameter, which are given as they are stored."""
    if database == POSTGRESQL:
        stored = column.type.dialect_impl(_dialect(database))
        of = stored.impl if isinstance(stored, TypeDecorator) else stored
        return column == any_(bindparam(name, type_=ARRAY(of)))
    listed = func.json_each(bindparam(name, type_=_Listed())).table_valued("value")
    return column.in_(select(listed.c.value))


def _cursor(connection: Connection) -> Any:
    driver: Any = connection.connection.driver_connection
    return driver.cursor()


def _dialect(database: str) -> Dialect:
    dialects: dict[str, Callable[..., Dialect]] = {POSTGRESQL: psycopg.dialect, SQLITE: pysqlite.dialect}
    return dialects[database](paramstyle="format" if database == POSTGRESQL else "qmark")
