"""The only module that asks the operating system for the time, and the clock that does not believe every word of it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

from expiryd.api import Clock
from expiryd.core.steady import Belief, Doubt, Steadiness, begin, is_over, regard


class SystemClock:
    """Wall time in UTC, and a monotonic one that no NTP step moves and that goes on while the machine sleeps."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, delay: timedelta) -> None:
        await asyncio.sleep(max(delay.total_seconds(), 0))


def uptime() -> float:
    """Seconds of CLOCK_MONOTONIC, which systemd compares with its own."""
    return time.monotonic()


class SteadyClock:
    """A clock whose wall time does not jump: while the real one is in doubt, the time known before goes on.

    So nothing is ever decided, remembered or told by a wrong clock, and nothing has to be taken back. A jump that
    stays is believed by `believe`, once it is `ripe`.
    """

    def __init__(self, clock: Clock, terms: Steadiness | None = None) -> None:
        self.wall = clock
        self.terms = terms or Steadiness()
        self._belief = Belief(clock.now(), clock.monotonic())

    def begin(self, newest: datetime | None, ahead: timedelta | None) -> None:
        """What is remembered from before the start, see `core.steady.begin`."""
        self._belief = begin(self.wall.now(), self.wall.monotonic(), newest, ahead, self.terms)

    def now(self) -> datetime:
        at = self.wall.monotonic()
        self._belief = regard(self._belief, self.wall.now(), at, self.terms)
        return self._belief.time(at)

    def monotonic(self) -> float:
        return self.wall.monotonic()

    async def sleep(self, delay: timedelta) -> None:
        await self.wall.sleep(delay)

    @property
    def doubt(self) -> Doubt | None:
        self.now()
        return self._belief.doubt

    @property
    def ripe(self) -> timedelta | None:
        """How far time will move when the wall clock is believed, which it may be now."""
        doubt = self.doubt
        return doubt.by if doubt and is_over(self._belief, self.monotonic(), self.terms) else None

    def believe(self) -> None:
        self._belief = Belief(self.wall.now(), self.wall.monotonic())


async def doze(clock: Clock, delay: timedelta, waking: asyncio.Event) -> None:
    """Sleep on that clock, but not on when this happens."""
    async with asyncio.TaskGroup() as group:
        sleep, wake = group.create_task(clock.sleep(delay)), group.create_task(waking.wait())
        await asyncio.wait({sleep, wake}, return_when=asyncio.FIRST_COMPLETED)
        sleep.cancel()
        wake.cancel()
