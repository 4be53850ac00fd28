"""The daemon of a configuration over a copy of its state, ready to live through the time to come."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory

from expiryd.api import Secret, SecretError, SecretRef, Tools
from expiryd.app import database_url
from expiryd.config.model import Config
from expiryd.core.model import ItemId, ItemState
from expiryd.engine.client import open_client
from expiryd.engine.simulation import Mute, Simulation, Telling, VirtualClock, grain_for, simulate
from expiryd.secrets import KEY_BYTES, Fingerprint, Secrets
from expiryd.store.connect import database_url as sqlite_url
from expiryd.store.copying import copy_state
from expiryd.store.sql import SqlStore

MOST_DAYS = 400


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would be told from `start` to `until` when only time changes. `grain`: how finely it was taken.

    `meant` says which items each text means that was asked for.
    """

    start: datetime
    until: datetime
    tellings: tuple[Telling, ...]
    items: int
    grain: timedelta
    meant: Mapping[str, Sequence[ItemId]]


@asynccontextmanager
async def imagined(config: Config, environ: Mapping[str, str], start: datetime) -> AsyncIterator[Simulation]:
    """Reads the state beside a running daemon or without one, and changes nothing. Raises StoreError or SecretError."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="expiryd-forecast-")))
        file = directory / "expiryd.db"
        await copy_state(await database_url(config, Secrets(environ)), file)
        store = SqlStore(sqlite_url(file), private=True)
        await store.open()
        stack.push_async_callback(store.aclose)
        http = await stack.enter_async_context(open_client())
        fingerprint = Fingerprint(os.urandom(KEY_BYTES))

        def tools_for(name: str) -> Tools:
            return Tools(
                name=name,
                clock=VirtualClock(start),
                http=http,
                log=Mute(),
                secret=_no_secret,
                fingerprint=fingerprint,
            )

        yield await stack.enter_async_context(simulate(config, store, tools_for, start))


async def foresee(
    config: Config, environ: Mapping[str, str], start: datetime, days: int, asked: Sequence[str] = ()
) -> Forecast:
    """All that would be told in so many days. Raises StoreError, SecretError, or ValueError from a part's building."""
    until = start + timedelta(days=days)
    async with imagined(config, environ, start) as life:
        items = len(life.daemon.ledger)
        meant = {text: [state.id for state in items_meant(life, text)] for text in asked}
        life.grain = grain_for(items)
        await life.run(until)
        return Forecast(start, until, tuple(life.tellings), items, life.grain, meant)


def items_meant(life: Simulation, asked: str) -> list[ItemState]:
    """Those that are called so, by the strictest reading that finds any: an id, a title, a glob, a part of them."""
    ledger = life.daemon.ledger
    if (exact := ledger.get(ItemId(asked))) is not None:
        return [exact]
    states = [state for state in ledger.all() if not state.is_own]
    for fits in _WAYS:
        if found := [state for state in states if fits(state, asked)]:
            return found
    return []


_WAYS: tuple[Callable[[ItemState, str], bool], ...] = (
    lambda state, asked: asked in (state.observation.id, state.observation.title),
    lambda state, asked: fnmatchcase(state.id, asked),
    lambda state, asked: asked.casefold() in f"{state.id}\n{state.observation.title}".casefold(),
)


async def _no_secret(_: SecretRef) -> Secret:
    raise SecretError("a forecast reads no secret")
