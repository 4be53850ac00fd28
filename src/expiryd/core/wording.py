"""The words people read: one line that says what, how long left and until when, and what to do about it."""

from __future__ import annotations

from datetime import datetime

from expiryd.core.duration import in_utc, say_left
from expiryd.core.model import BLIND, EXPIRY, Basis, Event, EventKind, Severity

MOST_SAID = 500
"""So many characters of one title, detail or fact are enough; who wrote them may be a stranger."""
_ACTIONS = {
    Severity.EXPIRED: "Replace it now: it has stopped working.",
    Severity.CRITICAL: "Rotate it now.",
    Severity.WARNING: "Plan its rotation.",
    Severity.INFO: "Keep an eye on it.",
    Severity.HEALTHY: "Nothing to do.",
    Severity.UNKNOWN: "Find out when it ends: nobody knows.",
}
_SOURCES = {
    Basis.VERIFIED: "its issuer",
    Basis.EMBEDDED: "the thing itself",
    Basis.TYPED: "a typed date",
    Basis.METADATA: "a store's record",
    Basis.TTL: "a store's countdown",
    Basis.POLICY: "the lifetime by rule",
}


def plain(text: str) -> str:
    """The text as one line that shows everywhere: no control or bidi characters, no lone surrogates, no end of it."""
    shown = text if text.isprintable() else "".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in text)
    line = " ".join(shown.split())
    return line if len(line) <= MOST_SAID else line[: MOST_SAID - 1] + "…"


def count_of(count: int, noun: str) -> str:
    """`1 item`, `3 items`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def say_time(at: datetime) -> str:
    """To the minute: `2026-11-24 09:00 UTC`."""
    return in_utc(at).replace(tzinfo=None).isoformat(" ", "minutes") + " UTC"


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
    """The word a message opens with: the severity of a matter, the way it ended, or that somebody has it in hand."""
    if event.kind.closes or event.kind is EventKind.ACKNOWLEDGED:
        return event.kind.upper()
    return "BLIND" if event.aspect == BLIND else event.severity.name


def headline(event: Event, now: datetime) -> str:
    """One sentence without its badge."""
    title, end = plain(event.title), _end(event, now)
    if event.kind is EventKind.VANISHED:
        return f"{title} is gone" + (f": {plain(event.detail)}" if event.detail else "") + _last_known(event, now)
    if event.kind is EventKind.RENEWED:
        return f"{title} is {plain(event.detail)}" if _is_replaced(event) else f"{title} is renewed, {end}"
    if event.kind is EventKind.ACKNOWLEDGED:
        return f"{title} is in hand" + (f": {plain(event.detail)}" if event.detail else "")
    if event.kind is EventKind.SIGHTED:
        return f"{title} can be seen again" + (f", {end}" if event.expires_at else "")
    if event.kind is EventKind.RESOLVED:
        over = f"the date told before no longer counts, {end}" if event.aspect == EXPIRY else f"{event.aspect} is over"
        return f"{title}: {plain(over)}"
    if event.aspect == EXPIRY:
        return f"{title} {end}"
    if event.aspect == BLIND:
        return f"{title} could not be looked at: {plain(event.detail)}{_last_known(event, now)}"
    return f"{title}: {plain(event.aspect)}" + (f", {plain(event.detail)}" if event.detail else "")


def facts(event: Event) -> list[tuple[str, str]]:
    """What else to know, as (label, value), what helps most first, each value one line, without empty ones."""
    traits, dated = event.traits, event.aspect in (EXPIRY, BLIND) and event.expires_at is not None
    rows = [
        ("News", _news(event)),
        ("Matter", _matter(event) if event.kind is EventKind.ACKNOWLEDGED else ""),
        ("Do", "" if _needs_nobody(event) else action(event.severity, event.aspect)),
        ("Owner", traits.owner),
        ("Runbook", traits.runbook),
        ("Used by", ", ".join(traits.used_by)),
        ("Item", f"{event.item_kind} {event.item}"),
        ("Also in", ", ".join(event.places)),
        ("Category", traits.category),
        ("Issued", say_time(event.issued_at) if dated and event.issued_at else ""),
        ("Known from", _SOURCES.get(event.basis, "") if dated and event.basis else ""),
    ]
    return [(label, said) for label, value in rows if (said := plain(value))]


def _needs_nobody(event: Event) -> bool:
    return event.kind.closes or event.kind is EventKind.ACKNOWLEDGED


def _is_replaced(event: Event) -> bool:
    """Whether the matter ended because another item has taken the place of this one, which ends as it was to end."""
    return event.detail.startswith("replaced by")


def _news(event: Event) -> str:
    said = {
        EventKind.REPEATED: "reminder, still open",
        EventKind.WORSENED: f"worse, was {event.before.word}",
        EventKind.EASED: f"better, was {event.before.word}",
        EventKind.ESCALATED: "escalated, nobody has acknowledged it",
        EventKind.RENEWED: "" if _is_replaced(event) else event.detail,
        EventKind.RESOLVED: event.detail if event.aspect == EXPIRY else "",
    }.get(event.kind, "")
    return ", ".join(filter(None, (said, _rung(event.rung))))


def _matter(event: Event) -> str:
    """What it is about, where the headline tells who has it: `critical expiry, 2026-11-24 09:00 UTC`."""
    end = say_time(event.expires_at) if event.aspect == EXPIRY and event.expires_at else ""
    return ", ".join(filter(None, (f"{event.severity.word} {event.aspect}", end)))


def _rung(label: str) -> str:
    """`14d`, `33%`, `-1d` or `0d` of its ladder, in words."""
    if not label:
        return ""
    if label.endswith("%"):
        return f"{label} of its lifetime left"
    if not label.strip("0wdhms"):
        return "its end has come"
    return f"{label.removeprefix('-')} after its end" if label.startswith("-") else f"{label} before its end"


def _end(event: Event, now: datetime) -> str:
    return "never expires" if event.basis is Basis.NONE else say_end(event.expires_at, now)


def _last_known(event: Event, now: datetime) -> str:
    if event.expires_at is None:
        return ""
    what = "first known end behind it" if event.item == event.collector else "last known"
    return f" ({what}: {say_end(event.expires_at, now)})"
