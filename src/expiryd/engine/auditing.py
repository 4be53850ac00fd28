"""Carries the journal into the files of the audit trail: in order, without gap or double, whatever dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from expiryd.api import Clock, Finding, Log, Severity
from expiryd.audit.chain import Record
from expiryd.audit.trail import Trail
from expiryd.core.model import Event
from expiryd.core.view import rfc3339
from expiryd.store.port import CHANGED, Entry, Store, StoreError

PAUSE = timedelta(seconds=1)
PATIENCE = timedelta(seconds=30)
TRIM_EVERY = timedelta(hours=1)
MOST_ENTRIES = 50
FAILING = "audit-failing"


class Auditor:
    """One writer. What it has not carried yet waits in the store, so that a full disk loses nothing."""

    def __init__(
        self,
        store: Store,
        trail: Trail,
        clock: Clock,
        log: Log,
        complain: Callable[[Finding | None], Awaitable[None]],
    ) -> None:
        self._store = store
        self._trail = trail
        self._clock = clock
        self._log = log
        self._complain = complain
        self._is_open = False
        self._stopping = asyncio.Event()
        self._trimmed_at = clock.now()
        self._failing = True
        """Also a failure told before a restart is over with the first line written."""

    async def serve(self) -> None:
        """Until told to stop. Everything that is on record by then is carried, if it can be."""
        while True:
            pause = PAUSE
            last = self._stopping.is_set()
            try:
                while await self.export():
                    pass
                await self._trim()
                if self._failing:
                    self._failing = False
                    await self._complain(None)
            except (OSError, StoreError) as failure:
                await self._failed(failure)
                pause = PATIENCE
            if last:
                return
            await self._doze(pause)

    @property
    def directory(self) -> Path:
        return self._trail.directory

    def stop(self) -> None:
        self._stopping.set()

    async def export(self) -> bool:
        """Carry a bounded piece; whether there is more. Raises OSError and StoreError, having lost nothing."""
        written = 0
        entries = await self._store.journal(limit=MOST_ENTRIES)
        if not self._is_open:
            head = await self._store.trail_head()
            await asyncio.to_thread(self._trail.open, head, self._clock.now())
            known = self._trail.end.entry
            entries = [entry for entry in entries if entry.seq >= known]  # written before a crash, not yet marked
            written = await asyncio.to_thread(self._trail.written, entries[0].seq) if entries else 0
            self._is_open = True
        if not entries:
            return False
        for entry in entries:
            records = (await self._records(entry))[written:]
            written = 0
            try:
                await asyncio.to_thread(self._trail.append, records)
            except OSError:
                self._is_open = False  # how much of it was written is found out when it is opened again
                raise
        await self._store.journaled(entries[-1].seq, self._trail.end.hash)
        return len(entries) == MOST_ENTRIES

    async def _records(self, entry: Entry) -> Sequence[Record]:
        if entry.action != CHANGED:
            return [Record(entry.at, entry.actor, entry.action, entry.item, entry.detail, entry.seq)]
        first, last = entry.detail["events"]
        known = await self._store.events(before=last + 1, limit=last - first + 1)
        return [_record(each.event, each.id, entry) for each in reversed(known) if each.id >= first]

    async def _trim(self) -> None:
        now = self._clock.now()
        if now - self._trimmed_at >= TRIM_EVERY and self._is_open:
            self._trimmed_at = now
            if gone := await asyncio.to_thread(self._trail.trim, now):
                self._log.info("audit.trimmed", files=gone)

    async def _doze(self, pause: timedelta) -> None:
        async with asyncio.TaskGroup() as group:
            sleeping = group.create_task(self._clock.sleep(pause))
            ending = group.create_task(self._stopping.wait())
            await asyncio.wait({sleeping, ending}, return_when=asyncio.FIRST_COMPLETED)
            sleeping.cancel()
            ending.cancel()

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
