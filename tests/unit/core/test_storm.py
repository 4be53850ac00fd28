"""Storm control: who may speak now, what waits and until when, what leaves as one digest, whose page makes room."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from expiryd.core.grouping import Draft, Purpose, plan
from expiryd.core.model import EXPIRY, Event, EventKind, ItemId, Severity
from expiryd.core.pace import Rate
from expiryd.core.storm import OVERFLOW, Admission, Limits, Open, Past, Sent, admit, day_of

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = day_of(NOW, UTC)
INFO, WARNING, CRITICAL, EXPIRED = Severity.INFO, Severity.WARNING, Severity.CRITICAL, Severity.EXPIRED
FEW = Limits(total=Rate(5, 10 * MINUTE), critical_reserve=2)


@dataclass(frozen=True, slots=True)
class Parcel:
    id: int
    event: Event
    batch: str | None = None
    told: bool = False


def parcel(
    number: int, severity: Severity = WARNING, *, item: str = "", kind: EventKind = EventKind.RAISED, told: bool = False
) -> Parcel:
    about = ItemId(item or f"certs/{number:04}")
    return Parcel(number, Event(kind, NOW, about, "certs", EXPIRY, "g", severity, Severity.HEALTHY, about), None, told)


def threads(*parcels: Parcel) -> Sequence[Draft]:
    return [Draft((each,), (each.event.item, "g")) for each in parcels]


def mail(*parcels: Parcel) -> Sequence[Draft]:
    return [Draft(parcels)] if parcels else []


def sent(count: int, ago: timedelta = MINUTE, *, item: str = "certs/else", severity: Severity = WARNING) -> list[Sent]:
    return [Sent(NOW - ago, f"k{n}", frozenset({(ItemId(item), EXPIRY)}), severity) for n in range(count)]


def past(sent: Iterable[Sent] = (), **more: object) -> Past:
    return Past(tuple(sent), DAY, **more)  # type: ignore[arg-type]  # as Past says


def ids(drafts: Iterable[Draft]) -> list[list[int]]:
    return [[each.id for each in draft.parcels] for draft in drafts]


def all_of(got: Admission) -> list[int]:
    """Every parcel, wherever it went."""
    digest = [got.digest] if got.digest else []
    return sorted([n for draft in [*got.send, *digest] for n in [each.id for each in draft.parcels]] + [*got.hold])


# ── the total ─────────────────────────────────────────────────────────────────────────────────────────


def test_what_fits_goes_and_is_no_storm() -> None:
    got = admit(threads(*map(parcel, range(3))), past(), FEW, NOW)
    assert (ids(got.send), got.digest, got.hold, got.storming) == ([[0], [1], [2]], None, {}, False)


def test_the_last_seat_is_a_digest_of_all_that_is_left_over_so_that_people_hear_at_once_that_there_is_more() -> None:
    got = admit(threads(*map(parcel, range(60))), past(), FEW, NOW)
    assert ids(got.send) == [[0], [1]]
    assert got.digest is not None
    assert (got.digest.thread, got.digest.purpose) == (None, Purpose.DIGEST)
    assert ids([got.digest] if got.digest else []) == [list(range(2, 60))]
    assert (got.hold, got.storming) == ({}, True)


def test_without_room_everything_waits_until_the_first_message_leaves_the_window() -> None:
    got = admit(threads(*map(parcel, range(4))), past([*sent(1, 8 * MINUTE), *sent(2, 3 * MINUTE)]), FEW, NOW)
    assert (got.send, got.digest, sorted(got.hold)) == ([], None, [0, 1, 2, 3])
    mute = got.hold[0]
    assert (mute.until, mute.by) == (NOW + 2 * MINUTE, "storm")
    assert mute.reason == "storm: more messages than 5 in 10m (`total`), they leave as one digest"
    assert got.storming


def test_what_waited_leaves_as_one_digest_beside_what_did_not() -> None:
    waited = past(sent(2), waiting={1, 2, 3})
    got = admit(threads(*map(parcel, range(4))), replace(waited, sent=()), FEW, NOW)
    assert (ids(got.send), ids([got.digest] if got.digest else [])) == ([[0]], [[1, 2, 3]])
    got = admit(threads(*map(parcel, range(4))), waited, FEW, NOW)
    assert (ids(got.send), ids([got.digest] if got.digest else [])) == ([], [[0, 1, 2, 3]])


def test_one_alone_that_waited_keeps_its_own_place() -> None:
    got = admit(threads(parcel(1)), past(waiting={1}), FEW, NOW)
    assert (ids(got.send), got.digest) == ([[1]], None)


def test_the_reserve_is_for_what_is_critical_or_expired() -> None:
    full = past(sent(3))
    got = admit(threads(parcel(1, EXPIRED), parcel(2, CRITICAL), parcel(3)), full, FEW, NOW)
    assert (ids(got.send), got.digest, list(got.hold)) == ([[1], [2]], None, [3])
    got = admit(threads(*(parcel(n, CRITICAL) for n in range(4)), parcel(9)), full, FEW, NOW)
    assert (ids(got.send), ids([got.digest] if got.digest else [])) == ([[0]], [[1, 2, 3, 9]])
    assert not got.hold, "what is less severe rides along with what leaves anyway"
    got = admit(threads(*(parcel(n, CRITICAL) for n in range(5)), parcel(9)), past(), FEW, NOW)
    assert (ids(got.send), list(got.hold)) == ([[0], [1], [2], [3], [4]], [9]), "no page gives way to a warning"
    got = admit(threads(parcel(1, CRITICAL), parcel(3)), past(sent(5)), FEW, NOW)
    assert sorted(got.hold) == [1, 3]


def test_neither_the_end_of_a_matter_nor_that_somebody_has_it_in_hand_uses_the_reserve() -> None:
    quiet = [
        parcel(1, CRITICAL, kind=EventKind.RESOLVED, told=True),
        parcel(2, CRITICAL, kind=EventKind.ACKNOWLEDGED, told=True),
    ]
    assert sorted(admit(threads(*quiet), past(sent(3)), FEW, NOW).hold) == [1, 2]


def test_a_mail_with_something_critical_goes_whole_and_one_without_waits_whole() -> None:
    got = admit(mail(parcel(1, CRITICAL), parcel(2)), past(sent(3)), FEW, NOW)
    assert ids(got.send) == [[1, 2]]
    got = admit(mail(parcel(1), parcel(2)), past(sent(3)), FEW, NOW)
    assert (got.send, sorted(got.hold)) == ([], [1, 2])


def test_messages_outside_the_window_are_forgotten_and_those_of_the_future_count_as_of_now() -> None:
    assert admit(mail(parcel(1)), past(sent(9, 10 * MINUTE)), FEW, NOW).send
    put_back = admit(mail(parcel(1)), past(sent(5, -9000 * MINUTE)), FEW, NOW)
    assert put_back.hold[1].until == NOW + 10 * MINUTE, "a clock that was put back makes nobody wait longer"


def test_what_may_have_arrived_goes_again_whatever_the_limits_say() -> None:
    again = [Draft((parcel(n),), None, f"k{n}") for n in range(9)]
    got = admit(again, past(sent(50, item="certs/0001")), FEW, NOW)
    assert (got.send, got.hold, got.storming) == (again, {}, False)


def test_the_daemons_word_on_itself_passes_and_is_not_counted() -> None:
    own = [parcel(1, item="expiryd/storm/slack"), parcel(2, item="certs")]
    got = admit(threads(*own, parcel(3)), past(sent(9)), FEW, NOW)
    assert (ids(got.send), list(got.hold)) == ([[1], [2]], [3])
    got = admit(mail(own[0], parcel(3), own[1]), past(sent(9)), FEW, NOW)
    assert (ids(got.send), list(got.hold)) == ([[1, 2]], [3])
    own_ones = [replace(each, counts=False) for each in sent(99)]
    assert admit(mail(parcel(1)), past(own_ones), FEW, NOW).send
    assert ids(admit(mail(own[0], parcel(3)), past(), FEW, NOW).send) == [[1, 3]], "together when there is room"


# ── one matter ────────────────────────────────────────────────────────────────────────────────────────


def test_one_matter_is_said_so_often_and_then_waits_while_others_go() -> None:
    flapping = past([*sent(4, 2 * MINUTE, item="certs/0001"), *sent(1, MINUTE, item="certs/0001")])
    got = admit(mail(parcel(1, EXPIRED), parcel(2)), flapping, Limits(), NOW)
    assert (ids(got.send), got.storming) == ([[2]], False)
    assert got.hold[1].reason == "said 5 times in 5m already (`same_alert`)"
    assert (got.hold[1].until, got.hold[1].by) == (NOW + 3 * MINUTE, "storm")
    assert not got.hold[1].reason.startswith(OVERFLOW), "it waits for itself, not for a digest"


def test_another_aspect_is_another_matter() -> None:
    got = admit(mail(parcel(1)), past([*sent(5, item="certs/0001")]), Limits(), NOW)
    assert list(got.hold) == [1]
    other = Parcel(1, replace(parcel(1).event, aspect="revoked"))
    assert admit(mail(other), past([*sent(5, item="certs/0001")]), Limits(), NOW).send


# ── the day ───────────────────────────────────────────────────────────────────────────────────────────


def test_over_the_day_everything_waits_until_midnight_but_the_reserve() -> None:
    limits = replace(FEW, daily=30)
    day = past(sent(30, 3 * 60 * MINUTE))
    got = admit(threads(parcel(1, CRITICAL), parcel(2)), day, limits, NOW)
    assert (ids(got.send), list(got.hold)) == ([[1]], [2])
    assert (got.hold[2].until, got.hold[2].by) == (datetime(2030, 1, 2, tzinfo=UTC), "storm")
    assert got.hold[2].reason == "storm: 30 messages a day (`daily`) have been sent"
    got = admit(threads(parcel(1, CRITICAL)), past(sent(32, 3 * 60 * MINUTE)), limits, NOW)
    assert got.hold[1].until == datetime(2030, 1, 2, tzinfo=UTC)
    assert admit(mail(parcel(1)), past(sent(99, 13 * 60 * MINUTE)), limits, NOW).send, "yesterday is over"


def test_the_last_message_of_a_day_is_a_digest() -> None:
    got = admit(threads(*map(parcel, range(5))), past(sent(28, 60 * MINUTE)), replace(FEW, daily=30), NOW)
    assert (ids(got.send), ids([got.digest] if got.digest else [])) == ([[0]], [[1, 2, 3, 4]])


def test_a_day_begins_and_ends_at_local_midnight_however_long_it_is() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    spring, autumn = datetime(2030, 3, 31, 12, tzinfo=UTC), datetime(2030, 10, 27, 12, tzinfo=UTC)
    for now, hours in ((NOW, 24), (spring, 23), (autumn, 25)):
        begins, ends = day_of(now, berlin)
        assert begins <= now < ends
        assert ends - begins == timedelta(hours=hours)
        assert begins.astimezone(berlin).hour == ends.astimezone(berlin).hour == 0


# ── conversations ─────────────────────────────────────────────────────────────────────────────────────


def conversations(*severities: Severity) -> tuple[Open, ...]:
    return tuple(Open((ItemId(f"open/{n}"), "g"), severity) for n, severity in enumerate(severities))


PAGES = Limits(max_active=3)


def test_a_more_severe_newcomer_takes_the_place_of_the_least_severe() -> None:
    busy = past(open=conversations(CRITICAL, INFO, WARNING))
    got = admit(threads(parcel(1, EXPIRED), parcel(2, CRITICAL)), busy, PAGES, NOW)
    assert ids(got.send) == [[1], [2]]
    assert [(each.thread[0], each.severity) for each in got.evict] == [("open/1", INFO), ("open/2", WARNING)]


def test_a_newcomer_that_is_no_more_severe_goes_into_the_digest() -> None:
    busy = past(open=conversations(CRITICAL, CRITICAL, WARNING))
    got = admit(threads(parcel(1, WARNING), parcel(2, INFO)), busy, PAGES, NOW)
    assert (got.send, got.evict, ids([got.digest] if got.digest else [])) == ([], [], [[1, 2]])
    assert got.storming


def test_newcomers_do_not_displace_each_other_and_places_are_counted_once() -> None:
    busy = past(open=conversations(INFO, INFO))
    got = admit(
        threads(parcel(1, EXPIRED), parcel(2, CRITICAL), parcel(3, WARNING), parcel(4, WARNING)), busy, PAGES, NOW
    )
    assert ids(got.send) == [[1], [2], [3]]
    assert len(got.evict) == 2
    assert ids([got.digest] if got.digest else []) == [[4]]


def test_a_conversation_that_is_over_gives_up_its_place_and_its_end_goes_where_it_began() -> None:
    over = (Open((ItemId("certs/0001"), "g"), Severity.HEALTHY), *conversations(WARNING, WARNING))
    ending = parcel(1, INFO, kind=EventKind.RENEWED, told=True)
    got = admit(threads(parcel(2), ending), past(open=over), PAGES, NOW)
    assert (ids(got.send), got.evict, got.digest) == ([[2], [1]], [], None)


def test_news_of_open_conversations_waits_for_room_and_is_never_put_into_a_digest() -> None:
    known = tuple(Open((ItemId(f"certs/{n:04}"), "g"), WARNING) for n in range(5))
    news = [parcel(n, kind=EventKind.RESOLVED, told=True) for n in range(5)]
    got = admit(threads(*news), past(sent(1), open=known), FEW, NOW)
    assert (ids(got.send), got.digest, sorted(got.hold)) == ([[0], [1]], None, [2, 3, 4])
    got = admit(threads(*news), past(sent(1), open=known, waiting=set(range(5))), FEW, NOW)
    assert (ids(got.send), got.digest) == ([[0], [1]], None)


def test_nobody_is_displaced_for_a_newcomer_that_has_to_wait_or_leaves_in_the_digest() -> None:
    busy = past(sent(5), open=conversations(INFO, INFO, INFO))
    got = admit(threads(parcel(1, CRITICAL)), busy, replace(FEW, max_active=3), NOW)
    assert (got.evict, list(got.hold)) == ([], [1])


# ── beginning and end ─────────────────────────────────────────────────────────────────────────────────


def test_a_storm_is_over_when_half_of_what_is_allowed_is_not_used() -> None:
    limits = Limits()
    assert not admit([], past(sent(12)), limits, NOW).storming
    assert admit([], past(sent(12), storming=True), limits, NOW).storming
    assert admit([], past(sent(8), storming=True), limits, NOW).storming
    assert not admit([], past(sent(7), storming=True), limits, NOW).storming


def test_a_storm_goes_on_while_the_day_or_the_places_are_full() -> None:
    busy = past(open=conversations(*[CRITICAL] * 3), storming=True)
    assert admit([], busy, PAGES, NOW).storming
    assert not admit([], replace(busy, open=busy.open[1:]), PAGES, NOW).storming
    assert admit([], past(sent(4, 60 * MINUTE), storming=True), Limits(daily=4), NOW).storming


# ── whatever happens ──────────────────────────────────────────────────────────────────────────────────


@dataclass
class World:
    """A notifier in time: what is owed is planned, admitted and delivered, without the help of a store."""

    limits: Limits
    threaded: bool
    now: datetime = NOW
    owed: dict[int, tuple[Parcel, datetime]] = field(default_factory=dict)
    waiting: set[int] = field(default_factory=set)
    log: list[tuple[Sent, tuple[Parcel, ...]]] = field(default_factory=list)
    told: list[int] = field(default_factory=list)
    open: dict[tuple[ItemId, str], Severity] = field(default_factory=dict)
    storming: bool = False

    def round(self) -> None:
        due = [each for each, at in self.owed.values() if at <= self.now]
        made = plan(due, threaded=self.threaded)
        for number in {**made.superseded, **made.suppressed}:
            del self.owed[number]
            self.told.append(number)
        known = Past(
            tuple(message for message, _ in self.log),
            day_of(self.now, UTC),
            tuple(Open(thread, severity) for thread, severity in self.open.items()),
            frozenset(self.waiting),
            self.storming,
        )
        got = admit(made.drafts, known, self.limits, self.now)
        offered = sorted(each.id for draft in made.drafts for each in draft.parcels)
        assert all_of(got) == offered, "every parcel goes somewhere, once"
        self.storming = got.storming
        for number, mute in got.hold.items():
            assert mute.until is not None
            assert self.now < mute.until <= self.now + timedelta(days=1)
            self.owed[number] = (self.owed[number][0], mute.until)
            if mute.reason.startswith(OVERFLOW):
                self.waiting.add(number)
        for draft in [*got.send, *([got.digest] if got.digest else [])]:
            carried = tuple(self.owed.pop(each.id)[0] for each in draft.parcels)
            self.told += [each.id for each in carried]
            severity = max((c.event.severity for c in carried if not c.event.kind.closes), default=Severity.HEALTHY)
            matters = frozenset((c.event.item, c.event.aspect) for c in carried)
            self.log.append((Sent(self.now, str(len(self.log)), matters, severity), carried))
            if draft.thread is not None:
                self.open[draft.thread] = severity
                if severity is Severity.HEALTHY:
                    del self.open[draft.thread]
        for conversation in got.evict:
            self.open.pop(conversation.thread, None)


arrivals = st.lists(
    st.tuples(
        st.integers(0, 15).map(lambda m: m * MINUTE),
        st.lists(
            st.tuples(
                st.integers(0, 40),
                st.sampled_from([INFO, WARNING, CRITICAL, EXPIRED]),
                st.sampled_from([EventKind.RAISED, EventKind.WORSENED, EventKind.RESOLVED]),
            ),
            max_size=40,
        ),
    ),
    max_size=12,
)


@given(
    arrivals,
    st.builds(
        Limits,
        same_alert=st.builds(Rate, st.integers(1, 4), st.just(5 * MINUTE)),
        total=st.builds(Rate, st.integers(3, 9), st.just(10 * MINUTE)),
        critical_reserve=st.integers(0, 2),
        max_active=st.integers(1, 6),
        daily=st.none() | st.integers(3, 20),
    ),
    st.booleans(),
)
def test_whatever_happens_nothing_is_lost_or_told_twice_and_no_window_is_ever_exceeded(
    script: list[tuple[timedelta, list[tuple[int, Severity, EventKind]]]], limits: Limits, threaded: bool
) -> None:
    world, number = World(limits, threaded), 0
    for pause, news in script:
        end = world.now + pause
        while world.now < end:
            world.now = min(end, *(at for _, at in world.owed.values() if at > world.now), end)
            world.round()
        for about, severity, kind in news:
            item = ItemId(f"certs/{about}")
            told = any(item == i for m, _ in world.log for i, _ in m.matters)
            world.owed[number] = (parcel(number, severity, item=item, kind=kind, told=told), world.now)
            number += 1
        world.round()
    for _ in range(10_000):
        if not world.owed:
            break
        world.now = max(world.now, min(at for _, at in world.owed.values()))
        world.round()
    assert sorted(world.told) == list(range(number))
    for start, _ in world.log:
        window = [m for m, _ in world.log if start.at <= m.at < start.at + limits.total.per]
        assert len(window) <= limits.total.count
        ordinary = [m for m in window if m.severity < CRITICAL]
        assert len(ordinary) <= max(limits.total.count - limits.critical_reserve, 1)
        for matter in start.matters:
            near = [m for m, _ in world.log if start.at <= m.at < start.at + limits.same_alert.per]
            assert sum(matter in m.matters for m in near) <= limits.same_alert.count
        if limits.daily is not None:
            today = [m for m, _ in world.log if m.at.date() == start.at.date()]
            assert len(today) <= limits.daily + limits.critical_reserve
        assert len(world.open) <= limits.max_active
