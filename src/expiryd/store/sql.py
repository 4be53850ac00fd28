"""The store in SQLite or PostgreSQL: one code path of short statements, each method one transaction."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import delete, func, insert, select, tuple_, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from expiryd.core.model import ItemId, ItemState, Severity
from expiryd.core.silencing import Silence
from expiryd.core.storm import Open, Sent
from expiryd.core.view import rfc3339
from expiryd.store import journaling, statements, writing
from expiryd.store.codec import Memo, entry_of, event_of, item_state, look_of, parcel_of, silence_of
from expiryd.store.connect import create_file, reach
from expiryd.store.migrate import ensure_schema
from expiryd.store.port import Change, Entry, EventRecord, Fate, Known, Outbox, Parcel, Settlement, StoreError
from expiryd.store.schema import (
    alert,
    collector,
    event,
    installation,
    item,
    journal,
    look,
    owed,
    parcel,
    shorten,
    silence,
    thread,
    trail,
)
from expiryd.store.trouble import explain
from expiryd.store.unbroken import unbroken

T = TypeVar("T")
_CHUNK = 500
_PAGE = 2000
_INCREMENTAL = 2
_MOST_PAGES = 20_000
"""So many are given back at once: others wait for the writer meanwhile."""
_BYTES_IN_USE = (
    "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
)


class SqlStore:
    """See `expiryd.store.port.Store` for what each method promises; every one may raise StoreError.

    `url`: `sqlite:////path/to/file` or `postgresql://…`. `busy_timeout`: how long to wait for another process that
    holds an SQLite file. `exclusive`: this is the one daemon of the database. One on PostgreSQL that another writes
    to is refused (an SQLite file is guarded by the daemon's lock on its directory), and leases found at `load` end.
    `private`: an SQLite file that only this process knows; its statements hold the event loop and are not made durable.
    """

    def __init__(
        self,
        url: str,
        *,
        busy_timeout: timedelta = timedelta(seconds=5),
        exclusive: bool = True,
        private: bool = False,
    ) -> None:
        self._database = reach(url, busy_timeout, exclusive, private)
        self._exclusive = exclusive
        self.works: set[asyncio.Task[Any]] = set()

    @property
    def name(self) -> str:
        """The database in words, without credentials."""
        return self._database.name

    # ── opening and closing ───────────────────────────────────────────────────────────────────────────

    @unbroken
    async def open(self) -> None:
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._database.dispose)
            with self._explained():
                if self._database.file is not None:
                    create_file(self._database.file)
                async with self._database.writer.connect():  # takes the daemon's lock before anything is changed
                    pass
                async with self._database.migrator.begin() as connection:
                    await ensure_schema(connection, self.name)
                    if not (await connection.execute(select(installation.c.id))).first():
                        row = {"id": uuid.uuid4().hex, "last_event": 0}
                        await connection.execute(insert(installation), row)
            undo.pop_all()

    async def aclose(self) -> None:
        if self.works:
            await asyncio.wait(self.works)
        with self._explained():
            await self._database.dispose()

    @unbroken
    async def ping(self) -> None:
        async with self._write() as connection:
            await connection.execute(update(installation).values(id=installation.c.id))

    # ── items ─────────────────────────────────────────────────────────────────────────────────────────

    @unbroken
    async def load(self) -> Known:
        if self._exclusive:
            await self._release()
        memo, items, last = Memo(), list[ItemState](), None
        async with self._read() as connection:
            id_ = (await connection.execute(select(installation.c.id))).scalar_one()
            alerts = defaultdict(list)
            for row in await connection.execute(select(alert).order_by(alert.c.item, alert.c.place)):
                alerts[row.item].append(row)
            while page := (await connection.execute(statements.items_after(last, _PAGE))).all():
                items += [item_state(row, alerts.get(row.item, ()), memo) for row in page]
                last = page[-1].item
            looks = (await connection.execute(select(collector))).all()
        return Known(
            installation=id_,
            items=items,
            last_looks={row.collector: look_of(row) for row in looks},
            last_good={row.collector: row.good_at for row in looks if row.good_at is not None},
        )

    @unbroken
    async def commit(self, change: Change) -> None:
        async with self._write() as connection:
            for ids in _chunks(change.forgotten):
                await connection.execute(delete(item).where(item.c.item.in_(ids)))
            # the last word on an item counts
            for states in _chunks(list({state.id: state for state in change.items}.values())):
                await writing.remember(connection, states)
            for states in _chunks(change.judged):
                await writing.rejudge(connection, states)
            for events in _chunks(change.events):
                await writing.owe(connection, events, change.due)
            if change.look is not None:
                await writing.note(connection, change.look)
            for entries in _chunks(change.journal):
                await journaling.enter(connection, entries)
            await writing.keep_silences(connection, change.silences)

    # ── the outbox ────────────────────────────────────────────────────────────────────────────────────

    @unbroken
    async def next_due(self, notifier: str) -> datetime | None:
        async with self._read() as connection:
            mine = select(func.min(parcel.c.due_at)).where(parcel.c.notifier == notifier, owed)
            moment: datetime | None = await connection.scalar(mine)
            return moment

    @unbroken
    async def lease(
        self, notifier: str, now: datetime, until: datetime, *, horizon: datetime | None = None, limit: int = 5000
    ) -> Sequence[Parcel]:
        memo, taken = Memo(), list[Parcel]()
        async with self._write() as connection:
            ids = (await connection.scalars(statements.takeable(notifier, now, horizon, limit))).all()
            for chunk in _chunks(ids):
                lease = update(parcel).where(parcel.c.id.in_(chunk))
                await connection.execute(lease.values(fate=Fate.LEASED, due_at=until, attempts=parcel.c.attempts + 1))
                rows = await connection.execute(statements.parcels(chunk))
                taken += [parcel_of(row, notifier, memo) for row in rows]
        return taken

    @unbroken
    async def dispatch(self, notifier: str, parcels: Sequence[int], batch: str, until: datetime) -> None:
        async with self._write() as connection:
            for ids in _chunks(parcels):
                mine = update(parcel).where(parcel.c.id.in_(ids), parcel.c.notifier == notifier, owed)
                await connection.execute(mine.values(batch=batch, due_at=until))

    @unbroken
    async def settle(self, notifier: str, settlements: Sequence[Settlement], *, journal: Sequence[Entry] = ()) -> None:
        async with self._write() as connection:
            await journaling.enter(connection, journal)
            for settlement in settlements:
                for ids in _chunks(settlement.parcels):
                    await writing.settle(connection, notifier, ids, settlement)
                await writing.keep_thread(connection, notifier, settlement)

    @unbroken
    async def postpone(
        self, notifier: str, parcels: Sequence[int], due: datetime, reason: str, batch: str | None
    ) -> None:
        async with self._write() as connection:
            for ids in _chunks(parcels):
                mine = update(parcel).where(parcel.c.id.in_(ids), parcel.c.notifier == notifier, owed)
                await connection.execute(mine.values(fate=Fate.PENDING, due_at=due, reason=reason, batch=batch))

    @unbroken
    async def hold(self, notifier: str, parcels: Sequence[int], until: datetime, reason: str, *, at: datetime) -> None:
        detail = {"reason": reason, "until": rfc3339(until) or ""}
        async with self._write() as connection:
            for ids in _chunks(parcels):
                await journaling.held(connection, notifier, ids, at, detail)
                mine = update(parcel).where(parcel.c.id.in_(ids), parcel.c.notifier == notifier, owed)
                tried = {"attempts": parcel.c.attempts - 1, "created_at": until, "batch": None}
                await connection.execute(mine.values(fate=Fate.PENDING, due_at=until, reason=reason, **tried))

    @unbroken
    async def hasten(self, now: datetime, reason: str) -> None:
        held = (owed, parcel.c.fate == Fate.PENDING, parcel.c.created_at > now, parcel.c.reason.startswith(reason))
        async with self._write() as connection:
            await connection.execute(update(parcel).where(*held).values(due_at=now, created_at=now))

    @unbroken
    async def silences(self) -> Sequence[Silence]:
        async with self._read() as connection:
            rows = await connection.execute(select(silence).order_by(silence.c.ends_at, silence.c.id))
            return [silence_of(row) for row in rows]

    @unbroken
    async def sent(self, notifier: str, since: datetime) -> Sequence[Sent]:
        matters: defaultdict[tuple[datetime, str], set[tuple[ItemId, str]]] = defaultdict(set)
        async with self._read() as connection:
            for row in await connection.execute(statements.sent_matters(notifier, since)):
                matters[row.settled_at, row.batch].add((ItemId(row.item), row.aspect))
            rows = (await connection.execute(statements.sent(notifier, since))).all()
        return [
            Sent(
                r.settled_at,
                r.batch or "",
                frozenset(matters[r.settled_at, r.batch]),
                Severity(r.severity),
                r.counted > 0,
            )
            for r in rows
        ]

    @unbroken
    async def conversations(self, notifier: str) -> Sequence[Open]:
        async with self._read() as connection:
            rows = await connection.execute(statements.conversations(notifier))
            return [Open((ItemId(row.item), row.generation), Severity(row.severity)) for row in rows]

    @unbroken
    async def threads(self, notifier: str, keys: Sequence[tuple[ItemId, str]]) -> Mapping[tuple[ItemId, str], str]:
        asked = {(shorten(about), shorten(generation)): (about, generation) for about, generation in keys}
        found = {}
        async with self._read() as connection:
            for chunk in _chunks(list(asked)):
                rows = await connection.execute(
                    select(thread.c.item, thread.c.generation, thread.c.reference).where(
                        thread.c.notifier == notifier, tuple_(thread.c.item, thread.c.generation).in_(chunk)
                    )
                )
                found.update({asked[row.item, row.generation]: row.reference for row in rows})
        return found

    # ── what people ask ───────────────────────────────────────────────────────────────────────────────

    @unbroken
    async def outbox(self) -> Outbox:
        async with self._read() as connection:
            rows = (await connection.execute(statements.outbox_counts())).all()
            oldest: datetime | None = await connection.scalar(select(func.min(parcel.c.created_at)).where(owed))
        return Outbox(
            counts={(row.notifier, Fate(row.fate)): row.count for row in rows},
            oldest=oldest,
            last_delivery={row.notifier: row.last for row in rows if row.fate == Fate.DELIVERED},
        )

    @unbroken
    async def events(self, *, before: int | None = None, limit: int = 100) -> Sequence[EventRecord]:
        memo, deliveries = Memo(), defaultdict(list)
        newest = select(event).order_by(event.c.id.desc()).limit(limit)
        async with self._read() as connection:
            rows = (await connection.execute(newest if before is None else newest.where(event.c.id < before))).all()
            for ids in _chunks([row.id for row in rows]):
                columns = (parcel.c.event, parcel.c.notifier, parcel.c.fate, parcel.c.proof, parcel.c.reason)
                sent = select(*columns).where(parcel.c.event.in_(ids)).order_by(parcel.c.id)
                for row in await connection.execute(sent):
                    deliveries[row.event].append((row.notifier, Fate(row.fate), row.proof or row.reason))
        return [EventRecord(row.id, event_of(row, memo), tuple(deliveries[row.id])) for row in rows]

    # ── the audit trail ───────────────────────────────────────────────────────────────────────────────

    @unbroken
    async def journal(self, *, limit: int = 1000) -> Sequence[Entry]:
        async with self._read() as connection:
            rows = await connection.execute(select(journal).order_by(journal.c.seq).limit(limit))
            return [entry_of(row) for row in rows]

    @unbroken
    async def journaled(self, upto: int, digest: str) -> None:
        async with self._write() as connection:
            await connection.execute(delete(journal).where(journal.c.seq <= upto))
            row = {"id": 1, "seq": upto, "hash": digest}
            await connection.execute(statements.upsert(connection.dialect.name, trail), row)

    @unbroken
    async def trail_head(self) -> tuple[int, str] | None:
        async with self._read() as connection:
            row = (await connection.execute(select(trail.c.seq, trail.c.hash))).first()
        return None if row is None else (row.seq, row.hash)

    # ── upkeep ────────────────────────────────────────────────────────────────────────────────────────

    @unbroken
    async def prune(self, *, events: datetime, looks: datetime, limit: int = 1000) -> int:
        old_looks = select(look.c.id).where(look.c.finished_at < looks).order_by(look.c.finished_at).limit(limit)
        gone = 0
        async with self._write() as connection:
            gone += (await connection.execute(delete(look).where(look.c.id.in_(old_looks)))).rowcount
            old_threads = statements.old_threads(events, limit)
            gone += (
                await connection.execute(delete(thread).where(tuple_(*thread.primary_key).in_(old_threads)))
            ).rowcount
            over = select(silence.c.id).where(silence.c.ends_at < events).limit(limit)
            gone += (await connection.execute(delete(silence).where(silence.c.id.in_(over)))).rowcount
            ids = (await connection.scalars(statements.old_events(events, limit))).all()
            for chunk in _chunks(ids):
                gone += (await connection.execute(delete(parcel).where(parcel.c.event.in_(chunk)))).rowcount
                gone += (await connection.execute(delete(event).where(event.c.id.in_(chunk)))).rowcount
        return gone

    @unbroken
    async def set_back(self, now: datetime, by: timedelta) -> None:
        async with self._write() as connection:
            for statement in statements.set_back(now, by):
                await connection.execute(statement)

    @unbroken
    async def size(self) -> int | None:
        if self._database.file is None:
            return None
        async with self._read() as connection:
            used: int = (await connection.exec_driver_sql(_BYTES_IN_USE)).scalar_one()
        return used

    @unbroken
    async def shrink(self) -> None:
        if self._database.file is not None:
            with self._explained():
                await asyncio.to_thread(_shrink, self._database.file)

    @unbroken
    async def backup(self, path: Path) -> None:
        """Write a complete copy while the daemon goes on. Never overwrites; only the owner may read the copy."""
        file = self._database.file
        if file is None:
            raise StoreError(f"{self.name} is backed up with pg_dump, see docs/state.md")
        with self._explained(f"the backup {path}"):
            await asyncio.to_thread(_copy, file, path)

    async def _release(self) -> None:
        """Nobody else works with this store, so whoever leased these has died. They were due, so they are due now."""
        async with self._write() as connection:
            left = update(parcel).where(parcel.c.fate == Fate.LEASED, owed)
            await connection.execute(left.values(fate=Fate.PENDING, due_at=parcel.c.created_at))

    # ── connections ───────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _write(self) -> AsyncIterator[AsyncConnection]:
        with self._explained():
            async with self._database.writer.begin() as connection:
                yield connection

    @asynccontextmanager
    async def _read(self) -> AsyncIterator[AsyncConnection]:
        with self._explained():
            async with self._database.reader.begin() as connection:
                yield connection

    @contextmanager
    def _explained(self, what: str = "") -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError, self._database.driver_error) as error:
            raise explain(error, what or self.name, self._database.secrets) from None


def _shrink(file: Path) -> None:
    """A file of an older version was not made for giving back pages: it is written anew, once, when it is worth it."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA busy_timeout=5000")
        ((free,),) = connection.execute("PRAGMA freelist_count")
        ((pages,),) = connection.execute("PRAGMA page_count")
        if free * 10 < pages:
            return
        ((mode,),) = connection.execute("PRAGMA auto_vacuum")
        if mode == _INCREMENTAL:
            connection.executescript(f"PRAGMA incremental_vacuum({_MOST_PAGES})")  # `execute` frees one page
        else:
            connection.execute(f"PRAGMA auto_vacuum={_INCREMENTAL}")
            connection.execute("VACUUM")


def _copy(file: Path, path: Path) -> None:
    """VACUUM INTO writes a consistent copy from a read transaction; a plain copy of the files may be torn."""
    with ExitStack() as undo:
        copy = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        undo.callback(path.unlink)
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("VACUUM INTO ?", (str(path),))
        os.fsync(copy)
        undo.pop_all()
        os.close(copy)


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Statements stay short: a cancelled task has to wait for the running one, and other work for the writer."""
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
