"""What the store promises, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import string
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from tests.store_samples import DAY, HOUR, NOW, alert, event, events, state, states

from expiryd.core.matching import Matcher
from expiryd.core.model import EventKind, ItemId, ItemState, Severity, Traits
from expiryd.core.silencing import Silence
from expiryd.core.storm import Open
from expiryd.store.port import Change, Entry, Fate, Look, Outcome, Parcel, Settlement, Store, StoreError
from expiryd.store.sql import SqlStore

LATER = NOW + HOUR
AGES = NOW + 400 * DAY
AGES_AHEAD = 30 * DAY


async def known(store: Store) -> dict[str, ItemState]:
    return {item.id: item for item in (await store.load()).items}


async def owe(store: Store, *happened: object, to: tuple[str, ...] = ("slack",), due: datetime = NOW) -> None:
    await store.commit(Change(events=[(each, to) for each in happened], due=due))  # type: ignore[misc]  # events


async def take(store: Store, notifier: str = "slack", now: datetime = NOW) -> Sequence[Parcel]:
    return await store.lease(notifier, now, now + HOUR)


async def settle(store: Store, parcels: Sequence[Parcel], fate: Fate, at: datetime = NOW) -> None:
    by_notifier: dict[str, list[int]] = {}
    for parcel in parcels:
        by_notifier.setdefault(parcel.notifier, []).append(parcel.id)
    for notifier, ids in by_notifier.items():
        await store.settle(notifier, [Settlement(ids, fate, at, reason=f"because {fate}", proof=f"proof of {fate}")])


async def reopened(store: SqlStore, url: str) -> SqlStore:
    await store.aclose()
    again = SqlStore(url)
    await again.open()
    return again


async def test_what_is_held_back_is_owed_later_and_comes_at_once_with_a_newer_word_on_its_item(store: SqlStore) -> None:
    await owe(store, event(), event(name="b"))
    (first, other) = await take(store)
    await store.hold("slack", [first.id], NOW + DAY, "silenced", at=NOW)
    await settle(store, [other], Fate.DELIVERED)
    assert await store.next_due("slack") == NOW + DAY
    near = NOW + HOUR
    assert await store.lease("slack", near, near + HOUR, horizon=near + HOUR) == []
    await owe(store, event(name="b"), due=near)
    (alone,) = await store.lease("slack", near, near + HOUR, horizon=near + HOUR)
    assert alone.event.item == "tls/b"
    await owe(store, event(EventKind.RESOLVED), due=near)
    together = await store.lease("slack", near, near + HOUR, horizon=near + HOUR)
    assert [(p.event.kind, p.attempts, p.created_at) for p in together] == [
        (EventKind.RAISED, 1, NOW + DAY),
        (EventKind.RESOLVED, 1, NOW),
    ]


async def test_what_was_delivered_lately_is_told_by_message(store: SqlStore) -> None:
    await owe(store, event(), event(aspect="revoked"), event(name="b"))
    a, revoked, b = await take(store)
    await store.dispatch("slack", [a.id, revoked.id], "m1", LATER)
    await store.dispatch("slack", [b.id], "m2", LATER)
    await settle(store, [a, revoked], Fate.DELIVERED, NOW)
    await settle(store, [b], Fate.DELIVERED, LATER)
    first, second = await store.sent("slack", NOW)
    assert (first.at, first.key, first.severity, first.counts) == (NOW, "m1", Severity.WARNING, True)
    assert (second.at, second.key) == (LATER, "m2")
    assert await store.sent("slack", LATER) == [second]
    assert await store.sent("mail", NOW) == []
    assert first.matters == frozenset(), "only what is about to be told again is of interest"
    await owe(store, event(EventKind.WORSENED))
    await take(store)
    first, second = await store.sent("slack", NOW)
    assert first.matters == {("tls/a", "expiry"), ("tls/a", "revoked")}
    assert second.matters == frozenset()


async def test_the_daemons_word_on_itself_is_no_message_that_counts(store: SqlStore) -> None:
    for item in ("expiryd/storm/slack", "tls"):
        await owe(store, replace(event(), item=ItemId(item), collector=item.partition("/")[0]))
        await settle(store, await take(store), Fate.DELIVERED, NOW)
        assert [message.counts for message in await store.sent("slack", NOW)] == [False]


async def test_a_conversation_is_open_while_something_in_it_is_and_until_its_end_was_told(store: SqlStore) -> None:
    await store.commit(Change(items=[state(alerts=(alert(),))], events=[(event(), ("gh",))]))
    (raised,) = await take(store, "gh")
    assert await store.conversations("gh") == []
    await store.settle("gh", [Settlement([raised.id], Fate.DELIVERED, NOW, thread=(raised.event.item, "g1", "#1"))])
    here = (raised.event.item, "g1")
    assert await store.conversations("gh") == [Open(here, Severity.WARNING)]
    assert await store.conversations("slack") == []
    await store.commit(Change(items=[state()], events=[(event(EventKind.RENEWED), ("gh",))]))
    assert await store.conversations("gh") == [Open(here, Severity.HEALTHY)]
    await settle(store, await take(store, "gh"), Fate.DELIVERED, LATER)
    assert await store.conversations("gh") == []
    await store.commit(Change(items=[state(alerts=(alert(),))]))
    await store.settle("gh", [Settlement([], Fate.DELIVERED, LATER, thread=(raised.event.item, "g1", ""))])
    assert await store.conversations("gh") == [], "closed for want of a place"


async def test_why_a_parcel_waits_is_known_when_it_is_leased_again(store: SqlStore) -> None:
    await owe(store, event())
    (parcel,) = await take(store)
    assert parcel.reason == ""
    await store.hold("slack", [parcel.id], NOW, "storm: too many", at=NOW)
    (again,) = await take(store)
    assert again.reason == "storm: too many"


async def test_journal_entries_come_in_order_with_what_they_tell_of_and_go_when_they_are_in_the_trail(
    store: SqlStore,
) -> None:
    entry = Entry(NOW, "user:anna", "silence.added", "tls/a", {"reason": "planned", "hours": 2})
    await store.commit(Change(items=[state()], journal=[entry, replace(entry, item="tls/b")]))
    assert await store.trail_head() is None
    first, second = await store.journal()
    assert (replace(first, seq=0), first.item, second.item, second.seq > first.seq) == (entry, "tls/a", "tls/b", True)
    await store.journaled(first.seq, "abc")
    assert await store.journal() == [second]
    assert await store.trail_head() == (first.seq, "abc")


# ── what is known ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_new_database_is_empty_and_keeps_its_installation_id(store: SqlStore, url: str) -> None:
    before = await store.load()
    again = await reopened(store, url)
    after = await again.load()
    await again.aclose()
    assert (before.items, before.last_looks, before.last_good) == ([], {}, {})
    assert len(before.installation) == 32
    assert before.installation == after.installation


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(known=states())
async def test_any_state_is_loaded_exactly_as_it_was_committed(store: SqlStore, known: ItemState) -> None:
    await store.commit(Change(items=[known]))
    assert (await store.load()).items == [known]
    await store.commit(Change(forgotten=[known.id]))
    assert (await store.load()).items == []


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happened=events)
async def test_any_event_is_read_exactly_as_it_was_committed(store: SqlStore, happened: object) -> None:
    await owe(store, happened, to=())
    (record,) = await store.events(limit=1)
    assert record.event == happened


async def test_a_later_state_replaces_the_earlier_one_and_its_alerts(store: SqlStore) -> None:
    await store.commit(Change(items=[state(alerts=(alert(aspect="expiry"), alert(aspect="missing"))), state("b")]))
    newer = state(generation="g2", alerts=(alert(aspect="revoked"), alert(aspect="expiry", generation="g2")))
    await store.commit(Change(items=[newer]))
    assert await known(store) == {"tls/a": newer, "tls/b": state("b")}


async def test_of_two_states_of_one_item_in_a_change_the_last_counts(store: SqlStore) -> None:
    await store.commit(Change(items=[state(generation="g1"), state(generation="g2")]))
    assert await known(store) == {"tls/a": state(generation="g2")}


async def test_a_forgotten_item_goes_with_its_alerts(store: SqlStore) -> None:
    await store.commit(Change(items=[state(alerts=(alert(),)), state("b")]))
    await store.commit(Change(forgotten=[ItemId("tls/a")]))
    await store.commit(Change(items=[state()]))
    assert await known(store) == {"tls/a": state(), "tls/b": state("b")}


async def test_traits_and_labels_are_shared_between_items(store: SqlStore) -> None:
    def labelled(name: str, runbook: str, labels: dict[str, str]) -> ItemState:
        plain = state(name)
        traits = Traits("cicd", "ops", runbook, labels=labels)
        return replace(plain, observation=replace(plain.observation, traits=traits))

    there, back = {"env": "prod", "tier": "1"}, {"tier": "1", "env": "prod"}
    await store.commit(Change(items=[labelled("a", "r", there), labelled("b", "r", back), labelled("c", "q", there)]))
    a, b, c = (item.observation.traits for item in (await store.load()).items)
    assert a is b
    assert a.labels is c.labels


async def test_a_change_that_cannot_be_stored_whole_leaves_nothing(store: SqlStore) -> None:
    naive = event(at=NOW.replace(tzinfo=None))
    many = [(event(name=str(n)), ("slack",)) for n in range(600)]
    with pytest.raises(StoreError):
        await store.commit(Change(items=[state()], events=[*many, (naive, ("slack",))], look=_look()))
    loaded = await store.load()
    assert (loaded.items, loaded.last_looks, await store.events(), await take(store)) == ([], {}, [], [])


async def test_what_a_delivery_stamped_outlives_a_cycle_that_has_not_heard_of_it(store: SqlStore) -> None:
    await store.commit(Change(items=[state(alerts=(alert(),))], events=[(event(), ("slack",))]))
    await settle(store, await take(store), Fate.DELIVERED, LATER)
    await store.commit(Change(items=[state(alerts=(alert(),))]))
    assert (await known(store))["tls/a"].alerts == (alert(told=LATER),)
    await store.commit(Change(items=[state(alerts=(alert(generation="g2"),))]))
    assert (await known(store))["tls/a"].alerts == (alert(generation="g2"),)


# ── looks ─────────────────────────────────────────────────────────────────────────────────────────────


def _look(outcome: Outcome = Outcome.COMPLETE, at: datetime = NOW, collector: str = "tls") -> Look:
    return Look(collector, at, at + HOUR, outcome, 3, "" if outcome is Outcome.COMPLETE else "no route")


async def test_the_last_look_and_the_last_complete_one_are_known_by_collector(store: SqlStore) -> None:
    blind = _look(Outcome.BLIND, at=NOW + DAY)
    for look in (_look(), blind, _look(Outcome.PARTIAL, collector="jwt")):
        await store.commit(Change(look=look))
    loaded = await store.load()
    assert loaded.last_looks == {"tls": blind, "jwt": _look(Outcome.PARTIAL, collector="jwt")}
    assert loaded.last_good == {"tls": NOW + HOUR}


async def test_escalation_counts_from_the_first_delivery_since_the_matter_rose(store: SqlStore) -> None:
    await store.commit(Change(items=[state(alerts=(alert(),))], events=[(event(), ("slack",)), (event(), ("mail",))]))
    await settle(store, await take(store), Fate.DELIVERED, LATER)
    await settle(store, await take(store, "mail"), Fate.DELIVERED, LATER + HOUR)
    (known_,) = (await known(store))["tls/a"].alerts
    assert (known_.paged_at, known_.told_at) == (LATER, LATER + HOUR)
    risen = replace(known_, risen_at=LATER + DAY, paged_at=None)
    await store.commit(Change(items=[state(alerts=(risen,))], events=[(event(), ("slack",))]))
    assert (await known(store))["tls/a"].alerts[0].paged_at is None
    await settle(store, await take(store), Fate.DELIVERED, LATER + 2 * DAY)
    await store.commit(Change(items=[state(alerts=(risen,))]))
    assert (await known(store))["tls/a"].alerts[0].paged_at == LATER + 2 * DAY


# ── leasing ───────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_held_back_is_due_at_once_when_it_is_hastened_and_nothing_else_is(store: SqlStore) -> None:
    await owe(store, event(), event(name="b"), event(name="c"))
    held, failed, crowded = await take(store)
    await store.hold("slack", [held.id], NOW + DAY, "muted: known", at=NOW)
    await store.hold("slack", [crowded.id], NOW + DAY, "storm: muted: too many", at=NOW)
    await store.postpone("slack", [failed.id], NOW + DAY, "no answer", None)
    await store.hasten(LATER, "muted: ")
    (again,) = await store.lease("slack", LATER, LATER + HOUR, horizon=LATER)
    assert (again.id, again.created_at, again.attempts) == (held.id, LATER, 1)


def silence(id_: str, ends: timedelta = DAY) -> Silence:
    matcher = Matcher.parse(["severity=critical", "category=cicd", "owner=Jürgen\udcff", "labels.env=prod*"])
    return Silence(matcher, NOW, NOW + ends, "alice", "known; see OPS-17", NOW, id_)


async def test_silences_are_kept_whole_and_the_last_word_on_one_counts(store: SqlStore, url: str) -> None:
    await store.commit(Change(silences=[silence("a", 2 * DAY), silence("b")]))
    await store.commit(Change(silences=[silence("a", HOUR)]))
    again = await reopened(store, url)
    assert await again.silences() == [silence("a", HOUR), silence("b")]
    await again.aclose()


async def test_silences_that_were_over_long_ago_are_pruned(store: SqlStore) -> None:
    await store.commit(Change(silences=[silence("old", HOUR), silence("new", 9 * DAY)]))
    assert await store.prune(events=NOW + DAY, looks=NOW) == 1
    assert await store.silences() == [silence("new", 9 * DAY)]


async def test_nothing_is_leased_before_something_is_due(store: SqlStore) -> None:
    await owe(store, event(), due=LATER)
    assert await store.next_due("slack") == LATER
    assert await take(store, now=NOW) == []
    assert await store.next_due("email") is None
    assert await take(store, "email", now=LATER) == []


async def test_once_something_is_due_everything_owed_is_taken_oldest_first(store: SqlStore) -> None:
    await owe(store, event(name="not yet"), due=NOW + DAY)
    await owe(store, event(name="due"), event(name="too"), to=("slack", "email"))
    parcels = await take(store)
    assert [(p.event, p.notifier, p.attempts, p.batch) for p in parcels] == [
        (event(name=name), "slack", 1, None) for name in ("not yet", "due", "too")
    ]
    assert {p.created_at for p in parcels} == {NOW}
    assert len(await take(store, "email")) == 2


async def test_without_a_due_time_a_parcel_is_due_when_the_event_happened(store: SqlStore) -> None:
    await store.commit(Change(events=[(event(at=LATER), ("slack",))]))
    assert await store.next_due("slack") == LATER


async def test_a_lease_takes_no_more_than_its_limit(store: SqlStore) -> None:
    await owe(store, *(event(name=str(n)) for n in range(1200)))
    first = await store.lease("slack", NOW, LATER, limit=700)
    second = await store.lease("slack", NOW, LATER, limit=700)
    assert [p.event.item for p in (*first, *second)] == [f"tls/{n}" for n in range(1200)]
    assert (len(first), len(second)) == (700, 500)


async def test_a_lease_holds_until_it_lapses(store: SqlStore) -> None:
    await owe(store, event())
    (first,) = await take(store, now=NOW)
    assert await take(store, now=NOW) == []
    assert await store.next_due("slack") == LATER
    (second,) = await take(store, now=LATER)
    assert (second.id, second.attempts) == (first.id, 2)


async def test_a_new_event_does_not_take_a_running_lease_along(store: SqlStore) -> None:
    await owe(store, event())
    await take(store)
    await owe(store, event(name="new"))
    assert [p.event.item for p in await take(store)] == ["tls/new"]


async def test_two_daemons_are_never_given_the_same_parcel(store: SqlStore, url: str) -> None:
    await owe(store, *(event(name=str(n)) for n in range(400)))
    others = [SqlStore(url, exclusive=False) for _ in range(2)]
    for other in others:
        await other.open()
    leases = [other.lease("slack", NOW, LATER, limit=30) for _ in range(10) for other in others]
    taken = [parcel.id for parcels in await asyncio.gather(*leases) for parcel in parcels]
    rest = [parcel.id for parcel in await take(store)]
    for other in others:
        await other.aclose()
    assert len(taken) == len(set(taken))
    assert sorted(taken + rest) == sorted(set(taken + rest))
    assert len(taken + rest) == 400


async def test_a_postponed_parcel_is_owed_again_with_its_batch(store: SqlStore) -> None:
    await owe(store, event())
    ids = [p.id for p in await take(store)]
    await store.postpone("slack", ids, LATER, "503", "batch-1")
    assert await store.next_due("slack") == LATER
    (parcel,) = await take(store, now=LATER)
    assert (parcel.batch, parcel.attempts) == ("batch-1", 2)
    await store.postpone("slack", ids, LATER, "refused", None)
    assert (await take(store, now=LATER))[0].batch is None


async def test_only_its_own_notifier_settles_or_postpones_a_parcel(store: SqlStore) -> None:
    await owe(store, event())
    ids = [p.id for p in await take(store)]
    await store.settle("email", [Settlement(ids, Fate.DEAD, NOW)])
    await store.postpone("email", ids, NOW, "", None)
    assert (await store.outbox()).counts == {("slack", Fate.LEASED): 1}


async def test_a_settled_parcel_is_over(store: SqlStore) -> None:
    await owe(store, event())
    parcels = await take(store)
    await settle(store, parcels, Fate.DELIVERED)
    await settle(store, parcels, Fate.DEAD)
    await store.postpone("slack", [p.id for p in parcels], NOW, "again?", None)
    assert await store.next_due("slack") is None
    assert await take(store, now=AGES) == []
    assert (await store.outbox()).counts == {("slack", Fate.DELIVERED): 1}


async def test_what_a_dead_daemon_had_leased_is_owed_again_at_once_with_its_batch(store: SqlStore, url: str) -> None:
    await owe(store, event(name="sent"), event(name="leased"))
    sent, _ = await take(store)
    await store.dispatch("slack", [sent.id], "batch-1", NOW + DAY)
    await owe(store, event(name="later"), due=LATER)
    again = await reopened(store, url)
    assert await take(again) == []
    await again.load()
    parcels = await take(again)
    await again.aclose()
    assert [(p.event.item, p.batch, p.attempts) for p in parcels] == [
        ("tls/sent", "batch-1", 2),
        ("tls/leased", None, 2),
        ("tls/later", None, 1),
    ]


async def test_a_parcel_on_its_way_is_leased_for_as_long_as_the_sending_may_take(store: SqlStore) -> None:
    await owe(store, event())
    (parcel,) = await take(store)
    await store.dispatch("slack", [parcel.id], "batch-1", NOW + DAY)
    assert await take(store, now=LATER) == []
    assert await store.next_due("slack") == NOW + DAY
    assert [p.batch for p in await take(store, now=NOW + DAY)] == ["batch-1"]


async def test_what_is_released_is_due_at_once_as_it_was_and_what_is_not_leased_stays_as_it_is(store: SqlStore) -> None:
    await owe(store, event(), event(name="b"), event(name="c"))
    dispatched, later, done = await take(store)
    await store.dispatch("slack", [dispatched.id], "batch-1", NOW + DAY)
    await store.postpone("slack", [later.id], NOW + DAY, "503", None)
    await settle(store, [done], Fate.DELIVERED)
    ids = [dispatched.id, later.id, done.id]
    await store.release("email", ids)
    assert await take(store) == []
    await store.release("slack", ids)
    assert await store.next_due("slack") == NOW
    assert [(p.id, p.batch, p.reason) for p in await take(store)] == [
        (dispatched.id, "batch-1", ""),
        (later.id, None, "503"),  # it goes with the others
    ]
    await settle(store, [dispatched], Fate.DELIVERED)
    await store.postpone("slack", [later.id], LATER, "503", None)
    await store.release("slack", ids)
    assert await store.next_due("slack") == LATER


async def test_one_who_only_reads_leaves_the_leases_of_the_daemon_alone(store: SqlStore, url: str) -> None:
    await owe(store, event())
    await take(store)
    reader = SqlStore(url, exclusive=False)
    await reader.open()
    await reader.load()
    await reader.aclose()
    assert await take(store) == []


# ── told ──────────────────────────────────────────────────────────────────────────────────────────────


async def tell(store: Store, kind: EventKind, fate: Fate = Fate.DELIVERED, *, generation: str = "g1") -> bool:
    """Commit one event for slack, settle it, and say what its parcel's `told` was."""
    await owe(store, event(kind, generation=generation))
    (parcel,) = await take(store)
    await settle(store, [parcel], fate)
    return parcel.told


