"""Once a second: time, store and schedule are proven to move, and what time alone changed is judged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from expiryd.api import Log
from expiryd.config.model import Retention
from expiryd.core.steady import JUMP
from expiryd.engine.clock import SteadyClock
from expiryd.engine.metrics import Metrics
from expiryd.store.port import Store, StoreError

PULSE = timedelta(seconds=1)
STALE = 30.0
"""Seconds without a sign of life after which a part counts as stuck."""
PRUNE_EVERY = timedelta(hours=6)
FIRST_PRUNE = timedelta(minutes=10)
"""After a start, so that a daemon that is often restarted prunes too."""
YOUNGER = 500
"""So many go at once before their time."""


class Pulse:
    """`tick` judges; `replan` is called when the moments planned on the wall clock have lost their meaning."""

    def __init__(
        self,
        store: Store,
        clock: SteadyClock,
        log: Log,
        metrics: Metrics,
        *,
        tick: Callable[[], Awaitable[None]],
        replan: Callable[[], None],
        retention: Callable[[], Retention],
    ) -> None:
        self.store_error = ""
        self._store = store
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._tick = tick
        self._replan = replan
        self._retention = retention
        self._store_seen = self._seen = clock.monotonic()
        self._pruned_at = clock.now() - PRUNE_EVERY + FIRST_PRUNE
        self._is_pruning = False
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    @property
    def signs(self) -> dict[str, float]:
        """When (monotonic) each part last moved."""
        return {"pulse": self._seen, "store": self._store_seen}

    async def beat(self) -> None:
        while not self._stopping:
            wall, mono = self._clock.wall.now(), self._clock.monotonic()
            await self._clock.sleep(PULSE)
            passed = self._clock.monotonic() - mono
            self._metrics.lag(max(passed - PULSE.total_seconds(), 0))
            self._notice(self._clock.wall.now() - wall - timedelta(seconds=passed), timedelta(seconds=passed) - PULSE)
            try:
                await self._store.ping()
                self._store_seen, self.store_error = self._clock.monotonic(), ""
                await self._tick()
                await self._prune()
            except StoreError as failure:
                self.store_failed(failure)
            self._seen = self._clock.monotonic()

    def store_failed(self, failure: StoreError) -> None:
        if not self.store_error:
            self._log.error("store.failed", problem=str(failure))
        self.store_error = str(failure)

    def _notice(self, jump: timedelta, slept: timedelta) -> None:
        """The timers count neither what the wall clock jumped nor how long the machine slept."""
        if abs(jump) >= JUMP:
            self._log.warning("clock.jumped", seconds=round(jump.total_seconds()))
        elif slept >= JUMP:
            self._log.info("clock.slept", seconds=round(slept.total_seconds()))
        else:
            return
        self._replan()

    async def _prune(self) -> None:
        """One bite a beat, so that judging goes on meanwhile and the pulse is seen to move."""
        now = self._clock.now()
        if not self._is_pruning and timedelta(0) <= now - self._pruned_at < PRUNE_EVERY:
            return
        self._pruned_at, self._is_pruning = now, False  # what fails is tried again at its time, not at every beat
        self._is_pruning = await self._bite(now)

    async def _bite(self, now: datetime) -> bool:
        """The old go, then the room they leave; if that is too little, younger ones go too. Whether more may go."""
        kept = self._retention()
        if await self._store.prune(events=now - kept.events, looks=now - kept.looks) or await self._store.shrink():
            return True
        size = await self._store.size()
        if size is None or size <= kept.size:
            return False
        if await self._store.prune(events=now, looks=now, limit=YOUNGER):
            return True
        self._log.warning("store.large", bytes=size, allowed=kept.size)
        return False
