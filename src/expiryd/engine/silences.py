"""The silences that people asked for: all in the store, those still to end in memory, where every courier asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import blake2b

from expiryd.api import Clock, ExpirydError, Log
from expiryd.core.model import Event
from expiryd.core.silencing import Silence
from expiryd.store.port import Change, Entry, Store


class NoSuchSilence(ExpirydError):
    """There is no silence of this id that is still to end."""


class Silences:
    """`release` is called when what one of them held back is to be asked about again."""

    def __init__(self, store: Store, clock: Clock, log: Log, release: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._log = log
        self._release = release
        self._kept: dict[str, Silence] = {}
        self._ended_at: datetime | None = None
        """When one was last ended early."""
        self._changing = asyncio.Lock()

    async def load(self) -> None:
        """Also when time has moved: what was over may be to end again. Raises StoreError."""
        async with self._changing:
            self._kept = {silence.id: silence for silence in await self._store.silences()}

    async def list(self) -> Sequence[Silence]:
        """Also those to come and those that are over, as long as they are kept; the one that ends first at the top.

        Raises StoreError.
        """
        return await self._store.silences()

    def holding(self, now: datetime) -> Sequence[Silence]:
        """Those in force, the one that ends first at the top. Also asked from threads: it changes nothing."""
        holding = (silence for silence in self._kept.values() if silence.holds(now))
        return sorted(holding, key=lambda silence: (silence.ends_at, silence.id))

    def of(self, event: Event, now: datetime) -> Sequence[Silence]:
        """Those in force that mean this event."""
        return [silence for silence in self.holding(now) if silence.matcher.matches(event)]

    async def add(self, silence: Silence) -> Silence:
        """Keep it and give it an id, which it is returned with. Raises ValueError when it is over already."""
        now = self._clock.now()
        if silence.ends_at <= now:
            raise ValueError("a silence must end later than now")
        named = replace(silence, id=self._free_id(silence))
        await self._keep(named, "silence.added", silence.actor, now)
        return named

    async def expire(self, id_: str, actor: str) -> Silence:
        """End it now. What it held back and still holds is told. Raises NoSuchSilence."""
        now = self._clock.now()
        known = self._kept.get(id_)
        if known is None or known.ends_at <= now:
            raise NoSuchSilence(f"no silence to end is called `{id_}`; `expiryd silence list` lists them")
        ended = replace(known, starts_at=min(known.starts_at, now), ends_at=now)
        await self._keep(ended, "silence.expired", actor, now)
        self._ended_at = now
        self._release()
        return ended

    def held(self, planned_at: datetime) -> None:
        """What was planned before one was ended and noted after it was held for nothing: it is asked about again."""
        if self._ended_at is not None and planned_at <= self._ended_at:
            self._release()

    async def _keep(self, silence: Silence, action: str, actor: str, now: datetime) -> None:
        detail = {
            "silence": silence.id,
            "matches": str(silence.matcher),
            "starts_at": silence.starts_at.isoformat(),
            "ends_at": silence.ends_at.isoformat(),
            "reason": silence.reason,
        }
        async with self._changing:
            await self._store.commit(Change(silences=[silence], journal=[Entry(now, actor, action, detail=detail)]))
            # what is over need not be held, and whoever goes through the ones of before may go on
            known = {**self._kept, silence.id: silence}
            self._kept = {id_: one for id_, one in known.items() if now < one.ends_at}
        self._log.info(action, actor=actor, **detail)

    def _free_id(self, silence: Silence) -> str:
        """Short enough to type. The same wish twice is two silences."""
        for attempt in range(1000):
            words = f"{silence.created_at.isoformat()} {silence.actor} {silence.matcher} {silence.ends_at} {attempt}"
            id_ = blake2b(words.encode(errors="surrogatepass"), digest_size=4).hexdigest()
            if id_ not in self._kept:
                return id_
        raise AssertionError("unreachable")