async def test_told_means_that_an_earlier_event_of_the_matter_was_delivered_to_this_notifier(store: SqlStore) -> None:
    assert not await tell(store, EventKind.RAISED)
    assert await tell(store, EventKind.WORSENED)
    assert not await tell(store, EventKind.RENEWED, generation="g2")
    await owe(store, event(EventKind.RENEWED), to=("slack", "email"))
    assert [p.told for p in (*await take(store), *await take(store, "email"))] == [True, False]


@pytest.mark.parametrize("fate", [Fate.DEAD, Fate.SUPPRESSED, Fate.SUPERSEDED])
async def test_told_means_delivered_and_nothing_less(store: SqlStore, fate: Fate) -> None:
    await tell(store, EventKind.RAISED, fate)
    assert not await tell(store, EventKind.RESOLVED)


async def test_who_heard_of_the_last_time_has_not_heard_of_this_time(store: SqlStore) -> None:
    await tell(store, EventKind.RAISED)
    assert await tell(store, EventKind.RESOLVED)
    assert not await tell(store, EventKind.RAISED, Fate.SUPPRESSED)
    assert not await tell(store, EventKind.RESOLVED)


async def test_the_end_of_another_matter_does_not_make_one_forget_having_told_of_this(store: SqlStore) -> None:
    await tell(store, EventKind.RAISED)
    await tell(store, EventKind.RESOLVED, generation="g0")
    await owe(store, event(EventKind.RESOLVED, name="b"), event(EventKind.VANISHED, aspect="missing"), to=())
    assert await tell(store, EventKind.RESOLVED)


