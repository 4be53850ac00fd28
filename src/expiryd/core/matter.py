"""One open matter: how it rises or eases, when it is told again and to whom, and what keeps it quiet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from expiryd.core.cooldown import Fading
from expiryd.core.duration import later
from expiryd.core.ladder import Ladder
from expiryd.core.matching import Facts
from expiryd.core.model import Alert, EventKind, ItemState, Severity
from expiryd.core.routing import Level, levels_of
from expiryd.core.rules import Rules
from expiryd.core.severity import Verdict, earliest


@dataclass(frozen=True, slots=True)
class Terms:
    """By what a matter is told again: the rules, and its ladder when it is about an end that can be seen."""

    rules: Rules
    ladder: Ladder | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """What there is to say of a matter, the rung it crossed, and (to escalate) exactly whom to tell."""

    kind: EventKind
    rung: str = ""
    notify: tuple[str, ...] = ()


def advance(alert: Alert, verdict: Verdict, terms: Terms, now: datetime) -> tuple[Alert, Word | None]:
    """At most one word: a change of severity before a rung, a rung before a repetition.

    A rung is owed when it was crossed since the matter last asked to be told, however long ago. Whoever has it in hand
    is spared the last two.
    """
    if alert.detail != verdict.detail:
        alert = replace(alert, detail=verdict.detail)
    if alert.ack is not None and alert.ack.until is not None and alert.ack.until <= now:
        alert = replace(alert, ack=None)
    rung = terms.ladder.owed(alert.asked_at, now) if terms.ladder else None
    if verdict.severity > alert.severity:
        kind, alert = EventKind.WORSENED, _risen(alert, verdict.severity, now)
    elif verdict.severity < alert.severity:
        kind, alert = EventKind.EASED, replace(alert, severity=verdict.severity)
    elif alert.ack is not None:
        return alert, None
    elif rung is not None:
        kind = EventKind.RUNG
    elif (repeat := _repeat_at(alert, terms.rules)) is not None and now >= repeat:
        kind = EventKind.REPEATED
    else:
        return alert, None
    label = rung.label if rung else ""
    return replace(alert, asked_at=now, rung=label or alert.rung), Word(kind, label)


def escalate(alert: Alert, state: ItemState, rules: Rules, now: datetime) -> tuple[Alert, Word | None]:
    """All levels whose time has come are one word. Nothing is asked anew by it of those who were asked before."""
    if alert.paged_at is None:
        return alert, None
    reached = [level for level in _levels(alert, state, rules) if later(alert.paged_at, level.after) <= now]
    if len(reached) <= alert.escalated:
        return alert, None
    names = (name for level in reached[alert.escalated :] for name in level.notify)
    return replace(alert, escalated=len(reached)), Word(EventKind.ESCALATED, notify=tuple(dict.fromkeys(names)))


def next_word(alert: Alert, state: ItemState, terms: Terms, now: datetime) -> datetime | None:
    """When time alone has the next word on a matter whose severity stays: due already, or to come."""
    if alert.ack is not None:
        return alert.ack.until
    rung = None
    if terms.ladder is not None:
        owed = terms.ladder.owed(alert.asked_at, now)
        rung = terms.ladder.crossing(owed.lead) if owed else terms.ladder.next_rung(now)
    return earliest(_repeat_at(alert, terms.rules), rung, _escalates_at(alert, state, terms.rules))


def _risen(alert: Alert, severity: Severity, now: datetime) -> Alert:
    """Escalation begins anew, and what somebody took in hand was something milder."""
    kept = alert.ack if alert.ack is not None and alert.ack.until_renewed else None
    return replace(alert, severity=severity, risen_at=now, paged_at=None, escalated=0, ack=kept)


def _repeat_at(alert: Alert, rules: Rules) -> datetime | None:
    """When the cooldown is over. It runs from the delivery (or the giving up), never from the asking."""
    ended = max((at for at in (alert.told_at, alert.failed_at) if at is not None), default=None)
    cooldown = rules.cooldown.get(alert.severity)
    if ended is None or ended < alert.asked_at or cooldown is None:
        return None
    return later(ended, cooldown.after(ended - alert.since) if isinstance(cooldown, Fading) else cooldown)


def _escalates_at(alert: Alert, state: ItemState, rules: Rules) -> datetime | None:
    if alert.paged_at is None:
        return None
    left = _levels(alert, state, rules)[alert.escalated :]
    return later(alert.paged_at, left[0].after) if left else None


def _levels(alert: Alert, state: ItemState, rules: Rules) -> tuple[Level, ...]:
    """None while it was not told since it became as severe as it is, and while somebody has it in hand."""
    if not rules.routes or alert.ack is not None or alert.paged_at is None or alert.paged_at < alert.since:
        return ()
    return levels_of(Facts.about(state, alert), rules.routes)
