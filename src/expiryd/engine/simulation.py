"""What the daemon would do and say in time to come: the daemon itself, on a virtual clock, with nobody listening."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

from expiryd.api import Log, Message, Notifier, Receipt, Tools
from expiryd.config.model import Config
from expiryd.engine.admission import storm_item
from expiryd.engine.daemon import Daemon
from expiryd.engine.delivery import IDLE, Courier
from expiryd.engine.graph import ToolsFor
from expiryd.engine.memory import collect_less_often
from expiryd.engine.metrics import Metrics
from expiryd.engine.pulse import PULSE
from expiryd.store.port import Change, Store

MOST_ROUNDS = 50
"""So often something may happen at one and the same moment, before time goes on by a pulse."""


class VirtualClock:
    """Whoever sleeps moves it: one thing happens at a time."""

    def __init__(self, start: datetime) -> None:
        self.moment = self._begun = start

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return (self.moment - self._begun).total_seconds()

    async def sleep(self, delay: timedelta) -> None:
        self.moment += delay


class Mute:
    """A log nobody reads."""

    def debug(self, event: str, **keys: Any) -> None: ...

    info = warning = error = debug


@dataclass(frozen=True, slots=True)
class Telling:
    """A message that would be sent, when and to whom."""

    at: datetime
    notifier: str
    message: Message


class Recorder(Notifier):
    """Stands where a real notifier would: keeps what it is given and sends nothing."""

    def __init__(self, name: str, threaded: bool, clock: VirtualClock, keep: Callable[[Telling], None]) -> None:
        self.threaded = threaded  # type: ignore[misc]  # as the one it stands for
        self._name, self._clock, self._keep = name, clock, keep

    async def send(self, message: Message) -> Receipt:
        self._keep(Telling(self._clock.now(), self._name, message))
        thread = (message.thread.reference or message.key) if message.thread else None
        return Receipt("simulated", thread)


class Noted:
    """A store that is asked what is due only after something was written that may change it: nobody else writes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._due: dict[str, datetime | None] = {}

    async def next_due(self, notifier: str) -> datetime | None:
        if notifier not in self._due:
            self._due[notifier] = await self._store.next_due(notifier)
        return self._due[notifier]

    async def commit(self, change: Change) -> None:
        for notifier in {notifier for _, notifiers in change.events for notifier in notifiers}:
            self._due.pop(notifier, None)
        await self._store.commit(change)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name in _OF_ONE:
            return partial(self._of_one, method)
        if name in _OF_ALL:
            self._due.clear()
        return method

    async def _of_one(self, method: Callable[..., Awaitable[Any]], notifier: str, *args: Any, **kwargs: Any) -> Any:
        self._due.pop(notifier, None)
        return await method(notifier, *args, **kwargs)


_OF_ONE = ("lease", "dispatch", "settle", "postpone", "release", "hold")
_OF_ALL = ("hasten", "load", "prune", "set_back")
Act = Callable[["Simulation"], Awaitable[None]]


