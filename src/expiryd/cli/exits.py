"""How the command ends: its exit codes, and every expected error as clear lines on standard error."""

from __future__ import annotations

import sys
from enum import IntEnum


class Exit(IntEnum):
    """The exit codes. 64 is EX_USAGE of sysexits.h, 130 is what shells report of an interrupted command."""

    OK = 0
    ERROR = 1
    NOT_FOUND = 2
    DENIED = 3
    CONFIG = 4
    FAILED_ON = 5
    USAGE = 64
    INTERRUPTED = 130


class Stop(Exception):
    """Ends the command with a code and lines for standard error, as they are to be printed."""

    def __init__(self, code: Exit, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.code = code
        self.lines = lines


def expected() -> tuple[type[Exception], ...]:
    """What `explain` explains. An ExpirydError cannot have been raised before its module was imported."""
    api = sys.modules.get("expiryd.api")
    return (Stop, OSError, api.ExpirydError) if api else (Stop, OSError)


def explain(error: Exception) -> Stop:
    """What an expected error means to the person at the terminal."""
    if isinstance(error, Stop):
        return error
    if problems := getattr(error, "errors", ()):  # of a ConfigError, whose module is not imported for this
        return Stop(Exit.CONFIG, *map(str, problems))
    if isinstance(error, PermissionError):
        where = f"{error.filename}: " if error.filename else ""
        return Stop(Exit.DENIED, f"{where}permission denied; run it as the owner, a member of its group, or root")
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return Stop(Exit.ERROR, f"{where}{(error.strerror or str(error)).lower()}")
    return Stop(Exit.ERROR, str(error))


def say(text: str) -> None:
    """One line on standard error, whatever a name from outside holds."""
    print(f"expiryd: {harmless(text)}", file=sys.stderr)


def harmless(text: str) -> str:
    """One line that steers no terminal, of any length."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)
