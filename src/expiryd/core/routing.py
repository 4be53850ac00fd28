"""Who hears of what: the routes of one configuration, asked with one piece of news."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from expiryd.core.matching import EVERYTHING, Facts, Matcher
from expiryd.core.model import Event, EventKind, Severity


@dataclass(frozen=True, slots=True)
class Level:
    """Who is told when nobody has acknowledged a matter so long after it was first delivered."""

    after: timedelta
    notify: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """What it matches is told to `notify`; the routes after it are asked only when it goes on.

    Outside the window `active` and inside the window `quiet` nothing is said by it, except what is critical or worse,
    which waits only with `active_for_critical`.
    """

    notify: tuple[str, ...] = ()
    matcher: Matcher = EVERYTHING
    continue_: bool = False
    active: str = ""
    quiet: str = ""
    active_for_critical: bool = False
    escalate: tuple[Level, ...] = ()

    def waits(self, severity: Severity) -> bool:
        """Whether its windows have a say on news of this severity."""
        return bool(self.active or self.quiet) and (severity < Severity.CRITICAL or self.active_for_critical)


@dataclass(frozen=True, slots=True)
class Trial:
    """How one route (the first is 0) met a piece of news. `why` is empty when it matched."""

    place: int
    route: Route
    why: str = ""


def trials(news: Event | Facts, routes: Sequence[Route]) -> tuple[Trial, ...]:
    """Every route that was asked, in order, up to the last one that counts: the explanation of `matching`."""
    asked = []
    for place, route in enumerate(routes):
        trial = Trial(place, route, route.matcher.why_not(news))
        asked.append(trial)
        if not trial.why and not route.continue_:
            break
    return tuple(asked)


def matching(news: Event | Facts, routes: Sequence[Route]) -> tuple[Route, ...]:
    """The first route that matches, and those after it as long as one goes on."""
    facts = news if isinstance(news, Facts) else Facts.of(news)
    found = []
    for route in routes:
        if route.matcher.matches(facts):
            found.append(route)
            if not route.continue_:
                break
    return tuple(found)


def listeners(event: Event, routes: Sequence[Route], notifiers: Sequence[str]) -> tuple[str, ...]:
    """Who is to hear of it, each once, in the order of the routes. What no route matches is for every notifier.

    That a matter is over, milder or in somebody's hands is for all who may have heard how bad it was; whether they
    did is asked when it is told. An event with a word of its own on whom to notify follows that.
    """
    if event.notify:
        return tuple(name for name in dict.fromkeys(event.notify) if name in notifiers)
    if not routes:
        return tuple(notifiers)
    told = (name for facts in _once(event) for name in _audience(event, facts, routes, notifiers))
    return tuple(name for name in dict.fromkeys(told) if name in notifiers)


def is_for_anyone(event: Event, routes: Sequence[Route], notifier: str) -> bool:
    """Whether it reaches this notifier as it is now, and not only for what it may have been told before."""
    if event.notify or not routes:
        return True
    facts = Facts.of(event)
    as_now = (replace(facts, severity=one) for one in Severity if Severity.HEALTHY < one <= facts.severity)
    return any(notifier in _audience(event, each, routes, (notifier,)) for each in (facts, *as_now))


def levels_of(news: Event | Facts, routes: Sequence[Route]) -> tuple[Level, ...]:
    """The levels through which an open matter escalates, soonest first, of all routes that match it."""
    levels = (level for route in matching(news, routes) for level in route.escalate)
    return tuple(sorted(levels, key=lambda level: level.after))


def carrying(event: Event, routes: Sequence[Route], notifier: str) -> tuple[Route, ...]:
    """The routes by which this notifier hears of it: as it is, else as it once was. Empty when none has a say."""
    for facts in _once(event):
        found = tuple(route for route in matching(facts, routes) if notifier in _reached(event, route))
        if found:
            return found
    return ()


# ── inside ────────────────────────────────────────────────────────────────────────────────────────────

_AFTERWARDS = (EventKind.RENEWED, EventKind.RESOLVED, EventKind.SIGHTED, EventKind.ACKNOWLEDGED)
"""What is for all who may have been told before, and said to those who were."""


def _audience(event: Event, facts: Facts, routes: Sequence[Route], notifiers: Sequence[str]) -> Iterable[str]:
    found = matching(facts, routes)
    return (name for route in found for name in _reached(event, route)) if found else notifiers


def _reached(event: Event, route: Route) -> tuple[str, ...]:
    levels = tuple(name for level in route.escalate for name in level.notify)
    if event.notify:
        return levels
    return route.notify + levels if event.kind in _AFTERWARDS else route.notify


def _once(event: Event) -> Iterator[Facts]:
    """The news as it is, and as it may have been when it was told before."""
    facts = Facts.of(event)
    yield facts
    for severity in Severity:
        if severity is not facts.severity and _was_once(event, facts.severity, severity):
            yield replace(facts, severity=severity)


def _was_once(event: Event, now: Severity, severity: Severity) -> bool:
    if event.kind in _AFTERWARDS or event.kind is EventKind.VANISHED:
        return severity > Severity.HEALTHY
    return event.kind is EventKind.EASED and now < severity <= event.before