async def test_a_whole_story_leased_at_once_is_told_only_once_something_of_it_is(store: SqlStore) -> None:
    await owe(store, event(EventKind.RAISED), event(EventKind.RESOLVED))
    assert [p.told for p in await take(store)] == [False, False]


# ── settling ──────────────────────────────────────────────────────────────────────────────────────────


async def stamps(store: Store) -> dict[str, tuple[datetime | None, datetime | None]]:
    return {open_.aspect: (open_.told_at, open_.failed_at) for open_ in (await known(store))["tls/a"].alerts}


async def test_settling_stamps_the_alerts_of_the_same_matter(store: SqlStore) -> None:
    alerts = (alert(), alert(aspect="missing"), alert(aspect="revoked", generation="g2"))
    told = [(event(aspect=open_.aspect), ("slack",)) for open_ in alerts]
    await store.commit(Change(items=[state(alerts=alerts)], events=told))
    expiry, missing, revoked = await take(store)
    await settle(store, [expiry, revoked], Fate.DELIVERED, LATER)
    await settle(store, [missing], Fate.DEAD, LATER)
    assert await stamps(store) == {"expiry": (LATER, None), "missing": (None, LATER), "revoked": (None, None)}


async def test_an_earlier_delivery_does_not_set_a_stamp_back(store: SqlStore) -> None:
    await store.commit(Change(items=[state(alerts=(alert(),))], events=[(event(), ("slack", "email"))]))
    await settle(store, await take(store, "slack"), Fate.DELIVERED, LATER)
    await settle(store, await take(store, "email"), Fate.DELIVERED, NOW)
    assert await stamps(store) == {"expiry": (LATER, None)}


