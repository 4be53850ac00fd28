"""Runs the real daemon on a clock that stands in a file, and lets it die at a chosen call of its store.

    python -m tests.acceptance.timed_daemon CONFIG TIME-FILE [METHOD NUMBER before|after]

Everything else is as installed: configuration, SQLite, socket, receivers, signals.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from tests.acceptance.time_file import TimeFile

from expiryd.app import Setting, run
from expiryd.engine.pulse import PULSE
from expiryd.store.port import Store
from expiryd.store.sql import SqlStore

POLL = 0.002


class FileClock:
    """Wall and monotonic time are what stands in the file. It notes there when the daemon's pulse has gone round."""

    def __init__(self, file: TimeFile) -> None:
        self._file = file
        self._beats = 0

    def now(self) -> datetime:
        return self._file.now

    def monotonic(self) -> float:
        return self._file.now.timestamp()

    async def sleep(self, delay: timedelta) -> None:
        start = self._file.now  # once: the test may turn the clock as soon as it sees the beat
        if delay == PULSE:
            self._beats += 1
            if self._beats == 1:
                return  # it comes before any judgement, which a daemon just begun is not to be kept waiting for
            self._file.beat_at = start
        end = start + delay
        while self._file.now < end:
            await asyncio.sleep(POLL)


def mortal(store: Store, method: str, number: int, moment: str) -> Store:
    """The store, which kills its process right before or after the nth call of one of its methods."""
    calls = count(1)
    real: Callable[..., Any] = getattr(store, method)

    async def call(*args: Any, **keys: Any) -> Any:
        if moment == "before" and next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        result = await real(*args, **keys)
        done = result is None or result  # a lease of nothing is none
        if moment == "after" and done and next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(store, method, call)
    return store


def main(config: str, time_file: str, *death: str) -> None:
    def make_store(url: str) -> Store:
        store = SqlStore(url)
        return mortal(store, death[0], int(death[1]), death[2]) if death else store

    clock = FileClock(TimeFile(Path(time_file)))
    asyncio.run(run(Setting([Path(config)], os.environ, clock=clock, make_store=make_store)))


if __name__ == "__main__":
    main(*sys.argv[1:])
