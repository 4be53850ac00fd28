"""What keeps news from being said now: silences, maintenance, the windows of its routes, an acknowledgement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from expiryd.core.matching import EVERYTHING, Facts, Matcher, exactly
from expiryd.core.model import Ack, Alert, Event, EventKind
from expiryd.core.muting import Mute, Muting
from expiryd.core.routing import Route, carrying
from expiryd.core.windows import Window
from expiryd.core.wording import say_time

AckOf = Callable[[Event], Ack | None]
"""Who has the matter of an event in hand."""
MUTED = "muted: "
"""How the reason of what is held back here begins: whether it still is may have to be asked before its end."""
_UNENDING = timedelta(days=7)
"""What never ends by itself (every hour of the week) is asked about again after so long."""
_REMINDERS = (EventKind.REPEATED, EventKind.RUNG, EventKind.ESCALATED)


@dataclass(frozen=True, slots=True)
class Silence:
    """Somebody's wish to hear nothing of what matches, from `starts_at` until `ends_at`. `id` is given when it is kept.

    Raises ValueError without an actor, without a reason, or when it would end before it begins.
    """

    matcher: Matcher
    starts_at: datetime
    ends_at: datetime
    actor: str
    reason: str
    created_at: datetime
    id: str = ""

    def __post_init__(self) -> None:
        if not self.actor.strip() or not self.reason.strip():
            raise ValueError("a silence needs to say who wants it and why: give an actor and a reason")
        if self.ends_at < self.starts_at:
            raise ValueError(f"a silence that ends before it begins ({say_time(self.ends_at)}) silences nothing")

    def holds(self, now: datetime) -> bool:
        return self.starts_at <= now < self.ends_at

    def __str__(self) -> str:
        return f"silenced until {say_time(self.ends_at)} by {self.actor}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Times at which nothing of what matches is said."""

    window: Window
    matcher: Matcher = EVERYTHING


@dataclass(frozen=True, slots=True)
class Hush:
    """All that may keep news from being said, as it stands in the configuration and in memory."""

    silences: Sequence[Silence] = ()
    maintenance: Sequence[Maintenance] = ()
    routes: Sequence[Route] = ()
    windows: Mapping[str, Window] = field(default_factory=dict)
    acks: AckOf = lambda _event: None


def snoozed(alert: Alert | Event) -> Matcher:
    """Exactly the matter of this alert: another credential in its place is another matter."""
    return Matcher(
        item=(exactly(alert.item),), aspect=(exactly(alert.aspect),), generation=(exactly(alert.generation),)
    )


def muting(hush: Hush, notifier: str, now: datetime) -> Muting:
    """What is in the way of saying something to this notifier at this moment.

    Of several mutes the one that ends last counts, and all their reasons are named. A reminder that was owed when
    somebody took the matter in hand need not be said at all: what still holds at the end of that is asked again.
    """
    silences = [one for one in hush.silences if one.holds(now)]
    upkeep = [(one.matcher, _upkeep(one, now)) for one in hush.maintenance if one.window.contains(now)]
    shut = {route: closed for route in hush.routes if (closed := _shut(route, hush.windows, now))}

    def mute(event: Event) -> Mute | None:
        facts = Facts.of(event)
        mutes = [Mute(str(one), one.ends_at, "silence") for one in silences if one.matcher.matches(facts)]
        mutes += [upheld for matcher, upheld in upkeep if matcher.matches(facts)]
        if shut and (closed := _closed(event, hush.routes, notifier, shut)):
            mutes.append(closed)
        if not mutes:
            return _in_hand(event, hush.acks(event))
        last = _last(mutes)
        return replace(last, reason=MUTED + last.reason)

    return mute


# ── inside ────────────────────────────────────────────────────────────────────────────────────────────


def _in_hand(event: Event, ack: Ack | None) -> Mute | None:
    if ack is None or event.kind not in _REMINDERS or event.at > ack.at:
        return None
    return Mute(f"acknowledged by {ack.actor}" + (f": {ack.reason}" if ack.reason else ""), by="ack")


def _upkeep(maintenance: Maintenance, now: datetime) -> Mute:
    window = maintenance.window
    until = window.closes_at(now) or now + _UNENDING
    return Mute(f"maintenance `{window.name}` until {say_time(until)}", until, "maintenance")


def _shut(route: Route, windows: Mapping[str, Window], now: datetime) -> Mute | None:
    """What its windows hold back at this moment, and until when."""
    mutes = []
    if route.active and (opens := windows[route.active].opens_at(now)) > now:
        mutes.append(Mute(f"outside the window `{route.active}`, which opens {say_time(opens)}", opens, "window"))
    if route.quiet and windows[route.quiet].contains(now):
        closes = windows[route.quiet].closes_at(now) or now + _UNENDING
        mutes.append(Mute(f"in the quiet hours `{route.quiet}` until {say_time(closes)}", closes, "quiet"))
    return _last(mutes) if mutes else None


def _closed(event: Event, routes: Sequence[Route], notifier: str, shut: Mapping[Route, Mute]) -> Mute | None:
    """One route that lets it pass is enough; else the first that will."""
    severity = Facts.of(event).severity
    found: list[Mute] = []
    for route in carrying(event, routes, notifier):
        mute = shut.get(route)
        if mute is None or not route.waits(severity):
            return None
        found.append(mute)
    return min(found, key=_end, default=None)


def _last(mutes: Sequence[Mute]) -> Mute:
    last = max(mutes, key=_end)
    return last if len(mutes) == 1 else replace(last, reason="; ".join(dict.fromkeys(mute.reason for mute in mutes)))


def _end(mute: Mute) -> datetime:
    return mute.until or datetime.max.replace(tzinfo=UTC)
