"""The HTTP side over a rig: the real application on a free loopback port and a unix socket, asked by a real client."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from tests.rig import Rig

from expiryd.engine.tasks import Tasks
from expiryd.web.foresight import Outlook
from expiryd.web.server import application, serve


@dataclass(slots=True)
class Asker:
    """Asks over TCP; `over_socket` asks as the user of this process."""

    rig: Rig
    base: str
    http: aiohttp.ClientSession

    async def get(self, path: str, status: int = 200, **headers: str) -> Any:
        return await self.ask("GET", path, status, **headers)

    async def post(self, path: str, status: int = 200, **headers: str) -> Any:
        return await self.ask("POST", path, status, **headers)

    async def ask(self, method: str, path: str, status: int, **headers: str) -> Any:
        """The answer's JSON, or its text."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(method, f"{self.base}{path}", headers=named) as response:
            text = await response.text()
            assert response.status == status, f"{response.status}: {text}"
            return await response.json() if response.content_type == "application/json" else text


@asynccontextmanager
async def asking(rig: Rig, outlook: Outlook | None = None) -> AsyncIterator[Asker]:
    """Over TCP, without the sockets that `serve` opens."""
    tasks = Tasks(rig.log)
    runner = web.AppRunner(application(rig.daemon, tasks, outlook), access_log=None, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with aiohttp.ClientSession() as http:
            yield Asker(rig, f"http://127.0.0.1:{port}", http)
    finally:
        await runner.cleanup()
        await tasks.drain(timedelta(0))


@asynccontextmanager
async def served(rig: Rig) -> AsyncIterator[Asker]:
    """As the daemon serves itself, asked over the unix socket."""
    with tempfile.TemporaryDirectory(prefix="exp") as short:  # a socket's path is 107 bytes at most
        path = Path(short) / "expiryd.sock"
        async with (
            serve(rig.daemon, path),
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as http,
        ):
            yield Asker(rig, "http://expiryd", http)
