"""Settle an observation: lay what people and rules say over what was seen, so that it can be judged and kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from expiryd.core.duration import later
from expiryd.core.model import Basis, Lifetime, Observation
from expiryd.core.rules import Resolved

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
    base = found or Lifetime()
    issued = item.issued_at or base.issued_at
    if item.never_expires:
        return replace(base, expires_at=None, issued_at=issued, basis=Basis.NONE)
    if item.expires_at is not None:
        return replace(base, expires_at=item.expires_at, issued_at=issued, basis=Basis.TYPED)
    if base.expires_at is not None or base.basis is Basis.NONE:
        return found
    span = base.span or by.rules.lifetime
    if span is None or (found is None and not seen.generation):
        return found
    issued = max((at for at in (issued, rotated_at) if at is not None), default=None)
    expires = None if issued is None else later(issued, span)
    return replace(base, expires_at=expires, issued_at=issued, basis=Basis.POLICY, span=span)