@pytest.mark.parametrize("fate", [Fate.SUPPRESSED, Fate.SUPERSEDED])
async def test_what_was_not_sent_stamps_nothing(store: SqlStore, fate: Fate) -> None:
    await store.commit(Change(items=[state(alerts=(alert(),))], events=[(event(), ("slack",))]))
    await settle(store, await take(store), fate)
    assert await stamps(store) == {"expiry": (None, None)}


async def test_a_thread_is_remembered_by_notifier_item_and_generation(store: SqlStore) -> None:
    a, b = ItemId("tls/a"), ItemId("tls/b")
    first, second = (
        Settlement([], Fate.DELIVERED, NOW, thread=(a, "g1", "7")),
        Settlement([], Fate.DELIVERED, NOW, thread=(b, "g1", "8")),
    )
    await store.settle("github", [first, second])
    await store.settle("github", [replace(first, thread=(a, "g1", "9"))])
    asked = [(a, "g1"), (b, "g1"), (a, "g2")]
    assert await store.threads("github", asked) == {(a, "g1"): "9", (b, "g1"): "8"}
    assert await store.threads("gitlab", asked) == {}
    assert await store.threads("github", []) == {}


# ── what people ask ───────────────────────────────────────────────────────────────────────────────────


async def test_the_outbox_is_counted_by_notifier_and_fate(store: SqlStore) -> None:
    empty = await store.outbox()
    assert (empty.counts, empty.oldest, empty.last_delivery) == ({}, None, {})
    await owe(store, event(at=NOW), to=("slack",))
    await settle(store, await take(store), Fate.DELIVERED, LATER)
    await owe(store, event(at=NOW + DAY), event(at=NOW + HOUR), to=("slack", "email"))
    outbox = await store.outbox()
    assert outbox.counts == {
        ("slack", Fate.DELIVERED): 1,
        ("slack", Fate.PENDING): 2,
        ("email", Fate.PENDING): 2,
    }
    assert outbox.oldest == NOW + HOUR
    assert outbox.last_delivery == {"slack": LATER}


