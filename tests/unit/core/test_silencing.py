"""What is muted, until exactly when, and why: silences, maintenance, windows, acknowledgements, all at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.core.words import event

from expiryd.core.matching import EVERYTHING, Matcher
from expiryd.core.model import Ack, Event, EventKind, Severity, Traits
from expiryd.core.muting import Mute
from expiryd.core.routing import Level, Route
from expiryd.core.silencing import Hush, Maintenance, Silence, muting, snoozed
from expiryd.core.windows import Window, parse_times

HOUR = timedelta(hours=1)
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)  # a Saturday
OFFICE = Window("office", parse_times(["mon-fri 08:00-18:00"]))
MORNING = Window("morning", parse_times(["06:00-10:00"]))
NIGHT = Window("night", parse_times(["22:00-06:00"]))
WINDOWS = {window.name: window for window in (OFFICE, MORNING, NIGHT)}
WARNING = event(traits=Traits(category="cicd"))
CRITICAL = event(severity=Severity.CRITICAL, traits=Traits(category="cicd"))
MONDAY = datetime(2026, 11, 23, 8, tzinfo=UTC)


def silence(hours: float = 4, *, matcher: Matcher = EVERYTHING, reason: str = "rotation under way") -> Silence:
    return Silence(matcher, NOW - HOUR, NOW + hours * HOUR, "alice", reason, NOW - HOUR)


def muted(some: Event, hush: Hush, notifier: str = "slack", now: datetime = NOW) -> Mute | None:
    return muting(hush, notifier, now)(some)


def routed(*routes: Route) -> Hush:
    return Hush(routes=routes, windows=WINDOWS)


def test_nothing_in_the_way_mutes_nothing() -> None:
    assert muted(WARNING, Hush()) is None


def test_a_silence_holds_what_it_matches_until_its_end() -> None:
    hush = Hush(silences=[silence(matcher=Matcher.read({"category": "cicd"}))])
    assert muted(WARNING, hush) == Mute(
        "muted: silenced until 2026-11-21 13:30 UTC by alice: rotation under way", NOW + 4 * HOUR, "silence"
    )
    assert muted(replace(WARNING, traits=Traits(category="runtime")), hush) is None


def test_a_silence_mutes_what_is_critical_too() -> None:
    assert muted(CRITICAL, Hush(silences=[silence()])) is not None


def test_a_silence_counts_from_its_beginning_to_the_moment_before_its_end() -> None:
    some = silence()
    assert [some.holds(at) for at in (NOW - HOUR, NOW + 4 * HOUR - timedelta(microseconds=1))] == [True, True]
    assert [some.holds(at) for at in (NOW - 2 * HOUR, NOW + 4 * HOUR)] == [False, False]


@pytest.mark.parametrize("wrong", [{"actor": " "}, {"reason": ""}])
def test_a_silence_without_actor_or_reason_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="who wants it and why"):
        replace(silence(), **wrong)


def test_a_silence_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="ends before it begins"):
        silence(-2)


def test_a_snooze_means_one_matter_and_no_other() -> None:
    snooze = Hush(silences=[silence(matcher=snoozed(WARNING))])
    assert muted(replace(WARNING, kind=EventKind.REPEATED), snooze) is not None
    assert muted(replace(WARNING, generation="another"), snooze) is None
    assert muted(replace(WARNING, aspect="placeholder"), snooze) is None
    assert muted(event(item="ci/AAR_TOKEN2"), snooze) is None
    starred = event(item="tls/*.example.org")
    assert muted(event(item="tls/www.example.org"), Hush(silences=[silence(matcher=snoozed(starred))])) is None


def test_maintenance_holds_until_its_window_closes() -> None:
    hush = Hush(maintenance=[Maintenance(MORNING, Matcher.read({"category": "cicd"}))])
    assert muted(CRITICAL, hush) == Mute(
        "muted: maintenance `morning` until 2026-11-21 10:00 UTC", NOW + HOUR / 2, "maintenance"
    )
    assert muted(CRITICAL, hush, now=NOW + HOUR / 2) is None
    assert muted(event(), hush) is None


def test_maintenance_that_never_closes_is_asked_about_again() -> None:
    always = Maintenance(Window("always", parse_times(["00:00-24:00"])))
    mute = muted(WARNING, Hush(maintenance=[always]))
    assert mute is not None
    assert mute.until == NOW + timedelta(days=7)


def test_outside_the_active_window_news_waits_until_it_opens() -> None:
    hush = routed(Route(("slack",), active="office"))
    assert muted(WARNING, hush) == Mute(
        "muted: outside the window `office`, which opens 2026-11-23 08:00 UTC", MONDAY, "window"
    )
    assert muted(WARNING, hush, now=MONDAY) is None


def test_in_quiet_hours_news_waits_until_they_end() -> None:
    hush = routed(Route(("slack",), quiet="night"))
    mute = muted(WARNING, hush, now=NOW.replace(hour=23))
    assert mute == Mute(
        "muted: in the quiet hours `night` until 2026-11-22 06:00 UTC", datetime(2026, 11, 22, 6, tzinfo=UTC), "quiet"
    )
    assert muted(WARNING, hush) is None


@pytest.mark.parametrize("severity", [Severity.CRITICAL, Severity.EXPIRED])
def test_what_is_critical_ignores_the_windows_of_a_route(severity: Severity) -> None:
    urgent = event(severity=severity)
    assert muted(urgent, routed(Route(("slack",), active="office"))) is None
    assert muted(urgent, routed(Route(("slack",), active="office", active_for_critical=True))) is not None


def test_the_end_of_a_critical_matter_passes_where_its_beginning_did() -> None:
    hush = routed(Route(("slack",), active="office"))
    assert muted(event(EventKind.RENEWED, Severity.HEALTHY, before=Severity.CRITICAL), hush) is None
    assert muted(event(EventKind.RENEWED, Severity.HEALTHY, before=Severity.WARNING), hush) is not None


def test_the_end_of_what_was_never_critical_wakes_nobody_by_the_route_of_what_is() -> None:
    urgent = Route(("slack",), Matcher.read({"severity": "critical"}))
    hush = routed(urgent, Route(("slack",), active="office"))
    assert muted(event(EventKind.RENEWED, Severity.HEALTHY, before=Severity.WARNING), hush) is not None
    assert muted(event(EventKind.RENEWED, Severity.HEALTHY, before=Severity.CRITICAL), hush) is None


def test_one_route_that_lets_it_pass_is_enough() -> None:
    shut = Route(("slack",), active="office", continue_=True)
    assert muted(WARNING, routed(shut, Route(("slack",)))) is None
    assert muted(WARNING, routed(shut, Route(("mail",)))) is not None


def test_of_two_shut_routes_the_first_to_open_counts() -> None:
    other = Route(("slack",), quiet="morning")
    mute = muted(WARNING, routed(Route(("slack",), active="office", continue_=True), other))
    assert mute is not None
    assert mute.until == NOW + HOUR / 2


def test_the_windows_of_a_route_count_for_its_escalation_too() -> None:
    hush = routed(Route(("slack",), active="office", escalate=(Level(HOUR, ("lead",)),)))
    escalated = replace(event(EventKind.ESCALATED), notify=("lead",))
    assert muted(escalated, hush, "lead") is not None
    assert muted(replace(escalated, severity=Severity.CRITICAL), hush, "lead") is None


def test_what_no_route_carries_waits_for_no_window() -> None:
    assert muted(WARNING, routed(Route(("mail",), active="office")), "slack") is None


def test_of_several_mutes_the_last_end_counts_and_all_reasons_are_named() -> None:
    hush = Hush(
        silences=[silence(4), silence(2, reason="known")],
        maintenance=[Maintenance(MORNING)],
        routes=(Route(("slack",), quiet="morning"),),
        windows=WINDOWS,
    )
    mute = muted(WARNING, hush)
    assert mute is not None
    assert (mute.until, mute.by) == (NOW + 4 * HOUR, "silence")
    for part in ("rotation under way", "known", "maintenance `morning`", "quiet hours `morning`"):
        assert part in mute.reason


@pytest.mark.parametrize("kind", [EventKind.REPEATED, EventKind.RUNG, EventKind.ESCALATED])
def test_a_reminder_owed_before_the_acknowledgement_is_not_said_after_it(kind: EventKind) -> None:
    ack = Ack("alice", NOW + HOUR, "renewing it")
    mute = muted(replace(event(kind), at=NOW), Hush(acks=lambda _event: ack))
    assert mute == Mute("acknowledged by alice: renewing it", by="ack")
    asked_again = replace(event(kind), at=NOW + 2 * HOUR)
    assert muted(asked_again, Hush(acks=lambda _event: ack)) is None


@pytest.mark.parametrize("kind", [EventKind.RAISED, EventKind.WORSENED, EventKind.RENEWED])
def test_news_is_said_also_of_what_somebody_has_in_hand(kind: EventKind) -> None:
    ack = Ack("alice", NOW + HOUR, "renewing it")
    assert muted(replace(event(kind), at=NOW), Hush(acks=lambda _event: ack)) is None


texts = st.sampled_from([["mon-fri 08:00-18:00"], ["22:00-06:00"], ["sat,sun"], ["06:00-10:00", "fri 12:00-mon 09:00"]])
windows = st.builds(lambda name, times: Window(name, parse_times(times)), st.sampled_from("abc"), texts)
moments = st.integers(0, 30 * 24 * 60).map(lambda minutes: NOW + timedelta(minutes=minutes))
severities = st.sampled_from([Severity.INFO, Severity.WARNING, Severity.CRITICAL])


@st.composite
def hushes(draw: st.DrawFn) -> Hush:
    known = {window.name: window for window in draw(st.lists(windows, max_size=3))}
    names = st.sampled_from(["", *known])
    route = st.builds(
        Route,
        st.just(("slack",)),
        continue_=st.booleans(),
        active=names,
        quiet=names,
        active_for_critical=st.booleans(),
    )
    return Hush(
        silences=draw(st.lists(st.builds(silence, st.floats(0, 200)), max_size=2)),
        maintenance=draw(st.lists(st.builds(Maintenance, windows), max_size=2)),
        routes=tuple(draw(st.lists(route, max_size=3))),
        windows=known,
    )


@settings(deadline=None, max_examples=40)
@given(hushes(), severities, moments)
def test_what_is_muted_has_an_end_to_come_and_is_muted_until_then(
    hush: Hush, severity: Severity, now: datetime
) -> None:
    some = event(severity=severity)
    mute = muted(some, hush, now=now)
    if mute is None:
        return
    assert mute.until is not None
    assert mute.until > now
    assert mute.reason
    for share in (0.25, 0.75, 0.999):
        assert muted(some, hush, now=now + (mute.until - now) * share) is not None


@settings(deadline=None, max_examples=40)
@given(hushes(), severities, moments)
def test_asked_at_each_end_what_is_held_is_said_at_last(hush: Hush, severity: Severity, now: datetime) -> None:
    """Unless the windows leave no moment of the week to say it."""
    some = event(severity=severity)
    for _ in range(20):
        mute = muted(some, hush, now=now)
        if mute is None or mute.until is None:
            break
        now = mute.until
    else:
        week = [now + HOUR * step for step in range(24 * 7)]
        assert all(muted(some, hush, now=moment) for moment in week)
