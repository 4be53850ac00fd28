"""Tells the daemon's own network from the things behind it: when nothing can be reached, they are not at fault."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from expiryd.api import Clock, Log
from expiryd.config.connectivity import ConnectivityConfig, address_of
from expiryd.core.model import Finding, ItemId, Observation, Severity
from expiryd.engine.ledger import Ledger
from expiryd.engine.timekeeping import Observe

ITEM = ItemId("expiryd/network")
Reach = Callable[[str, float], Awaitable[bool]]


async def reach(target: str, seconds: float) -> bool:
    """Whether a TCP connection to `host:port` is accepted."""
    host, port = address_of(target)
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            await writer.wait_closed()
    except OSError:  # TimeoutError is one
        return False
    return True


class NetworkGuard:
    """Asked by looks that failed. `returned` is called when the network is back."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        log: Log,
        config: Callable[[], ConnectivityConfig],
        *,
        observe: Observe,
        returned: Callable[[], None],
    ) -> None:
        self.reach: Reach = reach
        self._ledger = ledger
        self._clock = clock
        self._log = log
        self._config = config
        self._observe = observe
        self._returned = returned
        self._tested_at: float | None = None
        self._down = False
        self._testing = asyncio.Lock()

    async def is_down(self) -> bool:
        """Tested anew when the last test is older than `every`, and told when it is so. Raises StoreError."""
        if not self._config().targets:
            return False
        async with self._testing:
            if self._is_due():
                await self._test()
            return self._down

    async def review(self) -> None:
        """While it is down: whether it still is. Raises StoreError."""
        if self._ledger.get(ITEM) is None:
            return
        if self._config().targets and self._is_due():
            await self.is_down()
        elif not self._config().targets:
            await self._over()

    def _is_due(self) -> bool:
        every = self._config().every.total_seconds()
        return self._tested_at is None or self._clock.monotonic() - self._tested_at >= every

    async def _test(self) -> None:
        targets, seconds = self._config().targets, self._config().timeout.total_seconds()
        answers = await asyncio.gather(*(self.reach(target, seconds) for target in targets))
        self._down, self._tested_at = not any(answers), self._clock.monotonic()
        if self._down and self._ledger.get(ITEM) is None:
            self._log.error("network.down", targets=list(targets))
            await self._observe([_said(targets)])
        elif not self._down and self._ledger.get(ITEM) is not None:
            await self._over()

    async def _over(self) -> None:
        self._down = False
        self._log.info("network.back")
        await self._observe([Observation("network", kind="network", title="the network of this machine")])
        self._returned()


def _said(targets: Sequence[str]) -> Observation:
    detail = (
        f"none of {', '.join(targets)} (`connectivity.targets`) can be reached: what cannot be seen over the network "
        "is not told until one of them can. Look at this machine's link, route and firewall"
    )
    finding = Finding("no-connectivity", Severity.CRITICAL, detail)
    return Observation("network", kind="network", title="the network of this machine", findings=(finding,))
