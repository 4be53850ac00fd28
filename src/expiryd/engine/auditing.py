"""Carries the journal into the files of the audit trail: in order, without gap or double, whatever dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from expiryd.api import Clock, Finding, Log, Severity
from expiryd.audit.chain import Record
from expiryd.audit.trail import Trail
from expiryd.core.model import Event
from expiryd.core.view import rfc3339
from expiryd.engine.clock import doze
from expiryd.store.port import CHANGED, Entry, Store, StoreError

PAUSE = timedelta(milliseconds=500)
WAITS = 20
"""So many pauses, while others are at work."""
PATIENCE = timedelta(seconds=30)
TRIM_EVERY = timedelta(hours=1)
MOST_ENTRIES = 50
MOST_LINES = 500
"""Of one append, which is on disk when it returns."""
MOST_EVENTS = 100
"""Read at once: reading them takes the loop a few milliseconds."""
FAILING = "audit-failing"
SYSTEM = "system"


class Auditor:
    """One writer. What it has not carried yet waits in the store, so that a full disk loses nothing."""

    def __init__(
        self,
        store: Store,
        trail: Trail,
        clock: Clock,
        log: Log,
        complain: Callable[[Finding | None], Awaitable[None]],
        *,
        is_quiet: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._trail = trail
        self._clock = clock
        self._log = log
        self._complain = complain
        self._is_quiet = is_quiet
        self._is_open = False
        self._stopping = asyncio.Event()
        self._trimmed_at = clock.now() - TRIM_EVERY
        self._failing = True
        """Also a failure told before a restart is over with the first line written."""

    async def serve(self) -> None:
        """Until told to stop. Everything that is on record by then is carried, if it can be."""
        while True:
            pause = PAUSE
            last = self._stopping.is_set()
            try:
                await self._await_quiet()
                while await self.export():
                    await self._await_quiet()
                await self._trim()
                if self._failing:
                    await self._complain(None)
                    self._failing = False
            except (OSError, StoreError) as failure:
                await self._failed(failure)
                pause = PATIENCE
            if last:
                return
            await doze(self._clock, pause, self._stopping)

    @property
    def directory(self) -> Path:
        return self._trail.directory

    def stop(self) -> None:
        self._stopping.set()

    async def export(self) -> bool:
        """Carry a bounded piece; whether there is more. Raises OSError and StoreError, having lost nothing."""
        was_open, self._is_open = self._is_open, False  # what was written before a failure is found out by opening
        entries = await self._store.journal(limit=MOST_ENTRIES)
        written = {} if was_open else await self._open(entries)
        if entries:
            await self._carry(entries, written)
            await self._store.journaled(entries[-1].seq, self._trail.end.hash)
        self._is_open = True
        return len(entries) == MOST_ENTRIES

    async def _open(self, entries: Sequence[Entry]) -> Mapping[int, int]:
        """How many lines of which entry are in the files already, although they are not marked."""
        head = await self._store.trail_head()
        await asyncio.to_thread(self._trail.open, head, self._clock.now())
        if not entries:
            return {}
        known = await asyncio.to_thread(self._trail.unmarked, head, entries[0].seq)
        same = (entry.seq for entry in entries if known.get(entry.seq, ("", 0))[0] == rfc3339(entry.at))
        return {seq: known[seq][1] for seq in same}

    async def _carry(self, entries: Sequence[Entry], written: Mapping[int, int]) -> None:
        lines: list[Record] = []
        for entry in entries:
            lines += (await self._records(entry))[written.get(entry.seq, 0) :]
            if len(lines) >= MOST_LINES:
                await asyncio.to_thread(self._trail.append, lines)
                lines = []
        await asyncio.to_thread(self._trail.append, lines)

    async def _records(self, entry: Entry) -> Sequence[Record]:
        if entry.action != CHANGED:
            return [Record(entry.at, _actor(entry.actor), entry.action, entry.item, entry.detail, entry.seq)]
        first, last = entry.detail["events"]
        records = []
        for start in range(first, last + 1, MOST_EVENTS):
            after = min(start + MOST_EVENTS, last + 1)
            known = await self._store.events(before=after, limit=after - start)
            records += [_record(each.event, each.id, entry) for each in reversed(known) if each.id >= start]
        return records

    async def _trim(self) -> None:
        now = self._clock.now()
        if now - self._trimmed_at >= TRIM_EVERY and self._is_open:
            self._trimmed_at = now
            if gone := await asyncio.to_thread(self._trail.trim, now):
                self._log.info("audit.trimmed", files=gone)

    async def _await_quiet(self) -> None:
        """Judging comes first: while there is much of it, what is on record waits in the store, though not for long."""
        for _ in range(WAITS):
            if self._is_quiet() or self._stopping.is_set():
                return
            await doze(self._clock, PAUSE, self._stopping)

    async def _failed(self, failure: OSError | StoreError) -> None:
        reason = failure.strerror or str(failure) if isinstance(failure, OSError) else str(failure)
        self._log.error("audit.waits", problem=reason)
        self._failing = True
        if isinstance(failure, OSError):
            what = f"the audit trail in {self._trail.directory} cannot be written: {reason}; nothing is lost yet"
            try:
                await self._complain(Finding(FAILING, Severity.WARNING, what))
            except StoreError as problem:
                self._log.error("audit.waits", problem=str(problem))


def _actor(name: str) -> str:
    """`system`, `user:anna`, `token:ci`: callers are `anna` and `token ci` among people."""
    sort, is_token, rest = name.partition(" ")
    if name == SYSTEM or ":" in name:
        return name
    return f"token:{rest}" if is_token and sort == "token" else f"user:{name}"


def _record(event: Event, number: int, entry: Entry) -> Record:
    detail: dict[str, Any] = {"aspect": event.aspect, "severity": event.severity.word, "before": event.before.word}
    if event.expires_at is not None:
        detail["expires_at"] = rfc3339(event.expires_at)
    if event.rung:
        detail["rung"] = event.rung
    if event.detail:
        detail["detail"] = event.detail
    detail["event"] = number
    return Record(event.at, entry.actor, f"alert.{event.kind.value}", event.item, detail, entry.seq)
