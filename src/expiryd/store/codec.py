"""Values to rows and back, exactly: what people search for is a column, the rest is one JSON text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from sys import intern
from types import MappingProxyType
from typing import Any

from expiryd.core.matching import Matcher
from expiryd.core.model import (
    NO_LABELS,
    NO_TRAITS,
    Ack,
    Alert,
    Basis,
    Event,
    EventKind,
    Finding,
    Generation,
    ItemId,
    ItemState,
    Lifetime,
    Measure,
    Observation,
    Served,
    Severity,
    Traits,
)
from expiryd.core.silencing import Silence
from expiryd.store.port import Entry, Look, Outcome, Parcel
from expiryd.store.schema import escape, from_micros, key, shorten, to_micros, unescape

_MICROSECOND = timedelta(microseconds=1)
_SEVERITY = {int(severity): severity for severity in Severity}
_BASIS = {basis.value: basis for basis in Basis}
_encode = json.JSONEncoder(separators=(",", ":")).encode
# Escaped to ASCII, so that NUL and lone surrogates pass through a text column of either database.


Row = Any
"""What was read, by the names of the columns: as it is stored, unless it says otherwise."""
Values = tuple[Any, ...]
"""A row as the driver takes it, in the order of the table's columns."""


class Memo:
    """Values that many items share, made once: 100,000 items of one category hold one Traits between them."""

    def __init__(self) -> None:
        self._traits: dict[tuple[str, str, str], Traits] = {}
        self._labels: dict[frozenset[tuple[str, str]], Mapping[str, str]] = {}
        self._moments: dict[datetime, datetime] = {}

    def traits(self, category: str, owner: str, rest: str) -> Traits:
        key = (category, owner, rest)
        known = self._traits.get(key)
        if known is None:
            known = self._traits[key] = _traits_of(category, owner, json.loads(rest), self)
        return known

    def labels(self, labels: Mapping[str, str]) -> Mapping[str, str]:
        if not labels:
            return NO_LABELS
        key = frozenset(labels.items())
        return self._labels.setdefault(key, MappingProxyType({intern(k): intern(v) for k, v in labels.items()}))

    def moment(self, moment: datetime) -> datetime:
        return self._moments.setdefault(moment, moment)


# ── items ─────────────────────────────────────────────────────────────────────────────────────────────


def item_row(state: ItemState) -> Values:
    seen = state.observation
    lifetime = seen.lifetime
    return (
        key(state.id),
        key(state.collector),
        escape(seen.kind),
        escape(seen.title),
        escape(seen.traits.category),
        escape(seen.traits.owner),
        int(state.severity),
        _micros(lifetime.expires_at) if lifetime else None,
        _micros(lifetime.issued_at) if lifetime else None,
        lifetime.basis.value if lifetime else None,
        escape(seen.generation),
        to_micros(state.first_seen),
        _micros(state.rotated_at),
        state.blind_looks,
        _traits_text(seen.traits),
        _detail_text(state),
    )


def item_state(row: Row, alerts: Sequence[Row], memo: Memo) -> ItemState:
    detail = json.loads(row.detail) if row.detail != "{}" else {}
    collector = intern(detail.get("collector") or unescape(row.collector))
    item = ItemId(detail.get("item") or unescape(row.item))
    local = detail.get("id")
    return ItemState(
        id=item,
        collector=collector,
        observation=Observation(
            id=item[len(collector) + 1 :] if local is None else local,
            kind=intern(unescape(row.kind)),
            title=unescape(row.title),
            lifetime=_lifetime(row, detail),
            generation=unescape(row.generation),
            findings=tuple(Finding(code, _SEVERITY[level], text) for code, level, text in detail.get("findings", ())),
            measures=tuple(Measure(*measure) for measure in detail.get("measures", ())),
            traits=memo.traits(unescape(row.category), unescape(row.owner), row.traits),
            fingerprint=detail.get("fingerprint", ""),
            identity=detail.get("identity", ""),
            served=tuple(_served(*served) for served in detail.get("served", ())),
        ),
        severity=_SEVERITY[row.severity],
        first_seen=memo.moment(from_micros(row.first_seen)),
        rotated_at=moment(row.rotated_at),
        blind_looks=row.blind_looks,
        alerts=tuple(_alert(alert, item) for alert in alerts),
        past=tuple(_generation(*was) for was in detail.get("past", ())),
        took=tuple(timedelta(microseconds=span) for span in detail.get("took", ())),
    )


