"""States and events for the tests of the store: small ones by hand, and arbitrary ones by hypothesis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st

from expiryd.core.model import (
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
    Severity,
    Traits,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def state(name: str = "a", *, generation: str = "g1", alerts: tuple[Alert, ...] = ()) -> ItemState:
    lifetime = Lifetime(NOW + 30 * DAY, NOW - 60 * DAY)
    seen = Observation(name, "certificate", f"CN={name}", lifetime, generation)
    return ItemState(ItemId(f"tls/{name}"), "tls", seen, Severity.WARNING, NOW, alerts=alerts)


def alert(name: str = "a", aspect: str = "expiry", *, generation: str = "g1", told: datetime | None = None) -> Alert:
    return Alert(ItemId(f"tls/{name}"), aspect, generation, Severity.WARNING, NOW, NOW, told, paged_at=told)


def event(
    kind: EventKind = EventKind.RAISED,
    name: str = "a",
    *,
    at: datetime = NOW,
    aspect: str = "expiry",
    generation: str = "g1",
) -> Event:
    return Event(
        kind, at, ItemId(f"tls/{name}"), "tls", aspect, generation, Severity.WARNING, Severity.HEALTHY, f"CN={name}"
    )


# ── anything ──────────────────────────────────────────────────────────────────────────────────────────

# every character, and the lone surrogates that stand for bytes of file names that are not UTF-8
texts = st.text(
    st.characters(exclude_categories=("Cs",)) | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF), max_size=20
)
_far = st.datetimes(timezones=st.just(UTC))
_local = st.datetimes(
    min_value=datetime(1900, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours))),
)
moments = _far | _local
_severities = st.sampled_from(Severity)
_numbers = st.floats(allow_nan=False) | st.integers(-(10**9), 10**9)
_maybe = st.none() | moments
lifetimes = st.builds(
    Lifetime,
    expires_at=_maybe,
    issued_at=_maybe,
    not_before=_maybe,
    basis=st.sampled_from(Basis),
    span=st.none() | st.timedeltas(),
)
traits = st.builds(
    Traits,
    category=texts,
    owner=texts,
    runbook=texts,
    used_by=st.lists(texts, max_size=3).map(tuple),
    labels=st.dictionaries(texts, texts, max_size=3),
)
_measures = st.builds(
    Measure,
    name=texts,
    value=_numbers,
    unit=texts,
    warning=st.none() | _numbers,
    critical=st.none() | _numbers,
    higher_is_worse=st.booleans(),
)
observations = st.builds(
    Observation,
    id=texts,
    kind=texts,
    title=texts,
    lifetime=st.none() | lifetimes,
    generation=texts,
    findings=st.lists(st.builds(Finding, code=texts, severity=_severities, detail=texts), max_size=3).map(tuple),
    measures=st.lists(_measures, max_size=3).map(tuple),
    traits=traits,
    fingerprint=texts,
    identity=texts,
)
_acks = st.builds(Ack, actor=texts, at=moments, reason=texts, until=_maybe, until_renewed=st.booleans())
_generations = st.builds(
    Generation, name=texts, first_seen=moments, last_seen=moments, expires_at=_maybe, fingerprint=texts
)


@st.composite
def states(draw: st.DrawFn) -> ItemState:
    collector, seen = draw(texts), draw(observations)
    item = ItemId(draw(st.sampled_from([f"{collector}/{seen.id}", collector])))
    opened = st.builds(
        Alert,
        item=st.just(item),
        aspect=texts,
        generation=texts,
        severity=_severities,
        opened_at=moments,
        asked_at=moments,
        told_at=_maybe,
        failed_at=_maybe,
        detail=texts,
        rung=texts,
        risen_at=_maybe,
        paged_at=_maybe,
        escalated=st.integers(0, 100),
        ack=st.none() | _acks,
    )
    return ItemState(
        id=item,
        collector=collector,
        observation=seen,
        severity=draw(_severities),
        first_seen=draw(moments),
        rotated_at=draw(_maybe),
        blind_looks=draw(st.integers(0, 10_000)),
        alerts=tuple(draw(st.lists(opened, max_size=3, unique_by=lambda open_: open_.aspect))),
        past=tuple(draw(st.lists(_generations, max_size=3))),
        took=tuple(draw(st.lists(st.timedeltas(), max_size=3))),
    )


events = st.builds(
    Event,
    kind=st.sampled_from(EventKind),
    at=moments,
    item=texts,
    collector=texts,
    aspect=texts,
    generation=texts,
    severity=_severities,
    before=_severities,
    title=texts,
    item_kind=texts,
    expires_at=_maybe,
    issued_at=_maybe,
    basis=st.none() | st.sampled_from(Basis),
    detail=texts,
    traits=traits,
    rung=texts,
    is_first=st.booleans(),
    notify=st.lists(texts, max_size=2).map(tuple),
    places=st.lists(texts, max_size=2).map(tuple),
)
