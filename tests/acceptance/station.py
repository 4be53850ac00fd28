"""A real daemon process on a clock the test turns, over real files, a real database and real receivers."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any, Self

import aiohttp
from tests.acceptance.receivers import Ears, Receivers, receivers
from tests.acceptance.time_file import TimeFile
from tests.fakes import github
from tests.fakes.smtp import PASSWORD, USERNAME

from expiryd.store.schema import from_micros

ROOT = Path(__file__).parents[2]
START = datetime(2030, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PATIENCE = 30.0
"""Real seconds that anything may take on a busy machine before the test gives up."""


class Station:
    """`death`: `commit 3 before` (a call of the store) or `slack after 2` (in the middle of the nth such request).

    The daemon that dies is started again at once, as systemd would, and asked again for the look it was asked for.
    """

    def __init__(self, directory: Path, config: str, death: str = "") -> None:
        self.directory = directory
        self.deaths = 0
        self._config = config
        self._death = death
        self._database: sqlite3.Connection | None = None
        self._passed: Counter[str] = Counter()
        self._time = TimeFile(directory / "time")
        self._time.now = self._time.beat_at = START
        self.ears = Ears(lambda: self._time.now, START, self._pass_by)
        self._output = directory / "output"
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.callback(self._time.close)
            self.receivers = await stack.enter_async_context(receivers(self.ears, self.directory))
            words = self._words(self.receivers)
            (self.directory / "expiryd.toml").write_text(Template(self._config).substitute(words))
            stack.push_async_callback(self.stop)
            await self.begin(*self._store_death())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    # ── the process ───────────────────────────────────────────────────────────────────────────────────

    async def begin(self, *death: str) -> None:
        with self._output.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "tests.acceptance.timed_daemon", self.directory / "expiryd.toml", self.directory / "time"),
                *death,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env={**os.environ, **self.environ},
            )
        count = self.said().count("daemon.ready")
        await self.until(lambda: self.said().count("daemon.ready") > count, "the daemon to be ready")

    async def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self._database is not None:
            self._database.close()
            self._database = None
        if self.process is None:
            return 0
        if self.process.returncode is None:
            self.process.terminate()
        status = await self.process.wait()
        self.process = None
        return status

    @property
    def environ(self) -> dict[str, str]:
        return {"SLACK": self.receivers.slack.webhook_url, "GITHUB": github.TOKEN, "SMTP": PASSWORD}

    def said(self) -> str:
        """All that the daemon wrote to its two outputs."""
        return self._output.read_text() if self._output.exists() else ""

    async def until(self, probe: Callable[[], Any], waiting_for: str) -> None:
        """Other processes send us no event: ask until it is so. A daemon that died meanwhile is started again."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not probe():
            await self._revive()
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"waited in vain for {waiting_for}\n{self.said()}")
            await asyncio.sleep(0.003)

    async def _revive(self) -> None:
        if self.process is None or self.process.returncode is None:
            return
        assert (self.process.returncode, self.deaths, bool(self._death)) == (-9, 0, True), self.said()
        self.deaths += 1
        await self.begin()
        self._time.now += SECOND  # a pulse that has not gone round yet goes round now

    # ── time and looks ────────────────────────────────────────────────────────────────────────────────

    @property
    def now(self) -> timedelta:
        """Since the start."""
        return self._time.now - START

    async def pass_to(self, when: timedelta) -> None:
        """Turn the clock on, and wait until the daemon has judged and told all that there is by then."""
        self._time.now = max(START + when, self._time.now)
        await self.quiet()

    async def quiet(self) -> None:
        """All is judged up to now and nothing is owed. What waits for its time is waited for on the turned clock."""
        calm, patient = 0, False
        while calm < 2:  # the pulse goes round once more after the last delivery, so that memory follows it
            await self.until(lambda: self._time.beat_at >= self._time.now, "a pulse")
            owed = self._ask(_OWED)
            calm = 0 if owed else calm + 1
            if any(fate != "pending" for fate, _ in owed):
                await self.until(lambda owed=owed: self._ask(_OWED) != owed, "a delivery")
                continue
            # first let the couriers see what is due when, then turn the clock to it
            due = from_micros(owed[0][1]) if owed and patient else self._time.now
            patient = bool(owed)
            self._time.now = max(due, self._time.now + SECOND)

    async def look(self, collector: str = "tokens") -> None:
        """Ask for a look over the socket, again by whoever lives then, until one was made."""
        count = self._looks(collector)
        while self._looks(collector) == count:
            connector = aiohttp.UnixConnector(str(self.directory / "state/expiryd.sock"))
            async with aiohttp.ClientSession(connector=connector) as client:
                with suppress(aiohttp.ClientConnectionError):  # it died of it
                    answer = await client.post(f"http://expiryd/api/v1/collectors/{collector}/look")
                    assert answer.status == 200, await answer.text()
            await self._revive()
        await self.quiet()

    def _looks(self, collector: str) -> int:
        return len(self._ask("SELECT 1 FROM look WHERE collector = ?", collector))

    def _ask(self, question: str, *values: str) -> Sequence[Any]:
        if self._database is None:
            path = self.directory / "state/expiryd.db"
            self._database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        return self._database.execute(question, values).fetchall()

    # ── deaths ────────────────────────────────────────────────────────────────────────────────────────

    def _store_death(self) -> list[str]:
        words = self._death.split()
        return words if words and words[0] not in self.ears.heard else []

    async def _pass_by(self, point: str) -> None:
        self._passed[point] += 1
        if self._death == f"{point} {self._passed[point]}":
            assert self.process is not None
            self.process.kill()
            await self.process.wait()

    def _words(self, known: Receivers) -> dict[str, Any]:
        return {
            "state": self.directory / "state",
            "tokens": self.directory / ".tokens",
            "github": known.github.url,
            "repository": github.REPOSITORY,
            "smtp": known.smtp.port,
            "username": USERNAME,
            "ca_file": known.ca_file,
        }


_OWED = "SELECT fate, due_at FROM parcel WHERE settled_at IS NULL ORDER BY due_at"
