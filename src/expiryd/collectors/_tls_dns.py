"""Names to addresses in bulk: c-ares first, the system's own resolver where c-ares finds nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import aiodns

_SYSTEM_LOOKUPS = 4


class ResolveError(Exception):
    """The name has no address, or nobody could be asked. The message says which."""


class Resolver(Protocol):
    """Where addresses come from: the seam for tests."""

    async def resolve(self, host: str) -> Sequence[str]:
        """IP literals of `host`, each once. Raises ResolveError."""
        ...

    async def aclose(self) -> None: ...


class BulkResolver:
    """One c-ares channel for all names of a collector, made at the first question.

    c-ares answers over a thousand names a second from one thread, where getaddrinfo queues in a pool of a few;
    it also reads /etc/hosts. But it is not the system's resolver: what only nsswitch knows (mDNS, sssd) it does not
    find, so a name it cannot resolve is asked of getaddrinfo once.
    """

    def __init__(self, ask_system: Callable[..., Any] = socket.getaddrinfo) -> None:
        self._getaddrinfo = ask_system
        self._channel: aiodns.DNSResolver | None = None
        # A thread stuck in getaddrinfo cannot be cancelled. At most this many may be, however many names are dead.
        self._turns = asyncio.Semaphore(_SYSTEM_LOOKUPS)

    async def resolve(self, host: str) -> Sequence[str]:
        if self._channel is None:
            self._channel = aiodns.DNSResolver()
        try:
            found = await self._channel.getaddrinfo(host, type=socket.SOCK_STREAM)
        except aiodns.error.DNSError:
            return await self._ask_system(host)
        return list(dict.fromkeys(node.addr[0].decode() for node in found.nodes)) or await self._ask_system(host)

    async def aclose(self) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def _ask_system(self, host: str) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        await self._turns.acquire()
        lookup = loop.run_in_executor(None, self._getaddrinfo, host, None, 0, socket.SOCK_STREAM)
        lookup.add_done_callback(self._end_turn)
        try:
            found = await asyncio.shield(lookup)
        except socket.gaierror as error:
            raise ResolveError(error.strerror or str(error)) from None
        return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))

    def _end_turn(self, lookup: asyncio.Future[Any]) -> None:
        self._turns.release()
        if not lookup.cancelled():
            lookup.exception()  # seen: an answer that came after the deadline is nobody's any more
