"""The statements that are run all the time, in the SQL that SQLite and PostgreSQL share, and the long ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Table,
    Text,
    Update,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    type_coerce,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from expiryd.core.model import SELF, EventKind
from expiryd.store.port import CHANGED, Fate
from expiryd.store.prepared import POSTGRESQL, Prepared, Rows, among
from expiryd.store.schema import (
    Instant,
    alert,
    collector,
    event,
    installation,
    item,
    journal,
    look,
    owed,
    parcel,
    silence,
    thread,
    trail,
)

_CLOSING = [kind for kind in EventKind if kind.closes]
_STAMPS = ("told_at", "failed_at")
_MATTER = ("item", "aspect", "generation")

Upsert = postgresql.Insert | sqlite.Insert


def _moment(name: str) -> Any:
    return bindparam(name, type_=Instant())


_notifier = bindparam("notifier", type_=parcel.c.notifier.type)

# ── what is known of items ────────────────────────────────────────────────────────────────────────────


def _upsert(database: str, table: Table, special: Mapping[str, ColumnElement[Any]] | None = None) -> Upsert:
    """An insert that overwrites the row of the same primary key."""
    return _overwrite(_insert(database, table), table, special or {})


def _upsert_alert(database: str) -> Upsert:
    """A stamp that a delivery set meanwhile outlives a cycle that has not heard of it."""
    statement = _insert(database, alert)
    special = {stamp: _later(statement, stamp) for stamp in _STAMPS}
    return _overwrite(statement, alert, special | {"paged_at": _paged(statement)})


def _upsert_collector(database: str) -> Upsert:
    """A look that was not complete leaves the time of the last complete one."""
    statement = _insert(database, collector)
    return _overwrite(statement, collector, {"good_at": func.coalesce(statement.excluded.good_at, collector.c.good_at)})


def _insert(database: str, table: Table) -> Upsert:
    return postgresql.insert(table) if database == POSTGRESQL else sqlite.insert(table)


def _overwrite(statement: Upsert, table: Table, special: Mapping[str, ColumnElement[Any]]) -> Upsert:
    fresh = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    overwriting: Upsert = statement.on_conflict_do_update(index_elements=table.primary_key, set_={**fresh, **special})
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


remember_items = Rows(lambda database: _upsert(database, item), item.c.keys())
remember_alerts = Rows(_upsert_alert, alert.c.keys())
alerts_of = Prepared(
    lambda database: select(alert.c.item, alert.c.aspect).where(among(database, alert.c.item, "items"))
)
end_alerts = Prepared(
    lambda database: delete(alert).where(
        alert.c.aspect == bindparam("aspect", type_=Text()), among(database, alert.c.item, "items")
    )
)
judge_items = Prepared(
    lambda database: update(item).where(among(database, item.c.item, "items")).values(severity=bindparam("is_now"))
)
forget_items = Prepared(lambda database: delete(item).where(among(database, item.c.item, "items")))
_items = select(item).order_by(item.c.item).limit(bindparam("limit"))
items_first = Prepared(lambda _: _items)
items_after = Prepared(lambda _: _items.where(item.c.item > bindparam("last")))
alerts_by_item = Prepared(lambda _: select(alert).order_by(alert.c.item, alert.c.place))

# ── what happened, and who is to be told ──────────────────────────────────────────────────────────────

note_look = Prepared(lambda _: insert(look), [column.name for column in look.c if column is not look.c.id])
note_last_look = Prepared(_upsert_collector)
number_events = Prepared(
    lambda _: (
        update(installation)
        .values(last_event=installation.c.last_event + bindparam("count", type_=Integer))
        .returning(installation.c.last_event)
    )
)
note_events = Rows(lambda _: insert(event), event.c.keys())
note_entries = Rows(lambda _: insert(journal), [column.name for column in journal.c if column is not journal.c.seq])


def _owing(_: str) -> Any:
    columns = {
        "event": event.c.id,
        "notifier": bindparam("to", type_=parcel.c.notifier.type),
        "fate": literal(Fate.PENDING, parcel.c.fate.type),
        "due_at": func.coalesce(_moment("due"), event.c.at),
        "attempts": literal(0),
        "reason": literal("", parcel.c.reason.type),
        "proof": literal("", parcel.c.proof.type),
        "created_at": event.c.at,
    }
    numbered = event.c.id.between(bindparam("first"), bindparam("last"))
    return insert(parcel).from_select(list(columns), select(*columns.values()).where(numbered).order_by(event.c.id))


owe = Prepared(_owing)
"""A parcel for each of the events with these numbers. Without `due` each is due when it happened."""

# ── the outbox ────────────────────────────────────────────────────────────────────────────────────────

_mine = and_(parcel.c.notifier == _notifier, owed)


def _takeable(horizon: bool) -> Select[Any]:
    due = parcel.alias("due")
    notifier, now, until = _notifier, _moment("now"), _moment("horizon")
    anything = exists().where(due.c.notifier == notifier, due.c.settled_at.is_(None), due.c.due_at <= now)
    wanted = [_mine, or_(parcel.c.fate == Fate.PENDING, parcel.c.due_at <= now), anything]
    if horizon:
        soon, about, own = parcel.alias("soon"), event.alias("about"), event.alias("own")
        items = (
            select(about.c.item)
            .join_from(soon, about, soon.c.event == about.c.id)
            .where(soon.c.notifier == notifier, soon.c.settled_at.is_(None), soon.c.due_at <= until)
        )
        kin = select(own.c.id).where(own.c.id == parcel.c.event, own.c.item.in_(items)).correlate(parcel)
        wanted.append(or_(parcel.c.due_at <= until, kin.exists()))
    these = select(parcel.c.id).where(*wanted).order_by(parcel.c.id).limit(bindparam("limit"))
    return these.with_for_update(skip_locked=True)


takeable = Prepared(lambda _: _takeable(horizon=False))
"""Ids of what may be leased now, and nothing while nothing is due. Another's row is passed over, not waited for."""
takeable_soon = Prepared(lambda _: _takeable(horizon=True))


