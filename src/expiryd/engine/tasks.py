"""Tasks that outlive whoever began them: each is named, referenced until it ends, and its failure is told."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from expiryd.api import Log

T = TypeVar("T")


class Tasks:
    """A set of running tasks that can be drained, then cancelled."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def runs(self, name: str) -> bool:
        return any(task.get_name() == name for task in self._running)

    async def ended(self, name: str) -> None:
        """Wait until the task of this name is over, however it ends."""
        task = next((task for task in self._running if task.get_name() == name), None)
        if task is not None:
            await asyncio.wait({task})

    def cancel(self, name: str) -> None:
        """End the task of this name, if there is one, where it waits next."""
        for task in self._running:
            if task.get_name() == name:
                task.cancel()

    async def drain(self, patience: timedelta) -> list[str]:
        """Wait for the tasks to end by themselves, cancel the late ones, and name those."""
        if not self._running:
            return []
        _, late = await asyncio.wait(self._running, timeout=patience.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return sorted(task.get_name() for task in late)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._log.error("task.failed", task=task.get_name(), exc_info=failure)


async def unbroken(work: Coroutine[Any, Any, T]) -> T:
    """Once begun it runs to its end: who is cancelled meanwhile waits for that, then hears of it."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        task.exception()  # nobody is left to hear of it
        raise