async def test_events_are_read_newest_first_with_what_became_of_them(store: SqlStore) -> None:
    await owe(store, event(name="told"), to=("slack", "email"))
    await settle(store, await take(store), Fate.DELIVERED)
    await settle(store, await take(store, "email"), Fate.SUPPRESSED)
    await owe(store, event(name="untold"), to=())
    untold, told = await store.events()
    assert (untold.event, untold.deliveries) == (event(name="untold"), ())
    assert told.event == event(name="told")
    assert told.deliveries == (
        ("slack", Fate.DELIVERED, "proof of delivered"),
        ("email", Fate.SUPPRESSED, "proof of suppressed"),
    )


async def test_events_are_paged_backwards_without_gap_or_repetition(store: SqlStore) -> None:
    await owe(store, *(event(name=str(n)) for n in range(25)))
    seen: list[str] = []
    before = None
    while page := await store.events(before=before, limit=10):
        seen += [record.event.item for record in page]
        before = page[-1].id
    assert seen == [f"tls/{n}" for n in reversed(range(25))]


# ── pruning ───────────────────────────────────────────────────────────────────────────────────────────


async def pruned(store: Store, older_than: datetime = AGES) -> int:
    """How many went, when the audit trail has everything."""
    if entries := await store.journal(limit=1000):
        await store.journaled(entries[-1].seq, "the trail has it")
    total = 0
    while gone := await store.prune(events=older_than, looks=older_than, limit=10):
        total += gone
    return total


