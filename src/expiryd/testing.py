"""Doubles for tests, ours and yours: a clock that is told the time, a scripted collector, a recording notifier."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp

from expiryd.api import Collector, Message, Notifier, Reading, Receipt, Secret, SecretRef, Tools

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)


class FakeClock:
    """Time moves only by `advance`, which wakes the sleepers on its way in order."""

    def __init__(self, start: datetime = EPOCH) -> None:
        self._now = start
        self._monotonic = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._ids = count()

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, delay: timedelta) -> None:
        event = asyncio.Event()
        heappush(self._sleepers, (self._monotonic + delay.total_seconds(), next(self._ids), event))
        await event.wait()

    async def advance(self, by: timedelta) -> None:
        end = self._monotonic + by.total_seconds()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, event = heappop(self._sleepers)
            self._pass(due - self._monotonic)
            event.set()
            for _ in range(5):
                await asyncio.sleep(0)
        self._pass(end - self._monotonic)

    def jump(self, by: timedelta) -> None:
        """Move the wall clock alone, as a wrong NTP step does."""
        self._now += by

    def _pass(self, seconds: float) -> None:
        self._monotonic += seconds
        self._now += timedelta(seconds=seconds)


class Scripted(Collector):
    """Answers each look with the next entry: readings, an exception, or readings followed by an exception."""

    def __init__(self, *answers: Sequence[Reading | Exception] | Exception) -> None:
        self._answers = list(answers)
        self.looks = 0
        self.closed = False

    async def look(self) -> AsyncIterator[Reading]:
        self.looks += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        for reading in [answer] if isinstance(answer, Exception) else answer:
            if isinstance(reading, Exception):
                raise reading
            yield reading

    async def aclose(self) -> None:
        self.closed = True


class Recording(Notifier):
    """Keeps what was sent. Outcomes are raised (or returned) in order, then everything succeeds."""

    def __init__(self, *outcomes: Exception | Receipt | None) -> None:
        self._outcomes = list(outcomes)
        self.sent: list[Message] = []
        self.attempts: list[Message] = []
        self.closed = False

    async def send(self, message: Message) -> Receipt:
        self.attempts.append(message)
        outcome = self._outcomes.pop(0) if self._outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        self.sent.append(message)
        return outcome or Receipt(f"recorded {message.key}")

    async def aclose(self) -> None:
        self.closed = True


class RecordingThreaded(Recording):
    threaded = True


class SilentLog:
    """A Log that keeps its lines for assertions."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def debug(self, event: str, **keys: Any) -> None:
        self.lines.append(("debug", event, keys))

    def info(self, event: str, **keys: Any) -> None:
        self.lines.append(("info", event, keys))

    def warning(self, event: str, **keys: Any) -> None:
        self.lines.append(("warning", event, keys))

    def error(self, event: str, **keys: Any) -> None:
        self.lines.append(("error", event, keys))


def tools(
    http: aiohttp.ClientSession,
    *,
    name: str = "under-test",
    clock: FakeClock | None = None,
    secrets: dict[str, str] | None = None,
    timezone: str = "UTC",
) -> Tools:
    """Tools whose secrets are `{ env = NAME }` looked up in `secrets` and whose fingerprint key is fixed."""

    async def secret(ref: SecretRef) -> Secret:
        return Secret((secrets or {})[ref.env or ""])

    def fingerprint(value: str) -> str:
        return hashlib.blake2b(value.encode(), key=b"fixed key for tests", digest_size=8).hexdigest()

    return Tools(
        name=name,
        clock=clock or FakeClock(),
        http=http,
        log=SilentLog(),
        secret=secret,
        fingerprint=fingerprint,
        timezone=ZoneInfo(timezone),
        installation="test-installation",
    )


async def readings(collector: Collector) -> list[Reading]:
    """One whole look as a list; whatever the collector raises comes through."""
    return [reading async for reading in collector.look()]
