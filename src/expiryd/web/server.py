"""Opens the doors: one application on the TCP address and on the unix socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from aiohttp import web
from aiohttp.http import HttpProcessingError

from expiryd.engine.daemon import Daemon
from expiryd.engine.exposition import Exposition
from expiryd.engine.tasks import Tasks
from expiryd.store.port import StoreError
from expiryd.web.access import Access
from expiryd.web.api import Api
from expiryd.web.control import Control
from expiryd.web.doors import renew, tcp_sockets, tls_context, unix_socket
from expiryd.web.foresight import Foresight, Outlook
from expiryd.web.glance import Glance
from expiryd.web.health import Health
from expiryd.web.matters import Matters
from expiryd.web.openapi import describe
from expiryd.web.prometheus import Scrape
from expiryd.web.route import Ask, Problem, Right, Route, answer
from expiryd.web.trail import TrailOffice

LARGEST_BODY = 64 * 1024
PATIENCE = 75.0
"""Seconds that a client may take to send its request, or stay silent between two."""
FAREWELL = 1.0
"""Seconds for answers under way when the daemon stops, and again for their handlers to give up."""
MOST_CLIENTS = 256
KEPT_FOR_SOCKET = 32
"""Of them. Anybody may hold connections over TCP, and must not keep the owner from the unix socket."""
BACKLOG = 128
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "expiryd",
}


@asynccontextmanager
async def serve(
    daemon: Daemon, socket_path: Path, outlook: Outlook | None = None, *, patience: float = PATIENCE
) -> AsyncIterator[None]:
    """Listen while the context lasts. `outlook`: how a forecast is made. Raises CannotListen."""
    config = daemon.graph.config.http
    logging.getLogger("aiohttp.server").addFilter(_is_worth_a_line)
    loop = asyncio.get_running_loop()
    tasks = Tasks(daemon.log)
    runner = web.AppRunner(
        application(daemon, tasks, outlook, patience=patience),
        access_log=None,
        keepalive_timeout=patience,
        shutdown_timeout=FAREWELL,
    )
    async with AsyncExitStack() as stack:  # the other way round at the end: doors first, then who is inside
        stack.push_async_callback(tasks.drain, timedelta(0))
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        connect = _limited(runner, MOST_CLIENTS)
        door = stack.enter_context(unix_socket(socket_path))
        stack.callback((await loop.create_unix_server(connect, sock=door, backlog=BACKLOG)).close)
        if config.address is not None:
            tls = tls_context(config)
            if tls is not None:
                tasks.spawn(renew(tls, config, daemon.clock, daemon.log), "renew the certificate")
            connect = _limited(runner, MOST_CLIENTS - KEPT_FOR_SOCKET)
            for listener in stack.enter_context(tcp_sockets(config)):
                server = await loop.create_server(connect, sock=listener, ssl=tls, backlog=BACKLOG)
                stack.callback(server.close)
        yield


def application(
    daemon: Daemon, tasks: Tasks, outlook: Outlook | None = None, *, patience: float = PATIENCE
) -> web.Application:
    """Everything that is answered, behind one guard."""
    access = Access(daemon.graph.config.http.tokens, daemon.clock, daemon.log)
    glance = Glance(daemon.store, tasks)
    health = Health(daemon, glance)
    routes = [
        *health.routes(),
        *Scrape(daemon, Exposition(daemon.ledger), glance).routes(),
        *Api(daemon, health, glance).routes(),
        *Control(daemon, tasks).routes(),
        *Matters(daemon).routes(),
        *TrailOffice(daemon).routes(),
        *Foresight(outlook).routes(),
    ]
    routes.append(_description(routes))
    app = web.Application(client_max_size=LARGEST_BODY, middlewares=[_errors_in_json])
    app.on_response_prepare.append(_add_headers)
    for route in routes:
        path = route.path.replace("{id}", r"{id:(?s:.+)}")  # an id may hold anything, slashes and line ends too
        handler = _guarded(route, access, patience)
        for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
            app.router.add_route(method, path, handler)
    return app


def _description(routes: list[Route]) -> Route:
    async def show(_: Ask) -> web.StreamResponse:
        return answer(document)

    own = Route("GET", "/openapi.json", show, "This description (OpenAPI 3.1).", right=Right.READ)
    document = describe([*routes, own])
    return own


def _guarded(route: Route, access: Access, patience: float) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        caller = await access.admit(request, route)
        query = route.read(request)
        try:
            async with asyncio.timeout(patience):
                body = await route.read_body(request)
        except TimeoutError:
            raise Problem(408, f"the body did not come within {patience:g} seconds") from None
        return await route.handler(Ask(request, caller, query, body))

    return handle


@web.middleware
async def _errors_in_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except Problem as problem:
        return answer({"error": str(problem)}, problem.status, problem.headers)
    except StoreError as failure:
        return answer({"error": str(failure)}, 503)
    except web.HTTPException as error:  # the router's own: no such path, no such method, too large
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return answer({"error": f"{request.method} {request.path}: {error.reason.lower()}"}, error.status, headers)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Not what is no HTTP: it is answered with 400, and anybody may send it as often as he likes."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


def _limited(runner: web.AppRunner, most: int) -> Callable[[], asyncio.BaseProtocol]:
    """Connections become requests' handlers, up to a number that leaves the daemon its own descriptors."""

    def connect() -> asyncio.BaseProtocol:
        server = runner.server
        if server is None or len(server.connections) >= most:
            return _Full()
        return server()

    return connect


class _Full(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
