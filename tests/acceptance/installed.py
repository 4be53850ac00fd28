"""The installed command as an operator has it: files, signals, exit codes, and the socket to ask it over."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import aiohttp
import jwt
from aiohttp import web
from tests.fakes.slack import FakeSlack

COMMAND = Path(sys.executable).with_name("expiryd")
PATIENCE = 30.0
"""Real seconds that anything may take on a busy machine before the test gives up."""


def expiring_in(days: float) -> str:
    """A signed token that says so itself."""
    end = datetime.now(UTC) + timedelta(days=days)
    return jwt.encode({"exp": int(end.timestamp())}, "k" * 32, algorithm="HS256")


class SlowSlack(FakeSlack):
    """Answers only while `open` is set. `waiting` counts the requests that came."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.waiting += 1
        await self.open.wait()
        return await super().answer(request)


class Place:
    """A directory with a configuration, a watched `.tokens`, a Slack, and the daemons started there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.slack = SlowSlack()
        self.token = expiring_in(3)
        self.sections: dict[str, str] = {
            "daemon": f'state_dir = "{self.state}"',
            "http": 'listen = ""',
            "policy": 'group_wait = "0s"',
            "collectors.tokens": f'type = "env-file"\npath = "{directory / ".tokens"}"\nevery = "1d"',
            "notifiers.slack": 'type = "slack"\nwebhook_url = { env = "SLACK" }',
        }
        self.daemons: list[Daemon] = []

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.slack)
            stack.push_async_callback(self._end)
            self._stack = stack.pop_all()
        self.watch(BOT_JWT=self.token)
        self.configure()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.slack.open.set()
        await self._stack.aclose()

    async def _end(self) -> None:
        for daemon in self.daemons:
            if daemon.process.returncode is None:
                daemon.process.kill()
            await daemon.process.wait()

    @property
    def config(self) -> Path:
        return self.directory / "expiryd.toml"

    def configure(self, **sections: str) -> None:
        """Write the file anew with these sections replaced; `_` stands for the dot in a section's name."""
        self.sections |= {name.replace("_", "."): body for name, body in sections.items()}
        self.config.write_text("".join(f"[{name}]\n{body}\n" for name, body in self.sections.items()))

    def watch(self, file: str = ".tokens", **values: str) -> Path:
        path = self.directory / file
        path.touch(mode=0o600)
        path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        return path

    async def run(self, *flags: str, ready: bool = True, **environ: str) -> Daemon:
        """`expiryd run`. With `ready`, everything has been looked at and told when this returns."""
        output = (self.directory / f"stdout-{len(self.daemons)}", self.directory / f"stderr-{len(self.daemons)}")
        with output[0].open("wb") as stdout, output[1].open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(COMMAND, "-c", self.config, "run", *flags),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=self.directory,
                env={"PATH": os.environ["PATH"], "SLACK": self.slack.webhook_url, **environ},
            )
        daemon = Daemon(self, process, output)
        self.daemons.append(daemon)
        if ready:
            await daemon.until(lambda: daemon.told("daemon.ready"), "the daemon to be ready")
        return daemon

    def owed(self) -> list[tuple[str, str, str]]:
        """(notifier, fate, reason) of what has not been settled."""
        return self.ask("SELECT notifier, fate, reason FROM parcel WHERE settled_at IS NULL")

    def ask(self, question: str) -> list[Any]:
        with closing(sqlite3.connect(f"file:{self.state / 'expiryd.db'}?mode=ro", uri=True)) as database:
            return database.execute(question).fetchall()


class Daemon:
    """One process, which the place ends when the test does."""

    def __init__(self, place: Place, process: asyncio.subprocess.Process, output: tuple[Path, Path]) -> None:
        self.place = place
        self.process = process
        self._output = output

    @property
    def stdout(self) -> str:
        return self._output[0].read_text()

    @property
    def stderr(self) -> str:
        return self._output[1].read_text()

    def lines(self) -> list[dict[str, Any]]:
        """What it logged on stderr so far, whole lines only."""
        return [json.loads(line) for line in self.stderr.split("\n")[:-1] if line.startswith("{")]

    def told(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The log lines of this event that say so."""
        return [line for line in self.lines() if line["event"] == event and fields.items() <= line.items()]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self, number: signal.Signals | None = signal.SIGTERM) -> int:
        """Its exit status, once this signal, or None, has been sent."""
        if number is not None:
            self.send(number)
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    async def until(self, probe: Callable[[], Any], waiting_for: str) -> None:
        """Other processes send us no event: ask until it is so."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not probe():
            if self.process.returncode is not None or asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"waited in vain for {waiting_for}, exit {self.process.returncode}\n{self.stderr}")
            await asyncio.sleep(0.01)

    async def quiet(self) -> None:
        """Everything it owes has been settled."""
        await self.until(lambda: not self.place.owed(), "the outbox to be empty")

    async def get(self, path: str) -> tuple[int, str]:
        return await self._ask("GET", path)

    async def post(self, path: str) -> tuple[int, str]:
        return await self._ask("POST", path)

    async def look(self, collector: str = "tokens") -> dict[str, Any]:
        status, text = await self._ask("POST", f"/api/v1/collectors/{collector}/look")
        assert status == 200, text
        found: dict[str, Any] = json.loads(text)
        return found

    async def metric(self, name: str) -> float:
        _, text = await self.get("/metrics")
        return next(float(line.split()[-1]) for line in text.splitlines() if line.split(" ")[0].split("{")[0] == name)

    async def _ask(self, method: str, path: str) -> tuple[int, str]:
        connector = aiohttp.UnixConnector(str(self.place.state / "expiryd.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as client,
            client.request(method, f"http://expiryd{path}") as answer,
        ):
            return answer.status, await answer.text()
