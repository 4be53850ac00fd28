"""From owed parcels to messages: the newest word on each matter, put together the way a notifier wants it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, tzinfo
from enum import StrEnum
from typing import Literal, Protocol

from expiryd.core.model import Event, EventKind, ItemId, Severity
from expiryd.core.muting import Mute, Muting, nothing_muted

FirstLook = Literal["summary", "each", "silent"]
GroupBy = Literal["owner", "category", "day", "severity", "kind", "collector"]


class Purpose(StrEnum):
    """What a message is for. It stands in the key, so that a message that goes again is what it was."""

    NEWS = "news"
    FIRST_LOOK = "first"
    DIGEST = "digest"


@dataclass(frozen=True, slots=True)
class Manner:
    """How to tell of a first look, and what is alike enough to leave as one message. `zone` is that of the days.

    `is_for_anyone`: whether the last word on a thing is also for who never heard of it.
    """

    first_look: FirstLook = "each"
    group_by: tuple[GroupBy, ...] = ()
    zone: tzinfo = UTC
    is_for_anyone: Callable[[Event], bool] = lambda _event: True


AS_IT_COMES = Manner()


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
    purpose: Purpose = Purpose.NEWS


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send, what needs no sending any more (parcel id with the reason), and what is held back for now."""

    drafts: Sequence[Draft] = ()
    superseded: dict[int, str] = field(default_factory=dict)
    suppressed: dict[int, str] = field(default_factory=dict)
    held: dict[int, Mute] = field(default_factory=dict)


def plan(
    parcels: Sequence[Owed], *, threaded: bool, mute: Muting = nothing_muted, manner: Manner = AS_IT_COMES
) -> Plan:
    """Parcels of one notifier, oldest first. What may already have arrived goes again as it was, and alone.

    Repeating those first settles whether the receiver was told, which the wording of the rest depends on.
    """
    again: dict[str, list[Owed]] = {}
    for parcel in parcels:
        if parcel.batch is not None:
            again.setdefault(parcel.batch, []).append(parcel)
    if again:
        return Plan([_again(group, threaded, batch) for batch, group in again.items()])
    result = Plan()
    known = [p for p in parcels if not _of_the_unheard(p, result.suppressed)]
    wanted = [p for p in _newest(known, result.superseded) if _worth_telling(p, manner, result.suppressed)]
    heard = [p for p in wanted if not _muted(p, mute(p.event), result)]
    return replace(result, drafts=_drafts(heard, threaded, manner))


def keyed(purpose: Purpose, digest: str) -> str:
    """The key of a message; `purpose_of` tells what the message was for."""
    return f"{purpose}-{digest}" if purpose is not Purpose.NEWS else digest


def purpose_of(key: str) -> Purpose:
    word, mark, _ = key.partition("-")
    return Purpose(word) if mark and word in set(Purpose) else Purpose.NEWS


def _muted(parcel: Owed, by: Mute | None, result: Plan) -> bool:
    """What is not to be said any more is so for who knows of the matter: who never heard of it still has to."""
    if by is None or (by.until is None and not parcel.told and parcel.event.kind is not EventKind.ESCALATED):
        return False
    if by.until is None:
        result.suppressed[parcel.id] = by.reason
    else:
        result.held[parcel.id] = by
    return True


def _of_the_unheard(parcel: Owed, suppressed: dict[int, str]) -> bool:
    """Whoever has not heard of a matter hears that, not who has it in hand."""
    if parcel.event.kind is not EventKind.ACKNOWLEDGED or parcel.told:
        return False
    suppressed[parcel.id] = "in somebody's hands before anybody here was told of it"
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


def _worth_telling(parcel: Owed, manner: Manner, suppressed: dict[int, str]) -> bool:
    kind = parcel.event.kind
    if kind.closes and not parcel.told and not (kind is EventKind.VANISHED and manner.is_for_anyone(parcel.event)):
        suppressed[parcel.id] = "over before anybody here was told of it"
        return False
    if manner.first_look == "silent" and _is_first(parcel):
        suppressed[parcel.id] = "seen by the first look at its source (`first_look`)"
        return False
    return True


def _drafts(parcels: Sequence[Owed], threaded: bool, manner: Manner) -> list[Draft]:
    firsts = {p.id: p for p in parcels if _is_first(p)} if manner.first_look == "summary" else {}
    if len(firsts) == 1:
        firsts = {}  # one alone says more by itself than a summary of one
    summary = [Draft(tuple(firsts.values()), purpose=Purpose.FIRST_LOOK)] if firsts else []
    groups: dict[Hashable, list[Owed]] = {}
    for parcel in parcels:
        if parcel.id not in firsts:
            groups.setdefault(_group(parcel.event, threaded, manner), []).append(parcel)
    return sorted([*summary, *(_draft(group, threaded) for group in groups.values())], key=_urgency)


def _group(event: Event, threaded: bool, manner: Manner) -> Hashable:
    """What leaves together. A conversation is about one item's generation, whatever else it is like."""
    if threaded:
        return event.item, event.generation
    return tuple(_ALIKE[by](event, manner.zone) for by in manner.group_by)


_ALIKE: Mapping[GroupBy, Callable[[Event, tzinfo], Hashable]] = {
    "owner": lambda event, _: event.traits.owner,
    "category": lambda event, _: event.traits.category,
    "day": lambda event, zone: event.expires_at and _day(event.expires_at, zone),
    "severity": lambda event, _: event.severity if not event.kind.closes else None,
    "kind": lambda event, _: event.item_kind,
    "collector": lambda event, _: event.collector,
}


def _is_first(parcel: Owed) -> bool:
    return parcel.event.is_first and not parcel.told and not parcel.event.kind.closes


def _urgency(draft: Draft) -> int:
    """The most severe first, what is over last: what there is no room for is then the least severe."""
    events = (parcel.event for parcel in draft.parcels)
    return -max((event.severity for event in events if not event.kind.closes), default=Severity.UNKNOWN - 1)


def _day(at: datetime, zone: tzinfo) -> date:
    try:
        return at.astimezone(zone).date()
    except OverflowError:  # in the first and the last hours of the calendar
        return at.date()


def _again(parcels: Sequence[Owed], threaded: bool, batch: str) -> Draft:
    purpose = purpose_of(batch)
    return replace(_draft(parcels, threaded and purpose is Purpose.NEWS), batch=batch, purpose=purpose)


def _draft(parcels: Sequence[Owed], threaded: bool) -> Draft:
    keys = {(parcel.event.item, parcel.event.generation) for parcel in parcels} if threaded else set()
    return Draft(tuple(parcels), keys.pop() if len(keys) == 1 else None)