def _detail_text(state: ItemState) -> str:
    seen, lifetime = state.observation, state.observation.lifetime
    not_before = lifetime.not_before if lifetime else None
    span = lifetime.span if lifetime else None
    return _encode_known(
        item=state.id if shorten(state.id) != state.id else None,
        collector=state.collector if shorten(state.collector) != state.collector else None,
        id=seen.id if f"{state.collector}/{seen.id}" != state.id else None,
        not_before=None if not_before is None else to_micros(not_before),
        span=None if span is None else span // _MICROSECOND,
        findings=[(f.code, int(f.severity), f.detail) for f in seen.findings] or None,
        measures=[(m.name, m.value, m.unit, m.warning, m.critical, m.higher_is_worse) for m in seen.measures] or None,
        fingerprint=seen.fingerprint or None,
        identity=seen.identity or None,
        served=[_served_row(served) for served in seen.served] or None,
        past=[_generation_row(was) for was in state.past] or None,
        took=[took // _MICROSECOND for took in state.took] or None,
    )


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else to_micros(moment)


def moment(micros: int | None) -> datetime | None:
    """As it is stored, to itself."""
    return None if micros is None else from_micros(micros)


def _encode_known(**values: Any) -> str:
    known = {key: value for key, value in values.items() if value is not None}
    return _encode(known) if known else "{}"


def _served_row(served: Served) -> list[Any]:
    ends = None if served.expires_at is None else to_micros(served.expires_at)
    return [served.fingerprint, ends, served.addresses]


def _served(fingerprint: str, ends: int | None, addresses: list[str]) -> Served:
    return Served(fingerprint, None if ends is None else from_micros(ends), tuple(addresses))


def _generation_row(was: Generation) -> list[Any]:
    ends = None if was.expires_at is None else to_micros(was.expires_at)
    return [was.name, to_micros(was.first_seen), to_micros(was.last_seen), ends, was.fingerprint]


def _generation(name: str, first: int, last: int, ends: int | None, fingerprint: str) -> Generation:
    expires_at = None if ends is None else from_micros(ends)
    return Generation(name, from_micros(first), from_micros(last), expires_at, fingerprint)


def _lifetime(row: Row, detail: Mapping[str, Any]) -> Lifetime | None:
    if row.basis is None:
        return None
    not_before, span = detail.get("not_before"), detail.get("span")
    return Lifetime(
        expires_at=moment(row.expires_at),
        issued_at=moment(row.issued_at),
        not_before=None if not_before is None else from_micros(not_before),
        basis=_BASIS[row.basis],
        span=None if span is None else timedelta(microseconds=span),
    )


# ── traits ────────────────────────────────────────────────────────────────────────────────────────────


def _traits_text(traits: Traits) -> str:
    rest: dict[str, Any] = {}
    if traits.runbook:
        rest["runbook"] = traits.runbook
    if traits.used_by:
        rest["used_by"] = traits.used_by
    if traits.labels:
        rest["labels"] = dict(sorted(traits.labels.items()))  # equal labels are the same text: see Memo
    return _encode(rest) if rest else "{}"


def _traits_of(category: str, owner: str, rest: Mapping[str, Any], memo: Memo) -> Traits:
    if not (category or owner or rest):
        return NO_TRAITS
    return Traits(
        category=category,
        owner=owner,
        runbook=rest.get("runbook", ""),
        used_by=tuple(rest.get("used_by", ())),
        labels=memo.labels(rest.get("labels", {})),
    )


# ── alerts ────────────────────────────────────────────────────────────────────────────────────────────


def alert_row(alert: Alert, place: int) -> Values:
    return (
        key(alert.item),
        key(alert.aspect),
        place,
        escape(alert.generation),
        int(alert.severity),
        to_micros(alert.opened_at),
        to_micros(alert.asked_at),
        _micros(alert.told_at),
        _micros(alert.failed_at),
        escape(alert.detail),
        escape(alert.rung),
        _micros(alert.risen_at),
        _micros(alert.paged_at),
        alert.escalated,
        None if alert.ack is None else _ack_text(alert.ack),
    )


def _alert(row: Row, item: ItemId) -> Alert:
    return Alert(
        item=item,
        aspect=intern(unescape(row.aspect)),
        generation=unescape(row.generation),
        severity=_SEVERITY[row.severity],
        opened_at=from_micros(row.opened_at),
        asked_at=from_micros(row.asked_at),
        told_at=moment(row.told_at),
        failed_at=moment(row.failed_at),
        detail=unescape(row.detail),
        rung=intern(unescape(row.rung)),
        risen_at=moment(row.risen_at),
        paged_at=moment(row.paged_at),
        escalated=row.escalated,
        ack=None if row.ack is None else _ack(*json.loads(row.ack)),
    )


def _ack_text(ack: Ack) -> str:
    until = None if ack.until is None else to_micros(ack.until)
    return _encode([ack.actor, to_micros(ack.at), ack.reason, until, ack.until_renewed])


def _ack(actor: str, at: int, reason: str, until: int | None, until_renewed: bool) -> Ack:
    return Ack(actor, from_micros(at), reason, None if until is None else from_micros(until), until_renewed)


# ── events ────────────────────────────────────────────────────────────────────────────────────────────


def event_row(event: Event, id_: int) -> Values:
    return (
        id_,
        event.kind.value,
        to_micros(event.at),
        key(event.item),
        key(event.aspect),
        escape(event.generation),
        int(event.severity),
        _payload_text(event),
    )


def _payload_text(event: Event) -> str:
    traits = event.traits
    return _encode_known(
        collector=event.collector,
        before=int(event.before),
        title=event.title,
        item_kind=event.item_kind or None,
        expires_at=None if event.expires_at is None else to_micros(event.expires_at),
        issued_at=None if event.issued_at is None else to_micros(event.issued_at),
        basis=None if event.basis is None else event.basis.value,
        detail=event.detail or None,
        traits=None if traits == NO_TRAITS else [traits.category, traits.owner, _traits_text(traits)],
        rung=event.rung or None,
        is_first=event.is_first or None,
        notify=event.notify or None,
        places=event.places or None,
        item=event.item if shorten(event.item) != event.item else None,
        aspect=event.aspect if shorten(event.aspect) != event.aspect else None,
    )


def event_of(row: Row, memo: Memo) -> Event:
    payload = json.loads(row.payload)
    expires_at, issued_at = payload.get("expires_at"), payload.get("issued_at")
    basis, traits = payload.get("basis"), payload.get("traits")
    return Event(
        kind=EventKind(row.kind),
        at=memo.moment(from_micros(row.at)),
        item=ItemId(payload.get("item") or unescape(row.item)),
        collector=intern(payload["collector"]),
        aspect=intern(payload.get("aspect") or unescape(row.aspect)),
        generation=unescape(row.generation),
        severity=_SEVERITY[row.severity],
        before=_SEVERITY[payload["before"]],
        title=payload["title"],
        item_kind=intern(payload.get("item_kind", "")),
        expires_at=None if expires_at is None else memo.moment(from_micros(expires_at)),
        issued_at=None if issued_at is None else memo.moment(from_micros(issued_at)),
        basis=None if basis is None else _BASIS[basis],
        detail=payload.get("detail", ""),
        traits=memo.traits(*traits) if traits else NO_TRAITS,
        rung=payload.get("rung", ""),
        is_first=payload.get("is_first", False),
        notify=tuple(payload.get("notify", ())),
        places=tuple(map(ItemId, payload.get("places", ()))),
    )


def parcel_of(row: Row, notifier: str, memo: Memo) -> Parcel:
    return Parcel(
        id=row.parcel,
        notifier=notifier,
        event=event_of(row, memo),
        attempts=row.attempts,
        created_at=memo.moment(from_micros(row.created_at)),
        batch=None if row.batch is None else unescape(row.batch),
        told=bool(row.told),
        reason=unescape(row.reason),
    )


# ── looks ─────────────────────────────────────────────────────────────────────────────────────────────


def look_row(look: Look) -> dict[str, Any]:
    return {
        "collector": look.collector,
        "started_at": look.started_at,
        "finished_at": look.finished_at,
        "outcome": look.outcome,
        "items": look.items,
        "reason": look.reason,
    }


def look_of(row: Row) -> Look:
    """Of a row with Python's own values."""
    return Look(row.collector, row.started_at, row.finished_at, Outcome(row.outcome), row.items, row.reason)


# ── silences ──────────────────────────────────────────────────────────────────────────────────────────


def silence_row(silence: Silence) -> dict[str, Any]:
    return {
        "id": silence.id,
        "matcher": _encode(silence.matcher.said),
        "starts_at": silence.starts_at,
        "ends_at": silence.ends_at,
        "actor": silence.actor,
        "reason": silence.reason,
        "created_at": silence.created_at,
    }


def silence_of(row: Row) -> Silence:
    """Of a row with Python's own values."""
    matcher = Matcher.read(json.loads(row.matcher))
    return Silence(matcher, row.starts_at, row.ends_at, row.actor, row.reason, row.created_at, row.id)


# ── the audit trail ───────────────────────────────────────────────────────────────────────────────────


def entry_row(entry: Entry) -> Values:
    return (
        to_micros(entry.at),
        escape(entry.actor),
        escape(entry.action),
        escape(entry.item),
        _encode(dict(entry.detail)) if entry.detail else "{}",
    )


def entry_of(row: Row) -> Entry:
    actor, action, about = unescape(row.actor), unescape(row.action), unescape(row.item)
    return Entry(from_micros(row.at), actor, action, about, json.loads(row.detail), row.seq)
