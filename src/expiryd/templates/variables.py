"""What a template may say: the facts of an event and of its message, and the names that older templates use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from types import MappingProxyType
from typing import Any

from markupsafe import Markup

from expiryd.core.duration import say_left
from expiryd.core.model import Event
from expiryd.core.render import MOST_LISTED, NOTHING_BEYOND, Wording, tally
from expiryd.core.wording import action, badge, facts, headline, plain, say_end


@dataclass(frozen=True, slots=True)
class Told:
    """One event as a template sees it. Every text is one harmless line; None: not known."""

    kind: str
    is_over: bool
    badge: str
    headline: str
    item: str
    title: str
    item_kind: str
    collector: str
    category: str
    aspect: str
    generation: str
    severity: str
    before: str
    days_left: int | None
    left: str
    expires_at: datetime | None
    issued_at: datetime | None
    at: datetime
    basis: str
    detail: str
    rung: str
    owner: str
    runbook: str
    used_by: tuple[str, ...]
    places: tuple[str, ...]
    labels: Mapping[str, str]
    action: str
    facts: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, event: Event, now: datetime) -> Told:
        traits, expires_at = event.traits, event.expires_at
        return cls(
            kind=event.kind.value,
            is_over=event.kind.closes,
            badge=badge(event),
            headline=headline(event, now),
            item=plain(event.item),
            title=plain(event.title),
            item_kind=plain(event.item_kind),
            collector=event.collector,
            category=plain(traits.category),
            aspect=plain(event.aspect),
            generation=plain(event.generation),
            severity=event.severity.word,
            before=event.before.word,
            days_left=(expires_at - now).days if expires_at else None,
            left=say_left(expires_at, now) if expires_at else "",
            expires_at=expires_at,
            issued_at=event.issued_at,
            at=event.at,
            basis=event.basis.value if event.basis else "",
            detail=plain(event.detail),
            rung=event.rung,
            owner=plain(traits.owner),
            runbook=plain(traits.runbook),
            used_by=tuple(map(plain, traits.used_by)),
            places=tuple(map(plain, event.places)),
            labels=MappingProxyType({plain(name): plain(value) for name, value in traits.labels.items()}),
            action="" if event.kind.closes else action(event.severity, event.aspect),
            facts=tuple(facts(event)),
        )


def variables(
    events: Sequence[Event], now: datetime, notifier: str, usual: Wording, beyond: Mapping[str, int] = NOTHING_BEYOND
) -> dict[str, Any]:
    """All variables by name. `events` most urgent first; the first of them is the one that the bare names are about.

    `beyond` are others that are only counted, as `tally` takes them.
    """
    count = len(events) + sum(beyond.values())
    told = [Told.of(event, now) for event in events[:MOST_LISTED]]
    first = told[0]
    return {
        **{field.name: getattr(first, field.name) for field in fields(Told)},
        **_of_old(first, events[0], now),
        "event": first,
        "events": tuple(told),
        "count": count,
        "more": count - len(told),
        "tally": tally(events, beyond),
        "now": now,
        "notifier": notifier,
        "subject": usual.subject,
        "text": usual.text,
        "html": Markup(usual.html),  # noqa: S704  # made by core.render, which has escaped every value
    }


def _of_old(told: Told, event: Event, now: datetime) -> dict[str, str]:
    """The names in the templates of the shell scripts that this daemon takes the place of."""
    if told.is_over:
        timeline = "Nothing is left to do."
    elif event.expires_at is None:
        timeline = "No end is known: find out when it stops working."
    else:
        when = "before then" if event.expires_at > now else "now"
        timeline = f"It {say_end(event.expires_at, now)}. Rotate it {when}."
    return {
        "TOKEN_NAME": told.title,
        "TOKEN_TYPE": told.category or told.item_kind,
        "DAYS_LEFT": "unknown" if told.days_left is None else str(told.days_left),
        "SEVERITY": told.badge,
        "ACTION_REQUIRED": told.action or "Nothing to do.",
        "ROTATION_TIMELINE": timeline,
    }
