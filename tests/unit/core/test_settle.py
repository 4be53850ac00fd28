"""Which date counts when the thing, a store, a person and a rule each name one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expiryd.core.model import NO_TRAITS, Basis, Lifetime, Observation, Traits
from expiryd.core.rules import NOTHING_SAID, Resolved, Rules, Say
from expiryd.core.settle import settle

DAY = timedelta(days=1)
START = datetime(2030, 1, 1, tzinfo=UTC)
FOUND, TYPED = START + 10 * DAY, START + 20 * DAY
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def by(item: Say = NOTHING_SAID, *, lifetime: timedelta | None = None, traits: Traits = NO_TRAITS) -> Resolved:
    return Resolved(Rules(lifetime=lifetime), traits, item)


def lifetime_of(seen: Observation, by: Resolved, rotated_at: datetime | None = None) -> Lifetime:
    settled = settle(seen, by, rotated_at).lifetime
    assert settled is not None
    return settled


@pytest.mark.parametrize("basis", [Basis.VERIFIED, Basis.EMBEDDED, Basis.TTL])
@pytest.mark.parametrize("item", [Say(expires_at=TYPED), Say(never_expires=True), NOTHING_SAID])
def test_a_date_the_thing_itself_carries_beats_what_people_and_rules_say(basis: Basis, item: Say) -> None:
    found = Lifetime(FOUND, basis=basis)
    assert lifetime_of(Observation("a", lifetime=found), by(item, lifetime=DAY)) is found


@pytest.mark.parametrize(
    "found", [None, Lifetime(), Lifetime(FOUND, basis=Basis.METADATA), Lifetime(FOUND, basis=Basis.TYPED)]
)
def test_a_date_typed_for_the_item_beats_a_stores_record_a_rule_and_nothing(found: Lifetime | None) -> None:
    settled = lifetime_of(Observation("a", lifetime=found), by(Say(expires_at=TYPED), lifetime=DAY))
    assert (settled.expires_at, settled.basis) == (TYPED, Basis.TYPED)


def test_a_typed_end_keeps_what_the_source_knows_of_the_beginning() -> None:
    found = Lifetime(issued_at=START - DAY, not_before=START)
    settled = lifetime_of(Observation("a", lifetime=found), by(Say(expires_at=TYPED)))
    assert settled == Lifetime(TYPED, START - DAY, START, Basis.TYPED)


def test_never_is_a_typed_word_too() -> None:
    found = Lifetime(FOUND, START - DAY, basis=Basis.METADATA)
    settled = lifetime_of(Observation("a", lifetime=found), by(Say(never_expires=True), lifetime=DAY))
    assert settled == Lifetime(None, START - DAY, basis=Basis.NONE)


def test_a_stores_record_beats_a_rule() -> None:
    found = Lifetime(FOUND, basis=Basis.METADATA)
    assert lifetime_of(Observation("a", lifetime=found), by(lifetime=DAY)) is found
    forever = Lifetime(basis=Basis.NONE)
    assert lifetime_of(Observation("a", lifetime=forever), by(lifetime=DAY)) is forever


def test_a_rule_dates_what_has_no_date_from_its_issue() -> None:
    issued = Lifetime(issued_at=START)
    settled = lifetime_of(Observation("a", lifetime=issued), by(lifetime=90 * DAY))
    assert settled == Lifetime(START + 90 * DAY, START, basis=Basis.POLICY, span=90 * DAY)


def test_the_issue_date_typed_for_the_item_beats_the_sources() -> None:
    issued = Lifetime(issued_at=START)
    settled = lifetime_of(Observation("a", lifetime=issued), by(Say(issued_at=START + DAY), lifetime=DAY))
    assert settled.issued_at == START + DAY


def test_the_span_the_source_names_beats_the_rules() -> None:
    found = Lifetime(issued_at=START, basis=Basis.POLICY, span=2 * DAY)
    assert lifetime_of(Observation("a", lifetime=found), by(lifetime=90 * DAY)).expires_at == START + 2 * DAY


def test_a_witnessed_rotation_restarts_the_lifetime_by_rule() -> None:
    seen = Observation("a", lifetime=Lifetime(issued_at=START), generation="new")
    assert lifetime_of(seen, by(lifetime=90 * DAY), START + 50 * DAY).expires_at == START + 140 * DAY
    assert lifetime_of(seen, by(lifetime=90 * DAY), START - 50 * DAY).expires_at == START + 90 * DAY


def test_without_an_issue_date_no_end_is_invented() -> None:
    for seen in (Observation("a", generation="g"), Observation("a", lifetime=Lifetime())):
        assert lifetime_of(seen, by(lifetime=90 * DAY)) == Lifetime(basis=Basis.POLICY, span=90 * DAY)
    placeholder = Observation("a")
    assert settle(placeholder, by(lifetime=90 * DAY), START) is placeholder


def test_without_a_rule_an_unknown_end_stays_unknown() -> None:
    for seen in (Observation("a"), Observation("a", generation="g"), Observation("a", lifetime=Lifetime())):
        assert settle(seen, by(), None) is seen


def test_title_and_traits_are_laid_over_and_nothing_changed_is_the_same_object() -> None:
    seen = Observation("a", title="seen", lifetime=Lifetime(FOUND))
    assert settle(seen, by(), None) is seen
    assert settle(seen, by(Say(title="typed")), None).title == "typed"
    assert settle(seen, by(traits=Traits(owner="ops")), None).traits.owner == "ops"


@given(
    issued=st.datetimes(timezones=st.just(UTC)) | st.sampled_from([FIRST, LAST]),
    rotated=st.none() | st.datetimes(timezones=st.just(UTC)),
    span=st.timedeltas() | st.sampled_from([timedelta.max, timedelta.min]),
)
def test_no_lifetime_by_rule_runs_over_the_calendar(
    issued: datetime, rotated: datetime | None, span: timedelta
) -> None:
    settled = lifetime_of(Observation("a", lifetime=Lifetime(issued_at=issued)), by(lifetime=span), rotated)
    assert settled.expires_at is not None
    assert FIRST <= settled.expires_at <= LAST
