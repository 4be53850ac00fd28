"""Structured logging that never prints a secret: one JSON object a line, or readable lines for a terminal."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from io import FileIO
from pathlib import Path
from typing import Literal

import structlog

from expiryd.api import ExpirydError
from expiryd.redact import UNREADABLE, Redactor

Level = Literal["debug", "info", "warning", "error"]
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class LogError(ExpirydError):
    """The log file cannot be opened. The message names it and what to do."""


# ── where lines go ────────────────────────────────────────────────────────────────────────────────────


class Journal:
    """Where the lines go: standard error, or a file that `reopen` opens anew after a log rotation.

    A line that cannot be written (disk full, pipe gone) is counted and dropped: logging never stops the daemon.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.lost = 0
        self._file = _open(path) if path else None

    def write(self, text: str) -> None:
        try:
            if self._file is None:
                sys.stderr.write(text)
                sys.stderr.flush()
            else:
                self._file.write(text.encode("utf-8", "backslashreplace"))
        except (OSError, ValueError):
            self.lost += 1

    def flush(self) -> None:
        """Nothing waits: each line is written as it comes."""

    def reopen(self) -> None:
        """Raises LogError, and goes on with the old file, when the new one cannot be opened."""
        if self.path is not None:
            old, self._file = self._file, _open(self.path)
            if old is not None:
                old.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _open(path: Path) -> FileIO:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
    except OSError as error:
        hint = "create its directory or correct log_file"
        raise LogError(f"cannot write the log to {path}: {error.strerror}; {hint}") from None
    return FileIO(descriptor, "a")


# ── set-up ────────────────────────────────────────────────────────────────────────────────────────────


def configure(
    *,
    level: Level = "info",
    format: Literal["json", "console"] = "json",
    file: Path | None = None,
    redactor: Redactor,
) -> Journal:
    """Set logging up for the process, or anew, and return where it goes. Raises LogError.

    Own events go straight to the renderer; the standard library's loggers (apscheduler, aiohttp, sqlalchemy,
    asyncio, warnings) join them from WARNING up.
    """
    journal = Journal(file)
    ending: list[structlog.typing.Processor] = [
        structlog.processors.format_exc_info,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _in_order,
        redactor,
        *_renderer(format, journal),
    ]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, *ending],
        logger_factory=lambda *_names: structlog.WriteLogger(journal),  # type: ignore[arg-type]  # asks write and flush only
        cache_logger_on_first_use=False,  # a new level is one for every logger
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.processors.add_log_level, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Foreign)]:
        handler.journal.close()
        root.removeHandler(handler)
    root.addHandler(_Foreign(journal, formatter))
    logging.captureWarnings(True)
    set_level(level)
    return journal


def set_level(level: Level) -> None:
    """From here on, for every logger that was not bound before."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(**{**structlog.get_config(), "wrapper_class": structlog.make_filtering_bound_logger(threshold)})
    logging.getLogger().setLevel(max(threshold, logging.WARNING))


class _Foreign(logging.Handler):
    """Takes the records of the standard library's loggers. The stock one prints a broken record's raw arguments."""

    def __init__(self, journal: Journal, formatter: logging.Formatter) -> None:
        super().__init__()
        self.journal = journal
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except UNREADABLE:
            line = json.dumps({"level": "warning", "event": "log.unreadable", "logger": record.name})
        self.journal.write(line + "\n")


def _renderer(format: str, journal: Journal) -> list[structlog.typing.Processor]:
    if format == "json":
        return [structlog.processors.JSONRenderer(ensure_ascii=False)]
    colors = journal.path is None and sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    plain = structlog.dev.ConsoleRenderer(
        colors=colors, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
    )
    return [_harmless, plain]


def _in_order(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    first = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    return {**first, **event}


def _harmless(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Without control characters: a name from a certificate must not steer somebody's terminal."""
    return {key: _CONTROL.sub(_escaped, value) if isinstance(value, str) else value for key, value in event.items()}


def _escaped(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"
