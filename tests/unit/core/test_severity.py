"""How bad it is, to the microsecond, and when time alone will change that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expiryd.core.model import EXPIRY, Basis, Finding, Lifetime, Measure, Observation, Severity
from expiryd.core.rules import Rules
from expiryd.core.severity import (
    NOT_YET_VALID,
    Prospect,
    Verdict,
    judge,
    overall,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
RULES = Rules()

moments = st.datetimes(timezones=st.just(UTC)) | st.sampled_from([FIRST, LAST, NOW])
near = st.builds(lambda span: NOW + span, st.timedeltas(-60 * DAY, 60 * DAY))
leads = st.timedeltas(timedelta(0), 90 * DAY) | st.timedeltas(timedelta(0)) | st.sampled_from([timedelta(0), TICK])
rules = st.builds(Rules, critical=leads, warning=leads, info=leads)
lifetimes = st.builds(Lifetime, expires_at=st.none() | near | moments, not_before=st.none() | near | moments)


@pytest.mark.parametrize(
    ("left", "severity"),
    [
        (timedelta(0), Severity.EXPIRED),
        (-TICK, Severity.EXPIRED),
        (-4000 * DAY, Severity.EXPIRED),
        (TICK, Severity.CRITICAL),
        (7 * DAY - TICK, Severity.CRITICAL),
        (7 * DAY, Severity.WARNING),
        (30 * DAY - TICK, Severity.WARNING),
        (30 * DAY, Severity.INFO),
        (45 * DAY - TICK, Severity.INFO),
        (45 * DAY, Severity.HEALTHY),
        (4000 * DAY, Severity.HEALTHY),
    ],
)
def test_severity_goes_by_the_time_remaining_to_the_microsecond(left: timedelta, severity: Severity) -> None:
    assert Prospect(Lifetime(NOW + left), RULES).severity(NOW) is severity


def test_severity_holds_from_year_1_to_year_9999() -> None:
    assert Prospect(Lifetime(LAST), RULES).severity(FIRST) is Severity.HEALTHY
    assert Prospect(Lifetime(FIRST), RULES).severity(LAST) is Severity.EXPIRED
    assert Prospect(Lifetime(LAST), RULES).severity(LAST) is Severity.EXPIRED
    assert Prospect(Lifetime(LAST), Rules(critical=timedelta.max)).severity(FIRST) is Severity.CRITICAL


@given(moments, rules, moments)
def test_severity_is_the_contracts_sentence(end: datetime, rules: Rules, now: datetime) -> None:
    remaining = end - now
    expected = (
        Severity.EXPIRED
        if now >= end
        else Severity.CRITICAL
        if remaining < rules.critical
        else Severity.WARNING
        if remaining < rules.warning
        else Severity.INFO
        if remaining < rules.info
        else Severity.HEALTHY
    )
    assert Prospect(Lifetime(end), rules).severity(now) is expected


@given(moments, rules, moments, moments)
def test_severity_never_falls_as_time_passes(end: datetime, rules: Rules, one: datetime, other: datetime) -> None:
    earlier, later = sorted((one, other))
    assert Prospect(Lifetime(end), rules).severity(earlier) <= Prospect(Lifetime(end), rules).severity(later)


# ── judging ───────────────────────────────────────────────────────────────────────────────────────────


def test_each_aspect_gets_one_verdict_and_it_is_the_worst() -> None:
    seen = Observation(
        "a",
        lifetime=Lifetime(NOW + DAY, not_before=NOW + TICK),
        findings=(
            Finding("unsafe-permissions", Severity.WARNING, "mode 0644"),
            Finding("unsafe-permissions", Severity.CRITICAL, "mode 0666"),
            Finding("unsafe-permissions", Severity.INFO, "mode 0640"),
            Finding(NOT_YET_VALID, Severity.INFO, "from tomorrow"),
            Finding("disk", Severity.CRITICAL, "read-only"),
            Finding("noted", Severity.HEALTHY),
            Finding("odd", Severity.UNKNOWN),
        ),
        measures=(Measure("disk", 91, "%", warning=90, critical=95), Measure("load", 1, warning=4)),
    )
    assert judge(seen, Prospect(seen.lifetime, RULES), NOW) == (
        Verdict(EXPIRY, Severity.CRITICAL),
        Verdict(NOT_YET_VALID, Severity.WARNING, "its validity has not begun"),
        Verdict("unsafe-permissions", Severity.CRITICAL, "mode 0666"),
        Verdict("disk", Severity.CRITICAL, "read-only"),
    )


@pytest.mark.parametrize(
    ("value", "higher_is_worse", "severity"),
    [
        (89.9, True, Severity.HEALTHY),
        (90, True, Severity.WARNING),
        (95, True, Severity.CRITICAL),
        (float("inf"), True, Severity.CRITICAL),
        (96, False, Severity.HEALTHY),
        (95, False, Severity.CRITICAL),
    ],
)
def test_a_measure_is_judged_by_its_thresholds(value: float, higher_is_worse: bool, severity: Severity) -> None:
    measure = Measure("m", value, "%", warning=90, critical=95, higher_is_worse=higher_is_worse)
    seen = Observation("a", measures=(measure,))
    assert overall(seen, judge(seen, Prospect(seen.lifetime, RULES), NOW)) is severity


def test_a_validity_that_has_not_begun_warns_until_it_begins() -> None:
    seen = Observation("a", lifetime=Lifetime(NOW + 100 * DAY, not_before=NOW + DAY))
    assert [v.aspect for v in judge(seen, Prospect(seen.lifetime, RULES), NOW + DAY - TICK)] == [NOT_YET_VALID]
    assert judge(seen, Prospect(seen.lifetime, RULES), NOW + DAY) == ()


@pytest.mark.parametrize(
    ("seen", "severity"),
    [
        (Observation("host value"), Severity.HEALTHY),
        (Observation("a", lifetime=Lifetime(NOW + 100 * DAY)), Severity.HEALTHY),
        (Observation("a", lifetime=Lifetime(basis=Basis.NONE)), Severity.HEALTHY),
        (Observation("a", lifetime=Lifetime()), Severity.UNKNOWN),
        (Observation("a", lifetime=Lifetime(basis=Basis.POLICY, span=DAY)), Severity.UNKNOWN),
        (Observation("a", generation="fingerprint"), Severity.UNKNOWN),
        (Observation("a", findings=(Finding("placeholder", Severity.WARNING),)), Severity.WARNING),
        (Observation("a", lifetime=Lifetime(), findings=(Finding("x", Severity.INFO),)), Severity.INFO),
    ],
)
def test_a_credential_whose_end_nobody_knows_is_unknown_not_healthy(seen: Observation, severity: Severity) -> None:
    assert overall(seen, judge(seen, Prospect(seen.lifetime, RULES), NOW)) is severity


# ── time alone ────────────────────────────────────────────────────────────────────────────────────────


@given(lifetimes, rules, near | moments, st.data())
def test_the_next_change_is_neither_late_nor_useless(
    lifetime: Lifetime, rules: Rules, now: datetime, data: st.DataObject
) -> None:
    seen = Observation("a", lifetime=lifetime)
    said = judge(seen, Prospect(seen.lifetime, rules), now)
    change = Prospect(lifetime, rules).next_change(now)
    if change is None:
        assert (
            judge(
                seen,
                Prospect(seen.lifetime, rules),
                data.draw(st.datetimes(now.replace(tzinfo=None), timezones=st.just(UTC))),
            )
            == said
        )
        assert judge(seen, Prospect(seen.lifetime, rules), LAST) == said
        return
    assert change > now
    assert judge(seen, Prospect(seen.lifetime, rules), change) != said
    assert judge(seen, Prospect(seen.lifetime, rules), change - TICK) == said
    between = now + (change - now) * data.draw(st.floats(0, 1, exclude_max=True))
    assert judge(seen, Prospect(seen.lifetime, rules), min(between, change - TICK)) == said


@given(lifetimes, rules, near | moments)
def test_changes_come_to_an_end(lifetime: Lifetime, rules: Rules, now: datetime) -> None:
    steps = 0
    moment: datetime | None = now
    while (moment := Prospect(lifetime, rules).next_change(moment)) is not None:
        steps += 1
        assert steps <= 5


@given(st.none() | lifetimes, rules, near | moments)
def test_blindness_weighs_what_it_hides_and_says_when_it_will_weigh_more(
    lifetime: Lifetime | None, rules: Rules, now: datetime
) -> None:
    weight = Prospect(lifetime, rules).blindness(now)
    end = lifetime.expires_at if lifetime else None
    near_or_past = end is not None and Prospect(Lifetime(end), rules).severity(now) >= Severity.CRITICAL
    assert weight is (Severity.CRITICAL if near_or_past else Severity.WARNING)
    change = Prospect(lifetime, rules).next_blindness(now)
    assert (change is None) == (Prospect(lifetime, rules).blindness(LAST) is weight)
    if change is not None:
        assert change > now
        assert Prospect(lifetime, rules).blindness(change - TICK) is weight
        assert Prospect(lifetime, rules).blindness(change) is Severity.CRITICAL
