"""Runs a command to its end, or ends it with all its children: when it takes too long, floods, or nobody waits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from subprocess import DEVNULL, PIPE

_STDOUT, _STDERR = 1, 2


class FloodError(Exception):
    """It printed more on standard output than was allowed."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Its exit status (negative: the signal that ended it) and what it printed on standard output and error."""

    status: int
    output: bytes = field(repr=False)
    complaint: bytes = field(repr=False)


async def run(*command: str, environment: Mapping[str, str], patience: float, most: int) -> Ended:
    """Without standard input, in a session of its own. `patience`: seconds; `most`: bytes of output, or of errors kept.

    Raises OSError or ValueError when it cannot be started, TimeoutError and FloodError.
    """
    loop = asyncio.get_running_loop()
    transport, printed = await loop.subprocess_exec(
        lambda: _Printed(most),
        *command,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env=environment,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(patience):
            await printed.ended
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(transport.get_pid(), signal.SIGKILL)
        for descriptor in (_STDOUT, _STDERR):  # whoever left the session may hold them open for ever
            if pipe := transport.get_pipe_transport(descriptor):
                pipe.close()
        await printed.over.wait()
        raise
    finally:
        transport.close()
    return Ended(transport.get_returncode() or 0, bytes(printed.output[_STDOUT]), bytes(printed.output[_STDERR]))


class _Printed(asyncio.SubprocessProtocol):
    """Takes what comes as it comes.

    A stream that nobody reads any more is paused, and asyncio then never sees that its process has ended.
    """

    def __init__(self, most: int) -> None:
        self.output = {_STDOUT: bytearray(), _STDERR: bytearray()}
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.over = asyncio.Event()
        self._most = most

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self.ended.done():
            return
        self.output[fd] += data[: self._most + 1 - len(self.output[fd])]
        if len(self.output[_STDOUT]) > self._most:
            self.ended.set_exception(FloodError)

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set()
        if not self.ended.done():
            self.ended.set_result(None)