def _parcels(database: str) -> Select[Any]:
    earlier, closing, proof = event.alias("earlier"), event.alias("closing"), parcel.alias("proof")
    closed = (
        select(func.coalesce(func.max(closing.c.id), 0))
        .where(_same_matter(closing), or_(*(closing.c.kind == kind for kind in _CLOSING)), closing.c.id < event.c.id)
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
        .where(among(database, parcel.c.id, "ids"))
        .order_by(parcel.c.id)
    )


def _same_matter(other: Any) -> ColumnElement[bool]:
    return and_(*(other.c[name] == event.c[name] for name in _MATTER))


parcels = Prepared(_parcels)
"""Parcels with their events and `told`: whether this notifier was told of the matter since it was last closed."""


def _these(database: str) -> ColumnElement[bool]:
    """Those with these numbers that are still owed. Nothing but the number may lead SQLite to them.

    Otherwise it takes an index over all that was ever owed to the notifier.
    """
    return and_(among(database, parcel.c.id, "ids"), case((_mine, 1), else_=0) == 1)


def _of_mine(database: str, **values: Any) -> Update:
    return update(parcel).where(_these(database)).values(values)


lease = Prepared(
    lambda database: (
        update(parcel)
        .where(among(database, parcel.c.id, "ids"))
        .values(fate=Fate.LEASED, due_at=_moment("until"), attempts=parcel.c.attempts + 1)
    )
)
dispatch = Prepared(lambda database: _of_mine(database, batch=bindparam("key"), due_at=_moment("until")))
postpone = Prepared(
    lambda database: _of_mine(
        database, fate=Fate.PENDING, due_at=_moment("due"), reason=bindparam("why"), batch=bindparam("key")
    )
)
release = Prepared(
    lambda database: _of_mine(database, fate=Fate.PENDING, due_at=parcel.c.created_at).where(
        case((parcel.c.fate == Fate.LEASED, 1), else_=0) == 1
    )
)
hold = Prepared(
    lambda database: _of_mine(
        database,
        fate=Fate.PENDING,
        due_at=_moment("until"),
        created_at=_moment("until"),
        reason=bindparam("why"),
        batch=None,
        attempts=parcel.c.attempts - 1,
    )
)
settle = Prepared(
    lambda database: _of_mine(
        database,
        fate=bindparam("becomes"),
        settled_at=_moment("at"),
        reason=bindparam("why"),
        proof=bindparam("shown"),
    )
)
next_due = Prepared(lambda _: select(func.min(parcel.c.due_at).label("due")).where(_mine))


