"""Leads as they are written and as they are in force: shares, short lives, working days, and which rung is owed."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from time import process_time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expiryd.core.duration import format_duration
from expiryd.core.ladder import Ladder, Lead, Leads, Rung, Scale, Share, ShortLived, label, parse_lead, span_of
from expiryd.core.model import Lifetime, Severity
from expiryd.core.workdays import Workdays

DAY, HOUR, TICK = timedelta(days=1), timedelta(hours=1), timedelta(microseconds=1)
END = datetime(2030, 6, 1, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
WRITTEN = ("30d", "14d", "7d", "3d", "1d", "0d", "-1d")
LADDER = tuple(map(parse_lead, WRITTEN))
SCALE = Scale(ladder=LADDER, short_lived=ShortLived())

leads = st.timedeltas(-10 * DAY, 100 * DAY) | st.sampled_from([timedelta(0), TICK, -TICK, DAY])
shares = st.builds(Share, st.floats(0.1, 99.9))
scales = st.builds(
    Scale,
    critical=leads.map(abs) | shares,
    warning=leads.map(abs) | shares,
    info=leads.map(abs) | shares,
    ladder=st.lists(leads | shares, max_size=6).map(tuple),
    short_lived=st.none() | st.just(ShortLived()),
)
spans = st.none() | st.timedeltas(TICK, 800 * DAY)
calendars = st.builds(
    Workdays,
    st.frozensets(st.integers(0, 6), max_size=3),
    st.frozensets(st.dates(date(2030, 3, 1), date(2030, 6, 30)), max_size=8),
    st.sampled_from([ZoneInfo("UTC"), BERLIN]),
)
ladders = st.builds(
    lambda scale, span, workdays: Ladder(END, scale.leads(span), workdays), scales, spans, st.none() | calendars
)
moments = st.builds(lambda before: END - before, st.timedeltas(-20 * DAY, 130 * DAY) | leads)


def labels(found: Leads) -> list[str]:
    return [rung.label for rung in found.rungs]


# ── words ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "lead", "said"),
    [
        ("30d", 30 * DAY, "30d"),
        ("2w", 14 * DAY, "14d"),
        ("0d", timedelta(0), "0d"),
        ("0s", timedelta(0), "0d"),
        ("-1d", -DAY, "-1d"),
        ("12h", 12 * HOUR, "12h"),
        ("36h", 36 * HOUR, "1d12h"),
        ("33%", Share(33), "33%"),
        (" 12.5 % ", Share(12.5), "12.5%"),
    ],
)
def test_a_lead_is_read_and_said_as_people_do(text: str, lead: Lead, said: str) -> None:
    assert parse_lead(text) == lead
    assert label(lead) == said


@pytest.mark.parametrize("text", ["", "30", "0%", "100%", "-5%", "1e2%", "%", "33%%", "soon", "nan%"])
def test_anything_else_is_refused_with_the_accepted_form(text: str) -> None:
    with pytest.raises(ValueError, match="33%"):
        parse_lead(text)


@given(leads | shares.map(lambda share: Share(round(share.percent, 3))))
def test_what_is_said_reads_back(lead: Lead) -> None:
    assert parse_lead(label(lead)) == lead
    if isinstance(lead, timedelta):
        assert parse_lead(format_duration(lead)) == lead


# ── leads in force ────────────────────────────────────────────────────────────────────────────────────


def test_long_lives_keep_what_was_written() -> None:
    found = SCALE.leads(398 * DAY)
    assert (found.critical, found.warning, found.info) == (7 * DAY, 30 * DAY, 45 * DAY)
    assert labels(found) == list(WRITTEN)
    assert SCALE.leads(90 * DAY) is found
    assert SCALE.leads(None) is found


@pytest.mark.parametrize(
    ("span", "critical", "warning", "info", "rungs"),
    [
        (90 * DAY, 7 * DAY, 30 * DAY, 45 * DAY, list(WRITTEN)),
        (90 * DAY - timedelta(seconds=1), 7 * DAY, 30 * DAY, Share(33), list(WRITTEN)),
        (47 * DAY, 7 * DAY, Share(33), Share(33), ["33%", "15%", "5%", "0d", "-1d"]),
        (45 * DAY, 7 * DAY, Share(33), Share(33), ["33%", "15%", "5%", "0d", "-1d"]),
        (6 * DAY, Share(15), Share(33), Share(33), ["33%", "15%", "5%", "0d", "-1d"]),
        (24 * HOUR, Share(15), Share(33), Share(33), ["33%", "15%", "5%", "0d", "-1d"]),
    ],
)
def test_a_lead_longer_than_half_of_the_life_becomes_a_share(
    span: timedelta, critical: Lead, warning: Lead, info: Lead, rungs: list[str]
) -> None:
    found = SCALE.leads(span)
    expected = [lead.of(span) if isinstance(lead, Share) else lead for lead in (critical, warning, info)]
    assert [found.critical, found.warning, found.info] == expected
    assert labels(found) == rungs


def test_a_share_is_exact_below_a_day() -> None:
    found = Scale(critical=Share(25), ladder=(Share(50), Share(12.5))).leads(24 * HOUR)
    assert found.critical == 6 * HOUR
    assert found.rungs == (Rung(12 * HOUR, "50%"), Rung(3 * HOUR, "12.5%"))


def test_without_the_switch_a_short_life_keeps_what_was_written() -> None:
    assert labels(Scale(ladder=LADDER).leads(DAY)) == list(WRITTEN)


def test_a_share_of_an_unknown_life_is_the_default_as_a_threshold_and_no_rung() -> None:
    found = Scale(Share(1), Share(2), Share(3), (Share(33), DAY)).leads(None)
    assert (found.critical, found.warning, found.info) == (7 * DAY, 30 * DAY, 45 * DAY)
    assert labels(found) == ["1d"]


def test_an_unsorted_ladder_and_a_sorted_one_are_the_same() -> None:
    """Uptime Kuma takes the list as it stands."""
    shuffled = list(LADDER)
    random.Random(7).shuffle(shuffled)
    assert Scale(ladder=tuple(shuffled)).leads(None) == Scale(ladder=LADDER).leads(None)


def test_a_rung_that_stands_twice_is_one() -> None:
    assert labels(Scale(ladder=(14 * DAY, 7 * DAY, timedelta(weeks=2))).leads(None)) == ["14d", "7d"]


@pytest.mark.parametrize(
    ("lifetime", "span"),
    [
        (Lifetime(END, issued_at=END - 90 * DAY, not_before=END - 80 * DAY), 90 * DAY),
        (Lifetime(END, not_before=END - 80 * DAY), 80 * DAY),
        (Lifetime(END, span=60 * DAY), 60 * DAY),
        (Lifetime(END, issued_at=END + DAY, span=60 * DAY), 60 * DAY),
        (Lifetime(END, issued_at=END), None),
        (Lifetime(END), None),
        (Lifetime(issued_at=END), None),
    ],
)
def test_the_life_runs_from_the_issue_else_the_beginning_else_by_rule(
    lifetime: Lifetime, span: timedelta | None
) -> None:
    assert span_of(lifetime) == span


def test_a_history_of_slow_renewals_widens_critical_and_warning_but_never_narrows_them() -> None:
    slow = SCALE.leads(365 * DAY, [20 * DAY, 2 * DAY, 24 * DAY])
    assert (slow.critical, slow.warning, slow.info) == (36 * DAY, 36 * DAY, 45 * DAY)
    quick = SCALE.leads(365 * DAY, [DAY, DAY, 2 * DAY])
    assert quick == SCALE.leads(365 * DAY)


def test_a_history_needs_three_renewals_and_counts_for_no_more_than_half_of_the_life() -> None:
    assert SCALE.leads(365 * DAY, [100 * DAY, 100 * DAY]) == SCALE.leads(365 * DAY)
    assert SCALE.leads(100 * DAY, [90 * DAY] * 3).critical == 50 * DAY
    assert SCALE.leads(None, [timedelta.max] * 3).critical == 3650 * DAY


# ── crossing ──────────────────────────────────────────────────────────────────────────────────────────


def rung_at(left: timedelta, asked: timedelta | None = None) -> str | None:
    """The rung owed with so much left, when it was last asked with `asked` left."""
    ladder = Ladder(END, SCALE.leads(None))
    rung = ladder.rung(END - left) if asked is None else ladder.owed(END - asked, END - left)
    return rung.label if rung else None


def test_a_rung_counts_when_it_is_crossed_not_on_the_day_that_equals_it() -> None:
    """Lemur compares whole days for equality."""
    assert rung_at(14 * DAY) == "30d"
    assert rung_at(14 * DAY - TICK) == "14d"
    assert rung_at(13 * DAY, asked=15 * DAY) == "14d"


def test_a_missed_day_loses_no_rung() -> None:
    """ipa-epn loses the notice of a day on which its timer did not run."""
    assert rung_at(10 * DAY, asked=40 * DAY) == "14d"
    assert rung_at(11 * HOUR, asked=2 * DAY) == "1d"


def test_the_last_day_and_day_zero_are_rungs_too() -> None:
    """Uptime Kuma says nothing on the last day."""
    assert rung_at(23 * HOUR, asked=2 * DAY) == "1d"
    assert rung_at(TICK, asked=TICK) is None
    assert rung_at(timedelta(0), asked=TICK) == "0d"
    assert rung_at(-DAY, asked=timedelta(0)) == "-1d"
    assert rung_at(TICK - DAY, asked=timedelta(0)) is None


def test_of_several_rungs_crossed_only_the_most_urgent_is_owed() -> None:
    """Uptime Kuma sends three mails on one day because 20, 30 and 40 all match."""
    assert rung_at(19 * DAY, asked=60 * DAY) == "30d"
    assert rung_at(2 * DAY, asked=60 * DAY) == "3d"
    assert rung_at(2 * DAY, asked=2 * DAY + HOUR) is None


@given(ladders, moments, moments)
def test_severity_and_rung_never_fall_back_as_time_passes(ladder: Ladder, one: datetime, other: datetime) -> None:
    earlier, later = sorted((one, other))
    assert ladder.severity(earlier) <= ladder.severity(later)
    before, after = ladder.rung(earlier), ladder.rung(later)
    assert before is None or (after is not None and after.lead <= before.lead)


@given(ladders, moments)
def test_the_next_crossings_are_neither_late_nor_useless(ladder: Ladder, now: datetime) -> None:
    for judge, next_of in ((ladder.severity, ladder.next_severity), (ladder.rung, ladder.next_rung)):
        moment = next_of(now)
        if moment is None:
            assert judge(now + 500 * DAY) == judge(now)
        else:
            assert moment > now
            assert judge(moment - TICK) == judge(now)
            assert judge(moment) != judge(now)


@given(ladders, moments)
def test_the_next_critical_moment_is_when_it_first_is(ladder: Ladder, now: datetime) -> None:
    moment = ladder.next_critical(now)
    assert (moment is None) == (ladder.severity(now) >= Severity.CRITICAL)
    if moment is not None:
        assert ladder.severity(moment - TICK) < Severity.CRITICAL <= ladder.severity(moment)


@given(scales, spans, st.randoms(use_true_random=False))
def test_the_order_of_the_rungs_does_not_matter(scale: Scale, span: timedelta | None, chance: random.Random) -> None:
    shuffled = list(scale.ladder)
    chance.shuffle(shuffled)
    other = Scale(scale.critical, scale.warning, scale.info, tuple(shuffled), scale.short_lived)
    assert [rung.lead for rung in other.leads(span).rungs] == [rung.lead for rung in scale.leads(span).rungs]


@given(ladders, st.lists(moments, min_size=1, max_size=12))
def test_whatever_the_outages_the_most_urgent_rung_is_asked_and_none_twice(
    ladder: Ladder, looks: list[datetime]
) -> None:
    asked_at, asked = END - 2000 * DAY, []
    for now in sorted(looks):
        rung = ladder.owed(asked_at, now)
        if rung is not None:
            asked.append(rung.lead)
            asked_at = now
        reached = ladder.rung(now)
        assert reached is None or asked[-1] == reached.lead
    assert asked == sorted(set(asked), reverse=True)


@pytest.mark.parametrize("edge", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_the_ends_of_the_calendar_are_no_error(edge: datetime) -> None:
    for workdays in (None, Workdays(frozenset({5, 6}), frozenset(), BERLIN)):
        ladder = Ladder(edge, Leads(7 * DAY, 30 * DAY, timedelta.max, SCALE.leads(None).rungs), workdays)
        for now in (datetime.min.replace(tzinfo=UTC), END, datetime.max.replace(tzinfo=UTC)):
            assert ladder.severity(now) >= Severity.INFO
            for moment in (ladder.next_severity(now), ladder.next_rung(now), ladder.next_critical(now)):
                assert moment is None or moment > now


# ── clock changes and working days ────────────────────────────────────────────────────────────────────


def test_a_lead_is_a_span_of_time_not_of_the_clock_on_the_wall() -> None:
    end = datetime(2030, 4, 1, tzinfo=BERLIN)  # the clock was put forward on 31 March
    ladder = Ladder(end, Leads(7 * DAY, 7 * DAY, 7 * DAY))
    crossing = ladder.crossing(7 * DAY)
    assert crossing == datetime(2030, 3, 24, 22, tzinfo=UTC) + TICK
    assert ladder.severity(crossing - TICK) is Severity.HEALTHY
    assert ladder.severity(crossing) is Severity.CRITICAL
    assert ladder.next_severity(END - 200 * DAY) == crossing


def test_thresholds_and_rungs_move_together_to_the_working_day_before() -> None:
    weekends = Workdays(frozenset({5, 6}), frozenset(), BERLIN)
    end = datetime(2030, 6, 23, 12, tzinfo=BERLIN)  # Sunday; 14d and 7d before are Sundays too
    ladder = Ladder(end, Scale(ladder=LADDER).leads(None), weekends)
    friday = datetime(2030, 6, 14, 12, tzinfo=BERLIN)
    assert ladder.severity(friday) is Severity.WARNING
    assert ladder.severity(friday + TICK) is Severity.CRITICAL
    rung = ladder.rung(friday + TICK)
    assert rung is not None
    assert rung.label == "7d"


def test_the_end_itself_and_what_comes_after_it_stay_where_they_are() -> None:
    weekends = Workdays(frozenset({5, 6}), frozenset(), BERLIN)
    end = datetime(2030, 6, 22, 12, tzinfo=BERLIN)  # Saturday
    ladder = Ladder(end, Scale(ladder=LADDER).leads(None), weekends)
    assert ladder.crossing(timedelta(0)) == end
    assert ladder.crossing(-DAY) == end + DAY


# ── cost ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ends", ["far", "near", "short"])
def test_a_hundred_thousand_items_are_judged_in_less_than_a_second(ends: str) -> None:
    chance = random.Random(7)
    days = {"far": (46, 400), "near": (-30, 45), "short": (-1, 6)}[ends]
    now = END
    lives = [(now + DAY * chance.uniform(*days), 6 * DAY if ends == "short" else None) for _ in range(100_000)]
    started = process_time()
    for end, span in lives:
        ladder = Ladder(end, SCALE.leads(span))
        if ladder.severity(now) > Severity.HEALTHY:
            ladder.owed(now - DAY, now)
    assert process_time() - started < 1
