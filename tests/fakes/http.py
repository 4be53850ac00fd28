"""A real HTTP server on loopback that records what it is asked and misbehaves as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from types import TracebackType
from typing import Any, Self

from aiohttp import web


class Trouble(Enum):
    """Faults of the line rather than answers."""

    HANG = auto()
    RESET_UNREAD = auto()
    """Accepted, then reset before the request was read."""
    RESET_READ = auto()
    """The request is read and acted upon, then the connection is reset: the ambiguous case."""
    DRIP = auto()
    """A good status, then a byte now and then, for ever."""
    HUGE = auto()
    """A good status, then an endless body."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A fixed answer. `echo` repeats the request's path and headers in the body, as careless servers do."""

    status: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "text/plain"
    echo: bool = False


Fault = Trouble | Reply


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class FakeHttp:
    """`async with FakeHttp() as server`. `fail_next` queues faults, `faulty` stays; `afflicts` says whom they meet."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.faulty: Fault | None = None
        self.afflicts: Callable[[web.Request], bool] = lambda request: True
        self._queue: list[Fault] = []
        self._over = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.url = ""

    def fail_next(self, *faults: Fault) -> None:
        self._queue += faults

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """What a well server does; subclasses know better."""
        return web.Response(text="ok")

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._runner:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        fault = self._fault(request)
        if fault is Trouble.RESET_UNREAD:
            return await self._reset(request)
        body = await request.read()
        self.seen.append(Seen(request.method, request.path_qs, dict(request.headers), body))
        if isinstance(fault, Reply):
            text = fault.body
            if fault.echo:
                text += f" you sent {request.path_qs} with {dict(request.headers)}"
            return web.Response(status=fault.status, text=text, headers=fault.headers, content_type=fault.content_type)
        if fault is Trouble.HANG:
            await self._over.wait()
        if fault is Trouble.RESET_READ:
            await self.answer(request)
            return await self._reset(request)
        if fault in {Trouble.DRIP, Trouble.HUGE}:
            return await self._stream(request, slowly=fault is Trouble.DRIP)
        return await self.answer(request)

    def _fault(self, request: web.Request) -> Fault | None:
        if not self.afflicts(request):
            return None
        return self._queue.pop(0) if self._queue else self.faulty

    async def _reset(self, request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def _stream(self, request: web.Request, *, slowly: bool) -> web.StreamResponse:
        response: Any = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        try:
            while not self._over.is_set():
                await response.write(b" " if slowly else b" " * 65536)
                if slowly:
                    await asyncio.sleep(0.05)
        except (ConnectionError, asyncio.CancelledError):
            pass
        return response
