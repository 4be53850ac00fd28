"""Settle an observation: lay what people and rules say over what was seen, so that it can be judged and kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from expiryd.core.model import Basis, Lifetime, Observation
from expiryd.core.rules import Resolved

END_OF_TIME = datetime.max.replace(tzinfo=UTC)
_FIRM = frozenset({Basis.VERIFIED, Basis.EMBEDDED, Basis.TTL})


def settle(seen: Observation, by: Resolved, rotated_at: datetime | None) -> Observation:
    """The observation with its dates, title and traits decided.

    A date the thing itself carries beats a typed one, a typed one beats a store's record, and only what has no
    date at all gets one by rule. `rotated_at` is when a change of generation was witnessed.
    """
    lifetime = _lifetime(seen, by, rotated_at)
    title = by.item.title or seen.title
    if lifetime is seen.lifetime and title is seen.title and by.traits == seen.traits:
        return seen
    return replace(seen, lifetime=lifetime, title=title, traits=by.traits)


def _lifetime(seen: Observation, by: Resolved, rotated_at: datetime | None) -> Lifetime | None:
    found, item = seen.lifetime, by.item
    if found is not None and found.basis in _FIRM and found.expires_at is not None:
        return found
    if item.never_expires:
        return Lifetime(basis=Basis.NONE, issued_at=item.issued_at)
    if item.expires_at is not None:
        return Lifetime(expires_at=item.expires_at, issued_at=item.issued_at, basis=Basis.TYPED)
    if found is not None and (found.expires_at is not None or found.basis is Basis.NONE):
        return found
    span = (found.span if found is not None else None) or by.rules.lifetime
    if span is None or (found is None and not seen.generation):
        return found
    issued = _latest(item.issued_at or (found.issued_at if found else None), rotated_at)
    expires = None if issued is None else _later(issued, span)
    return Lifetime(expires_at=expires, issued_at=issued, basis=Basis.POLICY, span=span)


def _latest(*times: datetime | None) -> datetime | None:
    return max((time for time in times if time is not None), default=None)


def _later(start: datetime, span: timedelta) -> datetime:
    try:
        return start + span
    except OverflowError:
        return END_OF_TIME
