"""Word a message: subject, plain text and HTML from the events it carries, at the moment it is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from types import MappingProxyType

from expiryd.core.duration import in_utc, say_left
from expiryd.core.model import EXPIRY, Event, EventKind, Severity
from expiryd.core.wording import badge, count_of, facts, headline, plain, say_time

MOST_LISTED = 100
MOST_IN_FULL = 10
MOST_OWNERS = 5
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


@dataclass(frozen=True, slots=True)
class Found:
    """What the first look at a source found: so many items of each severity."""

    collector: str
    items: Mapping[Severity, int]


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why many events leave as one message: first looks, or there was no room for a message of each."""

    first_looks: Sequence[Found] = ()
    is_digest: bool = False


NO_OCCASION = Occasion()
NOTHING_BEYOND: Mapping[str, int] = MappingProxyType({})


def by_urgency(events: Sequence[Event]) -> list[Event]:
    """Open matters first, the most severe of them at the top, news before reminders, then the soonest end."""

    def order(e: Event) -> tuple[object, ...]:
        is_old = e.kind is EventKind.REPEATED
        return e.kind.closes, -e.severity, is_old, e.expires_at is None, e.expires_at or e.at, e.item, e.aspect

    return sorted(events, key=order)


def render(events: Sequence[Event], now: datetime, occasion: Occasion = NO_OCCASION) -> Wording:
    """`events` in the order of `by_urgency`. Every event is counted, the first MOST_LISTED are told.

    Of more than MOST_IN_FULL so many are told in full, and the rest in a line each.
    """
    preface = _preface(events, occasion)
    return Wording(_subject(events, now, occasion), _text(events, now, preface), _html(events, now, preface))


def counted(events: Iterable[Event]) -> Counter[str]:
    """How many there are by the word they open with, in the order given."""
    return Counter(badge(event).lower() for event in events)


def tally(events: Iterable[Event], beyond: Mapping[str, int] = NOTHING_BEYOND) -> str:
    """`2 expired, 1 critical, 3 renewed`, in the order given; `beyond` are others that were only `counted`."""
    counts = counted(events)
    counts.update(beyond)
    return ", ".join(f"{count} {word}" for word, count in counts.items())


# ── subject ───────────────────────────────────────────────────────────────────────────────────────────


def _subject(events: Sequence[Event], now: datetime, occasion: Occasion) -> str:
    first = events[0]
    if occasion.first_looks:
        return as_subject(f"First look at {_first_looks(occasion.first_looks)}")
    if len(events) == 1:
        return as_subject(f"{badge(first)}: {headline(first, now)}")
    names = list(dict.fromkeys(plain(event.title) for event in events))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    what = f"digest of {len(events)} matters: " * occasion.is_digest + (_alike(events, now) or tally(events))
    return as_subject(f"{badge(first)}: {what} ({', '.join(names[:MOST_NAMED])}{more})")


def _first_looks(looks: Sequence[Found]) -> str:
    """`ci-tokens, certs and 2 more: 120 items, 3 expired, 10 critical`."""
    names = ", ".join(look.collector for look in looks[:MOST_NAMED])
    more = f" and {len(looks) - MOST_NAMED} more" if len(looks) > MOST_NAMED else ""
    together: Counter[Severity] = Counter()
    for look in looks:
        together.update(look.items)
    return f"{names}{more}: {_said(together, least=Severity.INFO)}"


def _said(items: Mapping[Severity, int], *, least: Severity) -> str:
    total = sum(items.values())
    bad = [f"{items[s]} {s.word}" for s in sorted(items, reverse=True) if s >= least and items[s]]
    return ", ".join([count_of(total, "item"), *bad])


def _alike(events: Sequence[Event], now: datetime) -> str:
    """`15 accounts expire in 3 days`, when they are all of one kind and end on the same day."""
    first = events[0]
    if first.expires_at is None or not first.item_kind or badge(first) != badge(events[-1]):
        return ""
    kinds, ends = set(), set()
    for event in events:
        if event.kind.closes or event.aspect != EXPIRY or event.expires_at is None:
            return ""
        kinds.add((event.item_kind, badge(event)))
        ends.add(in_utc(event.expires_at).date())
        if len(kinds) + len(ends) > 2:
            return ""
    said = {say_left(event.expires_at, now) for event in events if event.expires_at}
    left = said.pop() if len(said) == 1 else ""
    when = f"in {left.removesuffix(' left')}" if left.endswith(" left") else left or f"on {ends.pop()}"
    verb = "expired" if left.endswith(" ago") or (not left and first.expires_at <= now) else "expire"
    return f"{len(events)} {_plural(plain(first.item_kind))} {verb} {when}"


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2:-1] not in set("aeiou") else f"{noun}s"


