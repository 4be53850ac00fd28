"""Items and alerts as other people's tools read them: plain JSON values under the pinned keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from expiryd.core.duration import in_utc
from expiryd.core.model import BLIND, EXPIRY, Ack, Alert, Event, ItemId, ItemState, Severity
from expiryd.core.silencing import Silence
from expiryd.core.wording import action


def item_row(
    state: ItemState, now: datetime, observed_at: datetime | None, *, places: Sequence[ItemId] = ()
) -> dict[str, Any]:
    """One item. `observed_at` is when it was last seen; times are RFC 3339 UTC, `days_left` is floored.

    `places` are the other items that hold the same secret, `past` its earlier generations, and `took` the seconds from
    the first notice to each of the last renewals; newest last.
    """
    seen, lifetime, traits = state.observation, state.observation.lifetime, state.observation.traits
    worst = max(state.alerts, key=lambda alert: alert.severity, default=None)
    blind = next((alert for alert in state.alerts if alert.aspect == BLIND), None)
    findings = [{"code": f.code, "severity": f.severity.word, "detail": f.detail} for f in seen.findings]
    if blind is not None:
        findings.append({"code": blind.aspect, "severity": blind.severity.word, "detail": blind.detail})
    return {
        "item": state.id,
        "collector": state.collector,
        "category": traits.category,
        "kind": seen.kind,
        "title": state.title,
        "severity": state.severity.word,
        "days_left": _days(lifetime.expires_at, now) if lifetime and lifetime.expires_at else None,
        "expires_at": rfc3339(lifetime.expires_at) if lifetime else None,
        "issued_at": rfc3339(lifetime.issued_at) if lifetime else None,
        "basis": lifetime.basis.value if lifetime else None,
        "findings": findings,
        "measures": [
            {"name": m.name, "value": m.value, "unit": m.unit, "warning": m.warning, "critical": m.critical}
            for m in seen.measures
        ],
        "owner": traits.owner,
        "runbook": traits.runbook,
        "used_by": list(traits.used_by),
        "places": list(places),
        "action": action(state.severity, worst.aspect if worst else EXPIRY),
        "labels": dict(traits.labels),
        "observed_at": rfc3339(observed_at),
        "generation": state.generation,
        "first_seen": rfc3339(state.first_seen),
        "past": [
            {
                "generation": was.name,
                "first_seen": rfc3339(was.first_seen),
                "last_seen": rfc3339(was.last_seen),
                "expires_at": rfc3339(was.expires_at),
            }
            for was in state.past
        ],
        "took": [span.total_seconds() for span in state.took],
    }


def alert_row(state: ItemState, alert: Alert, now: datetime, silenced_until: datetime | None = None) -> dict[str, Any]:
    """One open matter."""
    lifetime, traits = state.observation.lifetime, state.observation.traits
    return {
        "id": alert.id,
        "item": alert.item,
        "aspect": alert.aspect,
        "generation": alert.generation,
        "severity": alert.severity.word,
        "title": state.title,
        "detail": alert.detail,
        "category": traits.category,
        "owner": traits.owner,
        "runbook": traits.runbook,
        "expires_at": rfc3339(lifetime.expires_at) if lifetime else None,
        "days_left": _days(lifetime.expires_at, now) if lifetime and lifetime.expires_at else None,
        "opened_at": rfc3339(alert.opened_at),
        "asked_at": rfc3339(alert.asked_at),
        "told_at": rfc3339(alert.told_at),
        "state": "told" if alert.is_told else "owed",
        "action": action(alert.severity, alert.aspect),
        "acknowledged": ack_row(alert.ack) if alert.ack else None,
        "silenced_until": rfc3339(silenced_until),
    }


def ack_row(ack: Ack) -> dict[str, Any]:
    """Who has a matter in hand, since when, until when, and why."""
    return {
        "actor": ack.actor,
        "at": rfc3339(ack.at),
        "reason": ack.reason,
        "until": rfc3339(ack.until),
        "until_renewed": ack.until_renewed,
    }


def silence_row(silence: Silence, now: datetime) -> dict[str, Any]:
    """One silence. `matches` says in one line what `matchers` say by key."""
    return {
        "id": silence.id,
        "matches": str(silence.matcher),
        "matchers": silence.matcher.said,
        "starts_at": rfc3339(silence.starts_at),
        "ends_at": rfc3339(silence.ends_at),
        "state": "active" if silence.holds(now) else "over" if silence.ends_at <= now else "pending",
        "actor": silence.actor,
        "reason": silence.reason,
        "created_at": rfc3339(silence.created_at),
    }


def event_row(event: Event) -> dict[str, Any]:
    """One transition."""
    return {
        "kind": event.kind.value,
        "at": rfc3339(event.at),
        "item": event.item,
        "aspect": event.aspect,
        "generation": event.generation,
        "severity": event.severity.word,
        "before": event.before.word,
        "title": event.title,
        "expires_at": rfc3339(event.expires_at),
        "detail": event.detail,
        "owner": event.traits.owner,
        "category": event.traits.category,
        "places": list(event.places),
    }


Rank = tuple[float, bool, datetime, str]
"""What comes first is smallest; no two are equal."""


def item_rank(state: ItemState) -> Rank:
    """Most severe first, unknown after warnings, then the soonest end, then the name."""
    lifetime = state.observation.lifetime
    end = lifetime.expires_at if lifetime else None
    return -_weight(state.severity), end is None, end or state.first_seen, state.id


def alert_rank(alert: Alert) -> Rank:
    """Most severe first, then the one that is open longest."""
    return -_weight(alert.severity), False, alert.opened_at, alert.id


def _weight(severity: Severity) -> float:
    return 1.5 if severity is Severity.UNKNOWN else float(severity)


def _days(expires_at: datetime, now: datetime) -> int:
    return (expires_at - now).days


def rfc3339(at: datetime | None) -> str | None:
    """In UTC, as other people's tools read it."""
    if at is None:
        return None
    text = in_utc(at).isoformat()
    return text.removesuffix("+00:00") + "Z"
