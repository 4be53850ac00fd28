"""What all couriers share: the store, the ledger, the clock, and the rules of telling."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

from expiryd.api import Clock, Finding, Log
from expiryd.config.storm import StormConfig
from expiryd.core.grouping import FirstLook
from expiryd.core.model import ItemState
from expiryd.core.muting import Muting, nothing_muted
from expiryd.core.routing import Route
from expiryd.core.rules import Rules
from expiryd.engine.ledger import Ledger
from expiryd.engine.metrics import Metrics
from expiryd.store.port import Store


@dataclass(frozen=True, slots=True)
class Depot:
    """What all couriers share."""

    store: Store
    ledger: Ledger
    clock: Clock
    log: Log
    metrics: Metrics
    rules: Callable[[ItemState], Rules]
    complain: Callable[[str, Sequence[Finding]], Awaitable[None]]
    """Have it told that `notifier/NAME` is in trouble or `storm/NAME` rages (or, with nothing, that it is over)."""
    mutes: Callable[[str, datetime], Muting] = lambda _notifier, _now: nothing_muted
    """What, at this moment, keeps words from being said to this notifier."""
    held: Callable[[datetime], None] = lambda _planned_at: None
    """What the mutes of that moment hold back has been noted."""
    group_wait: timedelta = timedelta(0)
    crowd: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the courier who carries very many parcels."""
    storm: StormConfig = field(default_factory=StormConfig)
    first_look: FirstLook = "each"
    zone: tzinfo = UTC
    routes: Sequence[Route] = ()
