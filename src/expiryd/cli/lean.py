"""Keeps out of the process what a library would take along only because it happens to be installed."""

from __future__ import annotations

import sys


def import_structlog_alone() -> None:
    """structlog takes rich along when it is there, for tracebacks that we never draw: 4 MB for nothing."""
    absent = "rich" not in sys.modules
    if absent:
        sys.modules["rich"] = None  # type: ignore[assignment]  # how the import system is told that there is none
    try:
        import structlog  # noqa: F401 - wanted is that it is loaded now
    finally:
        if absent:
            del sys.modules["rich"]
