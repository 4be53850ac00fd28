"""What a look needs when there is no daemon to lend it: a clock, secrets, an HTTP client, a quiet log."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from expiryd import log
from expiryd.api import Clock, Log, Tools
from expiryd.config.model import Config
from expiryd.engine.client import open_client
from expiryd.engine.clock import SystemClock
from expiryd.engine.graph import ToolsFor
from expiryd.redact import Redactor
from expiryd.secrets import KEY_BYTES, KEY_NAME, Fingerprint, Secrets


@dataclass(frozen=True, slots=True)
class Outfit:
    clock: Clock
    log: Log
    tools_for: ToolsFor


@asynccontextmanager
async def outfit(config: Config, environ: Mapping[str, str], *, verbose: bool = False) -> AsyncIterator[Outfit]:
    """The log is for those who look for a bug in a plugin: with `verbose` it goes to standard error, else nowhere."""
    redactor = Redactor()
    journal = log.configure(
        level="error", format="console", file=None if verbose else Path(os.devnull), redactor=redactor
    )
    resolver = Secrets(environ, redactor.add)
    fingerprint = Fingerprint(_key(config.daemon.state_dir))
    clock = SystemClock()
    async with open_client() as http:

        def tools_for(name: str) -> Tools:
            return Tools(
                name=name,
                clock=clock,
                http=http,
                log=structlog.get_logger(plugin=name),
                secret=resolver.read,
                fingerprint=fingerprint,
                timezone=config.daemon.timezone,
            )

        try:
            yield Outfit(clock, structlog.get_logger(), tools_for)
        finally:
            journal.close()


def _key(state_dir: Path) -> bytes:
    """The installation's, when it is there for us to read; else one for now. A check leaves nothing behind."""
    try:
        key = (state_dir / KEY_NAME).read_bytes()
    except OSError:
        key = b""
    return key if len(key) == KEY_BYTES else secrets.token_bytes(KEY_BYTES)
