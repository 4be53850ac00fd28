"""Tells systemd how the daemon is doing, over the socket that sd_notify(3) describes; a no-op without systemd."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

_MICROSECOND = timedelta(microseconds=1)
_PATIENCE = 1.0
"""Seconds to wait for room in the manager's queue. A manager that reads nothing for longer is itself broken."""


@dataclass(frozen=True, slots=True)
class Service:
    """This process as the service manager sees it.

    `address` is the value of $NOTIFY_SOCKET: a path, `@name` in the abstract namespace, or empty when nobody listens.
    Nothing here raises: a daemon does not fail because its manager does not hear it.
    """

    address: str = ""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Service:
        return cls(environ.get("NOTIFY_SOCKET", ""))

    def ready(self, status: str) -> bool:
        """Started, or reloaded: everything that was promised works."""
        return self._notify("READY=1", _status(status))

    def status(self, text: str) -> bool:
        """The line `systemctl status` shows."""
        return self._notify(_status(text))

    def reloading(self, monotonic: float) -> bool:
        """A reload begins, at `monotonic` seconds (CLOCK_MONOTONIC); `ready` ends it."""
        return self._notify("RELOADING=1", f"MONOTONIC_USEC={int(monotonic * 1_000_000)}")

    def stopping(self, status: str) -> bool:
        return self._notify("STOPPING=1", _status(status))

    def watchdog(self) -> bool:
        """Alive and making progress; due at every `watchdog_interval`."""
        return self._notify("WATCHDOG=1")

    def _notify(self, *assignments: str) -> bool:
        """Send one datagram; True when the manager has it."""
        if not self.address:
            return False
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.settimeout(_PATIENCE)
                channel.connect(address)
                channel.sendall("\n".join(assignments).encode(errors="replace"))
        except (OSError, ValueError):  # ValueError: a NUL inside a path
            return False
        return True


def watchdog_interval(environ: Mapping[str, str], pid: int | None = None) -> timedelta | None:
    """How often `Service.watchdog` is due: half of what systemd allows, as sd_watchdog_enabled(3) advises.

    None when no watchdog is set, or when it is meant for another process than `pid` (this one).
    """
    if environ.get("WATCHDOG_PID", str(pid or os.getpid())) != str(pid or os.getpid()):
        return None
    usec = environ.get("WATCHDOG_USEC", "")
    if not (usec.isascii() and usec.isdigit() and int(usec)):
        return None
    return int(usec) * _MICROSECOND / 2


def _status(text: str) -> str:
    """One line: an item's name with a line break in it must not become an assignment of its own."""
    return "STATUS=" + " ".join(text.split())
