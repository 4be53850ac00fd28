"""What the store puts on record by itself, in the transaction of what it tells of: events, looks, fates of parcels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from expiryd.core.model import Event
from expiryd.store.codec import entry_row
from expiryd.store.port import CHANGED, Entry, Fate, Look, Settlement
from expiryd.store.schema import event, journal, owed, parcel

SYSTEM = "system"
MOST_NAMED = 50
_ACTIONS = {
    Fate.DELIVERED: "message.delivered",
    Fate.DEAD: "message.dead",
    Fate.SUPPRESSED: "message.suppressed",
    Fate.SUPERSEDED: "message.superseded",
}


async def enter(connection: AsyncConnection, entries: Sequence[Entry]) -> None:
    if entries:
        await connection.execute(insert(journal), [entry_row(entry) for entry in entries])


async def happened(connection: AsyncConnection, events: Sequence[tuple[Event, tuple[str, ...]]], ids: range) -> None:
    """One entry for all events of a chunk: whoever reads it asks for them by their numbers."""
    numbers = {"events": [ids.start, ids.stop - 1]}
    await enter(connection, [Entry(events[0][0].at, SYSTEM, CHANGED, detail=numbers)])


async def looked(connection: AsyncConnection, look: Look) -> None:
    detail: dict[str, Any] = {"outcome": look.outcome.value, "count": look.items}
    if look.reason:
        detail["reason"] = look.reason
    await enter(connection, [Entry(look.finished_at, SYSTEM, "look.ended", look.collector, detail)])


async def settled(connection: AsyncConnection, notifier: str, ids: Sequence[int], by: Settlement) -> None:
    """To be called before the parcels are settled."""
    said = {"proof": by.proof, "reason": by.reason}
    await _record(connection, notifier, ids, Entry(by.at, SYSTEM, _ACTIONS[by.fate], detail=said))


async def held(
    connection: AsyncConnection, notifier: str, ids: Sequence[int], at: datetime, detail: Mapping[str, str]
) -> None:
    """To be called before the parcels are held. One that is held again for the same reason is no news."""
    await _record(connection, notifier, ids, Entry(at, SYSTEM, "message.held", detail=detail), detail["reason"])


async def _record(
    connection: AsyncConnection, notifier: str, ids: Sequence[int], entry: Entry, known: str | None = None
) -> None:
    mine = select(parcel.c.event, event.c.item).join_from(parcel, event)
    mine = mine.where(parcel.c.id.in_(ids), parcel.c.notifier == notifier, owed).order_by(parcel.c.event)
    if known is not None:
        mine = mine.where(parcel.c.reason != known)
    rows = (await connection.execute(mine)).all()
    if not rows:
        return
    items = list(dict.fromkeys(row.item for row in rows))
    detail: dict[str, Any] = {"notifier": notifier, **{key: value for key, value in entry.detail.items() if value}}
    detail["events"] = _ranges(row.event for row in rows)
    if len(items) > 1:
        detail["items"] = items[:MOST_NAMED]
        detail["count"] = len(items)
    alone = items[0] if len(items) == 1 else ""
    await enter(connection, [Entry(entry.at, entry.actor, entry.action, alone, detail)])


def _ranges(numbers: Iterable[int]) -> list[list[int]]:
    """`[[3, 5], [9, 9]]` for 3, 4, 5, 9: a digest of many thousands stays a short line."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges
