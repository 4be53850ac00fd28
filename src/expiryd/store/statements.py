"""The statements that are more than a line, in the SQL that SQLite and PostgreSQL share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Insert,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from expiryd.core.model import SELF, EventKind
from expiryd.store.bulk import Bulk
from expiryd.store.port import Fate
from expiryd.store.schema import alert, collector, event, item, look, owed, parcel, thread

_CLOSING = [kind for kind in EventKind if kind.closes]
_STAMPS = ("told_at", "failed_at")
_MATTER = ("item", "aspect", "generation")

Upsert = postgresql.Insert | sqlite.Insert


def upsert(database: str, table: Table) -> Upsert:
    """An insert that overwrites the row of the same primary key."""
    statement = _insert(database, table)
    return _overwrite(statement, table, {})


def upsert_collector(database: str, table: Table) -> Upsert:
    """A look that was not complete leaves the time of the last complete one."""
    statement = _insert(database, table)
    return _overwrite(statement, table, {"good_at": func.coalesce(statement.excluded.good_at, table.c.good_at)})


def _upsert_alert(database: str) -> Upsert:
    """A stamp that a delivery set meanwhile outlives a cycle that has not heard of it."""
    statement = _insert(database, alert)
    special = {stamp: _later(statement, stamp) for stamp in _STAMPS}
    return _overwrite(statement, alert, special | {"paged_at": _paged(statement)})


remember_items = Bulk(lambda database: upsert(database, item), tuple(item.c.keys()))
remember_alerts = Bulk(_upsert_alert, tuple(alert.c.keys()))
note_events = Bulk(lambda _: insert(event), tuple(event.c.keys()))


def owing(notifier: str, first: int, last: int, due: datetime | None) -> Insert:
    """A parcel for each of the events with these numbers. Without `due` each is due when it happened."""
    columns = {
        "event": event.c.id,
        "notifier": literal(notifier, parcel.c.notifier.type),
        "fate": literal(Fate.PENDING, parcel.c.fate.type),
        "due_at": event.c.at if due is None else literal(due, parcel.c.due_at.type),
        "attempts": literal(0),
        "reason": literal("", parcel.c.reason.type),
        "proof": literal("", parcel.c.proof.type),
        "created_at": event.c.at,
    }
    rows = select(*columns.values()).where(event.c.id.between(first, last)).order_by(event.c.id)
    return insert(parcel).from_select(list(columns), rows)


def _insert(database: str, table: Table) -> Upsert:
    return postgresql.insert(table) if database == "postgresql" else sqlite.insert(table)


def _overwrite(statement: Upsert, table: Table, special: dict[str, ColumnElement[Any]]) -> Upsert:
    fresh = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    overwriting: Upsert = statement.on_conflict_do_update(index_elements=table.primary_key, set_=fresh | special)
    return overwriting


def _later(statement: Upsert, stamp: str) -> ColumnElement[Any]:
    old, new = alert.c[stamp], statement.excluded[stamp]
    same_matter = alert.c.generation == statement.excluded.generation
    return case((and_(same_matter, or_(new.is_(None), old > new)), old), else_=new)


def _paged(statement: Upsert) -> ColumnElement[Any]:
    old, new = alert.c.paged_at, statement.excluded
    same_matter = alert.c.generation == new.generation
    still = old >= func.coalesce(new.risen_at, new.opened_at)
    return case((and_(same_matter, new.paged_at.is_(None), still), old), else_=new.paged_at)


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────


def items_after(last: str | None, limit: int) -> Select[Any]:
    page = select(item).order_by(item.c.item).limit(limit)
    return page if last is None else page.where(item.c.item > last)


def takeable(notifier: str, now: datetime, horizon: datetime | None, limit: int) -> Select[Any]:
    """Ids of what may be leased now, and nothing while nothing is due. Another's row is passed over, not waited for."""
    mine = and_(parcel.c.notifier == notifier, owed)
    due = parcel.alias("due")
    anything = exists().where(due.c.notifier == notifier, due.c.settled_at.is_(None), due.c.due_at <= now)
    free = or_(parcel.c.fate == Fate.PENDING, parcel.c.due_at <= now)
    wanted = [mine, free, anything]
    if horizon is not None:
        soon, about, own = parcel.alias("soon"), event.alias("about"), event.alias("own")
        items = (
            select(about.c.item)
            .join_from(soon, about, soon.c.event == about.c.id)
            .where(soon.c.notifier == notifier, soon.c.settled_at.is_(None), soon.c.due_at <= horizon)
        )
        kin = select(own.c.id).where(own.c.id == parcel.c.event, own.c.item.in_(items)).correlate(parcel)
        wanted.append(or_(parcel.c.due_at <= horizon, kin.exists()))
    return select(parcel.c.id).where(*wanted).order_by(parcel.c.id).limit(limit).with_for_update(skip_locked=True)


def parcels(ids: Sequence[int]) -> Select[Any]:
    """Parcels with their events and `told`: whether this notifier was told of the matter since it was last closed."""
    earlier, closing, proof = event.alias("earlier"), event.alias("closing"), parcel.alias("proof")
    closed = (
        select(func.coalesce(func.max(closing.c.id), 0))
        .where(_same_matter(closing), closing.c.kind.in_(_CLOSING), closing.c.id < event.c.id)
        .correlate(event)  # two levels out, where it is not found without being told
        .scalar_subquery()
    )
    told = exists().where(
        _same_matter(earlier),
        earlier.c.id < event.c.id,
        earlier.c.id > closed,
        proof.c.event == earlier.c.id,
        proof.c.notifier == parcel.c.notifier,
        proof.c.fate == Fate.DELIVERED,
    )
    own = (parcel.c.attempts, parcel.c.created_at, parcel.c.batch, parcel.c.reason)
    return (
        select(event, parcel.c.id.label("parcel"), *own, told.label("told"))
        .join_from(parcel, event)
        .where(parcel.c.id.in_(ids))
        .order_by(parcel.c.id)
    )


def matters_of(ids: Sequence[int]) -> Select[Any]:
    columns = (event.c[name].label(f"of_{name}") for name in _MATTER)
    return select(*columns).join_from(parcel, event).where(parcel.c.id.in_(ids)).distinct()


def stamp(name: str, at: datetime) -> Update:
    """For executing with rows of `matters_of`. A stamp never goes back."""
    column = alert.c[name]
    same = (alert.c[key] == bindparam(f"of_{key}") for key in _MATTER)
    return update(alert).where(*same, or_(column.is_(None), column < at)).values({name: at})


def page(at: datetime) -> Update:
    """Likewise: the first delivery since the matter opened or rose."""
    same = (alert.c[key] == bindparam(f"of_{key}") for key in _MATTER)
    first = or_(alert.c.paged_at.is_(None), alert.c.paged_at < func.coalesce(alert.c.risen_at, alert.c.opened_at))
    return update(alert).where(*same, first).values(paged_at=at)


def sent(notifier: str, since: datetime) -> Select[Any]:
    """Delivered messages with the worst they told of, oldest first; `counted`: what is not about the daemon itself."""
    columns = (parcel.c.settled_at, parcel.c.batch)
    counted = func.sum(case((or_(event.c.item.not_like("%/%"), event.c.item.like(f"{SELF}/%")), 0), else_=1))
    worst = func.max(event.c.severity)
    totals = select(*columns, worst.label("severity"), counted.label("counted")).join_from(parcel, event)
    return totals.where(*_delivered(notifier, since)).group_by(*columns).order_by(*columns)


def sent_matters(notifier: str, since: datetime) -> Select[Any]:
    """What those messages were about, as far as something of the same items is leased now."""
    at_hand, about = parcel.alias("at_hand"), event.alias("about")
    leased = (
        select(about.c.item)
        .join_from(at_hand, about, at_hand.c.event == about.c.id)
        .where(at_hand.c.notifier == notifier, at_hand.c.settled_at.is_(None), at_hand.c.fate == Fate.LEASED)
    )
    columns = (parcel.c.settled_at, parcel.c.batch, event.c.item, event.c.aspect)
    return select(*columns).join_from(parcel, event).where(*_delivered(notifier, since), event.c.item.in_(leased))


def _delivered(notifier: str, since: datetime) -> tuple[ColumnElement[bool], ...]:
    return parcel.c.notifier == notifier, parcel.c.fate == Fate.DELIVERED, parcel.c.settled_at >= since


def conversations(notifier: str) -> Select[Any]:
    """Threads with the severity of what is open in them, 0 when only their end is owed."""
    at_parcel = parcel.alias("at_parcel")
    end_owed = exists().where(
        event.c.item == thread.c.item,
        event.c.generation == thread.c.generation,
        at_parcel.c.event == event.c.id,
        at_parcel.c.notifier == notifier,
        at_parcel.c.settled_at.is_(None),
    )
    columns = (thread.c.item, thread.c.generation)
    matters = and_(alert.c.item == thread.c.item, alert.c.generation == thread.c.generation)
    severity = func.coalesce(func.max(alert.c.severity), 0)
    each = select(*columns, severity.label("severity")).join_from(thread, alert, matters, isouter=True)
    mine = each.where(thread.c.notifier == notifier, thread.c.reference != "", or_(alert.c.item.is_not(None), end_owed))
    return mine.group_by(*columns).order_by(func.min(thread.c.at))


def outbox_counts() -> Select[Any]:
    columns = (parcel.c.notifier, parcel.c.fate)
    return select(*columns, func.count().label("count"), func.max(parcel.c.settled_at).label("last")).group_by(*columns)


def set_back(now: datetime, by: timedelta) -> Iterator[Update]:
    """Moments after `now` were earlier by `by`. What a person set (silences, the end of an acknowledgement) stays."""
    moved: Mapping[Table, Sequence[str]] = {
        alert: ("opened_at", "asked_at", "told_at", "failed_at", "risen_at", "paged_at"),
        parcel: ("due_at", "created_at", "settled_at"),
        event: ("at",),
        thread: ("at",),
        look: ("started_at", "finished_at"),
        collector: ("started_at", "finished_at", "good_at"),
    }
    for table, names in moved.items():
        for name in names:
            earlier = type_coerce(table.c[name], BigInteger) + by // timedelta(microseconds=1)
            yield update(table).where(table.c[name] > now).values({name: earlier})


# ── pruning ───────────────────────────────────────────────────────────────────────────────────────────


def old_events(older_than: datetime, limit: int) -> Select[Any]:
    """Ids of events all of whose parcels were settled before, and whose matter is over.

    While an alert is open, or its end is still owed to somebody, what was delivered of it is the proof that the
    receiver knows of it (see `told`).
    """
    waiting, at_parcel = event.alias("waiting"), parcel.alias("at_parcel")
    own_owed = exists().where(parcel.c.event == event.c.id, or_(owed, parcel.c.settled_at >= older_than))
    matter_open = exists().where(_same_matter(alert))
    matter_owed = exists().where(
        _same_matter(waiting), at_parcel.c.event == waiting.c.id, at_parcel.c.settled_at.is_(None)
    )
    old = select(event.c.id).where(event.c.at < older_than, ~own_owed, ~matter_open, ~matter_owed)
    return old.order_by(event.c.at).limit(limit)


def old_threads(older_than: datetime, limit: int) -> Select[Any]:
    """A thread is needed while an alert of its item and generation is open, or something of it is owed."""
    at_parcel = parcel.alias("at_parcel")
    matter_open = exists().where(alert.c.item == thread.c.item, alert.c.generation == thread.c.generation)
    matter_owed = exists().where(
        event.c.item == thread.c.item,
        event.c.generation == thread.c.generation,
        at_parcel.c.event == event.c.id,
        at_parcel.c.settled_at.is_(None),
    )
    old = select(*thread.primary_key).where(thread.c.at < older_than, ~matter_open, ~matter_owed)
    return old.limit(limit)


def _same_matter(other: Any) -> ColumnElement[bool]:
    return and_(*(other.c[name] == event.c[name] for name in _MATTER))
