"""A connection that is plain until `shake_hands`, then carries OpenSSL's records between the socket and memory.

asyncio's own TLS would hide the object that holds the chain when a handshake fails, and take a quarter of a megabyte
for each connection.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import cast

from OpenSSL import SSL

from expiryd.collectors._starttls import PrologueError, quote

_MAX_PLAIN = 64 * 1024
_MAX_TLS = 256 * 1024  # OpenSSL itself refuses more than 100 KiB of certificates
_MAX_LINE = 4096
_FLIGHT = 2048
_FIRST_RECORDS = (0x15, 0x16)  # alert, handshake: all that a server may open TLS with


class Wire(asyncio.Protocol):
    """Every read is bounded; deadlines are the caller's. `abort` may be called at any time, any number of times."""

    def __init__(self, connection: SSL.Connection, *, plain: bool) -> None:
        self._connection = connection
        self._reader = asyncio.StreamReader(limit=_MAX_LINE) if plain else None
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._received = 0
        self._limit = _MAX_PLAIN if plain else _MAX_TLS
        self._step: Callable[[], object] | None = None  # what the next records are for; None: nobody waits for them
        self._unread = False
        self.hopeless = False
        self.failure = ""

    # ── asyncio's side ────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base class

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > self._limit:
            self.fail(f"sent more than {self._limit // 1024} KiB before TLS was established", hopeless=True)
        elif self._reader is not None:
            self._reader.feed_data(data)
        else:
            self._take_records(data)

    def connection_lost(self, exc: Exception | None) -> None:
        how = "reset" if isinstance(exc, ConnectionError) else "closed"
        self.fail(f"{how} the connection before TLS was established")

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # ── plain ─────────────────────────────────────────────────────────────────────────────────────────

    def send(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def line(self) -> bytes:
        try:
            return await self._plain.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise PrologueError(f"sent a line longer than {_MAX_LINE} bytes") from None
        except asyncio.IncompleteReadError as error:
            raise self._cut_short(error.partial) from None

    async def exactly(self, count: int) -> bytes:
        try:
            return await self._plain.readexactly(count)
        except asyncio.IncompleteReadError as error:
            raise self._cut_short(error.partial) from None

    async def until(self, pattern: bytes) -> bytes:
        seen = b""
        while re.search(pattern, seen) is None:
            if not (more := await self._plain.read(_MAX_LINE)):
                raise self._cut_short(seen)
            seen += more
        return seen

    @property
    def _plain(self) -> asyncio.StreamReader:
        if self._reader is None:
            raise PrologueError("is already asked to speak TLS")
        return self._reader

    def _cut_short(self, partial: bytes) -> PrologueError:
        after = f" after {quote(partial)}" if partial else ""
        return PrologueError((self.failure or "closed the connection before TLS was established") + after)

    # ── TLS ───────────────────────────────────────────────────────────────────────────────────────────

    async def shake_hands(self) -> None:
        """Returns when the handshake is over; `failure` says why it did not succeed, empty when it did."""
        if self._reader is not None:
            # With the reader goes whatever the server sent ahead of TLS: it must never count as said under TLS.
            self._reader, self._received, self._limit = None, 0, _MAX_TLS
        self._step = self._connection.do_handshake
        self._advance(self._step)
        await self._finish()

    async def hear_refusal(self) -> bool:
        """After a handshake: waits for the server's next word, and says whether it was a refusal or the end."""
        self._step = self._hear
        if self._unread:
            self._advance(self._step)
        await self._finish()
        return bool(self.failure)

    def _hear(self) -> None:
        try:
            self._connection.recv(1)
        except SSL.WantReadError:
            return  # a session ticket: no refusal

    async def _finish(self) -> None:
        if self._step is not None and not self.failure:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _take_records(self, data: bytes) -> None:
        if self._received == len(data) and data[0] not in _FIRST_RECORDS:
            self.fail(f"does not speak TLS on this port, it said {quote(data)}", hopeless=True)
            return
        self._connection.bio_write(data)
        if self._step is None:
            self._unread = True
        else:
            self._advance(self._step)

    def _advance(self, step: Callable[[], object]) -> None:
        try:
            step()
        except SSL.WantReadError:
            self._flush()
        except SSL.Error as error:
            self._flush()
            self.fail(explain(error))
        else:
            self._flush()
            self._settle()

    def _flush(self) -> None:
        try:
            while True:
                flight = self._connection.bio_read(_FLIGHT)
                self.send(flight)
                if len(flight) < _FLIGHT:
                    return
        except SSL.WantReadError:
            return

    def expire(self, seconds: float) -> None:
        goal = "finish the TLS handshake" if self._reader is None else "agree to TLS"
        self.fail(f"did not {goal} within {seconds:g} s", hopeless=True)

    def fail(self, failure: str, *, hopeless: bool = False) -> None:
        """The first failure counts. `hopeless`: other TLS settings would not help."""
        if not self.failure:
            self.failure, self.hopeless = failure, hopeless
        if self._reader is not None:
            self._reader.feed_eof()
        self.abort()
        self._settle()

    def _settle(self) -> None:
        self._step, self._unread = None, False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def explain(error: SSL.Error) -> str:
    """OpenSSL's first complaint in its own words: what a person would search for."""
    queue = error.args[0] if error.args else None
    words = str(queue[0][2]) if isinstance(queue, list) and queue else "unexpected end"
    if words == "excessive message size":
        return "sent more certificates than clients accept (100 KiB)"
    return f"refused the TLS handshake: {words}" if "alert" in words else f"offers unacceptable TLS: {words}"