async def test_old_looks_and_settled_parcels_go_with_their_events(store: SqlStore) -> None:
    await owe(store, *(event(name=str(n)) for n in range(25)))
    await settle(store, await take(store), Fate.DELIVERED)
    for n in range(15):
        await store.commit(Change(look=_look(at=NOW + n * HOUR)))
    assert await pruned(store, NOW) == 0
    assert await pruned(store) == 25 + 25 + 15
    loaded = await store.load()
    assert (await store.events(), (await store.outbox()).counts) == ([], {})
    assert loaded.last_looks == {"tls": _look(at=NOW + 14 * HOUR)}, "the last look is known however old"


async def test_what_is_owed_or_was_settled_lately_is_kept(store: SqlStore) -> None:
    await owe(store, event(name="owed"), event(name="late"))
    _, late = await take(store)
    await settle(store, [late], Fate.DELIVERED, AGES)
    assert await pruned(store) == 0
    assert await pruned(store, AGES + DAY) == 2
    assert [record.event.item for record in await store.events()] == ["tls/owed"]


async def test_an_event_that_is_not_in_the_audit_trail_yet_is_kept(store: SqlStore) -> None:
    """Its trail may be unable to be written for long, above all when the disk is full."""
    await owe(store, event(name="carried"))
    (first,) = await store.journal()
    await owe(store, event(name="waiting"))
    await settle(store, await take(store), Fate.DELIVERED)
    await store.journaled(first.seq, "hash")
    assert await store.prune(events=AGES, looks=AGES) == 2
    assert [record.event.item for record in await store.events()] == ["tls/waiting"]
    assert await pruned(store) == 2


