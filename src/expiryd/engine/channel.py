"""One attempt at one message: at the notifier's rate, within its time-out, and with a clear end whatever happens."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from expiryd.api import (
    AuthError,
    Clock,
    DeliveryError,
    Log,
    Message,
    Notifier,
    NotifierConfig,
    Receipt,
    SecretError,
    TransientError,
)
from expiryd.core.duration import format_duration
from expiryd.core.pace import Rate
from expiryd.engine.metrics import Metrics

TOO_LONG = 60.0
"""Seconds beyond its time-out after which a send counts as hung."""


@dataclass(slots=True)
class Channel:
    """To one notifier. Nothing is remembered here of what was sent but the times."""

    name: str
    config: NotifierConfig
    notifier: Notifier
    clock: Clock
    log: Log
    metrics: Metrics
    _sending_since: float | None = None
    """Monotonic seconds, while a send is under way."""
    rate: Rate | None = field(init=False)
    _sent_at: deque[datetime] = field(init=False)

    def __post_init__(self) -> None:
        self.rate = Rate.parse(self.config.rate) if self.config.rate is not None else None
        self._sent_at = deque(maxlen=self.rate.count if self.rate else 1)

    def recall(self, sent_at: Iterable[datetime]) -> None:
        """These times of earlier messages, oldest first, count for the rate, too."""
        self._sent_at.extend(sent_at)

    async def turn(self) -> None:
        """Wait until its rate allows one more message."""
        wait = self.rate.wait(self._sent_at, self.clock.now()) if self.rate else None
        if wait:
            await self.clock.sleep(wait)

    async def send(self, message: Message) -> Receipt:
        """Hand it over, timed and counted. Raises DeliveryError."""
        started = self._sending_since = self.clock.monotonic()
        try:
            return await self.hand_over(message)
        except DeliveryError as failure:
            self.metrics.failed(self.name, failure)
            raise
        finally:
            self._sending_since = None
            self._sent_at.append(self.clock.now())
            self.metrics.latency(self.name, self.clock.monotonic() - started)

    async def hand_over(self, message: Message) -> Receipt:
        """One attempt of which nothing is counted. Raises DeliveryError whatever goes wrong."""
        limit = self.config.timeout
        try:
            async with asyncio.timeout(limit.total_seconds()):
                return await self.notifier.send(message)
        except DeliveryError:
            raise
        except SecretError as missing:
            raise AuthError(str(missing)) from None
        except TimeoutError:
            raise TransientError(f"no answer within {format_duration(limit)} (`timeout`)", ambiguous=True) from None
        except Exception as bug:
            self.log.error("notifier.crashed", notifier=self.name, exc_info=bug)
            raise TransientError(f"bug in the notifier: {type(bug).__name__}", ambiguous=True) from None

    def overdue(self, now: float) -> bool:
        """Whether a send goes on long after its own time-out. `now` is monotonic."""
        limit = self.config.timeout.total_seconds() + TOO_LONG
        return self._sending_since is not None and now - self._sending_since > limit
