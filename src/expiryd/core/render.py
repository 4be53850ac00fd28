"""Word a message: subject, plain text and HTML from the events it carries, at the moment it is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from expiryd.core.model import Event, EventKind, Severity
from expiryd.core.wording import badge, facts, headline, plain, say_time

MOST_LISTED = 100
MOST_NAMED = 3
MOST_SUBJECT = 180
_COLOURS = {
    Severity.EXPIRED: "#8b1a1a",
    Severity.CRITICAL: "#c62828",
    Severity.WARNING: "#b26a00",
    Severity.INFO: "#1565c0",
    Severity.HEALTHY: "#2e7d32",
    Severity.UNKNOWN: "#616161",
}
_LABEL = "color:#666;padding-right:1em;min-width:6em;white-space:nowrap;vertical-align:top"


@dataclass(frozen=True, slots=True)
class Wording:
    subject: str
    text: str
    html: str


def by_urgency(events: Sequence[Event]) -> list[Event]:
    """Open matters first, the most severe of them at the top, news before reminders, then the soonest end."""

    def order(e: Event) -> tuple[object, ...]:
        is_old = e.kind is EventKind.REPEATED
        return e.kind.closes, -e.severity, is_old, e.expires_at is None, e.expires_at or e.at, e.item, e.aspect

    return sorted(events, key=order)


def render(events: Sequence[Event], now: datetime) -> Wording:
    """`events` in the order of `by_urgency`. Every event is counted; the first MOST_LISTED are told in full."""
    return Wording(_subject(events, now), _text(events, now), _html(events, now))


def tally(events: Sequence[Event]) -> str:
    """`2 expired, 1 critical, 3 renewed`, in the order given."""
    counts = Counter(badge(event).lower() for event in events)
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def _subject(events: Sequence[Event], now: datetime) -> str:
    first = events[0]
    if len(events) == 1:
        return _one_line(f"{badge(first)}: {headline(first, now)}")
    names = list(dict.fromkeys(plain(event.title) for event in events))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return _one_line(f"{badge(first)}: {tally(events)} ({', '.join(names[:MOST_NAMED])}{more})")


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MOST_SUBJECT else line[: MOST_SUBJECT - 1] + "…"


def _text(events: Sequence[Event], now: datetime) -> str:
    blocks = [
        "\n".join([f"{badge(event)}  {headline(event, now)}", *(f"    {k}: {v}" for k, v in facts(event))])
        for event in events[:MOST_LISTED]
    ]
    if len(events) > 1:
        blocks.insert(0, f"{len(events)} matters: {tally(events)}")
    if left := events[MOST_LISTED:]:
        blocks.append(f"… and {len(left)} more: {tally(left)}. `expiryd alerts` lists them all.")
    return "\n\n".join([*blocks, f"expiryd, {say_time(now)}"]) + "\n"


def _html(events: Sequence[Event], now: datetime) -> str:
    cards = "".join(_card(event, now) for event in events[:MOST_LISTED])
    head = f"<p>{len(events)} matters: {escape(tally(events))}</p>" if len(events) > 1 else ""
    left = events[MOST_LISTED:]
    more = (
        f"<p>… and {len(left)} more: {escape(tally(left))}. <code>expiryd alerts</code> lists them all.</p>"
        if left
        else ""
    )
    return (
        '<!doctype html><html><head><meta charset="utf-8"></head>'
        '<body style="font:14px/1.5 system-ui,sans-serif;color:#222;max-width:48em;margin:1em auto;padding:0 1em;'
        'overflow-wrap:anywhere">'
        f'{head}{cards}{more}<p style="color:#777;font-size:12px">expiryd, {say_time(now)}</p></body></html>'
    )


def _card(event: Event, now: datetime) -> str:
    colour = _COLOURS[_shade(event)]
    rows = "".join(
        f'<tr><td style="{_LABEL}">{escape(label)}</td><td>{_linked(value)}</td></tr>' for label, value in facts(event)
    )
    return (
        f'<div style="border-left:4px solid {colour};padding:.3em 1em;margin:1em 0">'
        f'<b style="color:{colour}">{badge(event)}</b> {escape(headline(event, now))}'
        f'<table style="font-size:13px;margin-top:.4em;border-spacing:0">{rows}</table></div>'
    )


def _shade(event: Event) -> Severity:
    if event.kind is EventKind.VANISHED:
        return Severity.UNKNOWN  # to be gone is not good news by itself
    return Severity.HEALTHY if event.kind.closes else event.severity


def _linked(value: str) -> str:
    text = escape(value)
    return f'<a href="{text}">{text}</a>' if value.startswith(("https://", "http://")) else text