async def test_the_proof_of_having_told_is_kept_while_the_alert_is_open(store: SqlStore) -> None:
    await store.commit(Change(items=[state(alerts=(alert(),))]))
    await tell(store, EventKind.RAISED)
    assert await pruned(store) == 0
    await store.commit(Change(items=[state()], events=[(event(EventKind.RESOLVED), ("slack",))]))
    assert await pruned(store) == 0, "its end is still owed"
    (parcel,) = await take(store)
    assert parcel.told
    await settle(store, [parcel], Fate.DELIVERED)
    assert await pruned(store) == 4


async def test_a_thread_is_kept_while_its_alert_is_open(store: SqlStore) -> None:
    key = (ItemId("tls/a"), "g1")
    await store.commit(Change(items=[state(alerts=(alert(),))]))
    await store.settle("github", [Settlement([], Fate.DELIVERED, NOW, thread=(*key, "7"))])
    assert await pruned(store) == 0
    await store.commit(Change(items=[state()]))
    assert await pruned(store) == 1
    assert await store.threads("github", [key]) == {}


async def test_ids_are_not_given_again_after_pruning(store: SqlStore) -> None:
    await owe(store, event())
    (old,) = await take(store)
    (before,) = await store.events()
    await settle(store, [old], Fate.DELIVERED)
    await pruned(store)
    await owe(store, event())
    (new,) = await take(store)
    (after,) = await store.events()
    assert new.id > old.id
    assert after.id > before.id


# ── hostile input, haste and interruptions ────────────────────────────────────────────────────────────


async def test_names_too_long_for_an_index_are_kept_whole(store: SqlStore) -> None:
    noise = "".join(Random(7).choices(string.printable, k=9000))
    items = [state(noise + str(n), generation=noise, alerts=(alert(noise + str(n)),)) for n in range(2)]
    raised = [event(name=noise + str(n), generation=noise, aspect=noise) for n in range(2)]
    await store.commit(Change(items=items, events=[(each, ("slack",)) for each in raised], due=NOW))
    assert await known(store) == {item.id: item for item in items}
    parcels = await take(store)
    assert [p.event for p in parcels] == raised
    thread = (items[0].id, noise, "7")
    await store.settle("slack", [Settlement([parcels[0].id], Fate.DELIVERED, NOW, thread=thread)])
    assert await store.threads("slack", [(item.id, noise) for item in items]) == {(items[0].id, noise): "7"}


async def test_everything_at_once_works(store: SqlStore) -> None:
    async def deliver() -> None:
        for _ in range(5):
            parcels = await take(store)
            await settle(store, parcels, Fate.DELIVERED)

    cycles = [
        store.commit(Change(items=[state(str(n))], events=[(event(name=str(n)), ("slack",))], due=NOW))
        for n in range(40)
    ]
    questions = [ask() for _ in range(5) for ask in (store.load, store.outbox, store.events, store.ping)]
    await asyncio.gather(*cycles, deliver(), deliver(), *questions)
    await deliver()
    assert (await store.outbox()).counts == {("slack", Fate.DELIVERED): 40}


async def test_a_cancelled_commit_is_whole_or_absent_and_holds_up_nobody(store: SqlStore) -> None:
    random = Random(20300101)
    for n in range(15):
        change = Change(items=[state(f"{n}-{i}") for i in range(300)], events=[(event(name=str(n)), ("slack",))])
        commit = asyncio.ensure_future(store.commit(change))
        await asyncio.sleep(random.random() * 0.02)
        commit.cancel()
        with suppress(asyncio.CancelledError):
            await commit
        begun = [store.ping(), store.lease("slack", NOW, LATER), store.load()]
        await asyncio.wait_for(asyncio.gather(*begun), 5)
    items, told = await known(store), await store.events(limit=100)
    assert len(items) == 300 * len(told)


