"""Everything one configuration brings to life, and how to put it to rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from expiryd.api import Collector, CollectorConfig, Notifier, NotifierConfig, Tools
from expiryd.config.model import Config
from expiryd.core.model import SELF, Event, EventKind
from expiryd.core.routing import Route, listeners
from expiryd.core.silencing import Hush
from expiryd.engine.channel import Channel
from expiryd.engine.cycle import Cycle
from expiryd.engine.delivery import Courier
from expiryd.engine.depot import Depot
from expiryd.engine.ledger import Audience
from expiryd.engine.lettering import stationery_of
from expiryd.engine.muting import hush_of
from expiryd.engine.rehearsal import Rehearsed
from expiryd.engine.rulebook import Rulebook
from expiryd.engine.tasks import Tasks
from expiryd.engine.trouble import about

if TYPE_CHECKING:
    from expiryd.templates.stationery import Stationery

ToolsFor = Callable[[str], Tools]


@dataclass(slots=True)
class Graph:
    """The living parts of one configuration. Immutable in shape; a reload builds another one."""

    config: Config
    rulebook: Rulebook
    collectors: Mapping[str, tuple[CollectorConfig, Collector]]
    notifiers: Mapping[str, tuple[NotifierConfig, Notifier]]
    audience: Audience
    hush: Hush
    """Its routes, windows and maintenance."""
    looks: Tasks
    """The looks under way with this graph's collectors."""
    services: Tasks
    """The couriers at work with this graph's notifiers."""
    couriers: dict[str, Courier] = field(default_factory=dict)
    stationery: Mapping[str, Stationery] = field(default_factory=dict)
    """By notifier, the templates of those that have any."""
    edited: set[str] = field(default_factory=set)
    """Collectors that a reload changed and that have not been looked at since."""
    cycle: Cycle | None = None
    _owned: AsyncExitStack = field(default_factory=AsyncExitStack)

    def hire(self, depot: Depot) -> None:
        """A courier for every notifier."""
        for name, (config, notifier) in self.notifiers.items():
            channel = Channel(name, config, notifier, depot.clock, depot.log, depot.metrics)
            self.couriers[name] = Courier(channel, depot, self.stationery.get(name))

    def employ(self) -> None:
        """Put the couriers to work."""
        for name, courier in self.couriers.items():
            self.services.spawn(courier.serve(), f"courier {name}")

    def wake_couriers(self) -> None:
        for courier in self.couriers.values():
            courier.wake()

    def idle_couriers(self, now: float) -> list[str]:
        """Couriers that are dead, or deaf to their own time-out. `now` is monotonic."""
        return [
            f"courier {name}"
            for name, courier in self.couriers.items()
            if courier.channel.overdue(now) or not self.services.runs(f"courier {name}")
        ]

    async def close(self, patience: timedelta) -> list[str]:
        """Let what runs end by itself, then cancel it, then close every plugin; the names of what was cancelled."""
        late = await self.rest_couriers(patience)
        late += await self.looks.drain(patience)
        await self._owned.aclose()
        return late

    async def rest_couriers(self, patience: timedelta) -> list[str]:
        """Each courier ends the message it carries and takes no other."""
        for courier in self.couriers.values():
            courier.stop()
        return await self.services.drain(patience)


async def build(config: Config, tools_for: ToolsFor, *, rehearse: bool = False) -> Graph:
    """Fallible and invisible: nothing live is touched until it returns. Raises ExpirydError or ValueError."""

    def lent(name: str) -> Tools:
        return replace(tools_for(name), timezone=config.daemon.timezone)

    async with AsyncExitStack() as stack:
        collectors: dict[str, tuple[CollectorConfig, Collector]] = {}
        for name, wanted in config.collectors.items():
            with _blamed(f"collectors.{name}"):
                collector = wanted.build(lent(name))
            stack.push_async_callback(collector.aclose)
            collectors[name] = (wanted, collector)
        notifiers: dict[str, tuple[NotifierConfig, Notifier]] = {}
        for name, reached in config.notifiers.items():
            with _blamed(f"notifiers.{name}"):
                notifier = reached.build(lent(name))
            stack.push_async_callback(notifier.aclose)
            notifiers[name] = (reached, Rehearsed(notifier, tools_for(name).log) if rehearse else notifier)
        own = tools_for("expiryd")
        log = own.log
        hush = hush_of(config)
        return Graph(
            config=config,
            rulebook=Rulebook(config, own.clock.now().date()),
            collectors=collectors,
            notifiers=notifiers,
            audience=Audience(hears_of(hush.routes, config.notifiers), config.policy.group_wait),
            hush=hush,
            looks=Tasks(log),
            services=Tasks(log),
            stationery=stationery_of(config.notifiers),
            _owned=stack.pop_all(),
        )
    raise AssertionError("unreachable")


@contextmanager
def _blamed(place: str) -> Iterator[None]:
    """A plugin's bug is an error of the configuration that names it: a reload with one must not end the daemon."""
    try:
        yield
    except (TypeError, AttributeError, LookupError, ArithmeticError, OSError) as bug:
        raise ValueError(f"{place}: it cannot be built ({type(bug).__name__}: {bug})") from bug


def hears_of(routes: Sequence[Route], notifiers: Mapping[str, NotifierConfig]) -> Callable[[Event], tuple[str, ...]]:
    """Who is owed an event: those the routes name, as far as they take what is of its kind."""
    names = tuple(notifiers)
    to_all = {kind: tuple(name for name in names if _takes(notifiers[name], kind)) for kind in EventKind}

    def hears(event: Event) -> tuple[str, ...]:
        if not routes and not event.notify and event.collector != SELF:
            return to_all[event.kind]
        heard = listeners(event, routes, names)
        if event.collector == SELF and any(
            about(event, name) for name in heard
        ):  # the others tell of it; where there are none, it does in the end
            heard = _others(event, heard) or _others(event, names) or heard
        return tuple(name for name in heard if _takes(notifiers[name], event.kind))

    return hears


def _others(event: Event, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if not about(event, name))


def _takes(wants: NotifierConfig, kind: EventKind) -> bool:
    return (wants.events is None or kind in wants.events) and (wants.send_resolved or not kind.closes)
