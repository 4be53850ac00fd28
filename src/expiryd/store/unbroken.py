"""A transaction, once begun, runs to its end: who is cancelled meanwhile waits for that, then hears of it.

An interrupted statement of aiosqlite leaves a connection that is closed only when the garbage collector finds its
cursor, and until then holds the write lock: everybody else is refused with "database is locked".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class _Worker(Protocol):
    """`works` keeps the only reference to what still runs; who closes the worker waits for all of it."""

    works: set[asyncio.Task[Any]]


W = TypeVar("W", bound=_Worker)
Method = Callable[Concatenate[W, P], Coroutine[Any, Any, T]]


def unbroken(method: Method[W, P, T]) -> Method[W, P, T]:
    @wraps(method)
    async def whole(self: W, /, *args: P.args, **kwargs: P.kwargs) -> T:
        work = asyncio.get_running_loop().create_task(method(self, *args, **kwargs))
        self.works.add(work)
        work.add_done_callback(self.works.discard)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if not work.done():
                await asyncio.wait([work])
            raise

    return whole
