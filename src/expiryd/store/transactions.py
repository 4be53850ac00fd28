"""Transactions in threads: one that writes, a few that read, and none that is interrupted.

A method of a store is written as what it does with a connection, and called as a coroutine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from expiryd.store.connect import READERS, Database
from expiryd.store.trouble import explain

P = ParamSpec("P")
T = TypeVar("T")


class Transactions:
    """Of one database. `inline`: on the event loop itself, for a database that nobody waits for."""

    def __init__(self, database: Database, *, inline: bool = False) -> None:
        self.database = database
        self._inline = inline
        self._writing, self._reading = _threads()
        self._under_way: set[asyncio.Future[Any]] = set()
        self._kept: dict[Engine, Connection] = {}

    async def write(self, work: Callable[[Connection], T]) -> T:
        """One transaction, which no other of this process comes between. Raises StoreError."""
        return await self.run(lambda: self._transact(self.database.writer, work), self._writing)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """One transaction, which sees one moment and changes nothing. Raises StoreError."""
        return await self.run(lambda: self._transact(self.database.reader, work), self._reading)

    async def run(self, work: Callable[[], T], threads: ThreadPoolExecutor | None = None) -> T:
        """Once begun it runs to its end: who is cancelled meanwhile waits for that, then hears of it."""
        if self._inline:
            return work()
        running = asyncio.get_running_loop().run_in_executor(threads or self._writing, work)
        self._under_way.add(running)
        running.add_done_callback(self._under_way.discard)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            running.exception()  # nobody is left to hear of it
            raise

    async def aclose(self) -> None:
        """Waits for all that is under way. Raises StoreError."""
        if self._under_way:
            await asyncio.wait(self._under_way)
        for connection in self._kept.values():
            connection.close()
        self._kept.clear()
        with self.explained():
            await self.run(self.database.dispose)
        for threads in (self._writing, self._reading):
            threads.shutdown(wait=False)
        self._writing, self._reading = _threads()  # none begins before it is needed

    @contextmanager
    def explained(self, what: str = "") -> Iterator[None]:
        """Whatever a database raises, as a StoreError. `what`: it, in words, where it is not the database."""
        try:
            yield
        except (SQLAlchemyError, OSError, self.database.driver_error) as error:
            raise explain(error, what or self.database.name, self.database.secrets) from None

    def _transact(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        with self.explained():
            if not self._inline:
                with engine.begin() as connection:
                    return work(connection)
            if engine not in self._kept:
                self._kept[engine] = engine.connect()
            connection = self._kept[engine]
            if engine is self.database.reader:  # nobody writes meanwhile
                return work(connection)
            with connection.begin():
                connection.connection.cursor().execute("BEGIN IMMEDIATE")
                return work(connection)


def _threads() -> tuple[ThreadPoolExecutor, ThreadPoolExecutor]:
    return ThreadPoolExecutor(1, "store-writer"), ThreadPoolExecutor(READERS, "store-reader")


class _Transacting(Protocol):
    transactions: Transactions


S = TypeVar("S", bound=_Transacting)


def writes(work: Callable[Concatenate[S, Connection, P], T]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """A method that is one writing transaction."""

    @wraps(work)
    async def whole(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.transactions.write(lambda connection: work(self, connection, *args, **kwargs))

    return whole


def reads(work: Callable[Concatenate[S, Connection, P], T]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """A method that is one reading transaction."""

    @wraps(work)
    async def whole(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.transactions.read(lambda connection: work(self, connection, *args, **kwargs))

    return whole
