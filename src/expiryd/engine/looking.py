"""Looks at the collectors: one look at a time at each, and soon again where something could not be seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from expiryd.api import Clock, Log
from expiryd.core.model import Event
from expiryd.engine.graph import Graph
from expiryd.engine.ledger import Ledger
from expiryd.engine.metrics import Metrics
from expiryd.engine.schedule import Schedule
from expiryd.store.port import Look, Outcome, StoreError

RETRY_FIRST = timedelta(minutes=1)


@dataclass(slots=True)
class Looking:
    """`graph` gives that of the day; `told_of` takes what was decided, `done` hears that a look has ended."""

    graph: Callable[[], Graph]
    ledger: Ledger
    clock: Clock
    log: Log
    metrics: Metrics
    schedule: Schedule
    told_of: Callable[[list[Event]], None]
    store_failed: Callable[[StoreError], None]
    done: Callable[[], None]
    failed: dict[str, int] = field(default_factory=dict)
    """Looks in a row, by collector, that did not see everything."""
    stopping: bool = False

    def begin(self, name: str) -> None:
        """Start a look at one collector, unless one is still under way."""
        graph = self.graph()
        if self.stopping or name not in graph.collectors:
            return
        if graph.looks.runs(name):
            self.metrics.overrun(name)
            self.log.warning("collector.overran", collector=name)
            return
        graph.looks.spawn(self._look(graph, name), name)

    async def now(self, name: str) -> Look | None:
        """Look and wait for the end. None when the collector is unknown."""
        self.begin(name)
        while self.graph().looks.runs(name):
            await self.graph().looks.ended(name)
        return self.ledger.last_looks.get(name)

    def begin_over_the_network(self) -> None:
        """It is back, so nothing is missed through it any more."""
        for name, (_, collector) in self.graph().collectors.items():
            if collector.network:
                self.failed.pop(name, None)
                self.begin(name)

    async def _look(self, graph: Graph, name: str) -> None:
        config, collector = graph.collectors[name]
        cycle = graph.cycle
        if cycle is None:
            return
        started = self.clock.monotonic()
        try:
            look, events = await cycle.run(name, config, collector)
        except StoreError as failure:
            self.store_failed(failure)
            self.schedule.retry(name, RETRY_FIRST)
            return
        self.metrics.looked(look, self.clock.monotonic() - started)
        self.told_of(events)
        self._again_if_blind(name, look)
        self.done()
        self.log.info(
            "collector.looked",
            collector=name,
            outcome=look.outcome.value,
            items=look.items,
            events=len(events),
            reason=look.reason,
        )

    def _again_if_blind(self, name: str, look: Look) -> None:
        """A source that could not be seen is looked at again soon, ever less soon, until its regular turn."""
        unsure = any(state.blind_looks and not state.is_blind for state in self.ledger.of(name))
        if look.outcome is Outcome.COMPLETE and not unsure:
            self.failed.pop(name, None)
            return
        failed = self.failed[name] = self.failed.get(name, 0) + 1
        self.schedule.retry(name, RETRY_FIRST * (1 << min(failed - 1, 10)))
