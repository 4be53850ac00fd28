"""The words people read: one line that says what, how long left and until when, and what to do about it."""

from __future__ import annotations

from datetime import UTC, datetime

from expiryd.core.duration import say_left
from expiryd.core.model import BLIND, EXPIRY, Event, EventKind, Severity

_ACTIONS = {
    Severity.EXPIRED: "Replace it now: it has stopped working.",
    Severity.CRITICAL: "Rotate it now.",
    Severity.WARNING: "Plan its rotation.",
    Severity.INFO: "Keep an eye on it.",
    Severity.HEALTHY: "Nothing to do.",
    Severity.UNKNOWN: "Find out when it ends: nobody knows.",
}


def say_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def say_end(expires_at: datetime | None, now: datetime) -> str:
    """`expires 2026-11-24 09:00 UTC, 3 days left` or `expired …, 2 hours ago`."""
    if expires_at is None:
        return "no end known"
    verb = "expires" if expires_at > now else "expired"
    return f"{verb} {say_time(expires_at)}, {say_left(expires_at, now)}"


def action(severity: Severity, aspect: str = EXPIRY) -> str:
    """What the person who reads this is to do."""
    if aspect == BLIND:
        return "Make it visible again: until then nothing new is known of it."
    if aspect != EXPIRY:
        return "Look into it." if severity > Severity.INFO else "For your information."
    return _ACTIONS[severity]


def badge(event: Event) -> str:
    """The word a message opens with: the severity of a matter, or the way it ended."""
    if event.kind.closes:
        return event.kind.upper()
    return "BLIND" if event.aspect == BLIND else event.severity.name


def headline(event: Event, now: datetime) -> str:
    """One sentence without its badge."""
    if event.kind is EventKind.VANISHED:
        return f"{event.title} is gone: {event.detail}"
    if event.kind is EventKind.RENEWED:
        return f"{event.title} is renewed, {say_end(event.expires_at, now)}"
    if event.kind is EventKind.SIGHTED:
        return f"{event.title} can be seen again"
    if event.kind is EventKind.RESOLVED:
        matter = "its end" if event.aspect == EXPIRY else event.aspect
        return f"{event.title}: {matter} is no longer a matter"
    if event.aspect == EXPIRY:
        return f"{event.title} {say_end(event.expires_at, now)}"
    if event.aspect == BLIND:
        return f"{event.title} could not be looked at: {event.detail}{_last_known(event, now)}"
    return f"{event.title}: {event.aspect}" + (f", {event.detail}" if event.detail else "")


def facts(event: Event) -> list[tuple[str, str]]:
    """What else to know, as (label, value), without empty ones."""
    traits = event.traits
    rows = [
        ("Item", f"{event.item_kind} {event.item}".strip()),
        ("Category", traits.category),
        ("Owner", traits.owner),
        ("Used by", ", ".join(traits.used_by)),
        ("Known from", event.basis or ""),
        ("Do", "" if event.kind.closes else action(event.severity, event.aspect)),
        ("Runbook", traits.runbook),
    ]
    return [(label, value) for label, value in rows if value]


def _last_known(event: Event, now: datetime) -> str:
    return f" (last known: {say_end(event.expires_at, now)})" if event.expires_at else ""
