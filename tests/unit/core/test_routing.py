"""Each piece of news reaches those its routes name, once, and its end reaches all who may have heard of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.words import event

from expiryd.core.matching import EVERYTHING, Facts, Matcher
from expiryd.core.model import Event, EventKind, Severity, Traits
from expiryd.core.routing import Level, Route, carrying, is_for_anyone, levels_of, listeners, matching, trials

ALL = ("slack", "mail", "pager")
MINUTE = timedelta(minutes=1)
URGENT = Route(("pager",), Matcher.read({"severity": ["critical", "expired"]}))
CICD = Route(("slack",), Matcher.read({"category": "cicd"}))
REST = Route(("mail",))


def news(severity: Severity = Severity.WARNING, kind: EventKind = EventKind.RAISED, category: str = "cicd") -> Event:
    return event(kind, severity, traits=Traits(category=category))


def closing(kind: EventKind = EventKind.RENEWED, before: Severity = Severity.WARNING) -> Event:
    return event(kind, Severity.HEALTHY, before=before, traits=Traits(category="cicd"))


def test_without_routes_every_notifier_hears() -> None:
    assert listeners(news(), (), ALL) == ALL


def test_the_first_route_that_matches_wins() -> None:
    routes = (URGENT, CICD, REST)
    assert listeners(news(Severity.CRITICAL), routes, ALL) == ("pager",)
    assert listeners(news(), routes, ALL) == ("slack",)
    assert listeners(news(category="runtime"), routes, ALL) == ("mail",)


def test_a_route_that_goes_on_lets_the_next_ones_be_asked() -> None:
    going_on = Route(("pager", "slack"), URGENT.matcher, continue_=True)
    assert listeners(news(Severity.CRITICAL), (going_on, CICD, REST), ALL) == ("pager", "slack")
    assert listeners(news(Severity.CRITICAL, category="x"), (going_on, CICD, REST), ALL) == ("pager", "slack", "mail")


def test_what_no_route_matches_is_for_every_notifier() -> None:
    assert listeners(news(), (URGENT,), ALL) == ALL


def test_a_route_to_nobody_is_told_to_nobody() -> None:
    assert listeners(news(), (Route((), EVERYTHING),), ALL) == ()


def test_a_notifier_that_is_not_there_is_passed_over() -> None:
    assert listeners(news(), (REST,), ("slack",)) == ()


def test_an_event_with_a_word_of_its_own_follows_that() -> None:
    escalated = Event(**{**_fields(news(kind=EventKind.ESCALATED)), "notify": ("pager", "gone", "pager")})
    assert listeners(escalated, (CICD,), ALL) == ("pager",)


@pytest.mark.parametrize("kind", [EventKind.RENEWED, EventKind.RESOLVED, EventKind.SIGHTED, EventKind.ACKNOWLEDGED])
def test_that_it_is_over_is_for_all_who_may_have_heard_how_bad_it_was(kind: EventKind) -> None:
    routes = (URGENT, CICD, REST)
    over = event(kind, Severity.WARNING, before=Severity.WARNING, traits=Traits(category="cicd"))
    assert set(listeners(over, routes, ALL)) == {"slack", "pager"}


def test_that_it_is_over_is_for_those_it_was_escalated_to() -> None:
    routes = (Route(("slack",), EVERYTHING, escalate=(Level(MINUTE, ("pager",)),)),)
    assert listeners(closing(), routes, ALL) == ("slack", "pager")
    assert listeners(news(), routes, ALL) == ("slack",)


def test_that_it_eased_is_for_those_who_heard_it_was_worse() -> None:
    eased = event(EventKind.EASED, Severity.WARNING, before=Severity.CRITICAL, traits=Traits(category="cicd"))
    assert listeners(eased, (URGENT, CICD, REST), ALL) == ("slack", "pager")


def test_that_a_thing_is_gone_wakes_nobody_who_was_never_concerned() -> None:
    gone = event(EventKind.VANISHED, Severity.INFO, before=Severity.WARNING, traits=Traits(category="cicd"))
    heard = [name for name in ALL if is_for_anyone(gone, (URGENT, CICD, REST), name)]
    assert heard == ["slack"]
    assert listeners(gone, (URGENT, CICD, REST), ALL) == ("slack", "pager")  # who may have been, when it was worse
    worse = event(EventKind.VANISHED, Severity.INFO, before=Severity.EXPIRED, traits=Traits(category="cicd"))
    assert set(listeners(worse, (URGENT, CICD, REST), ALL)) == {"pager", "slack"}


def test_levels_are_those_of_the_matching_routes_soonest_first() -> None:
    first = Route(("slack",), escalate=(Level(60 * MINUTE, ("manager",)), Level(15 * MINUTE, ("oncall",))))
    second = Route(("mail",), escalate=(Level(30 * MINUTE, ("lead",)),))
    assert [level.notify for level in levels_of(news(), (first, second))] == [("oncall",), ("manager",)]
    going_on = Route(("slack",), continue_=True, escalate=first.escalate)
    assert [level.notify[0] for level in levels_of(news(), (going_on, second))] == ["oncall", "lead", "manager"]
    assert levels_of(Facts.of(news()), (URGENT,)) == ()


def test_an_explanation_names_every_route_that_was_asked_and_why_not() -> None:
    asked = trials(news(), (URGENT, CICD, REST))
    assert [(trial.place, trial.why) for trial in asked] == [
        (0, "severity is warning, not critical or expired"),
        (1, ""),
    ]


def test_the_routes_that_carry_are_those_that_name_the_notifier() -> None:
    going_on = Route(("pager",), continue_=True)
    assert carrying(news(), (going_on, CICD), "slack") == (CICD,)
    assert carrying(news(), (going_on, CICD), "mail") == ()


def test_windows_have_a_say_on_what_is_critical_only_when_told_so() -> None:
    assert Route(active="office").waits(Severity.WARNING)
    assert not Route(active="office").waits(Severity.CRITICAL)
    assert Route(quiet="night", active_for_critical=True).waits(Severity.EXPIRED)
    assert not Route(active_for_critical=True).waits(Severity.WARNING)


def _fields(some: Event) -> dict[str, object]:
    return {name: getattr(some, name) for name in Event.__slots__}


matchers = st.sampled_from(
    [EVERYTHING, URGENT.matcher, CICD.matcher, Matcher.read({"events": "raised"}), Matcher.read({"owner": "nobody"})]
)
names = st.lists(st.sampled_from(ALL), max_size=3, unique=True).map(tuple)
some_routes = st.lists(
    st.builds(
        Route,
        names,
        matchers,
        st.booleans(),
        escalate=st.lists(st.builds(Level, st.just(MINUTE), names), max_size=2).map(tuple),
    ),
    max_size=5,
).map(tuple)
telling = st.sampled_from([severity for severity in Severity if severity > Severity.HEALTHY])


@given(some_routes, st.sampled_from(list(EventKind)), telling, telling)
def test_nobody_hears_twice_and_only_notifiers_hear(
    routes: tuple[Route, ...], kind: EventKind, now: Severity, before: Severity
) -> None:
    heard = listeners(event(kind, now, before=before), routes, ALL)
    assert len(heard) == len(set(heard))
    assert set(heard) <= set(ALL)


@given(some_routes, telling, telling)
def test_whoever_heard_of_a_matter_hears_of_its_end(
    routes: tuple[Route, ...], then: Severity, at_last: Severity
) -> None:
    """Routes that choose among the kinds of events may keep its end from somebody: that is what they say."""
    plain = tuple(route for route in routes if not route.matcher.events)
    told = listeners(event(EventKind.RAISED, then), plain, ALL)
    over = listeners(event(EventKind.RESOLVED, Severity.HEALTHY, before=at_last), plain, ALL)
    escalated = {name for level in levels_of(event(EventKind.RAISED, then), plain) for name in level.notify}
    assert set(told) | escalated <= set(over)


@given(some_routes, telling)
def test_what_is_explained_is_what_happens(routes: tuple[Route, ...], severity: Severity) -> None:
    some = event(EventKind.RAISED, severity)
    assert tuple(trial.route for trial in trials(some, routes) if not trial.why) == matching(some, routes)


@given(some_routes, telling)
def test_a_listener_by_route_is_carried_by_a_route(routes: tuple[Route, ...], severity: Severity) -> None:
    some = event(EventKind.RAISED, severity)
    for name in listeners(some, routes, ALL):
        assert carrying(some, routes, name) or not matching(some, routes)
