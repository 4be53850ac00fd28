"""Events to word, without what does not matter to the test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from expiryd.core.model import EXPIRY, NO_TRAITS, Basis, Event, EventKind, ItemId, Severity, Traits

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
DAY = timedelta(days=1)


def event(
    kind: EventKind = EventKind.RAISED,
    severity: Severity = Severity.WARNING,
    *,
    title: str = "AAR_TOKEN",
    item: str = "ci/AAR_TOKEN",
    item_kind: str = "token",
    aspect: str = EXPIRY,
    ends: timedelta | None = 12 * DAY,
    issued: timedelta | None = None,
    basis: Basis | None = Basis.EMBEDDED,
    before: Severity = Severity.HEALTHY,
    detail: str = "",
    traits: Traits = NO_TRAITS,
) -> Event:
    return Event(
        kind=kind,
        at=NOW,
        item=ItemId(item),
        collector=item.partition("/")[0],
        aspect=aspect,
        generation="g",
        severity=severity,
        before=before,
        title=title,
        item_kind=item_kind,
        expires_at=None if ends is None else NOW + ends,
        issued_at=None if issued is None else NOW + issued,
        basis=basis,
        detail=detail,
        traits=traits,
    )
