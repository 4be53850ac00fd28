"""What the store puts on record by itself, in the transaction of what it tells of: events, looks, fates of parcels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from expiryd.core.model import Event
from expiryd.store import statements
from expiryd.store.codec import entry_row
from expiryd.store.port import CHANGED, Entry, Fate, Look, Settlement
from expiryd.store.schema import unescape

SYSTEM = "system"
MOST_NAMED = 50
_ACTIONS = {
    Fate.DELIVERED: "message.delivered",
    Fate.DEAD: "message.dead",
    Fate.SUPPRESSED: "message.suppressed",
    Fate.SUPERSEDED: "message.superseded",
}


def enter(connection: Connection, entries: Iterable[Entry]) -> None:
    statements.note_entries(connection, map(entry_row, entries))


def happened(connection: Connection, events: Sequence[tuple[Event, tuple[str, ...]]], ids: range) -> None:
    """One entry for all events of a chunk: whoever reads it asks for them by their numbers."""
    numbers = {"events": [ids.start, ids.stop - 1]}
    enter(connection, [Entry(events[0][0].at, SYSTEM, CHANGED, detail=numbers)])


def looked(connection: Connection, look: Look) -> None:
    detail: dict[str, Any] = {"outcome": look.outcome.value, "count": look.items}
    if look.reason:
        detail["reason"] = look.reason
    enter(connection, [Entry(look.finished_at, SYSTEM, "look.ended", look.collector, detail)])


def settled(connection: Connection, notifier: str, ids: Sequence[int], by: Settlement) -> None:
    """To be called before the parcels are settled."""
    said = {"proof": by.proof, "reason": by.reason}
    found = statements.in_hand(connection, ids=ids, notifier=notifier)
    _record(connection, notifier, found, Entry(by.at, SYSTEM, _ACTIONS[by.fate], detail=said))


def held(connection: Connection, notifier: str, ids: Sequence[int], at: datetime, detail: Mapping[str, str]) -> None:
    """To be called before the parcels are held. One that is held again for the same reason is no news."""
    found = statements.in_hand_anew(connection, ids=ids, notifier=notifier, known=detail["reason"])
    _record(connection, notifier, found, Entry(at, SYSTEM, "message.held", detail=detail))


def _record(connection: Connection, notifier: str, found: Sequence[Any], entry: Entry) -> None:
    if not found:
        return
    items = list(dict.fromkeys(unescape(row.item) for row in found))
    detail: dict[str, Any] = {"notifier": notifier, **{key: value for key, value in entry.detail.items() if value}}
    detail["events"] = _ranges(row.event for row in found)
    if len(items) > 1:
        detail["items"] = items[:MOST_NAMED]
        detail["count"] = len(items)
    alone = items[0] if len(items) == 1 else ""
    enter(connection, [Entry(entry.at, entry.actor, entry.action, alone, detail)])


def _ranges(numbers: Iterable[int]) -> list[list[int]]:
    """`[[3, 5], [9, 9]]` for 3, 4, 5, 9: a digest of many thousands stays a short line."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges
