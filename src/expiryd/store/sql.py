"""The store in SQLite or PostgreSQL: one code path of short statements, each method one transaction."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, delete, func, insert, select, tuple_, update

from expiryd.core.model import ItemId, ItemState, Severity
from expiryd.core.silencing import Silence
from expiryd.core.storm import Open, Sent
from expiryd.core.view import rfc3339
from expiryd.store import journaling, statements, writing
from expiryd.store.codec import Memo, entry_of, event_of, item_state, look_of, moment, parcel_of, silence_of
from expiryd.store.connect import create_file, reach
from expiryd.store.migrate import ensure_schema
from expiryd.store.port import Change, Entry, EventRecord, Fate, Known, Outbox, Parcel, Settlement, StoreError
from expiryd.store.schema import (
    collector,
    event,
    from_micros,
    installation,
    key,
    look,
    owed,
    parcel,
    silence,
    thread,
    unescape,
)
from expiryd.store.transactions import Transactions, reads, writes

T = TypeVar("T")
_ROWS = 500
"""Written by one statement: SQLite takes 32,766 parameters, PostgreSQL 65,535."""
_IDS = 5000
_PAGE = 2000
_NEWEST = (1 << 63) - 1
_MOST_PAGES = 4_000
"""So many are given back at once, in about half a second: others wait for the writer meanwhile."""
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
        self._patience = busy_timeout
        self.transactions = Transactions(self._database, inline=private)

    @property
    def name(self) -> str:
        """The database in words, without credentials."""
        return self._database.name

    # ── opening and closing ───────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        await self.transactions.run(self._open)

    def _open(self) -> None:
        with ExitStack() as undo:
            undo.callback(self._database.dispose)
            with self.transactions.explained():
                if self._database.file is not None:
                    create_file(self._database.file)
                with self._database.writer.connect():  # takes the daemon's lock before anything is changed
                    pass
                with self._database.migrator.begin() as connection:
                    ensure_schema(connection, self.name)
                    if not connection.execute(select(installation.c.id)).first():
                        connection.execute(insert(installation), {"id": uuid.uuid4().hex, "last_event": 0})
            undo.pop_all()

    async def aclose(self) -> None:
        await self.transactions.aclose()

    @writes
    def ping(self, connection: Connection) -> None:
        connection.execute(update(installation).values(id=installation.c.id))

    # ── items ─────────────────────────────────────────────────────────────────────────────────────────

    async def load(self) -> Known:
        if self._exclusive:
            await self._release()
        return await self._load()

    @writes
    def _release(self, connection: Connection) -> None:
        """Nobody else works with this store, so whoever leased these has died. They were due, so they are due now."""
        left = update(parcel).where(parcel.c.fate == Fate.LEASED, owed)
        connection.execute(left.values(fate=Fate.PENDING, due_at=parcel.c.created_at))

    @reads
    def _load(self, connection: Connection) -> Known:
        memo, items = Memo(), list[ItemState]()
        alerts = defaultdict(list)
        for row in statements.alerts_by_item(connection):
            alerts[row.item].append(row)
        page = statements.items_first(connection, limit=_PAGE)
        while page:
            items += [item_state(row, alerts.get(row.item, ()), memo) for row in page]
            page = statements.items_after(connection, last=unescape(page[-1].item), limit=_PAGE)
        looks = connection.execute(select(collector)).all()
        return Known(
            installation=connection.execute(select(installation.c.id)).scalar_one(),
            items=items,
            last_looks={row.collector: look_of(row) for row in looks},
            last_good={row.collector: row.good_at for row in looks if row.good_at is not None},
        )

    @writes
    def commit(self, connection: Connection, change: Change) -> None:
        for ids in _chunks(change.forgotten, _IDS):
            statements.forget_items(connection, items=[key(item) for item in ids])
        # the last word on an item counts
        for states in _chunks(list({state.id: state for state in change.items}.values())):
            writing.remember(connection, states)
        for states in _chunks(change.judged):
            writing.rejudge(connection, states)
        for events in _chunks(change.events):
            writing.owe(connection, events, change.due)
        if change.look is not None:
            writing.note(connection, change.look)
        for entries in _chunks(change.journal):
            journaling.enter(connection, entries)
        writing.keep_silences(connection, change.silences)

    # ── the outbox ────────────────────────────────────────────────────────────────────────────────────

    @reads
    def next_due(self, connection: Connection, notifier: str) -> datetime | None:
        return moment(statements.next_due.scalar(connection, notifier=notifier))

    @writes
    def lease(
        self,
        connection: Connection,
        notifier: str,
        now: datetime,
        until: datetime,
        *,
        horizon: datetime | None = None,
        limit: int = 5000,
    ) -> Sequence[Parcel]:
        asked = {"notifier": notifier, "now": now, "limit": limit}
        if horizon is None:
            found = statements.takeable(connection, **asked)
        else:
            found = statements.takeable_soon(connection, **asked, horizon=horizon)
        memo, taken = Memo(), list[Parcel]()
        for ids in _chunks([row.id for row in found], _IDS):
            statements.lease(connection, ids=ids, until=until)
            taken += [parcel_of(row, notifier, memo) for row in statements.parcels(connection, ids=ids)]
        return taken

    @writes
    def dispatch(
        self, connection: Connection, notifier: str, parcels: Sequence[int], batch: str, until: datetime
    ) -> None:
        for ids in _chunks(parcels, _IDS):
            statements.dispatch(connection, notifier=notifier, ids=ids, key=batch, until=until)

    @writes
    def settle(self, connection: Connection, notifier: str, settlements: Sequence[Settlement]) -> None:
        for settlement in settlements:
            for ids in _chunks(settlement.parcels, _IDS):
                writing.settle(connection, notifier, ids, settlement)
            writing.keep_thread(connection, notifier, settlement)

    @writes
    def postpone(  # noqa: PLR0917 - one of them is the connection
        self,
        connection: Connection,
        notifier: str,
        parcels: Sequence[int],
        due: datetime,
        reason: str,
        batch: str | None,
    ) -> None:
        for ids in _chunks(parcels, _IDS):
            statements.postpone(connection, notifier=notifier, ids=ids, due=due, why=reason, key=batch)

    @writes
    def release(self, connection: Connection, notifier: str, parcels: Sequence[int]) -> None:
        for ids in _chunks(parcels, _IDS):
            statements.release(connection, notifier=notifier, ids=ids)

    @writes
    def hold(
        self,
        connection: Connection,
        notifier: str,
        parcels: Sequence[int],
        until: datetime,
        reason: str,
        *,
        at: datetime,
    ) -> None:
        detail = {"reason": reason, "until": rfc3339(until) or ""}
        for ids in _chunks(parcels, _IDS):
            journaling.held(connection, notifier, ids, at, detail)
            statements.hold(connection, notifier=notifier, ids=ids, until=until, why=reason)

    @writes
    def hasten(self, connection: Connection, now: datetime, reason: str) -> None:
        held = (owed, parcel.c.fate == Fate.PENDING, parcel.c.created_at > now, parcel.c.reason.startswith(reason))
        connection.execute(update(parcel).where(*held).values(due_at=now, created_at=now))

    @reads
    def silences(self, connection: Connection) -> Sequence[Silence]:
        rows = connection.execute(select(silence).order_by(silence.c.ends_at, silence.c.id))
        return [silence_of(row) for row in rows]

    @reads
    def sent(self, connection: Connection, notifier: str, since: datetime) -> Sequence[Sent]:
        matters: defaultdict[tuple[int, str], set[tuple[ItemId, str]]] = defaultdict(set)
        for row in statements.sent_matters(connection, notifier=notifier, since=since):
            matters[row.settled_at, row.batch].add((ItemId(unescape(row.item)), unescape(row.aspect)))
        return [
            Sent(
                from_micros(row.settled_at),
                unescape(row.batch or ""),
                frozenset(matters[row.settled_at, row.batch]),
                Severity(row.severity),
                row.counted > 0,
            )
            for row in statements.sent(connection, notifier=notifier, since=since)
        ]

    @reads
    def conversations(self, connection: Connection, notifier: str) -> Sequence[Open]:
        rows = statements.conversations(connection, notifier=notifier)
        return [Open((ItemId(unescape(r.item)), unescape(r.generation)), Severity(r.severity)) for r in rows]

    @reads
    def threads(
        self, connection: Connection, notifier: str, keys: Sequence[tuple[ItemId, str]]
    ) -> Mapping[tuple[ItemId, str], str]:
        asked = {(key(about), key(generation)): (about, generation) for about, generation in keys}
        found = {}
        for chunk in _chunks(list(asked), _IDS):
            for row in statements.threads(connection, notifier=notifier, items=[item for item, _ in chunk]):
                if about := asked.get((row.item, row.generation)):
                    found[about] = unescape(row.reference)
        return found

    # ── what people ask ───────────────────────────────────────────────────────────────────────────────

    @reads
    def outbox(self, connection: Connection) -> Outbox:
        rows = connection.execute(statements.outbox_counts()).all()
        oldest: datetime | None = connection.scalar(select(func.min(parcel.c.created_at)).where(owed))
        return Outbox(
            counts={(row.notifier, Fate(row.fate)): row.parcels for row in rows},
            oldest=oldest,
            last_delivery={row.notifier: row.last for row in rows if row.fate == Fate.DELIVERED},
        )

    @reads
    def events(self, connection: Connection, *, before: int | None = None, limit: int = 100) -> Sequence[EventRecord]:
        memo, deliveries = Memo(), defaultdict(list)
        rows = statements.events_before(connection, before=_NEWEST if before is None else before, limit=limit)
        for ids in _chunks([row.id for row in rows], _IDS):
            for row in statements.fates(connection, ids=ids):
                said = unescape(row.proof or row.reason)
                deliveries[row.event].append((unescape(row.notifier), Fate(row.fate), said))
        return [EventRecord(row.id, event_of(row, memo), tuple(deliveries[row.id])) for row in rows]

    # ── the audit trail ───────────────────────────────────────────────────────────────────────────────

    @reads
    def journal(self, connection: Connection, *, limit: int = 1000) -> Sequence[Entry]:
        return [entry_of(row) for row in statements.entries(connection, limit=limit)]

    @writes
    def journaled(self, connection: Connection, upto: int, digest: str) -> None:
        statements.end_entries(connection, upto=upto)
        statements.mark_trail(connection, id=1, seq=upto, hash=digest)

    @reads
    def trail_head(self, connection: Connection) -> tuple[int, str] | None:
        known = statements.trail_head(connection)
        return (known[0].seq, known[0].hash) if known else None

    # ── upkeep ────────────────────────────────────────────────────────────────────────────────────────

    @writes
    def prune(self, connection: Connection, *, events: datetime, looks: datetime, limit: int = 1000) -> int:
        old_looks = select(look.c.id).where(look.c.finished_at < looks).order_by(look.c.finished_at).limit(limit)
        old_threads = statements.old_threads(events, limit)
        over = select(silence.c.id).where(silence.c.ends_at < events).limit(limit)
        gone = connection.execute(delete(look).where(look.c.id.in_(old_looks))).rowcount
        gone += connection.execute(delete(thread).where(tuple_(*thread.primary_key).in_(old_threads))).rowcount
        gone += connection.execute(delete(silence).where(silence.c.id.in_(over))).rowcount
        unread = [entry_of(row).detail["events"][0] for row in statements.oldest_change(connection)]
        for ids in _chunks(connection.scalars(statements.old_events(events, limit, *unread)).all()):
            gone += connection.execute(delete(parcel).where(parcel.c.event.in_(ids))).rowcount
            gone += connection.execute(delete(event).where(event.c.id.in_(ids))).rowcount
        return gone

    @writes
    def set_back(self, connection: Connection, now: datetime, by: timedelta) -> None:
        for statement in statements.set_back(now, by):
            connection.execute(statement)

    @reads
    def size(self, connection: Connection) -> int | None:
        if self._database.file is None:
            return None
        used: int = connection.exec_driver_sql(_BYTES_IN_USE).scalar_one()
        return used

    async def shrink(self) -> bool:
        if (file := self._database.file) is None:
            return False
        with self.transactions.explained():
            return await self.transactions.run(lambda: _shrink(file, self._patience))

    async def backup(self, path: Path) -> None:
        """Write a complete copy while the daemon goes on. Never overwrites; only the owner may read the copy."""
        file = self._database.file
        if file is None:
            raise StoreError(f"{self.name} is backed up with pg_dump, see docs/state.md")
        if not file.exists():  # looking into it would make it
            raise StoreError(f"{self.name} is not there: check daemon.state_dir; the daemon makes it when it starts")
        with self.transactions.explained(f"the backup {path}"):
            await asyncio.to_thread(_copy, file, path)


def _shrink(file: Path, patience: timedelta) -> bool:
    """Give free pages back to the file system, some at a time, when it is worth it."""
    with closing(sqlite3.connect(file, patience.total_seconds(), isolation_level=None)) as connection:
        ((free,),) = connection.execute("PRAGMA freelist_count")
        ((pages,),) = connection.execute("PRAGMA page_count")
        if free * 10 < pages:
            return False
        connection.executescript(f"PRAGMA incremental_vacuum({_MOST_PAGES})")  # `execute` frees one page
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # the file gets shorter when the log is written back
        ((left,),) = connection.execute("PRAGMA freelist_count")
        return bool(left < free)


def _copy(file: Path, path: Path) -> None:
    """VACUUM INTO writes a consistent copy from a read transaction; a plain copy of the files may be torn."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as copy, ExitStack() as undo:
        undo.callback(path.unlink)
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("VACUUM INTO ?", (str(path),))
        os.fsync(copy.fileno())
        undo.pop_all()


def _chunks(values: Sequence[T], size: int = _ROWS) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
