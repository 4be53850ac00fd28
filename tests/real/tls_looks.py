"""Looks of the `tls` collector at names that belong to nobody: all of them are this machine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import aiohttp

from expiryd.api import Reading
from expiryd.collectors.tls import TlsCollector, TlsConfig
from expiryd.testing import FakeClock, readings, tools


class Loopback:
    """A resolver."""

    async def resolve(self, host: str) -> Sequence[str]:
        return ["127.0.0.1"]

    async def aclose(self) -> None:
        return None


async def look(*targets: str, **config: Any) -> dict[str, Reading]:
    """One look with today's date. The readings by the targets as written."""
    settings = TlsConfig.model_validate({"type": "tls", "targets": targets, **config})
    async with aiohttp.ClientSession() as http:
        collector = TlsCollector(settings, tools(http, clock=FakeClock(datetime.now(UTC))), Loopback())
        try:
            return {reading.id: reading for reading in await readings(collector)}
        finally:
            await collector.aclose()
