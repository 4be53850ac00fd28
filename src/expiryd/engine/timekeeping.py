"""Says so when the wall clock jumps, and lets the daemon's time follow it once it has been steady for long enough."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from expiryd.core.duration import format_duration
from expiryd.core.model import Finding, ItemId, Measure, Observation, Severity
from expiryd.core.steady import Doubt, Steadiness
from expiryd.engine.clock import SteadyClock
from expiryd.engine.ledger import Ledger
from expiryd.store.port import Store

ITEM = ItemId("expiryd/clock")
OFFSET = "clock-offset"
Observe = Callable[[Sequence[Observation]], Awaitable[None]]


class Timekeeper:
    """`moved` is called after time itself has moved, when everything planned by it is out of date."""

    def __init__(
        self, clock: SteadyClock, store: Store, ledger: Ledger, *, observe: Observe, moved: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._store = store
        self._ledger = ledger
        self._observe = observe
        self._moved = moved

    def begin(self, terms: Steadiness) -> None:
        """After the ledger was loaded: hold the wall clock against what is remembered."""
        self._clock.terms = terms
        moments = [look.finished_at for look in self._ledger.last_looks.values()]
        for _, alert in self._ledger.alerts():
            moments += [at for at in (alert.asked_at, alert.told_at) if at is not None]
        self._clock.begin(max(moments, default=None), self._known_offset())

    async def review(self) -> None:
        """Raises StoreError, and then time has not moved."""
        ripe = self._clock.ripe
        if ripe is not None:
            if ripe < timedelta(0):
                await self._ledger.set_back(self._clock.wall.now(), ripe)
            self._clock.believe()
            self._moved()
        doubt, known = self._clock.doubt, self._known_offset()
        if doubt is None and known is None:
            return
        if doubt is None or known is None or abs(doubt.by - known) >= self._clock.terms.jump:
            await self._observe([self._said(doubt)])

    def _known_offset(self) -> timedelta | None:
        known = self._ledger.get(ITEM)
        if known is None:
            return None
        seconds = next((m.value for m in known.observation.measures if m.name == OFFSET), 0.0)
        return timedelta(seconds=seconds)

    def _said(self, doubt: Doubt | None) -> Observation:
        if doubt is None:
            return Observation("clock", kind="clock", title="the system clock")
        away = doubt.at_start and doubt.by > timedelta(0)
        believed = self._clock.now()
        how = "is far from what is remembered" if doubt.at_start else "has jumped"
        detail = (
            f"the system clock {how}: from {believed:%Y-%m-%d %H:%M:%S} to {believed + doubt.by:%Y-%m-%d %H:%M:%S} "
            f"UTC. Until it has been steady for {format_duration(self._clock.terms.hold)} (`daemon.clock_hold`), or is "
            "back, nothing is judged by it. If it is wrong, mend the time service (timedatectl, chronyc tracking)"
        )
        finding = Finding("clock-jumped", Severity.INFO if away else Severity.WARNING, detail)
        offset = Measure(OFFSET, doubt.by.total_seconds(), "seconds")
        return Observation("clock", kind="clock", title="the system clock", findings=(finding,), measures=(offset,))
