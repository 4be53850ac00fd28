"""What a change or a settlement writes, inside the transaction of whoever calls: at most one chunk at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

from sqlalchemy import delete, insert, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from expiryd.core.model import Event, ItemState
from expiryd.core.silencing import Silence
from expiryd.store import journaling, statements
from expiryd.store.bulk import update_among
from expiryd.store.codec import alert_row, event_row, item_row, look_row, silence_row
from expiryd.store.port import Fate, Look, Outcome, Settlement
from expiryd.store.schema import (
    alert,
    collector,
    installation,
    item,
    key,
    look,
    owed,
    parcel,
    silence,
    thread,
)

_STAMPS = {Fate.DELIVERED: "told_at", Fate.DEAD: "failed_at"}


async def remember(connection: AsyncConnection, states: Sequence[ItemState]) -> None:
    """Upsert the items and replace their alerts."""
    kept = [(open_.item, open_.aspect) for state in states for open_ in state.alerts]
    over = delete(alert).where(alert.c.item.in_([state.id for state in states]))
    if kept:
        over = over.where(tuple_(alert.c.item, alert.c.aspect).not_in(kept))
    await connection.execute(over)
    await statements.remember_items(connection, (item_row(state) for state in states))
    await _remember_alerts(connection, states)


async def rejudge(connection: AsyncConnection, states: Sequence[ItemState]) -> None:
    """Their severity, and alerts that are new or changed."""
    by_severity: defaultdict[int, list[str]] = defaultdict(list)
    for state in states:
        by_severity[int(state.severity)].append(key(state.id))
    for severity, keys in by_severity.items():
        await update_among(connection, item.c.severity, severity, item.c.item, keys)
    await _remember_alerts(connection, states)


async def _remember_alerts(connection: AsyncConnection, states: Sequence[ItemState]) -> None:
    rows = (alert_row(open_, place) for state in states for place, open_ in enumerate(state.alerts))
    await statements.remember_alerts(connection, rows)


async def owe(
    connection: AsyncConnection, events: Sequence[tuple[Event, tuple[str, ...]]], due: datetime | None
) -> None:
    """Number the events, and owe each to its notifiers."""
    numbered = update(installation).values(last_event=installation.c.last_event + len(events))
    last: int = (await connection.scalars(numbered.returning(installation.c.last_event))).one()
    ids = range(last - len(events) + 1, last + 1)
    rows = (event_row(happened, id_) for id_, (happened, _) in zip(ids, events, strict=True))
    await statements.note_events(connection, rows)
    await journaling.happened(connection, events, ids)
    # what is owed to the same ones is owed with one statement, however much it is
    for notifiers, run in groupby(zip(ids, events, strict=True), key=lambda each: tuple(dict.fromkeys(each[1][1]))):
        numbers = [id_ for id_, _ in run]
        for notifier in notifiers:
            await connection.execute(statements.owing(notifier, numbers[0], numbers[-1], due))


async def note(connection: AsyncConnection, looked: Look) -> None:
    """For history, and as the last look of its collector."""
    row = look_row(looked)
    await connection.execute(insert(look), row)
    await journaling.looked(connection, looked)
    good_at = looked.finished_at if looked.outcome is Outcome.COMPLETE else None
    await connection.execute(
        statements.upsert_collector(connection.dialect.name, collector), row | {"good_at": good_at}
    )


async def settle(connection: AsyncConnection, notifier: str, ids: Sequence[int], settlement: Settlement) -> None:
    await journaling.settled(connection, notifier, ids, settlement)
    mine = update(parcel).where(parcel.c.id.in_(ids), parcel.c.notifier == notifier, owed)
    await connection.execute(
        mine.values(fate=settlement.fate, settled_at=settlement.at, reason=settlement.reason, proof=settlement.proof)
    )
    if (stamp := _STAMPS.get(settlement.fate)) is None:
        return
    matters = (await connection.execute(statements.matters_of(ids))).mappings().all()
    if not matters:
        return
    rows = [dict(matter) for matter in matters]
    await connection.execute(statements.stamp(stamp, settlement.at), rows)
    if settlement.fate is Fate.DELIVERED:
        await connection.execute(statements.page(settlement.at), rows)


async def keep_silences(connection: AsyncConnection, silences: Sequence[Silence]) -> None:
    if silences:
        rows = [silence_row(kept) for kept in silences]
        await connection.execute(statements.upsert(connection.dialect.name, silence), rows)


async def keep_thread(connection: AsyncConnection, notifier: str, settlement: Settlement) -> None:
    if settlement.thread is None:
        return
    about, generation, reference = settlement.thread
    row = {"notifier": notifier, "item": about, "generation": generation, "reference": reference, "at": settlement.at}
    await connection.execute(statements.upsert(connection.dialect.name, thread), row)
