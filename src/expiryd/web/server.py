"""Opens the doors: one application on the TCP address and on the unix socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from expiryd.engine.daemon import Daemon


@asynccontextmanager
async def serve(daemon: Daemon, socket: Path) -> AsyncIterator[None]:
    """Listen while the context lasts. Raises OSError when an address cannot be had."""

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    app = web.Application()
    app.add_routes([web.get("/-/healthy", healthy)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        socket.unlink(missing_ok=True)
        await web.UnixSite(runner, str(socket)).start()
        socket.chmod(0o660)
        if address := daemon.graph.config.http.address:
            await web.TCPSite(runner, *address).start()
        yield
    finally:
        await runner.cleanup()
        socket.unlink(missing_ok=True)
