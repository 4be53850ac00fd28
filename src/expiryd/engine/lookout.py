"""What the daemon notices beside its looks: days on which much ends, and sources nobody looks at any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta

from expiryd.api import Clock
from expiryd.core.crowding import Census, Crowd, dispersed, item_of, said
from expiryd.core.duration import format_duration
from expiryd.core.model import SELF, Finding, ItemId, Severity
from expiryd.engine.graph import Graph
from expiryd.engine.ledger import Ledger
from expiryd.engine.schedule import Rhythm, Schedule
from expiryd.engine.timekeeping import Observe

Forget = Callable[[ItemId], Awaitable[None]]
Trouble = Callable[[str, Finding], Awaitable[None]]
EVERY = timedelta(minutes=1)
_AT_ONCE = 5_000


class CrowdWatch:
    """Tells of crowded days early. Told again only when twice as many end on the day as when it was told."""

    def __init__(
        self, ledger: Ledger, clock: Clock, graph: Callable[[], Graph], observe: Observe, forget: Forget
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._graph = graph
        self._observe = observe
        self._forget = forget
        self._is_stale = True
        self._reviewed: tuple[int, date] | None = None
        """What was known when it was last counted, and the day."""

    def looked(self) -> None:
        """A look has ended. Nothing is counted while one goes on: it is half of what will be known."""
        self._is_stale = True

    def stir(self) -> None:
        """The rules are new."""
        self._is_stale, self._reviewed = True, None

    async def review(self) -> None:
        """Raises StoreError."""
        config = self._graph().config
        now, zone, least = self._clock.now(), config.daemon.timezone, config.policy.crowd
        known_of = (self._ledger.revision, now.astimezone(zone).date())
        if not self._is_stale and self._reviewed is not None and self._reviewed[1] == known_of[1]:
            return
        self._is_stale = False
        if self._reviewed == known_of:
            return
        known = {state.id: state for state in self._ledger.of(SELF) if state.id.startswith(f"{SELF}/day/")}
        if not least and not known:
            return
        self._reviewed = known_of
        try:
            crowds = await self._crowds(now, least)
            for crowd in crowds:
                await self._tell(crowd, least)
            here = {f"{SELF}/{item_of(crowd.day)}" for crowd in crowds}
            over = [dispersed(item.rpartition("/")[2]) for item in known if item not in here]
            if over:
                await self._observe(over)
        except BaseException:
            self.stir()
            raise

    async def _crowds(self, now: datetime, least: int) -> list[Crowd]:
        """Those of a day that was told last until there are fewer than half as many as it takes."""
        if not least:
            return []
        census = Census(now, self._graph().config.daemon.timezone)
        states = [state for state in self._ledger.all() if not state.is_own]
        for start in range(0, len(states), _AT_ONCE):
            if start:
                await asyncio.sleep(0)
            census.take(states[start : start + _AT_ONCE])
        few = (least + 1) // 2
        crowds = await asyncio.to_thread(census.crowds, few) if len(states) > _AT_ONCE else census.crowds(few)
        return [crowd for crowd in crowds if crowd.count >= least or self._ledger.get(_id(crowd)) is not None]

    async def _tell(self, crowd: Crowd, least: int) -> None:
        known = self._ledger.get(_id(crowd))
        told = int(known.generation) if known is not None and known.generation.isdigit() else 0
        if known is not None and crowd.count >= 2 * max(told, least):
            await self._forget(known.id)
            known = None
        seen = said(crowd, told if known is not None else crowd.count)
        if known is None or known.observation != seen:
            await self._observe([seen])


def _id(crowd: Crowd) -> ItemId:
    return ItemId(f"{SELF}/{item_of(crowd.day)}")


class StaleWatch:
    """A source whose looks do not come, though nothing says that they fail."""

    def __init__(
        self, ledger: Ledger, clock: Clock, graph: Callable[[], Graph], schedule: Schedule, trouble: Trouble
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._graph = graph
        self._schedule = schedule
        self._trouble = trouble
        self._since = clock.now()
        self._asked_at = self._since

    async def review(self) -> None:
        """Raises StoreError."""
        now = self._clock.now()
        if not self._schedule.running or timedelta(0) <= now - self._asked_at < EVERY:
            return
        self._asked_at = now
        graph = self._graph()
        zone = graph.config.daemon.timezone
        for name, (config, _) in graph.collectors.items():
            look = self._ledger.last_looks.get(name)
            last = max(look.finished_at, self._since) if look else self._since
            if self._ledger.get(ItemId(name)) is None and now > Rhythm.of(config, zone).third(last) + config.timeout:
                away = format_duration(timedelta(seconds=int((now - last).total_seconds())))
                await self._trouble(name, _stale(away))


def _stale(away: str) -> Finding:
    detail = f"not looked at for {away}, three times as long as its schedule says: see its look's duration in the log"
    return Finding("stale", Severity.WARNING, detail)
