"""One step of the alert state machine: what was known, what is seen, the rules and `now` give state and events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from expiryd.core.generations import earlier, follow, renewed, say_change, waits
from expiryd.core.kinship import SUPERSEDED, Regard, is_superseded, say_successor
from expiryd.core.matter import Terms, Word, advance, escalate, next_word
from expiryd.core.model import (
    BLIND,
    EXPIRY,
    Alert,
    Blind,
    Event,
    EventKind,
    ItemId,
    ItemState,
    Observation,
    Severity,
    collector_of,
)
from expiryd.core.rules import Resolved, Rules
from expiryd.core.settle import settle
from expiryd.core.severity import Prospect, Verdict, earliest, judge, overall


@dataclass(frozen=True, slots=True)
class Step:
    """The state after, and what happened on the way."""

    state: ItemState
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """How bad it is altogether, and what is wrong."""

    severity: Severity
    verdicts: tuple[Verdict, ...] = ()
    is_blind: bool = False


def see(
    before: ItemState | None,
    item: ItemId,
    seen: Observation,
    by: Resolved,
    now: datetime,
    *,
    regard: Regard | None = None,
) -> Step:
    """A look saw the item. Returns a Step with the very same state when nothing at all has changed.

    Other thresholds than last time take effect at the next `evaluate`. `regard` lays beside it what is known of others.
    """
    rotated_at = _rotation(before, seen, by, now)
    past, settled = follow(before, settle(seen, by, rotated_at), now)
    if regard is not None:
        first_seen = before.first_seen if before else now
        settled = regard(settled, past[-1].last_seen if past else first_seen)
    if before is not None and before.past == past and _unchanged(before, settled, now):
        return Step(before)
    state = ItemState(
        id=item,
        collector=before.collector if before else collector_of(item),
        observation=settled,
        severity=Severity.UNKNOWN,
        first_seen=before.first_seen if before else now,
        rotated_at=rotated_at,
        past=past,
        took=waits(before, settled, now) if before else (),
    )
    prospect = _prospect(state, by.rules)
    return _transition(before, state, _judged(state, before.alerts if before else (), prospect, now), prospect, now)


def evaluate(before: ItemState, rules: Rules, now: datetime) -> Step:
    """Time passed or the rules changed, and nothing was looked at: judge what was last seen again."""
    prospect = _prospect(before, rules)
    if before.is_blind:
        judgement = _blinded(before, prospect, now)
    elif before.blind_looks and before.severity is Severity.UNKNOWN:
        judgement = Judgement(Severity.UNKNOWN)  # missed before it was ever seen: there is nothing to judge yet
    else:
        judgement = _judged(before, before.alerts, prospect, now)
    return _transition(before, before, judgement, prospect, now)


def fail(before: ItemState | None, item: ItemId, blind: Blind, by: Resolved, now: datetime) -> Step:
    """A look could not see the item. What was known is kept; after `blind_after` such looks it is a matter."""
    if before is None:
        nothing = Observation(blind.id, kind=blind.kind, title=blind.title, traits=by.traits)
        before = ItemState(item, collector_of(item), nothing, Severity.UNKNOWN, first_seen=now)
    state = replace(before, blind_looks=before.blind_looks + 1, severity=Severity.UNKNOWN)
    if state.blind_looks < by.rules.blind_after:
        return Step(replace(state, severity=before.severity))
    prospect = _prospect(state, by.rules)
    return _transition(before, state, _blinded(state, prospect, now, blind.reason), prospect, now)


def vanish(before: ItemState, now: datetime) -> Event:
    """A complete look no longer found the item. It is forgotten; this is the last word on it."""
    worst = max(before.alerts, key=lambda alert: alert.severity, default=None)
    return _event(
        EventKind.VANISHED,
        before,
        aspect=worst.aspect if worst else EXPIRY,
        generation=worst.generation if worst else before.generation,
        severity=Severity.INFO,
        before=worst.severity if worst else before.severity,
        detail="no longer found by a complete look",
        now=now,
    )


def told(alert: Alert, at: datetime) -> Alert:
    """Somebody really was told: the cooldown starts now."""
    paged_at = alert.paged_at if alert.paged_at is not None and alert.paged_at >= alert.since else at
    return replace(alert, told_at=max(at, alert.told_at or at), paged_at=paged_at)


def given_up(alert: Alert, at: datetime) -> Alert:
    """Nobody could be told: the cooldown starts too, so that it is asked again rather than never."""
    return replace(alert, failed_at=max(at, alert.failed_at or at))


def wake_at(state: ItemState, rules: Rules, now: datetime) -> datetime | None:
    """When to evaluate again, if no look does so before. What was due already and is not judged yet stays due."""
    prospect = _prospect(state, rules)
    due = state.wake_at if state.wake_at is not None and state.wake_at <= now else None
    return earliest(due, _wake_at(state, state.alerts, prospect, state.is_blind, now))


def news(word: Word | EventKind, state: ItemState, alert: Alert, known: Alert | None, now: datetime) -> Event:
    """What there is to tell of an open matter. `known`: as it was before, None when it has just begun."""
    said = word if isinstance(word, Word) else Word(word)
    event = _event(
        said.kind,
        state,
        aspect=alert.aspect,
        generation=alert.generation,
        severity=alert.severity,
        before=known.severity if known else Severity.HEALTHY,
        detail=alert.detail,
        now=now,
    )
    return replace(event, rung=said.rung, notify=said.notify) if said.rung or said.notify else event


# ── inside ────────────────────────────────────────────────────────────────────────────────────────────


def _rotation(before: ItemState | None, seen: Observation, by: Resolved, now: datetime) -> datetime | None:
    """When the credential seen is known to have taken the place of another, unless its issue date says it better."""
    if before is None:
        return None
    if back := earlier(before, seen.generation):
        return back.first_seen if back.first_seen > before.first_seen else None
    known, is_now = before.observation, seen.generation
    if not known.generation or not is_now or known.generation == is_now:
        return before.rotated_at
    was = known.lifetime.issued_at if known.lifetime else None
    said = by.item.issued_at or (seen.lifetime.issued_at if seen.lifetime else None)
    dated_anew = said is not None and (was is None or was < said)
    return None if dated_anew else now


def _unchanged(before: ItemState, settled: Observation, now: datetime) -> bool:
    return not before.blind_looks and before.observation == settled and (before.wake_at is None or now < before.wake_at)


def _prospect(state: ItemState, rules: Rules) -> Prospect:
    """As far as its end still matters to anybody: that of what has a successor does not."""
    lifetime = state.observation.lifetime
    if lifetime is not None and is_superseded(state.observation):
        lifetime = replace(lifetime, expires_at=None)
    return Prospect(lifetime, rules, state.took)


def _judged(state: ItemState, alerts: Sequence[Alert], prospect: Prospect, now: datetime) -> Judgement:
    verdicts = judge(state.observation, prospect, now)
    if is_superseded(state.observation):  # worth a look, but no matter that anybody need be told of
        verdicts = tuple(verdict for verdict in verdicts if verdict.aspect != SUPERSEDED)
        return Judgement(max(overall(state.observation, verdicts), Severity.INFO), verdicts)
    if prospect.rules.hours:
        verdicts = _held(verdicts, state, alerts, prospect, now)
    return Judgement(overall(state.observation, verdicts), verdicts)


def _held(
    verdicts: tuple[Verdict, ...], state: ItemState, alerts: Sequence[Alert], prospect: Prospect, now: datetime
) -> tuple[Verdict, ...]:
    """A milder hour neither eases nor ends a matter that the next severe one would raise again."""
    alert = next((a for a in alerts if a.aspect == EXPIRY and a.generation == state.generation), None)
    if alert is None:
        return verdicts
    floor = min(alert.severity, prospect.worst_hour(now))
    said = next((verdict.severity for verdict in verdicts if verdict.aspect == EXPIRY), Severity.HEALTHY)
    others = (verdict for verdict in verdicts if verdict.aspect != EXPIRY)
    return (Verdict(EXPIRY, floor), *others) if floor > said else verdicts


def _blinded(state: ItemState, prospect: Prospect, now: datetime, reason: str = "") -> Judgement:
    """Blindness, and the other open matters held as they are: not seeing is no news of them."""
    known = next((alert.detail for alert in state.alerts if alert.aspect == BLIND), "")
    verdict = Verdict(BLIND, prospect.blindness(now), reason or known)
    held = [Verdict(a.aspect, a.severity, a.detail) for a in state.alerts if a.aspect != BLIND]
    return Judgement(Severity.UNKNOWN, (*held, verdict), is_blind=True)


def _transition(before: ItemState | None, state: ItemState, by: Judgement, prospect: Prospect, now: datetime) -> Step:
    """`state` is what is known now; its severity and alerts are still those of before."""
    open_before = {alert.aspect: alert for alert in before.alerts} if before and before.alerts else {}
    alerts: list[Alert] = []
    events: list[Event] = []
    if before is not None and EXPIRY in open_before and before.generation != state.generation:
        # the old credential's matter ends with it, whatever is to be said of its successor
        events.append(_closing(before, state, open_before.pop(EXPIRY), by.severity, now))
    rules, terms = prospect.rules, _terms(prospect, by.is_blind)
    for verdict in by.verdicts:
        known, of_it = open_before.pop(verdict.aspect, None), terms[verdict.aspect == EXPIRY]
        alert, word = _begin(verdict, state, of_it, now) if known is None else advance(known, verdict, of_it, now)
        alert, louder = escalate(alert, state, rules, now)
        alerts.append(alert)
        if word is not None:
            events.append(news(word, state, alert, known, now))
        if louder is not None:
            events.append(news(louder, state, alert, known, now))
    if open_before:
        events += [_closing(before or state, state, alert, by.severity, now) for alert in open_before.values()]
    judged = by.severity, tuple(alerts), _wake_at(state, alerts, prospect, by.is_blind, now)
    if judged != (state.severity, state.alerts, state.wake_at):
        state = state.judged(*judged)
    if before is not None and before.wake_at == state.wake_at and before == state:
        state = before
    return Step(state, tuple(events))


def _begin(verdict: Verdict, state: ItemState, terms: Terms, now: datetime) -> tuple[Alert, Word]:
    rung = terms.ladder.rung(now) if terms.ladder else None
    word = Word(EventKind.BLIND if verdict.aspect == BLIND else EventKind.RAISED, rung.label if rung else "")
    severity, detail = verdict.severity, verdict.detail
    return Alert(state.id, verdict.aspect, state.generation, severity, now, now, detail=detail, rung=word.rung), word


def _terms(prospect: Prospect, is_blind: bool) -> tuple[Terms, Terms]:
    """Of any matter, and of the end of an item, as far as it can be seen."""
    others = Terms(prospect.rules)
    return others, others if is_blind or prospect.ladder is None else Terms(prospect.rules, prospect.ladder)


def _wake_at(
    state: ItemState, alerts: Sequence[Alert], prospect: Prospect, is_blind: bool, now: datetime
) -> datetime | None:
    moments = [prospect.next_blindness(now) if is_blind else prospect.next_change(now)]
    if alerts:
        terms = _terms(prospect, is_blind)
        moments += [next_word(alert, state, terms[alert.aspect == EXPIRY], now) for alert in alerts]
    if prospect.rules.hours and not is_blind:
        known = next((alert.severity for alert in alerts if alert.aspect == EXPIRY), Severity.HEALTHY)
        if known < prospect.worst_hour(now):
            moments.append(prospect.next_hour(now))
    return earliest(*moments)


def _closing(before: ItemState, state: ItemState, alert: Alert, severity: Severity, now: datetime) -> Event:
    kind, detail = EventKind.RESOLVED, alert.detail
    if alert.aspect == BLIND:
        kind = EventKind.SIGHTED
    elif alert.aspect == EXPIRY and is_superseded(state.observation) and state.generation == before.generation:
        kind, detail = EventKind.RENEWED, say_successor(state.observation)
    elif alert.aspect == EXPIRY and renewed(before.observation, state.observation):
        kind, detail = EventKind.RENEWED, say_change(alert, before.observation, state.observation, now)
    elif alert.aspect == EXPIRY and state.generation != before.generation:
        detail = say_change(alert, before.observation, state.observation, now)
    return _event(
        kind,
        state,
        aspect=alert.aspect,
        generation=alert.generation,
        severity=max(severity, Severity.HEALTHY),
        before=alert.severity,
        detail=detail,
        now=now,
    )


def _event(
    kind: EventKind,
    state: ItemState,
    *,
    aspect: str,
    generation: str,
    severity: Severity,
    before: Severity,
    detail: str,
    now: datetime,
) -> Event:
    seen = state.observation
    lifetime = seen.lifetime
    return Event(
        kind=kind,
        at=now,
        item=state.id,
        collector=state.collector,
        aspect=aspect,
        generation=generation,
        severity=severity,
        before=before,
        title=seen.title or seen.id or state.id,
        item_kind=seen.kind,
        expires_at=lifetime.expires_at if lifetime else None,
        issued_at=lifetime.issued_at if lifetime else None,
        basis=lifetime.basis if lifetime else None,
        detail=detail,
        traits=seen.traits,
    )
