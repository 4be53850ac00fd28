"""From owed parcels to messages: the newest word on each matter, put together the way a notifier wants it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from expiryd.core.model import Event, EventKind, ItemId, Severity
from expiryd.core.muting import Mute, Muting, nothing_muted

MOST_THREADS = 20
"""More threads than this at once (a first look at a large store) leave as one digest instead."""


class Owed(Protocol):
    """What grouping needs to know of a parcel."""

    @property
    def id(self) -> int: ...
    @property
    def event(self) -> Event: ...
    @property
    def batch(self) -> str | None: ...
    @property
    def told(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Draft:
    """The parcels that leave as one message. `batch` is set when the message may already have arrived."""

    parcels: tuple[Owed, ...]
    thread: tuple[ItemId, str] | None = None
    batch: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send, what needs no sending any more (parcel id with the reason), and what is held back for now."""

    drafts: Sequence[Draft] = ()
    superseded: dict[int, str] = field(default_factory=dict)
    suppressed: dict[int, str] = field(default_factory=dict)
    held: dict[int, Mute] = field(default_factory=dict)


def plan(parcels: Sequence[Owed], *, threaded: bool, mute: Muting = nothing_muted) -> Plan:
    """Parcels of one notifier, oldest first. What may already have arrived goes again as it was, and alone.

    Repeating those first settles whether the receiver was told, which the wording of the rest depends on.
    """
    again: dict[str, list[Owed]] = {}
    for parcel in parcels:
        if parcel.batch is not None:
            again.setdefault(parcel.batch, []).append(parcel)
    if again:
        return Plan([_draft(group, threaded, batch) for batch, group in again.items()])
    result = Plan()
    wanted = [p for p in _newest(parcels, result.superseded) if _worth_telling(p, result.suppressed)]
    heard = [p for p in wanted if not _muted(p, mute(p.event), result)]
    return replace(result, drafts=_drafts(heard, threaded))


def _muted(parcel: Owed, by: Mute | None, result: Plan) -> bool:
    if by is None:
        return False
    if by.until is None:
        result.suppressed[parcel.id] = by.reason
    else:
        result.held[parcel.id] = by
    return True


def _newest(parcels: Sequence[Owed], superseded: dict[int, str]) -> list[Owed]:
    latest: dict[ItemId, dict[Hashable, Owed]] = {}
    for parcel in parcels:
        event = parcel.event
        matters = latest.setdefault(event.item, {})
        key = (event.aspect, event.generation)
        # with the item all its matters are gone
        over = list(matters) if event.kind is EventKind.VANISHED else [key]
        for old in over:
            if old in matters:
                superseded[matters.pop(old).id] = f"{event.kind} came after it"
        matters[key] = parcel
    newest = {parcel.id for matters in latest.values() for parcel in matters.values()}
    return [parcel for parcel in parcels if parcel.id in newest]


def _worth_telling(parcel: Owed, suppressed: dict[int, str]) -> bool:
    kind = parcel.event.kind
    if kind.closes and kind is not EventKind.VANISHED and not parcel.told:
        suppressed[parcel.id] = "over before anybody here was told of it"
        return False
    return True


def _drafts(parcels: Sequence[Owed], threaded: bool) -> list[Draft]:
    if not threaded:
        return [_draft(parcels, threaded, None)] if parcels else []
    threads: dict[tuple[ItemId, str], list[Owed]] = {}
    for parcel in parcels:
        threads.setdefault((parcel.event.item, parcel.event.generation), []).append(parcel)
    opening = [key for key, group in threads.items() if not any(parcel.told for parcel in group)]
    crowd: list[Owed] = []
    if len(opening) > MOST_THREADS:
        crowd = [parcel for key in opening for parcel in threads.pop(key)]
    groups = [crowd, *threads.values()] if crowd else threads.values()
    return [_draft(group, threaded, None) for group in sorted(groups, key=_urgency)]


def _urgency(parcels: Sequence[Owed]) -> int:
    """The most severe first, what is over last: the rate of a notifier may make the rest wait."""
    events = (parcel.event for parcel in parcels)
    return -max((event.severity for event in events if not event.kind.closes), default=Severity.UNKNOWN - 1)


def _draft(parcels: Sequence[Owed], threaded: bool, batch: str | None) -> Draft:
    keys = {(parcel.event.item, parcel.event.generation) for parcel in parcels}
    return Draft(tuple(parcels), keys.pop() if threaded and len(keys) == 1 else None, batch)
