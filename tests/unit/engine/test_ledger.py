"""Memory follows the store, never runs before it, and knows when to judge again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from tests.store_samples import DAY, HOUR, NOW, alert, event, state

from expiryd.core.model import Event, ItemState, Severity
from expiryd.core.rules import Rules
from expiryd.core.step import Step, given_up, told
from expiryd.engine.ledger import Audience, Gone, Ledger
from expiryd.store.port import Change, Known, Look, Outcome, StoreError

AUDIENCE = Audience(lambda event: ("slack", "mail"), timedelta(seconds=30))
LOOK = Look("tls", NOW, NOW + HOUR, Outcome.COMPLETE, 1)


class Paper:
    """A store that keeps what is committed, or refuses it. `meanwhile` happens while it is at work."""

    def __init__(self, *items: ItemState) -> None:
        self.changes: list[Change] = []
        self.full = False
        self.meanwhile = lambda: None
        self._items = items

    async def load(self) -> Known:
        return Known("installation", self._items, {"tls": LOOK}, {"tls": LOOK.finished_at})

    async def commit(self, change: Change) -> None:
        if self.full:
            raise StoreError("no room left")
        self.meanwhile()
        self.changes.append(change)
        await asyncio.sleep(0)  # what it did is done; who asked hears of it when he is next at work


async def ledger_of(*items: ItemState) -> tuple[Ledger, Paper]:
    store = Paper(*items)
    ledger = Ledger(store)  # type: ignore[arg-type]  # the ledger asks for these two alone
    await ledger.load()
    return ledger, store


def waking(name: str, at: datetime | None, **more: object) -> ItemState:
    return replace(state(name), wake_at=at, **more)


def rules(_: ItemState) -> Rules:
    return Rules()


# ── committing ────────────────────────────────────────────────────────────────────────────────────────


async def test_state_events_and_duties_are_one_change_due_after_the_group_wait() -> None:
    ledger, store = await ledger_of()
    step = Step(state(alerts=(alert(),)), (event(),))
    assert await ledger.commit([step], AUDIENCE, NOW, look=LOOK) == [event()]
    (change,) = store.changes
    assert change.items == [step.state]
    assert change.events == [(event(), ("slack", "mail"))]
    assert change.due == NOW + timedelta(seconds=30)
    assert change.look == LOOK
    assert ledger.get(step.state.id) is step.state


async def test_a_commit_that_fails_leaves_memory_as_it_was() -> None:
    known = waking("a", NOW + DAY)
    ledger, store = await ledger_of(known, state("b"))
    counts, changed = dict(ledger.counts), set(ledger.changed)
    store.full = True
    worse = replace(known, severity=Severity.CRITICAL, alerts=(alert(),))
    look = replace(LOOK, finished_at=NOW + DAY)
    with pytest.raises(StoreError):
        await ledger.commit([Step(worse)], AUDIENCE, NOW, gone=[Gone(state("b").id)], look=look)
    assert ledger.get(known.id) == known
    assert ledger.get(state("b").id) is not None
    assert (dict(ledger.counts), ledger.changed) == (counts, changed)
    assert ledger.last_looks == {"tls": LOOK}
    assert ledger.last_good == {"tls": LOOK.finished_at}


async def test_who_is_cancelled_while_the_store_is_at_work_leaves_memory_as_the_store_is() -> None:
    ledger, store = await ledger_of()
    step = Step(state(alerts=(alert(),)), (event(),))
    committing = asyncio.ensure_future(ledger.commit([step], AUDIENCE, NOW))
    store.meanwhile = lambda: committing.cancel() and None  # as a reload does with a look that takes too long
    with pytest.raises(asyncio.CancelledError):
        await committing
    assert len(store.changes) == 1
    assert ledger.get(step.state.id) is step.state, "else the same news would be told again"


async def test_what_did_not_change_is_not_written() -> None:
    ledger, store = await ledger_of(waking("a", NOW + DAY))
    same = waking("a", NOW + HOUR)  # only when to judge again is new, which is not stored
    assert await ledger.commit([Step(same)], AUDIENCE, NOW) == []
    assert store.changes == []
    assert [found.id for found in ledger.due(NOW + HOUR)] == [same.id]


async def test_a_last_word_is_told_and_the_item_forgotten_without_one_it_goes_silently() -> None:
    ledger, store = await ledger_of(state("a"), state("b"))
    said = await ledger.commit([], AUDIENCE, NOW, gone=[Gone(state("a").id, event()), Gone(state("b").id)])
    assert said == [event()]
    assert store.changes[0].forgotten == [state("a").id, state("b").id]
    assert len(ledger) == 0
    assert +ledger.counts == {}


async def test_a_failed_look_does_not_count_as_a_good_one() -> None:
    ledger, _ = await ledger_of()
    blind = replace(LOOK, outcome=Outcome.BLIND, finished_at=NOW + DAY)
    await ledger.commit([], AUDIENCE, NOW, look=blind)
    assert ledger.last_looks["tls"] == blind
    assert ledger.last_good["tls"] == LOOK.finished_at


async def test_the_counts_are_those_of_all_items_whatever_comes_and_goes() -> None:
    ledger, _ = await ledger_of(state("a"), state("b"))
    await ledger.commit([Step(replace(state("a"), severity=Severity.EXPIRED))], AUDIENCE, NOW)
    await ledger.commit([Step(state("c"))], AUDIENCE, NOW, gone=[Gone(state("b").id)])
    assert +ledger.counts == {("", Severity.EXPIRED): 1, ("", Severity.WARNING): 1}


async def test_asking_for_a_stranger_makes_nothing() -> None:
    ledger, _ = await ledger_of()
    assert ledger.get(state("nobody").id) is None
    assert list(ledger.all()) == []


# ── waking ────────────────────────────────────────────────────────────────────────────────────────────


async def test_nothing_is_due_before_its_time_and_each_item_then() -> None:
    ledger, _ = await ledger_of(waking("a", NOW + HOUR), waking("b", NOW + DAY), waking("c", None))
    assert ledger.due(NOW) == []
    assert [found.id for found in ledger.due(NOW + HOUR)] == ["tls/a"]
    assert sorted(found.id for found in ledger.due(NOW + DAY)) == ["tls/a", "tls/b"]


async def test_after_a_start_or_reload_everything_is_judged_again() -> None:
    ledger, _ = await ledger_of(waking("a", NOW + DAY), waking("c", None))
    ledger.wake_all(NOW)
    assert sorted(found.id for found in ledger.due(NOW)) == ["tls/a", "tls/c"]


async def test_what_could_not_be_remembered_is_looked_through_again() -> None:
    ledger, _ = await ledger_of(waking("a", NOW + HOUR))
    assert ledger.due(NOW + HOUR)
    ledger.wake_up_at(NOW + HOUR)
    assert ledger.due(NOW + HOUR)


# ── settling ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_delivery_stamps_its_alert_alone_and_starts_the_cooldown() -> None:
    known = waking("a", None, alerts=(alert(), alert(aspect="placeholder")))
    ledger, _ = await ledger_of(known)
    ledger.settled([event()], NOW + HOUR, told, rules)
    now = ledger.get(known.id)
    assert now is not None
    assert [each.told_at for each in now.alerts] == [NOW + HOUR, None]
    assert now.wake_at is not None
    assert now.wake_at <= NOW + HOUR + 7 * DAY
    assert ledger.due(now.wake_at)


async def test_giving_up_stamps_too_so_that_it_is_asked_again() -> None:
    ledger, _ = await ledger_of(waking("a", None, alerts=(alert(),)))
    ledger.settled([event()], NOW + HOUR, given_up, rules)
    (found,) = ledger.due(NOW + 8 * DAY)
    assert (found.alerts[0].told_at, found.alerts[0].failed_at) == (None, NOW + HOUR)


@pytest.mark.parametrize("late", [event(name="gone"), event(generation="g0"), event(aspect="placeholder")])
async def test_the_delivery_of_a_matter_that_is_over_changes_nothing(late: Event) -> None:
    known = waking("a", None, alerts=(alert(),))
    ledger, _ = await ledger_of(known)
    ledger.settled([late], NOW + HOUR, told, rules)
    assert ledger.get(known.id) == known
    assert ledger.due(NOW + 100 * DAY) == []


async def test_a_delivery_while_the_store_is_at_work_is_kept_and_its_reminder_comes_in_time() -> None:
    known = waking("a", None, alerts=(alert(),))
    ledger, store = await ledger_of(known)
    store.meanwhile = lambda: ledger.settled([event()], NOW + HOUR, told, rules)
    await ledger.commit([Step(waking("a", NOW + 23 * DAY, alerts=(replace(alert(), detail="new"),)))], AUDIENCE, NOW)
    now = ledger.get(known.id)
    assert now is not None
    assert (now.alerts[0].detail, now.alerts[0].told_at) == ("new", NOW + HOUR)
    assert ledger.due(NOW + HOUR + 7 * DAY), "the cooldown of a warning runs from the delivery"
