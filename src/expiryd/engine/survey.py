"""One look at everything now, without a daemon: the same cycle and rules, and nothing is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from expiryd.api import Clock, DeliveryError, Log, Severity, Thread
from expiryd.config.model import Config
from expiryd.core.grouping import plan
from expiryd.core.model import Event, Finding, ItemState
from expiryd.core.view import item_rank
from expiryd.engine.composing import compose, message_key
from expiryd.engine.cycle import Cycle
from expiryd.engine.depot import Depot
from expiryd.engine.graph import Graph
from expiryd.engine.ledger import Audience, Ledger
from expiryd.engine.lettering import reword
from expiryd.engine.metrics import Metrics
from expiryd.store.port import Change, Look, Parcel, Store

AT_ONCE = 8
"""So many collectors look at the same time."""
_NOBODY = Audience(lambda _event: (), timedelta(0))


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen. A collector that could not look, or not to the end, is a state of its own, as in the daemon."""

    states: Sequence[ItemState]
    """Worst first."""
    looks: Mapping[str, Look]
    """By collector."""
    events: Sequence[Event]
    """What a daemon that knew nothing before would have to tell."""
    ledger: Ledger

    def unseen(self) -> list[ItemState]:
        """Items and collectors that could not be looked at, or not wholly: of them this survey is no proof."""
        return [state for state in self.states if state.is_blind or _is_partial(state)]


class _Nowhere:
    """The store of a ledger that keeps its states in memory alone: of all of the port, it is only asked to commit."""

    async def commit(self, _change: Change) -> None:
        return


def for_one_look(config: Config, collectors: Sequence[str] | None = None, *, notifiers: bool = False) -> Config:
    """The config with these collectors alone. There will be no second look, so the first blindness is told."""
    policy = config.policy.model_copy(update={"blind_after": 1})
    wanted = {name: one for name, one in config.collectors.items() if collectors is None or name in collectors}
    heard = config.notifiers if notifiers else {}
    return config.model_copy(update={"policy": policy, "collectors": wanted, "notifiers": heard})


async def survey(graph: Graph, clock: Clock, log: Log, looked: Callable[[Look], None]) -> Survey:
    """Look once with every collector of a graph that was built from `for_one_look`. `looked` hears of each end."""
    ledger = Ledger(cast(Store, _Nowhere()))
    cycle = Cycle(ledger, clock, graph.rulebook, _NOBODY, log)
    looks: dict[str, Look] = {}
    events: list[Event] = []
    turn = asyncio.Semaphore(AT_ONCE)

    async def look(name: str) -> None:
        async with turn:
            looks[name], told = await cycle.run(name, *graph.collectors[name])
        events.extend(told)
        looked(looks[name])

    async with asyncio.TaskGroup() as group:
        for name in graph.collectors:
            group.create_task(look(name))
    return Survey(sorted(ledger.all(), key=_order), looks, events, ledger)


async def tell(
    graph: Graph, seen: Survey, events: Sequence[Event], clock: Clock, log: Log
) -> Mapping[str, Sequence[str | DeliveryError]]:
    """Send these events through every notifier that hears of such: one message, or one a matter where it keeps threads.

    One attempt each, nothing is remembered. By notifier: the proof of each delivery, or why it failed.
    """
    graph.hire(_depot(graph, seen.ledger, clock, log))
    told_at = f"check at {clock.now().isoformat()}"
    outcomes: dict[str, list[str | DeliveryError]] = {}
    for name, courier in graph.couriers.items():
        heard = [event for event in events if name in graph.audience.hears(event)]
        parcels = [Parcel(number, name, event, 1, event.at) for number, event in enumerate(heard)]
        for draft in plan(parcels, threaded=courier.channel.notifier.threaded).drafts:
            key = message_key(told_at, name, [parcel.id for parcel in draft.parcels])
            thread = Thread(*draft.thread) if draft.thread else None
            try:
                usual = compose(draft, key, clock.now(), thread, seen.ledger)
                message, misworded = await reword(usual, courier.stationery, log)
                proof = (await courier.channel.hand_over(message)).proof
                outcome: str | DeliveryError = f"{proof}; {misworded.detail}" if misworded else proof
            except DeliveryError as failure:
                outcome = failure
            outcomes.setdefault(name, []).append(outcome)
    return outcomes


def _depot(graph: Graph, ledger: Ledger, clock: Clock, log: Log) -> Depot:
    """What couriers share, for couriers that only hand over."""

    async def nobody(_about: str, _findings: Sequence[Finding]) -> None:
        return

    return Depot(
        store=cast(Store, _Nowhere()),
        ledger=ledger,
        clock=clock,
        log=log,
        metrics=Metrics("check"),
        rules=graph.rulebook.of,
        complain=nobody,
    )


def _order(state: ItemState) -> tuple[object, ...]:
    """Worst first as everywhere, but what has no end by name: that one source was looked at sooner means nothing."""
    weight, undated, at, name = item_rank(state)
    return weight, undated, None if undated else at, name


def _is_partial(state: ItemState) -> bool:
    return state.id == state.collector and any(alert.severity >= Severity.WARNING for alert in state.alerts)
