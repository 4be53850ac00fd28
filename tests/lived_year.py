"""A year in the life of a daemon: a thousand credentials, outages, restarts, people who are late.

The daemon is the real one on a virtual clock over a real SQLite file. It must lose nothing, say nothing twice and
leave a small database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, Literal

import aiohttp

from expiryd.api import (
    CollectError,
    Collector,
    CollectorConfig,
    EventKind,
    Lifetime,
    Message,
    Notifier,
    NotifierConfig,
    Observation,
    Reading,
    Receipt,
    Severity,
    Tools,
    TransientError,
)
from expiryd.audit.chain import derive_key
from expiryd.audit.trail import Trail
from expiryd.config.model import Config, DaemonConfig
from expiryd.engine.auditing import Auditor
from expiryd.engine.simulation import Mute, Recorder, Simulation, Telling, VirtualClock, bear
from expiryd.store.port import Fate
from expiryd.store.sql import SqlStore
from expiryd.testing import tools

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
START = datetime(2027, 1, 1, tzinfo=UTC)
SEED = 47
RECEIVERS = {"mail": False, "chat": False, "issues": True}
"""Whether it keeps one conversation per item."""
Outages = Mapping[str, Sequence[tuple[datetime, datetime]]]


@dataclass(frozen=True, slots=True)
class Sort:
    """Things of one collector: how many of a thousand, how long they live, how often they are looked at."""

    share: float
    span: timedelta
    every: timedelta
    by_people: bool = False


SORTS = {
    "tokens": Sort(0.05, DAY, timedelta(hours=8)),
    "edge": Sort(0.10, 6 * DAY, DAY),
    "web": Sort(0.20, 47 * DAY, DAY),
    "internal": Sort(0.40, 90 * DAY, DAY),
    "people": Sort(0.25, 365 * DAY, 7 * DAY, by_people=True),
}


@dataclass(slots=True)
class Thing:
    """A credential in the world. Automation renews it in good time, mostly; people do when they were told, mostly."""

    name: str
    sort: Sort
    random: Random
    issued: datetime
    number: int = 0
    ends: datetime = START
    renewed: datetime = START
    ended: list[tuple[int, datetime, datetime]] = field(default_factory=list)
    """Generations that ended before they were replaced: number, end, replacement."""

    def __post_init__(self) -> None:
        self._live_on()

    def seen(self, now: datetime) -> Observation:
        while now >= self.renewed:
            if self.renewed > self.ends:
                self.ended.append((self.number, self.ends, self.renewed))
            self.issued, self.number = self.renewed, self.number + 1
            self._live_on()
        lifetime = Lifetime(issued_at=self.issued, expires_at=self.ends)
        return Observation(self.name, "credential", lifetime=lifetime, generation=str(self.number))

    def _live_on(self) -> None:
        self.ends = self.issued + self.sort.span
        luck = self.random.random()
        if self.sort.by_people:
            left = -12 * DAY * self.random.random() if luck < 0.05 else 1 * DAY + 28 * DAY * self.random.random()
        elif luck < 0.01:
            left = -self.sort.span * 0.05
        else:
            left = self.sort.span * (0.1 if luck < 0.02 else 0.7)
        self.renewed = max(self.ends - left, self.issued + HOUR)


class World(Collector):
    """One source of the world."""

    def __init__(self, name: str, things: Sequence[Thing], clock: Any, outages: Outages) -> None:
        self._name, self._things, self._clock, self._outages = name, things, clock, outages

    async def look(self) -> AsyncIterator[Reading]:
        now = self._clock.now()
        if is_out(self._name, now, self._outages):
            raise CollectError(f"{self._name} does not answer")
        for thing in self._things:
            yield thing.seen(now)


class WorldConfig(CollectorConfig):
    type: Literal["world"] = "world"

    def build(self, tools: Tools) -> Collector:
        things, outages = WORLDS[tools.name]
        return World(tools.name, things, tools.clock, outages)


class ReceiverConfig(NotifierConfig):
    type: Literal["receiver"] = "receiver"

    def build(self, tools: Tools) -> Notifier:
        return Recorder(tools.name, RECEIVERS[tools.name], VirtualClock(START), lambda _: None)


WORLDS: dict[str, tuple[Sequence[Thing], Outages]] = {}


class Unreliable(Recorder):
    """A receiver with outages of its own."""

    def __init__(
        self, name: str, threaded: bool, clock: VirtualClock, keep: Callable[[Telling], None], outages: Outages
    ) -> None:
        super().__init__(name, threaded, clock, keep)
        self._own, self._outages, self._time = name, outages, clock

    async def send(self, message: Message) -> Receipt:
        if is_out(self._own, self._time.now(), self._outages):
            raise TransientError(f"{self._own} is down")
        return await super().send(message)


def is_out(name: str, now: datetime, outages: Outages) -> bool:
    return any(begins <= now < ends for begins, ends in outages.get(name, ()))


@dataclass(frozen=True, slots=True)
class Told:
    """What of a message is worth keeping for a year."""

    at: datetime
    notifier: str
    key: str
    severity: Severity
    events: tuple[tuple[Any, ...], ...]


@dataclass(slots=True)
class Year:
    """What came of it."""

    told: list[Told]
    things: Sequence[tuple[str, Thing]]
    days: int
    outages: Outages
    moments: int = 0
    looks: int = 0
    restarts: int = 0
    bytes: int = 0
    trail_bytes: int = 0
    waiting: int = 0
    overdue: int = 0
    dead: int = 0
    seconds: float = 0.0

    def twice(self) -> list[tuple[Any, ...]]:
        """Messages under one key, and news that somebody was told twice."""
        said = Counter((one.notifier, one.key) for one in self.told)
        news: Counter[tuple[Any, ...]] = Counter()
        for one in self.told:
            news.update((one.notifier, *event) for event in one.events if event[0] in _ONCE)
        return [what for counter in (said, news) for what, count in counter.items() if count > 1]

    def lost(self) -> list[str]:
        """Ends that came two looks before the replacement, and that a receiver never heard of."""
        heard = {
            (one.notifier, event[1], event[3]) for one in self.told for event in one.events if event[4] == "expired"
        }
        end = START + self.days * DAY
        missing = []
        for collector, thing in self.things:
            for number, ended, renewed in thing.ended:
                around = (ended - 2 * DAY, renewed + 2 * DAY)
                blind = any(b < around[1] and e > around[0] for b, e in self.outages.get(collector, ()))
                if blind or renewed - ended < 2 * thing.sort.every or ended < START + DAY or renewed > end - DAY:
                    continue
                item = f"{collector}/{thing.name}"
                missing += [f"{name}: {item} #{number}" for name in RECEIVERS if (name, item, str(number)) not in heard]
        return missing

    def by_day(self) -> list[Counter[str]]:
        days: list[Counter[str]] = [Counter() for _ in range(self.days)]
        for one in self.told:
            day = (one.at - START) // DAY
            if day < self.days:
                days[day][one.severity.word] += 1
        return days


_ONCE = {kind.value for kind in (EventKind.RAISED, EventKind.WORSENED, EventKind.RUNG, EventKind.RENEWED)}


async def live(items: int, days: int, path: Path) -> Year:  # noqa: C901 - its acts share all that is here
    """All of it. Raises whatever the daemon raises."""
    begun = monotonic()
    random = Random(SEED)
    outages = _outages(random, days)
    things = {name: _things(name, sort, items, random) for name, sort in SORTS.items()}
    WORLDS.clear()
    WORLDS.update({name: (some, outages) for name, some in things.items()})
    year = Year([], [(name, thing) for name, some in things.items() for thing in some], days, outages)
    config = _config(path)
    clock, log = VirtualClock(START), Mute()
    async with aiohttp.ClientSession() as http:
        store = SqlStore(f"sqlite:///{path / 'expiryd.db'}", private=True)
        await store.open()
        trail = Trail(path / "audit", derive_key(b"y" * 32))

        async def begin() -> Any:
            daemon = await bear(config, store, lambda name: tools(http, name=name), clock, log)
            for name, courier in daemon.graph.couriers.items():
                courier.channel.notifier = Unreliable(
                    name, RECEIVERS[name], clock, lambda one: year.told.append(_told(one)), outages
                )
            return daemon

        life = Simulation(await begin(), clock, grain=timedelta(minutes=5))

        async def look(life: Simulation, name: str, at: datetime) -> None:
            year.looks += 1
            await life.daemon.look_now(name)
            again = at + SORTS[name].every
            life.at(again, lambda life: look(life, name, again))

        async def restart(life: Simulation) -> None:
            year.restarts += 1
            await life.daemon.graph.close(timedelta(0))
            life.daemon = await begin()

        async def tidy(life: Simulation, at: datetime) -> None:
            auditor = Auditor(store, trail, clock, log, life.daemon.voice.complain_of_trail)
            while await auditor.export():
                pass
            kept = config.daemon.retention
            while await store.prune(events=clock.now() - kept.events, looks=clock.now() - kept.looks):
                pass
            life.at(at + DAY, lambda life: tidy(life, at + DAY))

        for place, name in enumerate(SORTS):
            first = START + place * timedelta(minutes=7)
            life.at(first, lambda life, name=name, first=first: look(life, name, first))  # type: ignore[misc]
        for day in range(17, days, 37):
            life.at(START + day * DAY + timedelta(hours=13, minutes=11), restart)
        life.at(START + HOUR, lambda life: tidy(life, START + HOUR))
        await life.run(START + days * DAY)
        year.moments = life.moments
        outbox = await store.outbox()
        for (_, fate), count in outbox.counts.items():
            year.waiting += count if fate in (Fate.PENDING, Fate.LEASED) else 0
            year.dead += count if fate is Fate.DEAD else 0
        due = [await store.next_due(name) for name in RECEIVERS]
        year.overdue = sum(moment is not None and moment < clock.now() - HOUR for moment in due)
        await life.daemon.graph.close(timedelta(0))
        await store.aclose()
    year.bytes = sum(file.stat().st_size for file in path.glob("expiryd.db*"))
    year.trail_bytes = sum(file.stat().st_size for file in (path / "audit").iterdir())
    year.seconds = monotonic() - begun
    return year


def _told(one: Telling) -> Told:
    events = tuple(
        (
            e.kind.value,
            str(e.item),
            e.aspect,
            e.generation,
            e.severity.word,
            e.rung,
            e.at if e.aspect != "expiry" else "",
        )
        for e in one.message.events
    )
    return Told(one.at, one.notifier, one.message.key, one.message.severity, events)


def _things(name: str, sort: Sort, items: int, random: Random) -> list[Thing]:
    def thing(number: int) -> Thing:
        share = 0.9 if sort.by_people else 0.5
        begun = START - timedelta(seconds=int(sort.span.total_seconds() * share * random.random()))
        return Thing(f"{name}-{number:04}", sort, Random(random.random()), begun)

    return [thing(number) for number in range(round(items * sort.share))]


def _outages(random: Random, days: int) -> Outages:
    """Now and then a source or a receiver is down for an hour or a day."""
    out: dict[str, list[tuple[datetime, datetime]]] = {name: [] for name in (*SORTS, *RECEIVERS)}
    for name, spells in out.items():
        for _ in range(max(days // 60, 1)):
            begins = START + days * DAY * random.random()
            spells.append((begins, begins + (HOUR if name in RECEIVERS else DAY) * (1 + 5 * random.random())))
    return out


def _config(path: Path) -> Config:
    auto = {"critical": "7d", "warning": "14d", "info": "14d", "ladder": ("14d", "7d", "1d", "0d")}
    return Config(
        daemon=DaemonConfig(state_dir=path, drain=timedelta(0)),
        collectors={
            name: WorldConfig(every=sort.every, category="people" if sort.by_people else "automatic")
            for name, sort in SORTS.items()
        },
        notifiers={name: ReceiverConfig() for name in RECEIVERS},
        categories={"automatic": auto},
        policy={"cooldown": {"expired": "7d", "critical": "7d", "warning": "never", "info": "never"}},
    )
