"""Real servers as child processes on free loopback ports: found, started, waited for and taken away by process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import pytest

REPOSITORY = Path(__file__).parents[2]
NODE_MODULES = REPOSITORY / "var/real/node/node_modules"

T = TypeVar("T")


def program(name: str) -> str:
    """The path of an installed program. A test that misses one fails, and says what to do about it."""
    postgresql = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", *postgresql])
    if found := shutil.which(name, path=search):
        return found
    pytest.fail(f"{name} is not installed: run tests/real/install as root", pytrace=False)


def node_file(path: str) -> Path:
    """A file that npm brought, such as `.bin/prism` or `@octokit/openapi/generated/api.github.com.json`."""
    if (found := NODE_MODULES / path).exists():
        return found
    pytest.fail(f"{found} is missing: run tests/real/install as root", pytrace=False)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(probe: Callable[[], T], *, within: float, waiting_for: str) -> T:
    """Ask until the answer is true, and return it: other people's processes send us no event."""
    deadline = time.monotonic() + within
    while not (answer := probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within:g} s in vain for {waiting_for}")
        time.sleep(0.05)
    return answer


@dataclass(frozen=True, slots=True)
class Running:
    """A server of ours. `output` holds what it wrote to stdout and stderr."""

    process: subprocess.Popen[bytes]
    output: Path

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def listens(self, port: int) -> bool:
        if (code := self.process.poll()) is not None:
            raise AssertionError(f"{self.process.args!r} ended with {code}:\n{self.said()}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    def stop(self, within: float = 10) -> int:
        """Ask it to end (SIGTERM), then make it and its children (SIGKILL). Answers the exit status."""
        self.process.terminate()
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()


class Processes:
    """Starts servers, and at the end of the `with` block stops every one of them, last first."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: list[Running] = []

    def start(
        self,
        *command: str | Path,
        port: int | None = None,
        within: float = 30,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> Running:
        """Start a program in the foreground and wait until it listens on `port`. `env` is added to our own."""
        output = self._directory / f"{len(self._running)}-{Path(command[0]).name}.log"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                user=user,
                group=user,
                extra_groups=[] if user else None,
                start_new_session=True,
            )
        running = Running(process, output)
        self._running.append(running)
        if port is not None:
            until(lambda: running.listens(port), within=within, waiting_for=f"{command[0]} on port {port}")
        return running

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._running:
            running = self._running.pop()
            running.stop()
            running.kill()  # what it left behind in its own session
