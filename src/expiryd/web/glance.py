"""What the store knows of the outbox, asked once at a time and never waited for long."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from expiryd.engine.tasks import Tasks
from expiryd.store.port import Outbox, Store, StoreError

PATIENCE = timedelta(milliseconds=500)


class Glance:
    """Shared by all who ask: a store that hangs holds up one question, however often health is asked for."""

    def __init__(self, store: Store, tasks: Tasks) -> None:
        self._store = store
        self._tasks = tasks
        self._asking: asyncio.Task[Outbox | None] | None = None

    async def outbox(self) -> Outbox | None:
        """None when the store does not say in time."""
        if self._asking is None or self._asking.done():
            self._asking = self._tasks.spawn(self._ask(), "glance at the outbox")
        done, _ = await asyncio.wait({self._asking}, timeout=PATIENCE.total_seconds())
        return self._asking.result() if done else None

    async def _ask(self) -> Outbox | None:
        try:
            return await self._store.outbox()
        except StoreError:
            return None
