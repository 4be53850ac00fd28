"""What the daemon has to say: of what was decided to whoever counts and delivers, and of itself as of anything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from expiryd.api import Log, Observation
from expiryd.core.model import Event, Finding, ItemId
from expiryd.engine.graph import Graph
from expiryd.engine.metrics import Metrics

MOST_LOGGED = 100


@dataclass(frozen=True, slots=True)
class Voice:
    """`graph` gives that of the day, whose cycle judges and whose couriers carry."""

    graph: Callable[[], Graph]
    log: Log
    metrics: Metrics

    def told_of(self, events: list[Event]) -> None:
        """These were decided and are owed: counted, logged, and the couriers are woken."""
        if not events:
            return
        self.metrics.happened(events)
        for event in events[:MOST_LOGGED]:
            self.log.info(
                "alert.changed",
                kind=event.kind.value,
                item=event.item,
                aspect=event.aspect,
                severity=event.severity.word,
            )
        if (left := len(events) - MOST_LOGGED) > 0:
            self.log.info("alert.changed_more", events=left)
        self.graph().wake_couriers()

    async def observe(self, seen: Sequence[Observation], *, notify: tuple[str, ...] = ()) -> None:
        """The daemon as it sees itself. `notify`: whom alone it concerns."""
        if (cycle := self.graph().cycle) is not None:
            self.told_of(await cycle.observe(seen, notify=notify))

    async def complain(self, about: str, findings: Sequence[Finding]) -> None:
        """A notifier's trouble (`notifier/NAME`) is told by the others, a storm (`storm/NAME`) where it rages."""
        sort, _, name = about.partition("/")
        seen = Observation(about, kind="notifier", title=f"notifier {name}", findings=tuple(findings))
        await self.observe([seen], notify=(name,) if sort == "storm" else ())

    async def complain_of_trail(self, finding: Finding | None) -> None:
        """The audit trail as an item of its own."""
        await self.observe(
            [Observation("audit", "audit trail", "the audit trail", findings=(finding,) if finding else ())]
        )

    async def trouble(self, collector: str, finding: Finding) -> None:
        if (cycle := self.graph().cycle) is not None:
            self.told_of(await cycle.trouble(collector, finding))

    async def forget(self, item: ItemId) -> None:
        if (cycle := self.graph().cycle) is not None:
            await cycle.forget(item)