def as_subject(text: str) -> str:
    """One line of at most MOST_SUBJECT characters."""
    line = " ".join(text.split())
    return line if len(line) <= MOST_SUBJECT else line[: MOST_SUBJECT - 1] + "…"


# ── body ──────────────────────────────────────────────────────────────────────────────────────────────


def _preface(events: Sequence[Event], occasion: Occasion) -> list[str]:
    """What stands above the list, line by line."""
    lines = []
    if occasion.first_looks:
        lines.append("First look: this is how things stand. From here on only news is told.")
        lines += [f"{look.collector}: {_said(look.items, least=Severity.UNKNOWN)}" for look in occasion.first_looks]
    if occasion.is_digest:
        lines.append("More than there was room for one by one (`policy.storm`), so they leave as one message.")
    if len(events) > 1:
        lines.append(f"{len(events)} matters: {tally(events)}")
    return [*lines, *_owners(events)]


def _owners(events: Sequence[Event]) -> list[str]:
    """Whose it is, when that is hard to see from what follows."""
    owners = Counter(plain(event.traits.owner) or "nobody named" for event in events)
    if len(events) <= MOST_IN_FULL or not any(event.traits.owner for event in events):
        return []
    named = ", ".join(f"{owner} {count}" for owner, count in owners.most_common(MOST_OWNERS))
    more = len(owners) - MOST_OWNERS
    return [f"By owner: {named}{f' and {more} more' if more > 0 else ''}"]


def _text(events: Sequence[Event], now: datetime, preface: Sequence[str]) -> str:
    blocks = ["\n".join(preface)] if preface else []
    blocks += [
        "\n".join([f"{badge(event)}  {headline(event, now)}", *(f"    {k}: {v}" for k, v in facts(event))])
        for event in events[:MOST_IN_FULL]
    ]
    if lines := [f"{badge(e)}  {headline(e, now)} ({_whose(e)})" for e in events[MOST_IN_FULL:MOST_LISTED]]:
        blocks.append("\n".join(lines))
    if left := events[MOST_LISTED:]:
        blocks.append(f"… and {len(left)} more: {tally(left)}. `expiryd alerts` lists them all.")
    return "\n\n".join([*blocks, f"expiryd, {say_time(now)}"]) + "\n"


def _html(events: Sequence[Event], now: datetime, preface: Sequence[str]) -> str:
    cards = "".join(_card(event, now) for event in events[:MOST_IN_FULL])
    rows = "".join(_row(event, now) for event in events[MOST_IN_FULL:MOST_LISTED])
    table = f'<table style="font-size:13px;border-spacing:0">{rows}</table>' if rows else ""
    head = f"<p>{'<br>'.join(map(escape, preface))}</p>" if preface else ""
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
        f'{head}{cards}{table}{more}<p style="color:#777;font-size:12px">expiryd, {say_time(now)}</p></body></html>'
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


def _row(event: Event, now: datetime) -> str:
    return (
        f'<tr><td style="{_LABEL}"><b style="color:{_COLOURS[_shade(event)]}">{badge(event)}</b></td>'
        f'<td style="padding-bottom:.4em">{escape(headline(event, now))}'
        f'<br><span style="color:#666">{escape(_whose(event))}</span></td></tr>'
    )


def _whose(event: Event) -> str:
    return ", ".join(filter(None, (plain(event.traits.owner), plain(event.item))))


def _shade(event: Event) -> Severity:
    if event.kind is EventKind.VANISHED:
        return Severity.UNKNOWN  # to be gone is not good news by itself
    return Severity.HEALTHY if event.kind.closes else event.severity


def _linked(value: str) -> str:
    text = escape(value)
    return f'<a href="{text}">{text}</a>' if value.startswith(("https://", "http://")) else text