async def test_closing_waits_for_what_was_begun(store: SqlStore, url: str) -> None:
    commit = asyncio.ensure_future(store.commit(Change(items=[state(str(n)) for n in range(1200)])))
    await asyncio.sleep(0.005)
    commit.cancel()
    again = await reopened(store, url)
    assert len(await known(again)) == 1200
    await again.aclose()
    with suppress(asyncio.CancelledError):
        await commit


async def test_pinging_proves_that_it_can_be_written_to(store: SqlStore) -> None:
    await store.ping()
    assert (await store.load()).items == []


# ── what is on record ─────────────────────────────────────────────────────────────────────────────────


async def on_record(store: SqlStore) -> list[tuple[str, str, object]]:
    return [(entry.action, entry.item, entry.detail) for entry in await store.journal()]


async def test_events_looks_and_what_became_of_parcels_are_on_record_in_the_same_transaction(store: SqlStore) -> None:
    await store.commit(Change(events=[(event(), ("slack",)), (event(name="b"), ("slack",))], look=_look()))
    a, b = await take(store)
    await store.hold("slack", [a.id], NOW + DAY, "silenced", at=NOW)
    await settle(store, [b], Fate.DELIVERED)
    first = (await store.events())[-1].id
    until = (NOW + DAY).isoformat().replace("+00:00", "Z")
    numbers = {"notifier": "slack", "events": [[first, first]]}
    assert await on_record(store) == [
        ("alert.changed", "", {"events": [first, first + 1]}),
        ("look.ended", "tls", {"outcome": "complete", "count": 3}),
        ("message.held", "tls/a", {**numbers, "reason": "silenced", "until": until}),
        ("message.delivered", "tls/b", {
            "notifier": "slack", "events": [[first + 1, first + 1]],
            "proof": "proof of delivered", "reason": "because delivered",
        }),
    ]  # fmt: skip


async def test_what_is_held_again_for_the_same_reason_or_settled_twice_is_no_news(store: SqlStore) -> None:
    await owe(store, event())
    for _ in range(2):
        (parcel,) = await store.lease("slack", NOW + AGES_AHEAD, NOW + AGES_AHEAD)
        await store.hold("slack", [parcel.id], NOW, "silenced", at=NOW)
    (parcel,) = await store.lease("slack", NOW + AGES_AHEAD, NOW + AGES_AHEAD)
    for _ in range(2):
        await settle(store, [parcel], Fate.SUPPRESSED)
    assert [action for action, _, _ in await on_record(store)] == [
        "alert.changed",
        "message.held",
        "message.suppressed",
    ]


async def test_a_digest_of_many_is_one_short_line_that_counts_them(store: SqlStore) -> None:
    await owe(store, *(event(name=f"{number:03}") for number in range(120)))
    await settle(store, await take(store), Fate.DELIVERED)
    (action, item, detail) = (await on_record(store))[-1]
    assert (action, item) == ("message.delivered", "")
    assert isinstance(detail, dict)
    assert (detail["count"], len(detail["items"]), len(detail["events"])) == (120, 50, 1)


async def test_a_judgement_alone_changes_severity_and_alerts_and_leaves_the_rest(store: SqlStore) -> None:
    seen = state(generation="g7")
    await store.commit(Change(items=[seen, state("b")]))
    judged = replace(seen, severity=Severity.CRITICAL, alerts=(alert(generation="g7"),))
    await store.commit(Change(judged=[judged], events=[(event(generation="g7"), ("slack", "mail"))]))
    assert await known(store) == {"tls/a": judged, "tls/b": state("b")}
    await settle(store, await take(store), Fate.DELIVERED, LATER)
    await store.commit(Change(judged=[judged]))
    assert (await known(store))["tls/a"].alerts == (alert(generation="g7", told=LATER),)
    (parcel,) = await take(store, "mail")
    assert (parcel.event, parcel.attempts, parcel.created_at) == (event(generation="g7"), 1, NOW)


async def test_every_event_is_owed_to_its_own_notifiers_once(store: SqlStore) -> None:
    wanted = [("slack",), ("slack",), ("mail", "slack", "mail"), (), ("mail",), ("slack",)]
    await store.commit(
        Change(events=[(event(name=str(n)), notifiers) for n, notifiers in enumerate(wanted)], due=NOW + DAY)
    )
    assert (await store.next_due("slack"), await store.next_due("mail")) == (NOW + DAY, NOW + DAY)
    for notifier in ("slack", "mail"):
        taken = await store.lease(notifier, NOW + DAY, NOW + 2 * DAY)
        assert [parcel.event.item for parcel in taken] == [
            f"tls/{n}" for n, notifiers in enumerate(wanted) if notifier in notifiers
        ]
