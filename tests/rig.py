"""A whole daemon on a fake clock over a real SQLite store, with scripted sources and recording receivers.

`Rig` is what the engine's tests speak to. It crashes (drops everything in memory, unsettled), restarts and reloads
on demand, and answers with exactly the messages that arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import aiohttp

from expiryd.api import (
    Collector,
    CollectorConfig,
    Lifetime,
    Notifier,
    NotifierConfig,
    Observation,
    Reading,
    Tools,
)
from expiryd.audit.chain import derive_key
from expiryd.audit.trail import Trail
from expiryd.config.model import Config, DaemonConfig
from expiryd.engine.auditing import Auditor
from expiryd.engine.daemon import Daemon
from expiryd.engine.metrics import Metrics
from expiryd.store.sql import SqlStore
from expiryd.testing import FakeClock, Recording, RecordingThreaded, Scripted, SilentLog, tools

KEY = derive_key(b"k" * 32)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


SECTIONS = ("connectivity", "categories", "kinds", "environments", "http", "routes", "windows", "maintenance")


class Gate:
    """Where a look waits."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()


class Source(Scripted):
    """A scripted collector whose next answer can be set at any time."""

    def __init__(self) -> None:
        super().__init__([])
        self._gate: Gate | None = None

    def shows(self, *readings: Reading | Exception) -> None:
        self._answers = [list(readings)]

    def holds(self) -> Gate:
        """Looks wait at the gate until it is open."""
        self._gate = Gate()
        return self._gate

    async def look(self) -> AsyncIterator[Reading]:
        if self._gate is not None and not self._gate.open.is_set():
            self._gate.reached.set()
            self.looks += 1
            await self._gate.open.wait()
            self.looks -= 1
        async for reading in super().look():
            yield reading


class SourceConfig(CollectorConfig):
    type: Literal["source"] = "source"
    mark: int = 0
    """Changes nothing but the configuration's hash."""

    def build(self, tools: Tools) -> Collector:
        source: Collector = SOURCES[tools.name]
        return source


class ReceiverConfig(NotifierConfig):
    type: Literal["receiver"] = "receiver"

    def build(self, tools: Tools) -> Notifier:
        receiver: Notifier = RECEIVERS[tools.name]
        return receiver


SOURCES: dict[str, Source] = {}
RECEIVERS: dict[str, Recording] = {}


def expiring(name: str, at: datetime, *, generation: str = "", **more: Any) -> Observation:
    return Observation(name, kind="token", lifetime=Lifetime(expires_at=at), generation=generation, **more)


class Rig:
    def __init__(
        self,
        path: Path,
        *,
        receivers: Sequence[str] = ("slack",),
        threaded: Sequence[str] = (),
        sources: Sequence[str] = ("tokens",),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.log = SilentLog()
        self.begins_at = self.clock.now()
        self.wrap: Callable[[SqlStore], Any] = lambda store: store
        """What stands between the daemon and its store."""
        self._path = path
        SOURCES.clear()
        SOURCES.update({name: Source() for name in sources})
        RECEIVERS.clear()
        RECEIVERS.update({name: RecordingThreaded() if name in threaded else Recording() for name in receivers})
        self.sources, self.receivers = dict(SOURCES), dict(RECEIVERS)
        self.settings: dict[str, Any] = dict(settings or {})
        self.config = self._configured()
        self._read = dict.fromkeys(receivers, 0)

    def _configured(self) -> Config:
        collectors = {name: SourceConfig(every=DAY, **self.settings.get("source", {})) for name in self.sources}
        notifiers = {name: ReceiverConfig(**self.settings.get(name, {})) for name in self.receivers}
        rest = {key: self.settings[key] for key in SECTIONS if key in self.settings}
        # what a script is about stands out better without a ladder; who wants one says so
        policy = {"ladder": (), "crowd": 0, **self.settings.get("policy", {})}
        return Config(
            daemon=DaemonConfig(state_dir=self._path, drain=timedelta(0), **self.settings.get("daemon", {})),
            collectors=collectors,
            notifiers=notifiers,
            policy=policy,
            **rest,
        )

    async def __aenter__(self) -> Rig:
        await self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.crash()

    async def _begin(self) -> None:
        self._stack = AsyncExitStack()
        http = await self._stack.enter_async_context(aiohttp.ClientSession())
        store = self.wrap(SqlStore(f"sqlite:///{self._path / 'expiryd.db'}"))
        await store.open()
        self._stack.push_async_callback(store.aclose)

        async def load() -> Config:
            if isinstance(self.config, Exception):
                raise self.config
            return self.config

        self.daemon = Daemon(
            store=store,
            clock=self.clock,
            log=self.log,
            metrics=Metrics("test"),
            load=load,
            tools_for=lambda name: tools(http, name=name, clock=self.clock),
        )
        self.daemon.auditor = Auditor(
            store, Trail(self._path / "audit", KEY), self.daemon.clock, self.log, self.daemon.voice.complain_of_trail
        )
        # no timers: looks, ticks and deliveries happen when the script says so
        await self.daemon.prepare(self.config)

    async def crash(self) -> None:
        """Everything in memory is gone; what is in the database is there."""
        await self.daemon.graph.close(timedelta(0))
        await self._stack.aclose()

    async def restart(self) -> None:
        await self.crash()
        await self._begin()

    async def reload(self, **settings: Any) -> None:
        self.settings.update(settings)
        self.config = self._configured()
        await self.daemon.reload()

    async def look(self, name: str = "tokens") -> None:
        await self.daemon.look_now(name)

    async def tick(self) -> None:
        await self.daemon.tick()

    async def deliver(self) -> None:
        """Let every courier do what is due now."""
        for courier in list(self.daemon.graph.couriers.values()):
            while await courier.deliver():
                pass

    async def audit(self) -> None:
        """Carry what is on record into the trail."""
        assert self.daemon.auditor is not None
        while await self.daemon.auditor.export():
            pass

    async def wait(self, span: timedelta, *, step: timedelta | None = None) -> None:
        """Time passes; every `step` (default: all at once) time alone is judged and what is due is delivered."""
        end = self.clock.now() + span
        while self.clock.now() < end:
            await self.clock.advance(min(step or span, end - self.clock.now()))
            await self.tick()
            await self.deliver()

    def news(self, receiver: str = "slack") -> list[str]:
        """`kind item/aspect` of every event that arrived since last asked, message by message as one string each."""
        sent = self.receivers[receiver].sent
        fresh, self._read[receiver] = sent[self._read[receiver] :], len(sent)
        return [", ".join(f"{event.kind} {event.item}" for event in message.events) for message in fresh]
