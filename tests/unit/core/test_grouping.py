"""From owed parcels to messages: nothing is lost, nothing is said twice, nobody hears of what he need not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from expiryd.core.grouping import Manner, Plan, Purpose, keyed, plan, purpose_of
from expiryd.core.model import BLIND, EXPIRY, Event, EventKind, ItemId, Severity, Traits

NOW = datetime(2030, 1, 1, tzinfo=UTC)
RAISED, WORSENED, RESOLVED = EventKind.RAISED, EventKind.WORSENED, EventKind.RESOLVED


@dataclass(frozen=True, slots=True)
class Parcel:
    id: int
    event: Event
    batch: str | None = None
    told: bool = False


def parcel(
    number: int,
    kind: EventKind = RAISED,
    item: str = "certs/a",
    *,
    aspect: str = EXPIRY,
    generation: str = "g",
    severity: Severity = Severity.WARNING,
    batch: str | None = None,
    told: bool = False,
) -> Parcel:
    event = Event(kind, NOW, ItemId(item), "certs", aspect, generation, severity, Severity.HEALTHY, item)
    return Parcel(number, event, batch, told)


def drafts(plan: Plan) -> list[list[int]]:
    return [[parcel.id for parcel in draft.parcels] for draft in plan.drafts]


def test_everything_due_leaves_as_one_message_in_the_order_it_happened() -> None:
    made = plan([parcel(1), parcel(2, item="certs/b"), parcel(3, aspect="revoked")], threaded=False)
    assert drafts(made) == [[1, 2, 3]]
    assert made.drafts[0].thread is None
    assert made.drafts[0].batch is None


def test_nothing_owed_is_no_message() -> None:
    for threaded in (True, False):
        assert plan([], threaded=threaded) == Plan([])


def test_only_the_newest_word_on_a_matter_is_told_and_the_older_ones_say_why_they_are_not() -> None:
    made = plan(
        [parcel(1), parcel(2, WORSENED), parcel(3, EventKind.REPEATED), parcel(4, aspect=BLIND)], threaded=False
    )
    assert drafts(made) == [[3, 4]]
    assert made.superseded == {1: "worsened came after it", 2: "repeated came after it"}


def test_another_generation_is_another_matter() -> None:
    made = plan([parcel(1, EventKind.RENEWED, told=True), parcel(2, generation="h")], threaded=False)
    assert drafts(made) == [[1, 2]]


def test_who_has_it_in_hand_is_for_those_who_heard_of_it_and_the_others_hear_of_the_matter_itself() -> None:
    acknowledged = parcel(2, EventKind.ACKNOWLEDGED)
    todo = plan([parcel(1), acknowledged], threaded=False)
    assert drafts(todo) == [[1]]
    assert todo.suppressed == {2: "in somebody's hands before anybody here was told of it"}
    assert drafts(plan([parcel(1, told=True), parcel(2, EventKind.ACKNOWLEDGED, told=True)], threaded=False)) == [[2]]


def test_nobody_hears_of_the_end_of_a_matter_he_was_never_told_of() -> None:
    for kind in (RESOLVED, EventKind.RENEWED, EventKind.SIGHTED):
        made = plan([parcel(1), parcel(2, kind)], threaded=False)
        assert (drafts(made), list(made.superseded), list(made.suppressed)) == ([], [1], [2])
        made = plan([parcel(1), parcel(2, kind, told=True)], threaded=False)
        assert (drafts(made), list(made.superseded), list(made.suppressed)) == ([[2]], [1], [])


def test_that_an_item_is_gone_is_told_to_everybody_and_supersedes_all_its_matters() -> None:
    owed = [parcel(1), parcel(2, aspect="revoked"), parcel(3, item="certs/b"), parcel(4, EventKind.VANISHED)]
    made = plan(owed, threaded=False)
    assert drafts(made) == [[3, 4]]
    assert made.superseded == {1: "vanished came after it", 2: "vanished came after it"}


def test_an_item_that_came_back_is_not_said_to_be_gone() -> None:
    made = plan([parcel(1), parcel(2, EventKind.VANISHED), parcel(3)], threaded=False)
    assert drafts(made) == [[3]]


def test_what_may_have_arrived_goes_again_alone_unchanged_and_before_everything_else() -> None:
    owed = [parcel(1), parcel(2, batch="k"), parcel(3, WORSENED), parcel(4, RESOLVED, batch="k"), parcel(5, batch="j")]
    for threaded in (True, False):
        made = plan(owed, threaded=threaded)
        assert [(draft.batch, [p.id for p in draft.parcels]) for draft in made.drafts] == [("k", [2, 4]), ("j", [5])]
        assert not made.superseded
        assert not made.suppressed


def test_a_thread_is_one_message_per_item_and_generation() -> None:
    owed = [
        parcel(1),
        parcel(2, item="certs/b"),
        parcel(3, aspect="revoked"),
        parcel(4, generation="h"),
    ]
    made = plan(owed, threaded=True)
    assert drafts(made) == [[1, 3], [2], [4]]
    assert [draft.thread for draft in made.drafts] == [("certs/a", "g"), ("certs/b", "g"), ("certs/a", "h")]


def test_a_repeated_batch_of_one_thread_stays_in_it_and_of_many_stays_a_digest() -> None:
    made = plan([parcel(1, batch="k"), parcel(2, item="certs/b", batch="j"), parcel(3, batch="j")], threaded=True)
    assert [draft.thread for draft in made.drafts] == [("certs/a", "g"), None]


def test_the_most_severe_thread_goes_first_and_older_before_newer_of_the_same() -> None:
    owed = [
        parcel(1, item="certs/a", severity=Severity.INFO),
        parcel(2, item="certs/b", severity=Severity.WARNING),
        parcel(3, EventKind.RENEWED, item="certs/c", severity=Severity.CRITICAL, told=True),
        parcel(4, item="certs/d", severity=Severity.EXPIRED),
        parcel(5, item="certs/e", severity=Severity.WARNING),
    ]
    assert drafts(plan(owed, threaded=True)) == [[4], [2], [5], [1], [3]]


def test_a_message_that_goes_again_is_for_what_it_was_for() -> None:
    for purpose in (Purpose.DIGEST, Purpose.FIRST_LOOK):
        key = keyed(purpose, "0123")
        made = plan([parcel(1, batch=key)], threaded=True, manner=Manner("summary"))
        assert [(draft.purpose, draft.thread, draft.batch) for draft in made.drafts] == [(purpose, None, key)]
    for key in (keyed(Purpose.NEWS, "0123"), "k", "other-0123", ""):
        assert purpose_of(key) is Purpose.NEWS


# ── first looks ───────────────────────────────────────────────────────────────────────────────────────


def firsts(*numbers: int) -> list[Parcel]:
    made = [parcel(n, item=f"new/{n}") for n in numbers]
    return [replace(each, event=replace(each.event, is_first=True)) for each in made]


def test_a_first_look_is_one_summary_in_nobodys_thread_beside_the_other_news() -> None:
    owed = [*firsts(1, 2), parcel(3, severity=Severity.EXPIRED)]
    for threaded in (True, False):
        made = plan(owed, threaded=threaded, manner=Manner("summary"))
        assert drafts(made) == [[3], [1, 2]]
        assert [draft.purpose for draft in made.drafts] == [Purpose.NEWS, Purpose.FIRST_LOOK]
        assert made.drafts[1].thread is None


def test_a_first_look_with_one_matter_is_told_as_that_matter() -> None:
    made = plan([*firsts(1), parcel(2)], threaded=True, manner=Manner("summary"))
    assert [(draft.thread, draft.purpose) for draft in made.drafts] == [
        (("new/1", "g"), Purpose.NEWS),
        (("certs/a", "g"), Purpose.NEWS),
    ]
    assert drafts(plan([*firsts(1), parcel(2)], threaded=False, manner=Manner("summary"))) == [[1, 2]]


def test_a_first_look_may_be_told_like_anything_else() -> None:
    assert drafts(plan(firsts(1, 2), threaded=True, manner=Manner("each"))) == [[1], [2]]
    assert drafts(plan([*firsts(1), parcel(2)], threaded=False, manner=Manner("each"))) == [[1, 2]]


def test_a_silent_first_look_says_why_nothing_is_told() -> None:
    made = plan([*firsts(1), parcel(2)], threaded=False, manner=Manner("silent"))
    assert (drafts(made), made.suppressed) == ([[2]], {1: "seen by the first look at its source (`first_look`)"})


def test_what_became_of_it_since_and_what_was_told_before_is_no_first_look() -> None:
    (first,) = firsts(1)
    worse = Parcel(2, replace(first.event, kind=WORSENED, is_first=False))
    made = plan([first, worse], threaded=False, manner=Manner("silent"))
    assert (drafts(made), list(made.superseded)) == ([[2]], [1])
    made = plan([replace(first, told=True)], threaded=False, manner=Manner("silent"))
    assert drafts(made) == [[1]]


# ── what is alike ─────────────────────────────────────────────────────────────────────────────────────


def owned(number: int, owner: str, *, ends: datetime | None = None, **more: Any) -> Parcel:
    made = parcel(number, item=f"certs/{number}", **more)
    return replace(made, event=replace(made.event, traits=Traits(owner=owner), expires_at=ends))


def test_what_is_alike_leaves_together_and_the_most_severe_group_first() -> None:
    owed = [owned(1, "a"), owned(2, "b", severity=Severity.CRITICAL), owned(3, "a"), owned(4, "")]
    assert drafts(plan(owed, threaded=False, manner=Manner(group_by=("owner",)))) == [[2], [1, 3], [4]]
    assert drafts(plan(owed, threaded=False, manner=Manner(group_by=("severity",)))) == [[2], [1, 3, 4]]
    both = Manner(group_by=("owner", "severity", "category", "kind", "collector"))
    assert drafts(plan(owed, threaded=False, manner=both)) == [[2], [1, 3], [4]]


def test_days_are_those_of_the_zone_and_without_an_end_there_is_no_day() -> None:
    late = datetime(2030, 1, 1, 23, 30, tzinfo=UTC)
    ends = (late, datetime(2030, 1, 2, 12, tzinfo=UTC), datetime.max.replace(tzinfo=UTC), None)
    owed = [owned(n, "", ends=end) for n, end in enumerate(ends)]
    assert drafts(plan(owed, threaded=False, manner=Manner(group_by=("day",)))) == [[0], [1], [2], [3]]
    berlin = Manner(group_by=("day",), zone=ZoneInfo("Europe/Berlin"))
    assert drafts(plan(owed, threaded=False, manner=berlin)) == [[0, 1], [2], [3]]


def test_a_conversation_stays_about_one_item_whatever_it_is_like() -> None:
    owed = [owned(1, "a"), owned(2, "a")]
    assert drafts(plan(owed, threaded=True, manner=Manner(group_by=("owner",)))) == [[1], [2]]


owed = st.lists(
    st.builds(
        parcel,
        st.just(0),
        st.sampled_from(list(EventKind)),
        st.sampled_from(["certs/a", "certs/b", "certs/c"]) | st.integers(0, 60).map("certs/{}".format),
        aspect=st.sampled_from([EXPIRY, BLIND, "revoked"]),
        generation=st.sampled_from(["g", "h"]),
        severity=st.sampled_from(list(Severity)),
        batch=st.none() | st.none() | st.sampled_from(["k", "j"]),
        told=st.booleans(),
    ),
    max_size=80,
).map(lambda parcels: [replace(parcel, id=number) for number, parcel in enumerate(parcels)])


@given(owed, st.booleans())
def test_every_parcel_ends_in_exactly_one_place(parcels: list[Parcel], threaded: bool) -> None:
    made = plan(parcels, threaded=threaded)
    places = Counter([id for ids in drafts(made) for id in ids] + [*made.superseded, *made.suppressed])
    uncertain = [parcel for parcel in parcels if parcel.batch is not None]
    assert places == Counter(parcel.id for parcel in uncertain or parcels)
    assert all(draft.parcels for draft in made.drafts)
    assert all([*made.superseded.values(), *made.suppressed.values()]), "a parcel that is not sent says why"
    if uncertain:
        assert all({p.batch for p in draft.parcels} == {draft.batch} for draft in made.drafts)
        return
    for draft in made.drafts:
        ids = [parcel.id for parcel in draft.parcels]
        assert ids == sorted(ids)
        if draft.thread is not None:
            assert {(p.event.item, p.event.generation) for p in draft.parcels} == {draft.thread}
    told = [parcel.event for draft in made.drafts for parcel in draft.parcels]
    assert len({(e.item, e.aspect, e.generation) for e in told}) == len(told)
    assert all(draft.thread for draft in made.drafts) if threaded else len(made.drafts) <= 1
