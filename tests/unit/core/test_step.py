"""The alert state machine: what is said when, and that nothing else ever is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.scenario import at, want
from tests.unit.core.script import (
    ITEM,
    START,
    Act,
    World,
    delivers,
    gives_up,
    is_blind,
    moment,
    play,
    rules_become,
    sees,
    shows,
    vanishes,
)

from expiryd.core.cooldown import Fading
from expiryd.core.generations import renewed
from expiryd.core.model import (
    EXPIRY,
    NO_TRAITS,
    Basis,
    Blind,
    EventKind,
    Finding,
    Lifetime,
    Measure,
    Observation,
    Severity,
    Traits,
)
from expiryd.core.rules import Resolved, Rules, Say
from expiryd.core.step import evaluate, fail, given_up, see, told, vanish

DAY = timedelta(days=1)
LOOSE = Finding("unsafe-permissions", Severity.WARNING, "mode 0644")
GAPING = Finding("unsafe-permissions", Severity.CRITICAL, "mode 0666")
POLICY = Resolved(Rules(lifetime=90 * DAY), NO_TRAITS)


# ── the life of one credential ────────────────────────────────────────────────────────────────────────


def test_a_healthy_item_is_never_heard_of() -> None:
    play(at("0s", sees(ends="400d")), at("1d", sees(ends="400d")), at("300d", sees(ends="400d")), until="355d")


def test_time_alone_raises_and_worsens_a_microsecond_after_each_threshold() -> None:
    play(
        at("0s", sees(ends="100d")),
        want("55d0.000001s", "55d0.000001s", "raised expiry info"),
        want("70d0.000001s", "70d0.000001s", "worsened expiry warning"),
        want("93d0.000001s", "93d0.000001s", "worsened expiry critical"),
        want("100d", "100d", "worsened expiry expired"),
        until="5000d",
    )


def test_after_an_outage_of_the_daemon_only_the_most_severe_is_said() -> None:
    world = World()
    sees(ends="100d")(world)
    world.now = moment("99d")
    assert world.state is not None
    world.take(evaluate(world.state, world.rules, world.now))
    assert [line for _, line in world.heard] == ["raised expiry critical"]


def test_what_is_bad_at_first_sight_is_raised_at_once() -> None:
    play(at("0s", sees(ends="3d")), want("0s", "0s", "raised expiry critical"))
    play(at("0s", sees(ends="-3d")), want("0s", "0s", "raised expiry expired"))
    play(at("0s", sees(LOOSE, GAPING, ends="40d")), want("0s", "0s", "raised expiry info", "raised unsafe-* critical"))


def test_a_later_end_renews_and_an_unchanged_look_says_nothing() -> None:
    play(
        at("0s", sees(ends="20d")),
        want("0s", "0s", "raised expiry warning"),
        at("1d", sees(ends="20d")),
        at("2d", sees(ends="20d")),
        at("3d", sees(ends="120d")),
        want("3d", "3d", "renewed expiry healthy"),
        at("4d", sees(ends="120d")),
        until="10d",
    )


def test_another_credential_with_an_earlier_end_resolves_the_old_matter_and_raises_its_own() -> None:
    world = play(
        at("0s", sees(ends="20d", generation="a")),
        want("0s", "0s", "raised expiry warning"),
        at("1d", sees(ends="5d", generation="b")),
        want("1d", "1d", "resolved expiry critical", "raised expiry critical"),
    )
    assert [event.generation for event in world.events] == ["a", "a", "b"]
    assert [event.before for event in world.events] == [Severity.HEALTHY, Severity.WARNING, Severity.HEALTHY]


def test_a_renewal_that_is_still_short_closes_the_old_matter_and_raises_the_new() -> None:
    play(
        at("0s", sees(ends="2d")),
        want("0s", "0s", "raised expiry critical"),
        at("1d", sees(ends="20d")),
        want("1d", "1d", "renewed expiry warning", "raised expiry warning"),
    )


def test_the_same_credential_with_a_moved_end_eases_and_in_the_end_is_renewed() -> None:
    play(
        at("0s", sees(ends="5d", generation="account")),
        want("0s", "0s", "raised expiry critical"),
        at("1d", sees(ends="21d", generation="account")),
        want("1d", "1d", "eased expiry warning"),
        at("2d", sees(ends="400d", generation="account")),
        want("2d", "2d", "renewed expiry healthy"),
    )


def test_never_expiring_is_a_renewal_and_an_unknown_end_is_not() -> None:
    start = [at("0s", sees(ends="5d")), want("0s", "0s", "raised expiry critical")]
    play(*start, at("1d", sees(basis=Basis.NONE)), want("1d", "1d", "renewed expiry healthy"))
    world = play(*start, at("1d", sees(basis=Basis.METADATA)), want("1d", "1d", "resolved expiry healthy"))
    assert world.state is not None
    assert world.state.severity is Severity.UNKNOWN


@pytest.mark.parametrize(
    ("was", "will", "is_renewed"),
    [
        (Lifetime(moment("5d")), Lifetime(moment("6d")), True),
        (Lifetime(moment("5d")), Lifetime(moment("5d")), False),
        (Lifetime(moment("5d")), Lifetime(moment("4d")), False),
        (Lifetime(moment("5d")), Lifetime(basis=Basis.NONE), True),
        (Lifetime(moment("5d")), Lifetime(basis=Basis.POLICY), False),
        (Lifetime(moment("5d")), None, False),
        (Lifetime(), Lifetime(moment("5d")), False),
        (None, Lifetime(moment("5d")), False),
    ],
)
def test_renewed_means_that_the_end_moved_away(was: Lifetime | None, will: Lifetime | None, is_renewed: bool) -> None:
    assert renewed(Observation("a", lifetime=was), Observation("a", lifetime=will)) is is_renewed


def test_a_placeholder_in_place_of_a_token_closes_the_date_and_is_a_matter_itself() -> None:
    play(
        at("0s", sees(ends="5d")),
        want("0s", "0s", "raised expiry critical"),
        at("1d", sees(Finding("placeholder", Severity.WARNING))),
        want("1d", "1d", "resolved expiry warning", "raised placeholder warning"),
    )


def test_findings_are_matters_of_their_own() -> None:
    play(
        at("0s", sees(LOOSE, ends="400d")),
        want("0s", "0s", "raised unsafe-permissions warning"),
        at("1d", sees(GAPING, ends="400d")),
        want("1d", "1d", "worsened unsafe-permissions critical"),
        at("2d", sees(LOOSE, ends="400d")),
        want("2d", "2d", "eased unsafe-permissions warning"),
        at("3d", sees(replace(LOOSE, detail="mode 0640"), ends="400d")),
        at("4d", sees(ends="400d")),
        want("4d", "4d", "resolved unsafe-permissions healthy"),
    )


def test_a_finding_survives_a_change_of_generation_under_its_opening_one() -> None:
    world = play(
        at("0s", sees(LOOSE, ends="20d", generation="a")),
        want("0s", "0s", "raised expiry warning", "raised unsafe-permissions warning"),
        at("1d", sees(LOOSE, ends="400d", generation="b")),
        want("1d", "1d", "renewed expiry warning"),
        at("2d", sees(GAPING, ends="400d", generation="b")),
        want("2d", "2d", "worsened unsafe-permissions critical"),
        at("3d", sees(ends="400d", generation="b")),
        want("3d", "3d", "resolved unsafe-permissions healthy"),
    )
    assert {event.generation for event in world.events} == {"a"}


def test_a_measure_crossing_its_thresholds_is_told_with_its_value() -> None:
    def disk(value: float) -> Act:
        return sees(measures=(Measure("disk-used", value, "%", warning=80, critical=90),))

    world = play(
        at("0s", disk(50)),
        at("1h", disk(85)),
        want("1h", "1h", "raised disk-used warning"),
        at("2h", disk(86)),
        at("3h", disk(95)),
        want("3h", "3h", "worsened disk-used critical"),
        at("4h", disk(70)),
        want("4h", "4h", "resolved disk-used healthy"),
    )
    assert [event.detail for event in world.events] == ["85 %", "95 %", "95 %"]


def test_a_validity_that_begins_resolves_by_time_alone() -> None:
    begins = Observation("TOKEN", lifetime=Lifetime(moment("400d"), not_before=moment("2d")))
    play(
        at("0s", shows(begins)),
        want("0s", "0s", "raised not-yet-valid warning"),
        want("2d", "2d", "resolved not-yet-valid healthy"),
        until="3d",
    )


def test_a_vanished_item_gets_one_last_word() -> None:
    world = play(
        at("0s", sees(GAPING, ends="20d")),
        want("0s", "0s", "raised expiry warning", "raised unsafe-permissions critical"),
        at("1d", vanishes()),
        want("1d", "1d", "vanished unsafe-permissions info"),
        at("2d", sees(ends="20d")),
        want("2d", "2d", "raised expiry warning"),
    )
    assert world.events[2].before is Severity.CRITICAL


def test_a_healthy_item_that_vanishes_is_told_about_its_expiry() -> None:
    world = play(at("0s", sees(ends="400d")), at("1d", vanishes()), want("1d", "1d", "vanished expiry info"))
    assert world.events[0].before is Severity.HEALTHY
    assert world.events[0].generation == "2031-02-05T00:00:00+00:00"


def test_events_carry_what_a_message_needs() -> None:
    traits = Traits("cicd", "ops", "https://runbook", ("web",), {"env": "prod"})
    issued, ends = START - 80 * DAY, START + 10 * DAY
    seen = Observation("TOKEN", "token", lifetime=Lifetime(issued_at=issued), generation="f1")
    step = see(None, ITEM, seen, Resolved(Rules(lifetime=90 * DAY), traits, Say(title="The token")), START)
    (event,) = step.events
    assert (event.item, event.collector, event.aspect, event.generation) == (ITEM, "ci", EXPIRY, "f1")
    assert (event.severity, event.before) == (Severity.WARNING, Severity.HEALTHY)
    assert (event.title, event.item_kind, event.traits) == ("The token", "token", traits)
    assert (event.expires_at, event.issued_at, event.basis) == (ends, issued, Basis.POLICY)


# ── nothing changed ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ends", [None, "3d", "20d", "400d"])
def test_an_unchanged_look_and_an_unchanged_judgement_give_the_very_same_state(ends: str | None) -> None:
    world = World()
    act = sees(LOOSE, ends=ends)
    act(world)
    state = world.state
    assert state is not None
    world.now = moment("1h")
    act(world)
    assert world.state is state
    assert evaluate(state, world.rules, world.now).state is state


def test_a_state_whose_wake_up_alone_is_out_of_date_gets_the_right_one() -> None:
    world = World()
    sees(ends="20d")(world)
    assert world.state is not None
    stale = replace(world.state, wake_at=START)
    assert evaluate(stale, world.rules, START).state.wake_at == moment("13d0.000001s")
    same = evaluate(world.state, world.rules, START)
    assert same.state is world.state


# ── saying it again ───────────────────────────────────────────────────────────────────────────────────


def test_a_reminder_comes_one_cooldown_after_the_delivery_never_after_the_asking() -> None:
    play(
        at("0s", sees(ends="6d", generation="g")),
        want("0s", "0s", "raised expiry critical"),
        at("2d", sees(ends="6d", generation="g")),
        at("3d", delivers()),
        want("4d", "4d", "repeated expiry critical"),
        until="5d23h",
    )


def test_every_reminder_waits_for_its_own_delivery() -> None:
    play(
        at("0s", sees(ends="-1d"), delivers()),
        want("0s", "0s", "raised expiry expired"),
        want("1d", "1d", "repeated expiry expired"),
        at("3d", delivers()),
        want("4d", "4d", "repeated expiry expired"),
        until="30d",
    )


def test_when_nobody_could_be_told_it_is_asked_again_after_the_cooldown() -> None:
    play(
        at("0s", sees(LOOSE)),
        want("0s", "0s", "raised unsafe-permissions warning"),
        at("3d", gives_up()),
        want("10d", "10d", "repeated unsafe-permissions warning"),
        until="30d",
    )


def test_a_rise_does_not_wait_for_the_cooldown_and_starts_it_anew() -> None:
    play(
        at("0s", sees(LOOSE), delivers()),
        want("0s", "0s", "raised unsafe-permissions warning"),
        at("1h", sees(GAPING)),
        want("1h", "1h", "worsened unsafe-permissions critical"),
        at("2h", delivers()),
        want("1d2h", "1d2h", "repeated unsafe-permissions critical"),
        until="20d",
    )


def test_a_rise_that_was_not_delivered_yet_is_not_repeated_on_the_strength_of_an_older_delivery() -> None:
    play(
        at("0s", sees(LOOSE), delivers()),
        want("0s", "0s", "raised unsafe-permissions warning"),
        at("1h", sees(GAPING)),
        want("1h", "1h", "worsened unsafe-permissions critical"),
        until="90d",
    )


def test_the_cooldown_runs_from_the_last_that_was_told_or_given_up() -> None:
    play(
        at("0s", sees(GAPING), delivers()),
        want("0s", "0s", "raised unsafe-permissions critical"),
        at("6h", gives_up()),
        want("1d6h", "1d6h", "repeated unsafe-permissions critical"),
        until="9d",
    )


def test_information_is_never_repeated() -> None:
    play(
        at("0s", sees(Finding("note", Severity.INFO)), delivers()),
        want("0s", "0s", "raised note info"),
        until="3000d",
    )


def test_each_matter_has_its_own_cooldown() -> None:
    play(
        at("0s", sees(GAPING, ends="-1d"), delivers("unsafe-permissions")),
        want("0s", "0s", "raised expiry expired", "raised unsafe-permissions critical"),
        want("1d", "1d", "repeated unsafe-permissions critical"),
        at("1d12h", delivers(EXPIRY)),
        want("2d12h", "2d12h", "repeated expiry expired"),
        until="20d",
    )


def goes_on_told(world: World, until: str) -> None:
    """Each word is delivered at once, and time passes to the next."""
    while world.now < moment(until):
        delivers()(world)
        assert world.state is not None
        assert world.state.wake_at is not None
        world.pass_to(world.state.wake_at)


def test_a_fading_cooldown_grows_with_what_lasts_and_never_ends() -> None:
    world = World(Resolved(Rules(cooldown={Severity.EXPIRED: Fading(DAY)}), NO_TRAITS))
    sees(ends="-1d")(world)
    goes_on_told(world, "1095d")
    days = [when / DAY for when, _ in world.heard]
    assert {line for _, line in world.heard[1:]} == {"repeated expiry expired"}
    assert days[:18] == [*range(15), 16, 18, 20]
    assert [later - day for day, later in pairwise(days)] == [max(1, day // 7) for day in days[:-1]]
    assert len(days) < 60


def test_a_cooldown_that_does_not_fade_is_the_same_however_long_a_matter_lasts() -> None:
    world = World(Resolved(Rules(cooldown={Severity.EXPIRED: timedelta(hours=1)}), NO_TRAITS))
    sees(ends="-1d")(world)
    goes_on_told(world, "60d")
    assert len(world.heard) == 60 * 24 + 1


def test_a_cooldown_that_is_longer_than_what_has_passed_is_kept_to_by_what_expired() -> None:
    play(
        at("0s", sees(ends="0s"), delivers()),
        want("0s", "0s", "raised expiry expired"),
        want("40d", "40d", "repeated expiry expired"),
        at("40d", delivers()),
        want("80d", "80d", "repeated expiry expired"),
        by=Rules(cooldown={Severity.EXPIRED: Fading(40 * DAY)}),
        until="100d",
    )


def test_a_look_when_the_cooldown_is_over_reminds_too() -> None:
    world = World()
    sees(LOOSE)(world)
    delivers()(world)
    world.now = moment("8d")
    sees(LOOSE)(world)
    assert [line for _, line in world.heard][1:] == ["repeated unsafe-permissions warning"]


def test_a_cooldown_beyond_the_calendar_is_never_over() -> None:
    rules = Rules(cooldown={Severity.WARNING: timedelta.max})
    play(at("0s", sees(LOOSE), delivers()), want("0s", "0s", "raised unsafe-* warning"), by=rules, until="9000d")


def test_stamps_only_move_forward() -> None:
    world = World()
    sees(LOOSE)(world)
    assert world.state is not None
    (alert,) = world.state.alerts
    for stamp, name in ((told, "told_at"), (given_up, "failed_at")):
        later = stamp(alert, moment("2d"))
        assert getattr(later, name) == moment("2d")
        assert stamp(later, moment("1d")) == later


# ── other rules ───────────────────────────────────────────────────────────────────────────────────────


def test_other_rules_are_in_force_once_everything_is_judged_again() -> None:
    play(
        at("0s", sees(ends="50d")),
        at("1h", rules_become(Rules(warning=60 * DAY))),
        want("1h", "1h", "raised expiry warning"),
        at("2h", rules_become(Rules(warning=60 * DAY))),
        at("3h", rules_become(Rules())),
        want("3h", "3h", "resolved expiry healthy"),
        until="1d",
    )


def test_a_threshold_above_the_milder_ones_hides_them_and_wakes_nobody() -> None:
    play(
        at("0s", sees(ends="100d")),
        want("40d0.000001s", "40d0.000001s", "raised expiry critical"),
        want("100d", "100d", "worsened expiry expired"),
        by=Rules(critical=60 * DAY),
        until="200d",
    )


# ── lifetimes by rule ─────────────────────────────────────────────────────────────────────────────────


def test_a_token_dated_by_rule_restarts_its_lifetime_when_its_value_was_seen_to_change() -> None:
    world = play(
        at("0s", sees(issued="-70d", generation="f1")),
        want("0s", "0s", "raised expiry warning"),
        at("2d", sees(issued="-70d", generation="f2")),
        want("2d", "2d", "renewed expiry healthy"),
        at("3d", sees(issued="-70d", generation="f2")),
        at("4d", sees(issued="-70d", generation="f2")),
        by=POLICY,
        until="40d",
    )
    assert world.state is not None
    assert world.state.observation.lifetime == Lifetime(moment("92d"), moment("2d"), basis=Basis.POLICY, span=90 * DAY)


def test_a_rotation_that_the_source_dates_itself_counts_from_that_date_however_late_it_was_seen() -> None:
    world = play(
        at("0s", sees(issued="-20d", generation="f1")),
        at("20d", sees(issued="5d", generation="f2")),
        at("21d", sees(issued="5d", generation="f2")),
        by=POLICY,
        until="30d",
    )
    assert world.state is not None
    assert world.state.observation.lifetime is not None
    assert world.state.observation.lifetime.expires_at == moment("95d")


def test_a_value_without_any_issue_date_is_unknown_until_its_rotation_is_witnessed() -> None:
    world = World(by=POLICY)
    sees(generation="f1")(world)
    assert world.state is not None
    assert (world.state.severity, world.state.wake_at, world.heard) == (Severity.UNKNOWN, None, [])
    world.now = moment("1d")
    sees(generation="f2")(world)
    assert world.state.severity is Severity.HEALTHY
    assert world.state.rotated_at == moment("1d")
    assert world.state.observation.lifetime is not None
    assert world.state.observation.lifetime.expires_at == moment("91d")


@pytest.mark.parametrize("act", [sees(generation="f"), sees(basis=Basis.METADATA), sees(basis=Basis.POLICY)])
def test_an_unknown_end_is_unknown_and_stays_quiet(act: Act) -> None:
    world = play(at("0s", act), at("1d", act), until="900d")
    assert world.state is not None
    assert world.state.severity is Severity.UNKNOWN
    assert world.state.observation.lifetime is None or world.state.observation.lifetime.expires_at is None


# ── blind ─────────────────────────────────────────────────────────────────────────────────────────────


def test_one_failed_look_is_no_news_the_second_in_a_row_is() -> None:
    play(
        at("0s", sees(ends="400d")),
        at("1h", is_blind()),
        at("2h", sees(ends="400d")),
        at("3h", is_blind()),
        at("4h", is_blind()),
        want("4h", "4h", "blind blind warning"),
        at("5h", is_blind("another reason")),
        at("6h", is_blind()),
        at("7h", sees(ends="400d")),
        want("7h", "7h", "sighted blind healthy"),
        at("8h", is_blind()),
        until="9h",
    )


def test_how_many_looks_make_blind_is_a_rule() -> None:
    play(at("0s", is_blind()), want("0s", "0s", "blind blind warning"), by=Rules(blind_after=1))
    play(
        *(at(f"{hour}h", is_blind()) for hour in range(9)),
        want("4h", "4h", "blind blind warning"),
        by=Rules(blind_after=5),
    )


@pytest.mark.parametrize(
    ("ends", "severity"), [("400d", "warning"), ("20d", "warning"), ("6d", "critical"), ("-6d", "critical")]
)
def test_blindness_weighs_what_the_last_known_date_says_but_is_never_healthy_nor_expired(
    ends: str, severity: str
) -> None:
    first = World()
    sees(ends=ends)(first)
    opened = [want("0s", "0s", *(line for _, line in first.heard))]
    world = play(
        at("0s", sees(ends=ends)),
        *opened,
        at("1h", is_blind(), is_blind()),
        want("1h", "1h", f"blind blind {severity}"),
    )
    assert world.state is not None
    assert world.state.severity is Severity.UNKNOWN


def test_a_blind_item_holds_its_matters_and_worsens_only_as_blindness_when_the_hidden_end_comes_near() -> None:
    play(
        at("0s", sees(LOOSE, ends="20d")),
        want("0s", "0s", "raised expiry warning", "raised unsafe-permissions warning"),
        at("1d", is_blind(), is_blind()),
        want("1d", "1d", "blind blind warning"),
        want("13d0.000001s", "13d0.000001s", "worsened blind critical"),
        at("25d", sees(LOOSE, ends="20d")),
        want("25d", "25d", "worsened expiry expired", "sighted blind expired"),
        until="26d",
    )


def test_a_blind_item_that_was_renewed_meanwhile_says_so_when_it_is_seen_again() -> None:
    play(
        at("0s", sees(LOOSE, ends="5d")),
        want("0s", "0s", "raised expiry critical", "raised unsafe-permissions warning"),
        at("1d", is_blind(), is_blind()),
        want("1d", "1d", "blind blind critical"),
        at("9d", sees(ends="400d")),
        want("9d", "9d", "renewed expiry healthy", "resolved unsafe-* healthy", "sighted blind healthy"),
    )


def test_open_matters_are_repeated_while_blind_once_they_were_told() -> None:
    play(
        at("0s", sees(ends="-5d"), delivers()),
        want("0s", "0s", "raised expiry expired"),
        at("1h", is_blind(), is_blind(), delivers("blind")),
        want("1h", "1h", "blind blind critical"),
        want("1d", "1d", "repeated expiry expired"),
        want("1d1h", "1d1h", "repeated blind critical"),
        until="9d",
    )


def test_an_item_that_was_never_seen_can_be_blind_and_then_be_seen() -> None:
    world = play(
        at("0s", is_blind(), is_blind("connection refused")),
        want("0s", "0s", "blind blind warning"),
        at("1d", sees(ends="5d")),
        want("1d", "1d", "raised expiry critical", "sighted blind critical"),
    )
    assert world.events[0].detail == "connection refused"
    assert (world.events[0].title, world.events[0].expires_at) == ("TOKEN", None)
    assert world.state is not None
    assert world.state.first_seen == START


def test_time_goes_on_for_an_item_that_was_missed_only_once() -> None:
    play(
        at("0s", sees(ends="31d")),
        want("0s", "0s", "raised expiry info"),
        at("1h", is_blind()),
        want("1d0.000001s", "1d0.000001s", "worsened expiry warning"),
        until="2d",
    )


def test_what_was_missed_before_it_was_ever_seen_is_unknown_not_healthy_also_when_judged_again() -> None:
    world = play(at("0s", is_blind()), at("1h", rules_become(Rules())), until="2h")
    assert world.state is not None
    assert world.state.severity is Severity.UNKNOWN
    assert world.state.wake_at is None


def test_a_failed_look_keeps_what_was_known() -> None:
    world = World()
    sees(LOOSE, ends="20d")(world)
    before = world.state
    assert before is not None
    after = fail(before, ITEM, Blind("TOKEN", "no answer"), world.by, moment("1h")).state
    assert after == replace(before, blind_looks=1)
    after = fail(after, ITEM, Blind("TOKEN", "no answer"), world.by, moment("2h")).state
    assert after.observation is before.observation
    assert after.alerts[:2] == before.alerts


def test_a_blind_item_that_vanishes_is_forgotten_like_any_other() -> None:
    play(
        at("0s", is_blind(), is_blind()),
        want("0s", "0s", "blind blind warning"),
        at("1d", vanishes()),
        want("1d", "1d", "vanished blind info"),
    )


# ── any sequence at all ───────────────────────────────────────────────────────────────────────────────

codes = st.sampled_from(["unsafe-permissions", "revoked"])
severities = st.sampled_from(list(Severity))
offsets = st.none() | st.sampled_from([timedelta(days=days) for days in (-40, 0, 1, 7, 8, 30, 45, 46, 90)])
spans = st.sampled_from([timedelta(seconds=1), DAY, 7 * DAY, 30 * DAY, 45 * DAY, 60 * DAY])


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    lifetime = None
    if draw(st.booleans()):
        ends, begins, issued = (None if span is None else START + span for span in (draw(offsets) for _ in range(3)))
        lifetime = Lifetime(ends, issued, begins, draw(st.sampled_from(list(Basis))), draw(st.none() | spans))
    findings = draw(st.lists(st.builds(Finding, codes, severities, st.sampled_from(["", "x"])), max_size=2))
    disk = st.builds(lambda value: Measure("disk", value, "%", warning=1, critical=2), st.integers(0, 3))
    measures = draw(st.lists(disk, max_size=1))
    generation = draw(st.sampled_from(["", "f1", "f2"]))
    return Observation("TOKEN", "token", "TOKEN", lifetime, generation, tuple(findings), tuple(measures))


rules = st.builds(
    Rules,
    critical=spans,
    warning=spans,
    info=spans,
    cooldown=st.dictionaries(
        severities, st.none() | st.sampled_from([timedelta(microseconds=1), DAY, Fading(DAY), timedelta.max])
    ),
    lifetime=st.none() | spans,
    blind_after=st.integers(1, 3),
)
deeds = (
    st.builds(shows, observations())
    | st.sampled_from([is_blind(), is_blind("timed out"), delivers(), delivers(EXPIRY), gives_up(), vanishes()])
    | st.builds(rules_become, rules)
)
pauses = st.sampled_from([timedelta(0), timedelta(microseconds=1), timedelta(hours=1), DAY, 10 * DAY, 40 * DAY])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(pauses, deeds), max_size=25), rules)
def test_whatever_happens_every_history_is_well_formed(script: list[tuple[timedelta, Act]], rules: Rules) -> None:
    """The promises themselves are asserted by the World, at every step."""
    world = World(by=Resolved(rules, NO_TRAITS))
    for pause, deed in script:
        world.pass_to(world.now + pause)
        was = world.state
        heard = len(world.events)
        deed(world)
        if world.state is was:
            assert len(world.events) == heard
        if world.state is not None:
            # a first judgement may follow other rules than the look did; a second one has nothing to add
            judged = evaluate(world.state, world.rules, world.now).state
            assert evaluate(judged, world.rules, world.now).state is judged
    world.pass_to(world.now + 400 * DAY)


def test_the_last_word_is_no_step() -> None:
    world = World()
    sees(ends="5d")(world)
    assert world.state is not None
    assert vanish(world.state, moment("1d")).kind is EventKind.VANISHED