def _in_hand(database: str, *but: ColumnElement[bool]) -> Select[Any]:
    of_mine = select(parcel.c.event, event.c.item).join_from(parcel, event)
    return of_mine.where(_these(database), *but).order_by(parcel.c.event)


in_hand = Prepared(_in_hand)
in_hand_anew = Prepared(lambda database: _in_hand(database, parcel.c.reason != bindparam("known")))


def _their_matters(database: str) -> ColumnElement[bool]:
    """Whether the alert is one that these parcels are about."""
    about = select(*(event.c[name] for name in _MATTER)).join_from(parcel, event)
    return tuple_(*(alert.c[name] for name in _MATTER)).in_(about.where(among(database, parcel.c.id, "ids")))


def _stamp(database: str, name: str) -> Update:
    column, at = alert.c[name], _moment("at")
    earlier = or_(column.is_(None), column < at)
    return update(alert).where(_their_matters(database), earlier).values({name: at})


def _page(database: str) -> Update:
    first = or_(alert.c.paged_at.is_(None), alert.c.paged_at < func.coalesce(alert.c.risen_at, alert.c.opened_at))
    return update(alert).where(_their_matters(database), first).values(paged_at=_moment("at"))


stamps = {
    Fate.DELIVERED: Prepared(lambda database: _stamp(database, "told_at")),
    Fate.DEAD: Prepared(lambda database: _stamp(database, "failed_at")),
}
"""On the alerts that parcels of this fate were about. A stamp never goes back."""
page = Prepared(_page)
"""Likewise: the first delivery since the matter opened or rose."""


def _sent(_: str) -> Select[Any]:
    columns = (parcel.c.settled_at, parcel.c.batch)
    counted = func.sum(case((or_(event.c.item.not_like("%/%"), event.c.item.like(f"{SELF}/%")), 0), else_=1))
    worst = func.max(event.c.severity)
    totals = select(*columns, worst.label("severity"), counted.label("counted")).join_from(parcel, event)
    return totals.where(_delivered()).group_by(*columns).order_by(*columns)


def _sent_matters(_: str) -> Select[Any]:
    at_hand, about = parcel.alias("at_hand"), event.alias("about")
    leased = (
        select(about.c.item)
        .join_from(at_hand, about, at_hand.c.event == about.c.id)
        .where(at_hand.c.notifier == _notifier, at_hand.c.settled_at.is_(None), at_hand.c.fate == Fate.LEASED)
    )
    columns = (parcel.c.settled_at, parcel.c.batch, event.c.item, event.c.aspect)
    return select(*columns).join_from(parcel, event).where(_delivered(), event.c.item.in_(leased))


def _delivered() -> ColumnElement[bool]:
    return and_(
        parcel.c.notifier == _notifier,
        parcel.c.fate == Fate.DELIVERED,
        parcel.c.settled_at >= _moment("since"),
    )


sent = Prepared(_sent)
"""Delivered messages with the worst they told of, oldest first; `counted`: what is not about the daemon itself."""
sent_matters = Prepared(_sent_matters)
"""What those messages were about, as far as something of the same items is leased now."""


