"""Rungs, acknowledgement, escalation and hours of the day as they are heard: what is said when, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.scenario import at, want
from tests.unit.core.script import (
    ITEM,
    START,
    Act,
    World,
    acks,
    delivers,
    gives_up,
    is_blind,
    moment,
    play,
    rules_become,
    sees,
    shows,
)

from expiryd.core.ladder import Share, ShortLived, parse_lead
from expiryd.core.matching import Matcher
from expiryd.core.model import EXPIRY, NO_TRAITS, EventKind, Finding, Lifetime, Observation, Severity
from expiryd.core.routing import Level, Route
from expiryd.core.rules import Hours, Resolved, Rules
from expiryd.core.step import evaluate, see, told, wake_at
from expiryd.core.windows import Window, parse_times
from expiryd.core.workdays import Workdays

DAY, HOUR, TICK = timedelta(days=1), timedelta(hours=1), timedelta(microseconds=1)
NEVER = dict.fromkeys(Severity)
LADDER = tuple(map(parse_lead, ("30d", "14d", "7d", "3d", "1d", "0d", "-1d")))
RULES = Rules(ladder=LADDER, cooldown=NEVER)
CLASSIC = replace(RULES, short_lived=ShortLived())
TICKED = "0.000001s"


def just(days: str) -> tuple[str, str]:
    """The first moment after so many days."""
    return f"{days}{TICKED}", f"{days}{TICKED}"


# ── the ladder ────────────────────────────────────────────────────────────────────────────────────────


def test_every_rung_is_asked_once_and_one_with_a_threshold_is_one_event() -> None:
    play(
        at("0s", sees(ends="100d")),
        want(*just("55d"), "raised expiry info"),
        want(*just("70d"), "worsened expiry warning 30d"),
        want(*just("86d"), "rung expiry warning 14d"),
        want(*just("93d"), "worsened expiry critical 7d"),
        want(*just("97d"), "rung expiry critical 3d"),
        want(*just("99d"), "rung expiry critical 1d"),
        want("100d", "100d", "worsened expiry expired 0d"),
        want("101d", "101d", "rung expiry expired -1d"),
        by=RULES,
        until="500d",
    )


def test_a_rung_beyond_all_thresholds_is_at_least_an_information() -> None:
    play(
        at("0s", sees(ends="100d")),
        want(*just("40d"), "raised expiry info 60d"),
        want(*just("70d"), "worsened expiry warning"),
        by=Rules(ladder=(60 * DAY,), cooldown=NEVER),
        until="80d",
    )


def test_a_rung_after_the_end_is_the_only_word_where_nothing_else_is_left() -> None:
    play(
        at("0s", sees(ends="-10d")),
        want("0s", "0s", "raised expiry expired"),
        want("20d", "20d", "rung expiry expired -30d"),
        by=Rules(ladder=(-30 * DAY,), cooldown=NEVER),
        until="100d",
    )


def test_an_outage_over_several_rungs_says_one_thing_and_the_most_urgent() -> None:
    """No mail for each of three rungs on one day."""
    world = World(by=Resolved(RULES, NO_TRAITS))
    sees(ends="60d")(world)
    world.now = moment("58d")
    assert world.state is not None
    world.take(evaluate(world.state, world.rules, world.now))
    assert [line for _, line in world.heard] == ["raised expiry critical 3d"]
    world.pass_to(moment("58d23h"))
    assert len(world.heard) == 1


def test_another_generation_climbs_the_ladder_from_its_own_beginning() -> None:
    """A history that is kept by item silences the rungs of what took its place."""
    play(
        at("0s", sees(ends="20d", generation="a")),
        want("0s", "0s", "raised expiry warning 30d"),
        want(*just("6d"), "rung expiry warning 14d"),
        at("7d", sees(ends="27d", generation="b")),
        want("7d", "7d", "renewed expiry warning", "raised expiry warning 30d"),
        want(*just("13d"), "rung expiry warning 14d"),
        by=RULES,
        until="19d",
    )


def test_rungs_are_exact_below_a_day() -> None:
    rules = Rules(Share(10), Share(50), Share(50), ladder=(Share(25), 1 * HOUR, -1 * HOUR), cooldown=NEVER)
    play(
        at("0s", sees(ends="24h", issued="0s")),
        want(*just("12h"), "raised expiry warning"),
        want(*just("18h"), "rung expiry warning 25%"),
        want(*just("21h36m"), "worsened expiry critical"),
        want(*just("23h"), "rung expiry critical 1h"),
        want("24h", "24h", "worsened expiry expired"),
        want("25h", "25h", "rung expiry expired -1h"),
        by=rules,
        until="9d",
    )


def test_a_day_of_life_is_warned_in_hours_not_from_the_beginning() -> None:
    play(
        at("0s", sees(ends="24h", issued="0s")),
        want(*just("16h4m48s"), "raised expiry warning 33%"),
        want(*just("20h24m"), "worsened expiry critical 15%"),
        want(*just("22h48m"), "rung expiry critical 5%"),
        want("24h", "24h", "worsened expiry expired 0d"),
        want("48h", "48h", "rung expiry expired -1d"),
        by=CLASSIC,
        until="9d",
    )


def test_public_certificates_that_go_from_90_to_45_days_need_no_new_rules() -> None:
    """Renewed in time, with a third of the life left, neither the old ones nor the new ones are heard of."""
    play(
        at("0s", sees(ends="90d", issued="0s", generation="a")),
        want(*just("45d"), "raised expiry info"),
        at("59d", sees(ends="104d", issued="59d", generation="b")),
        want("59d", "59d", "renewed expiry healthy"),
        at("88d", sees(ends="133d", issued="88d", generation="c")),
        want("118d3h36m0.000001s", "118d3h36m0.000001s", "raised expiry warning 33%"),
        want("126d0.000001s", "126d0.000001s", "worsened expiry critical"),
        want("126d6h0.000001s", "126d6h0.000001s", "rung expiry critical 15%"),
        by=CLASSIC,
        until="130d",
    )


def test_a_rung_comes_before_a_reminder_and_starts_its_cooldown_anew() -> None:
    play(
        at("0s", sees(ends="16d"), delivers()),
        want("0s", "0s", "raised expiry warning 30d"),
        want(*just("2d"), "rung expiry warning 14d"),
        at("3d", delivers()),
        want(*just("9d"), "worsened expiry critical 7d"),
        by=Rules(ladder=LADDER),
        until="12d",
    )


def test_what_was_hidden_by_blindness_is_told_once_when_it_is_seen_again() -> None:
    play(
        at("0s", sees(ends="20d")),
        want("0s", "0s", "raised expiry warning 30d"),
        at("1d", is_blind(), is_blind()),
        want("1d", "1d", "blind blind warning"),
        at("10d", sees(ends="20d")),
        want("10d", "10d", "rung expiry warning 14d", "sighted blind warning"),
        by=RULES,
        until="12d",
    )


def test_working_days_move_thresholds_and_rungs_to_the_friday_before() -> None:
    weekends = Workdays(frozenset({5, 6}), frozenset({date(2030, 1, 18)}), ZoneInfo("Europe/Berlin"))
    play(  # the script starts on a Tuesday; the end is a Sunday, and so is the week before
        at("0s", sees(ends="26d")),
        want("0s", "0s", "raised expiry warning 30d"),
        want(*just("10d"), "rung expiry warning 14d"),  # Friday 11
        want(*just("16d"), "worsened expiry critical 7d"),  # Thursday 17: Friday is a holiday
        want(*just("23d"), "rung expiry critical 3d"),  # Thursday stays Thursday
        want(*just("24d"), "rung expiry critical 1d"),  # Saturday is told on Friday
        want("26d", "26d", "worsened expiry expired 0d"),
        want("27d", "27d", "rung expiry expired -1d"),
        by=replace(RULES, workdays=weekends),
        until="40d",
    )


def test_a_history_of_slow_renewals_is_critical_earlier() -> None:
    rules = replace(Rules(cooldown=NEVER), dynamic=True)
    seen = Observation("TOKEN", lifetime=Lifetime(moment("365d"), moment("0s")))
    world = World(by=Resolved(rules, NO_TRAITS))
    shows(seen)(world)
    assert world.state is not None
    world.state = replace(world.state, took=(20 * DAY, 22 * DAY, 24 * DAY))
    world.state = replace(world.state, wake_at=wake_at(world.state, rules, START))
    world.pass_to(moment("340d"))
    assert world.heard == [(320 * DAY + TICK, "raised expiry info"), (329 * DAY + TICK, "worsened expiry critical")]


# ── changed rules ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "other",
    [
        RULES,
        replace(RULES, ladder=tuple(reversed(LADDER))),
        replace(RULES, ladder=(30 * DAY, 12 * DAY, 5 * DAY, 20 * DAY)),
        replace(RULES, ladder=()),
        replace(RULES, ladder=(25 * DAY, 21 * DAY)),
        replace(RULES, warning=40 * DAY, info=60 * DAY),
    ],
)
def test_a_changed_ladder_tells_nothing_again_that_was_asked(other: Rules) -> None:
    """Fifteen days are left, and the last word was said with thirteen hours more."""
    play(
        at("0s", sees(ends="15d13h")),
        want("0s", "0s", "raised expiry warning 30d"),
        at("13h", rules_become(other)),
        at("14h", rules_become(RULES)),
        at("15h", rules_become(other)),
        by=RULES,
        until="16h",
    )


def test_a_threshold_that_is_raised_tells_the_rise_and_one_that_is_lowered_the_fall_and_neither_a_rung() -> None:
    play(
        at("0s", sees(ends="13d")),
        want("0s", "0s", "raised expiry warning 14d"),
        at("1h", rules_become(replace(RULES, critical=20 * DAY))),
        want("1h", "1h", "worsened expiry critical"),
        at("2h", rules_become(RULES)),
        want("2h", "2h", "eased expiry warning"),
        by=RULES,
        until="5d",
    )


# ── acknowledged ──────────────────────────────────────────────────────────────────────────────────────

LOUD = Rules(ladder=LADDER, cooldown=dict.fromkeys(Severity, DAY))


def test_what_is_acknowledged_is_not_repeated_until_it_grows_worse() -> None:
    play(
        at("0s", sees(ends="20d"), delivers()),
        want("0s", "0s", "raised expiry warning 30d"),
        at("1h", acks()),
        want("1h", "1h", "acknowledged expiry warning"),
        want(*just("13d"), "worsened expiry critical 7d"),
        at("13d1h", delivers()),
        want("14d1h", "14d1h", "repeated expiry critical"),
        by=LOUD,
        until="16d",
    )


def test_an_acknowledgement_until_renewed_outlives_every_rise_but_the_rise_is_told() -> None:
    world = play(
        at("0s", sees(ends="20d", generation="a"), delivers(), acks(until_renewed=True)),
        want("0s", "0s", "raised expiry warning 30d", "acknowledged expiry warning"),
        want(*just("13d"), "worsened expiry critical 7d"),
        at("14d", delivers()),
        want("20d", "20d", "worsened expiry expired 0d"),
        at("30d", sees(ends="50d", generation="b")),
        want("30d", "30d", "renewed expiry warning", "raised expiry warning 30d"),
        by=LOUD,
        until="31d",
    )
    assert world.state is not None
    assert world.state.alerts[0].ack is None


def test_an_acknowledgement_that_ends_by_its_date_lets_what_was_due_meanwhile_be_asked_once() -> None:
    world = play(
        at("0s", sees(ends="20d"), delivers(), acks("10d")),
        want("0s", "0s", "raised expiry warning 30d", "acknowledged expiry warning"),
        want("10d", "10d", "rung expiry warning 14d"),
        by=replace(RULES, cooldown=NEVER),
        until="12d",
    )
    assert world.state is not None
    assert world.state.alerts[0].ack is None


def test_an_acknowledgement_that_ends_by_its_date_is_silent_when_nothing_was_due() -> None:
    play(
        at("0s", sees(ends="20d"), delivers(), acks("5d")),
        want("0s", "0s", "raised expiry warning 30d", "acknowledged expiry warning"),
        want(*just("6d"), "rung expiry warning 14d"),
        by=RULES,
        until="12d",
    )


def test_an_acknowledgement_ends_with_its_matter_and_silences_no_other() -> None:
    loose = Finding("unsafe-permissions", Severity.WARNING)
    play(
        at("0s", sees(loose, ends="20d"), delivers(), acks()),
        want("0s", "0s", "raised expiry *", "raised unsafe-permissions warning", "acknowledged expiry warning"),
        want("1d", "1d", "repeated unsafe-permissions warning"),
        at("2d", sees(loose, ends="400d")),
        want("2d", "2d", "renewed expiry warning"),
        at("3d", sees(loose, ends="22d")),
        want("3d", "3d", "raised expiry warning 30d"),
        by=LOUD,
        until="4d",
    )


# ── escalation ────────────────────────────────────────────────────────────────────────────────────────

ONCALL = (Level(timedelta(minutes=15), ("oncall",)), Level(timedelta(hours=1), ("manager", "oncall")))
ROUTED = Rules(
    cooldown=NEVER,
    routes=(
        Route(("slack",), Matcher(severity=(Severity.CRITICAL, Severity.EXPIRED)), escalate=ONCALL),
        Route(("slack",)),
    ),
)


def test_escalation_counts_from_the_delivery_level_by_level() -> None:
    play(
        at("0s", sees(ends="5d")),
        want("0s", "0s", "raised expiry critical"),
        at("2h", delivers()),
        want("2h15m", "2h15m", "escalated expiry critical oncall"),
        want("3h", "3h", "escalated expiry critical manager oncall"),
        by=ROUTED,
        until="4d",
    )


def test_nothing_escalates_before_anybody_was_told() -> None:
    play(
        at("0s", sees(ends="5d"), gives_up()),
        want("0s", "0s", "raised expiry critical"),
        by=ROUTED,
        until="4d",
    )


def test_levels_reached_during_an_outage_are_one_word_to_all_of_them() -> None:
    world = World(by=Resolved(ROUTED, NO_TRAITS))
    sees(ends="5d")(world)
    delivers()(world)
    world.now = moment("1d")
    assert world.state is not None
    world.take(evaluate(world.state, world.rules, world.now))
    assert [line for _, line in world.heard][1:] == ["escalated expiry critical oncall manager"]
    assert world.state.alerts[0].escalated == 2


def test_acknowledging_stops_the_escalation() -> None:
    play(
        at("0s", sees(ends="5d"), delivers()),
        want("0s", "0s", "raised expiry critical"),
        want("15m", "15m", "escalated expiry critical oncall"),
        at("30m", acks()),
        want("30m", "30m", "acknowledged expiry critical"),
        by=ROUTED,
        until="4d",
    )


def test_a_rise_begins_the_escalation_anew_and_waits_for_its_own_delivery() -> None:
    play(
        at("0s", sees(ends="1h"), delivers()),
        want("0s", "0s", "raised expiry critical"),
        want("15m", "15m", "escalated expiry critical oncall"),
        want(
            "1h",
            "1h",
            "worsened expiry expired",
        ),
        at("2h", delivers()),
        want("2h15m", "2h15m", "escalated expiry expired oncall"),
        want("3h", "3h", "escalated expiry expired manager oncall"),
        by=ROUTED,
        until="4d",
    )


def test_what_is_mild_does_not_escalate() -> None:
    play(
        at("0s", sees(ends="20d"), delivers()),
        want("0s", "0s", "raised expiry warning"),
        by=ROUTED,
        until="10d",
    )


def test_the_escalation_names_exactly_whom_to_tell() -> None:
    world = World(by=Resolved(ROUTED, NO_TRAITS))
    sees(ends="5d")(world)
    delivers()(world)
    world.pass_to(moment("20m"))
    assert [(e.kind, e.notify) for e in world.events] == [
        (EventKind.RAISED, ()),
        (EventKind.ESCALATED, ("oncall",)),
    ]


# ── hours of the day ──────────────────────────────────────────────────────────────────────────────────

NIGHT = Window("night", parse_times(["22:00-06:00"]))
MILD_NIGHTS = replace(
    RULES, ladder=(), hours=(Hours(NIGHT, Rules(critical=DAY, warning=2 * DAY, info=3 * DAY, cooldown=NEVER)),)
)


def test_a_milder_night_neither_eases_nor_raises_again_what_was_told_by_day() -> None:
    play(
        at("12h", sees(ends="10d")),
        want("12h", "12h", "raised expiry warning"),
        want("3d6h", "3d6h", "worsened expiry critical"),  # crossed at midnight, told in the morning
        want("10d", "10d", "worsened expiry expired"),
        by=MILD_NIGHTS,
        until="12d",
    )


def test_what_is_first_seen_at_night_is_judged_by_the_night_and_again_in_the_morning() -> None:
    play(
        at("23h", sees(ends="6d")),
        want("1d6h", "1d6h", "raised expiry critical"),
        by=MILD_NIGHTS,
        until="3d",
    )


def test_other_thresholds_in_the_configuration_ease_also_what_an_hour_had_raised() -> None:
    milder = replace(MILD_NIGHTS, critical=2 * DAY)
    play(
        at("12h", sees(ends="5d")),
        want("12h", "12h", "raised expiry critical"),
        at("13h", rules_become(milder)),
        want("13h", "13h", "eased expiry warning"),
        by=MILD_NIGHTS,
        until="14h",
    )


def test_a_renewal_at_night_closes_what_the_day_had_raised() -> None:
    play(
        at("12h", sees(ends="5d")),
        want("12h", "12h", "raised expiry critical"),
        at("23h", sees(ends="400d")),
        want("23h", "23h", "renewed expiry healthy"),
        by=MILD_NIGHTS,
        until="3d",
    )


# ── any life at all ───────────────────────────────────────────────────────────────────────────────────

leads = st.sampled_from([*LADDER, 60 * DAY, HOUR, -HOUR, Share(33), Share(5), Share(66)])
calendars = st.none() | st.builds(
    Workdays,
    st.frozensets(st.integers(0, 6), max_size=2),
    st.frozensets(st.dates(date(2030, 1, 1), date(2030, 4, 30)), max_size=5),
    st.sampled_from([ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")]),
)
windows = st.just(NIGHT) | st.just(Window("spring", parse_times(["sun 01:00-04:00"]), ZoneInfo("Europe/Berlin")))
thresholds = st.sampled_from([HOUR, DAY, 7 * DAY, 30 * DAY, Share(15), Share(33)])


@st.composite
def any_rules(draw: st.DrawFn) -> Rules:
    rules = Rules(
        critical=draw(thresholds),
        warning=draw(thresholds),
        info=draw(thresholds),
        ladder=tuple(draw(st.lists(leads, max_size=6))),
        short_lived=draw(st.none() | st.just(ShortLived())),
        workdays=draw(calendars),
        cooldown=draw(st.sampled_from([NEVER, dict.fromkeys(Severity, DAY)])),
        routes=draw(st.sampled_from([(), ROUTED.routes])),
    )
    if draw(st.booleans()):
        rules = replace(rules, hours=(Hours(draw(windows), replace(rules, critical=draw(thresholds))),))
    return rules


def in_hand(until: str | None, until_renewed: bool) -> Act:
    """Acknowledged, if there is anything to acknowledge and it is not yet."""

    def act(world: World) -> None:
        matters = world.state.alerts if world.state else ()
        if any(alert.aspect == EXPIRY and alert.ack is None for alert in matters):
            acks(until, until_renewed=until_renewed)(world)

    return act


ends = st.sampled_from(["2h", "24h", "6d", "47d", "90d"])
deeds = (
    st.builds(lambda end, generation: sees(ends=end, issued="0s", generation=generation), ends, st.sampled_from("ab"))
    | st.sampled_from([is_blind(), delivers(), delivers(EXPIRY), gives_up()])
    | st.builds(in_hand, st.sampled_from([None, "20d", "400d"]), st.booleans())
    | st.builds(rules_become, any_rules())
)
pauses = st.sampled_from([timedelta(0), TICK, HOUR, DAY, 10 * DAY, 40 * DAY])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(pauses, deeds), max_size=12), any_rules())
def test_whatever_happens_every_history_with_a_ladder_is_well_formed(
    script: list[tuple[timedelta, Act]], rules: Rules
) -> None:
    """The promises themselves are asserted by the World, at every step."""
    world = World(by=Resolved(rules, NO_TRAITS))
    for pause, deed in script:
        world.pass_to(world.now + pause)
        deed(world)
        if world.state is not None:
            judged = evaluate(world.state, world.rules, world.now).state
            assert evaluate(judged, world.rules, world.now).state is judged
    world.pass_to(world.now + 150 * DAY)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(leads, min_size=1, max_size=8),
    ends,
    calendars,
    st.lists(st.timedeltas(timedelta(0), 100 * DAY), min_size=1, max_size=15),
)
def test_over_any_outages_the_most_urgent_rung_reached_is_asked_and_none_twice(
    ladder: list[timedelta | Share], end: str, workdays: Workdays | None, evaluations: list[timedelta]
) -> None:
    rules = Rules(HOUR, HOUR, HOUR, ladder=tuple(ladder), cooldown=NEVER, workdays=workdays)
    world = World(by=Resolved(rules, NO_TRAITS))
    sees(ends=end, issued="0s", generation="g")(world)
    steps = None
    for since in sorted(evaluations):
        world.now = START + since
        assert world.state is not None
        world.take(evaluate(world.state, rules, world.now))
        steps = rules.ladder_of(world.state.observation.lifetime)
        assert steps is not None
        reached = steps.rung(world.now)
        asked = [event.rung for event in world.events if event.rung]
        assert (asked[-1:] == [reached.label]) if reached else not asked
        assert len(asked) == len(set(asked))


@given(st.permutations(LADDER), st.lists(st.timedeltas(timedelta(0), 70 * DAY), max_size=10))
def test_the_order_in_which_rungs_are_written_changes_nothing_that_is_heard(
    ladder: list[timedelta], evaluations: list[timedelta]
) -> None:
    worlds = []
    for order in (LADDER, tuple(ladder)):
        world = World(by=Resolved(replace(RULES, ladder=order), NO_TRAITS))
        sees(ends="60d")(world)
        for since in sorted(evaluations):
            world.pass_to(START + since)
        worlds.append(world.heard)
    assert worlds[0] == worlds[1]


def test_a_typed_end_across_a_change_of_the_clock_wakes_at_the_exact_moment() -> None:
    end = datetime(2030, 4, 1, tzinfo=ZoneInfo("Europe/Berlin"))  # the clock is put forward on 31 March
    step = see(None, ITEM, Observation("TOKEN", lifetime=Lifetime(end)), Resolved(RULES, NO_TRAITS), START)
    assert step.state.wake_at == datetime(2030, 2, 14, 22, tzinfo=UTC) + TICK


def test_a_delivery_in_the_moment_of_a_rung_does_not_put_off_the_rung() -> None:
    step = see(None, ITEM, Observation("TOKEN", lifetime=Lifetime(moment("20d"))), Resolved(RULES, NO_TRAITS), START)
    late = moment("6d1h")  # the rung of 14 days is an hour old and not judged yet
    stamped = replace(step.state, alerts=tuple(told(alert, late) for alert in step.state.alerts))
    due = wake_at(stamped, RULES, late)
    assert due is not None
    assert due <= late