@dataclass(slots=True)
class Simulation:
    """A daemon that lives through any span of time as fast as it can.

    It jumps from one moment at which something can happen to the next, and rounds each up to `grain`. `acts` happen at
    their moments: looks, failures, restarts of a made-up life; a forecast has none.
    """

    daemon: Daemon
    clock: VirtualClock
    tellings: list[Telling] = field(default_factory=list)
    grain: timedelta = timedelta(0)
    moments: int = 0
    _acts: list[tuple[datetime, int, Act]] = field(default_factory=list)
    _order: count[int] = field(default_factory=count)
    _busy: dict[str, datetime] = field(default_factory=dict)
    """Until when a courier is held up by the rate of its notifier."""
    _asked: dict[str, datetime] = field(default_factory=dict)
    """When a courier last had a round."""
    _rounds: int = 0

    def at(self, moment: datetime, act: Act) -> None:
        heapq.heappush(self._acts, (moment, next(self._order), act))

    async def run(self, until: datetime) -> None:
        """Raises StoreError."""
        await self._happen()
        while (moment := await self._next()) is not None and moment <= until:
            now = self.clock.moment
            self._rounds = self._rounds + 1 if moment <= now else 0
            if self._rounds > MOST_ROUNDS:
                moment, self._rounds = now + PULSE, 0
            self.clock.moment = min(max(moment + self.grain if moment > now else now, moment), until)
            await self._happen()
        self.clock.moment = max(until, self.clock.moment)

    async def _happen(self) -> None:
        self.moments += 1
        while self._acts and self._acts[0][0] <= self.clock.moment:
            await heapq.heappop(self._acts)[2](self)
        await self.daemon.tick()
        now = self.clock.moment
        for name, courier in self.daemon.graph.couriers.items():
            due = await self._due(name, courier)
            if due is None or due > now:
                continue
            self._asked[name] = now
            while await courier.deliver() and await self._owes(name):
                pass
            # the others do not wait for this one: each courier works by itself
            self._busy[name], self.clock.moment = self.clock.moment, now

    async def _next(self) -> datetime | None:
        moments = [self._acts[0][0] if self._acts else None, self.daemon.ledger.next_wake]
        moments += [await self._due(name, courier) for name, courier in self.daemon.graph.couriers.items()]
        return min((moment for moment in moments if moment is not None), default=None)

    async def _owes(self, name: str) -> bool:
        """Whether another round could find anything: to ask that is cheaper than the round."""
        due = await self.daemon.store.next_due(name)
        return self._storms(name) or (due is not None and due <= self.clock.moment)

    def _storms(self, name: str) -> bool:
        return self.daemon.ledger.get(storm_item(name)) is not None

    async def _due(self, name: str, courier: Courier) -> datetime | None:
        """When the courier has something to do: what is owed, and the end of a storm, which nobody owes it."""
        due = await self.daemon.store.next_due(name)
        moments = [due, courier.resume_at, self._busy.get(name)] if due else []
        ready = max((moment for moment in moments if moment is not None), default=None)
        if not self._storms(name):
            return ready
        poll = self._asked.get(name, self.clock.moment) + IDLE
        return poll if ready is None else min(ready, poll)


@asynccontextmanager
async def simulate(
    config: Config, store: Store, tools_for: ToolsFor, start: datetime, log: Log | None = None
) -> AsyncIterator[Simulation]:
    """The daemon of this config over a store of its own, which must be open, from `start` on.

    Raises StoreError, and ExpirydError or ValueError when a part of the config cannot be built.
    """
    clock = VirtualClock(start)
    daemon = await bear(config, store, tools_for, clock, log or Mute())
    life = Simulation(daemon, clock)
    try:
        record(daemon, clock, life.tellings.append)
        yield life
    finally:
        await life.daemon.graph.close(timedelta(0))


async def bear(config: Config, store: Store, tools_for: ToolsFor, clock: VirtualClock, log: Log) -> Daemon:
    """A daemon that is ready and has no timers."""

    def lent(name: str) -> Tools:
        return replace(tools_for(name), clock=clock, log=log)

    async def load() -> Config:
        return config

    collect_less_often()
    noted: Any = Noted(store)
    daemon = Daemon(store=noted, clock=clock, log=log, metrics=Metrics("simulation"), load=load, tools_for=lent)
    await daemon.prepare(config)
    return daemon


def record(daemon: Daemon, clock: VirtualClock, keep: Callable[[Telling], None]) -> None:
    """From here on nothing leaves: what would be sent is kept."""
    for name, courier in daemon.graph.couriers.items():
        courier.channel.notifier = Recorder(name, courier.channel.notifier.threaded, clock, keep)


def grain_for(items: int) -> timedelta:
    """How finely time is taken for so many items: exact as long as that takes seconds."""
    steps: Sequence[tuple[int, timedelta]] = ((5_000, timedelta(0)), (20_000, timedelta(minutes=5)))
    return next((grain for most, grain in steps if items <= most), timedelta(minutes=30))
