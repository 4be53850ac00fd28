"""Take the readings of one look in batches, within its time, whatever the collector does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, nullcontext

from expiryd.api import CollectError, Collector, CollectorConfig, Log, Reading
from expiryd.core.duration import format_duration

BATCH = 500


class Gathering:
    """One look being taken. When `batches` has ended, `failure` says why it ended early, if it did."""

    def __init__(self, name: str, config: CollectorConfig, collector: Collector, log: Log) -> None:
        self._name = name
        self._timeout = config.timeout
        self._collector = collector
        self._log = log
        self.failure = ""

    async def batches(self) -> AsyncIterator[list[Reading]]:
        """What was seen, in order. What was seen before a failure or the deadline comes too."""
        deadline = asyncio.get_running_loop().time() + self._timeout.total_seconds()
        readings = self._collector.look()
        async with aclosing(readings) if isinstance(readings, AsyncGenerator) else nullcontext():
            more = True
            while more:
                batch: list[Reading] = []
                more = await self._fill(batch, readings, deadline)
                if batch:
                    yield batch

    async def _fill(self, batch: list[Reading], readings: AsyncIterator[Reading], deadline: float) -> bool:
        try:
            async with asyncio.timeout_at(deadline):
                async for reading in readings:
                    batch.append(reading)
                    if len(batch) >= BATCH:
                        return True
        except CollectError as failure:
            self.failure = str(failure)
        except TimeoutError:
            self.failure = f"not finished within {format_duration(self._timeout)} (`timeout`)"
        except Exception as bug:  # noqa: BLE001 - a plugin's bug blinds one collector, never the daemon
            self.failure = f"bug in the collector: {type(bug).__name__}"
            self._log.error("collector.crashed", collector=self._name, exc_info=bug)
        return False