def _conversations(_: str) -> Select[Any]:
    open_ = select(alert.c.item, alert.c.generation, alert.c.severity)
    end_owed = select(event.c.item, event.c.generation, literal(0)).join_from(parcel, event).where(_mine)
    matter = union_all(open_, end_owed).subquery("matter")  # few, where threads are kept for long
    columns = (thread.c.item, thread.c.generation)
    about = and_(
        thread.c.notifier == _notifier, thread.c.item == matter.c.item, thread.c.generation == matter.c.generation
    )
    # an outer join, so that SQLite begins with the matters
    mine = select(*columns, func.max(matter.c.severity).label("severity")).join_from(
        matter, thread, about, isouter=True
    )
    return mine.where(func.coalesce(thread.c.reference, "") != "").group_by(*columns).order_by(func.min(thread.c.at))


conversations = Prepared(_conversations)
"""Threads with the severity of what is open in them, 0 when only their end is owed."""
threads = Prepared(
    lambda database: select(thread.c.item, thread.c.generation, thread.c.reference).where(
        thread.c.notifier == _notifier, among(database, thread.c.item, "items")
    )
)
keep_thread = Prepared(lambda database: _upsert(database, thread))
keep_silence = Prepared(lambda database: _upsert(database, silence))


def outbox_counts() -> Select[Any]:
    columns = (parcel.c.notifier, parcel.c.fate)
    return select(*columns, func.count().label("parcels"), func.max(parcel.c.settled_at).label("last")).group_by(
        *columns
    )


# ── what people ask, and the audit trail ──────────────────────────────────────────────────────────────

events_before = Prepared(
    lambda _: (
        select(event).where(event.c.id < bindparam("before")).order_by(event.c.id.desc()).limit(bindparam("limit"))
    )
)
fates = Prepared(
    lambda database: (
        select(parcel.c.event, parcel.c.notifier, parcel.c.fate, parcel.c.proof, parcel.c.reason)
        .where(among(database, parcel.c.event, "ids"))
        .order_by(parcel.c.id)
    )
)
entries = Prepared(lambda _: select(journal).order_by(journal.c.seq).limit(bindparam("limit")))
oldest_change = Prepared(lambda _: select(journal).where(journal.c.action == CHANGED).order_by(journal.c.seq).limit(1))
end_entries = Prepared(lambda _: delete(journal).where(journal.c.seq <= bindparam("upto")))
trail_head = Prepared(lambda _: select(trail.c.seq, trail.c.hash))
mark_trail = Prepared(lambda database: _upsert(database, trail))

# ── a clock that was set back ─────────────────────────────────────────────────────────────────────────


def set_back(now: datetime, by: timedelta) -> Iterator[Update]:
    """Moments after `now` were earlier by `by`. A silence is moved as a whole if the wrong clock was asked for it."""
    moved: Mapping[Table, Sequence[str]] = {
        alert: ("opened_at", "asked_at", "told_at", "failed_at", "risen_at", "paged_at"),
        parcel: ("due_at", "created_at", "settled_at"),
        event: ("at",),
        thread: ("at",),
        look: ("started_at", "finished_at"),
        collector: ("started_at", "finished_at", "good_at"),
    }

    def earlier(table: Table, *names: str) -> Mapping[str, Any]:
        return {name: type_coerce(table.c[name], BigInteger) + by // timedelta(microseconds=1) for name in names}

    for table, names in moved.items():
        for name in names:
            yield update(table).where(table.c[name] > now).values(earlier(table, name))
    yield (
        update(silence).where(silence.c.created_at > now).values(earlier(silence, "created_at", "starts_at", "ends_at"))
    )


# ── pruning ───────────────────────────────────────────────────────────────────────────────────────────


def old_events(older_than: datetime, limit: int, unread: int | None = None) -> Select[Any]:
    """Ids of events all of whose parcels were settled before, and whose matter is over.

    `unread`: from this number on they are still to be read for the audit trail.

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
    if unread is not None:
        old = old.where(event.c.id < unread)
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
