"""What a change or a settlement writes, inside the transaction of whoever calls: at most one chunk at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

from sqlalchemy import Connection

from expiryd.core.model import Event, ItemState
from expiryd.core.silencing import Silence
from expiryd.store import journaling, statements
from expiryd.store.codec import alert_row, event_row, item_row, look_row, silence_row
from expiryd.store.port import Fate, Look, Outcome, Settlement
from expiryd.store.schema import key


def remember(connection: Connection, states: Sequence[ItemState]) -> None:
    """Upsert the items and replace their alerts."""
    kept = {(key(open_.item), key(open_.aspect)) for state in states for open_ in state.alerts}
    ended: defaultdict[str, list[str]] = defaultdict(list)
    for known in statements.alerts_of(connection, items=[key(state.id) for state in states]):
        if (known.item, known.aspect) not in kept:
            ended[known.aspect].append(known.item)
    for aspect, keys in ended.items():
        statements.end_alerts(connection, aspect=aspect, items=keys)
    statements.remember_items(connection, map(item_row, states))
    _remember_alerts(connection, states)


def rejudge(connection: Connection, states: Sequence[ItemState]) -> None:
    """Their severity, and alerts that are new or changed."""
    by_severity: defaultdict[int, list[str]] = defaultdict(list)
    for state in states:
        by_severity[int(state.severity)].append(key(state.id))
    for severity, keys in by_severity.items():
        statements.judge_items(connection, is_now=severity, items=keys)
    _remember_alerts(connection, states)


def _remember_alerts(connection: Connection, states: Sequence[ItemState]) -> None:
    rows = (alert_row(open_, place) for state in states for place, open_ in enumerate(state.alerts))
    statements.remember_alerts(connection, rows)


def owe(connection: Connection, events: Sequence[tuple[Event, tuple[str, ...]]], due: datetime | None) -> None:
    """Number the events, and owe each to its notifiers."""
    last: int = statements.number_events.scalar(connection, count=len(events))
    ids = range(last - len(events) + 1, last + 1)
    rows = (event_row(happened, id_) for id_, (happened, _) in zip(ids, events, strict=True))
    statements.note_events(connection, rows)
    journaling.happened(connection, events, ids)
    # what is owed to the same ones is owed with one statement, however much it is
    for notifiers, run in groupby(zip(ids, events, strict=True), key=lambda each: tuple(dict.fromkeys(each[1][1]))):
        numbers = [id_ for id_, _ in run]
        for notifier in notifiers:
            statements.owe(connection, to=notifier, first=numbers[0], last=numbers[-1], due=due)


def note(connection: Connection, looked: Look) -> None:
    """For history, and as the last look of its collector."""
    row = look_row(looked)
    statements.note_look(connection, **row)
    journaling.looked(connection, looked)
    good_at = looked.finished_at if looked.outcome is Outcome.COMPLETE else None
    statements.note_last_look(connection, **row, good_at=good_at)


def settle(connection: Connection, notifier: str, ids: Sequence[int], by: Settlement) -> None:
    journaling.settled(connection, notifier, ids, by)
    statements.settle(connection, ids=ids, notifier=notifier, becomes=by.fate, at=by.at, why=by.reason, shown=by.proof)
    if stamp := statements.stamps.get(by.fate):
        stamp(connection, ids=ids, at=by.at)
    if by.fate is Fate.DELIVERED:
        statements.page(connection, ids=ids, at=by.at)


def keep_silences(connection: Connection, silences: Sequence[Silence]) -> None:
    for kept in silences:
        statements.keep_silence(connection, **silence_row(kept))


def keep_thread(connection: Connection, notifier: str, by: Settlement) -> None:
    if by.thread is not None:
        about, generation, reference = by.thread
        statements.keep_thread(
            connection, notifier=notifier, item=about, generation=generation, reference=reference, at=by.at
        )
