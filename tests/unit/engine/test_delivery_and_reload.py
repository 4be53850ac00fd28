"""Pace, patience and filters of delivery; what a reload starts, ends and forgets."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from tests.rig import DAY, HOUR, MINUTE, Rig, expiring

from expiryd.api import Blind, EventKind, Message, Receipt, TransientError
from expiryd.store.port import Fate, StoreError


async def test_a_message_that_nobody_takes_for_three_days_is_a_dead_letter_and_asked_again(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.receivers["slack"]._outcomes = [TransientError("503")] * 200
        rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 6 * DAY))
        await rig.look()
        await rig.wait(3 * DAY + 2 * HOUR, step=20 * MINUTE)
        outbox = await rig.daemon.store.outbox()
        assert outbox.counts["slack", Fate.DEAD] == 2, "and that about its own trouble"
        rig.receivers["slack"]._outcomes = []
        await rig.wait(DAY + HOUR, step=HOUR)
        assert "repeated tokens/AAR" in ", ".join(rig.news())


async def test_what_waited_while_the_daemon_was_down_is_not_given_up_at_the_first_attempt(tmp_path: Path) -> None:
    """The machine comes back before its network does."""
    async with Rig(tmp_path) as rig:
        rig.receivers["slack"]._outcomes = [TransientError("503"), TransientError("the name does not resolve")]
        rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 20 * DAY))
        await rig.look()
        await rig.wait(MINUTE)
        await rig.clock.advance(5 * DAY)
        await rig.restart()
        await rig.deliver()
        assert len(rig.receivers["slack"].attempts) == 2
        await rig.wait(MINUTE)
        assert rig.news() == ["raised tokens/AAR"]


async def test_what_is_repeated_after_longer_than_the_past_is_kept_is_not_forgotten_with_it(tmp_path: Path) -> None:
    """Neither that it was told, nor to whom, nor in which conversation."""
    settings = {"policy": {"warning": "200d", "info": "200d", "cooldown": {"warning": "60d"}}}
    async with Rig(tmp_path, receivers=["gh"], threaded=["gh"], settings=settings) as rig:
        rig.receivers["gh"]._outcomes = [Receipt("issue 7", "7")]
        rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 190 * DAY))
        await rig.look()
        await rig.wait(MINUTE)
        assert rig.news("gh") == ["raised tokens/AAR"]
        for day in range(59):
            await rig.wait(DAY)
            await rig.look()
            await rig.audit()
            await rig.daemon.store.prune(events=rig.clock.now(), looks=rig.clock.now())
            if not day % 6:
                await rig.restart()
        assert rig.news("gh") == []
        await rig.wait(DAY)
        await rig.wait(MINUTE)
        assert rig.news("gh") == ["repeated tokens/AAR"]
        rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 400 * DAY))
        await rig.look()
        await rig.wait(MINUTE)
        assert rig.news("gh") == ["renewed tokens/AAR"]
        assert [message.thread and message.thread.reference for message in rig.receivers["gh"].sent] == [None, "7", "7"]


async def test_a_rate_is_kept_to_by_a_threaded_notifier(tmp_path: Path) -> None:
    settings = {"gh": {"rate": "2/1m"}, "policy": {"first_look": "each"}}
    async with Rig(tmp_path, receivers=["gh"], threaded=["gh"], settings=settings) as rig:
        rig.sources["tokens"].shows(*(expiring(f"t{n}", rig.clock.now() + DAY) for n in range(4)))
        await rig.look()
        await rig.clock.advance(MINUTE)
        delivering = asyncio.ensure_future(rig.deliver())
        for _ in range(200):
            await asyncio.sleep(0.001)
        assert len(rig.receivers["gh"].sent) == 2
        await rig.clock.advance(MINUTE)
        await delivering
        assert len(rig.receivers["gh"].sent) == 4


@pytest.mark.parametrize("disturb", [Rig.restart, Rig.reload])
async def test_a_rate_is_kept_to_over_a_restart_and_a_reload(
    tmp_path: Path, disturb: Callable[[Rig], Awaitable[None]]
) -> None:
    async with Rig(tmp_path, settings={"slack": {"rate": "1/1h"}}) as rig:
        a, b = (expiring(name, rig.begins_at + DAY) for name in "AB")
        rig.sources["tokens"].shows(a)
        await rig.look()
        await rig.wait(MINUTE)
        assert rig.news() == ["raised tokens/A"]
        await disturb(rig)
        rig.sources["tokens"].shows(a, b)
        await rig.look()
        await rig.clock.advance(MINUTE)
        delivering = asyncio.ensure_future(rig.deliver())
        while not rig.clock._sleepers and not delivering.done():
            await asyncio.sleep(0)
        assert rig.news() == []
        await rig.clock.advance(HOUR)
        await delivering
        assert rig.news() == ["raised tokens/B"]


async def test_events_and_send_resolved_say_what_a_notifier_hears(tmp_path: Path) -> None:
    settings = {"only": {"events": [EventKind.RENEWED]}, "open": {"send_resolved": False}}
    async with Rig(tmp_path, receivers=["only", "open", "all"], settings=settings) as rig:
        rig.sources["tokens"].shows(expiring("A", rig.clock.now() + DAY))
        await rig.look()
        await rig.wait(MINUTE)
        rig.sources["tokens"].shows(expiring("A", rig.clock.now() + 300 * DAY))
        await rig.look()
        await rig.wait(MINUTE)
        assert rig.news("all") == ["raised tokens/A", "renewed tokens/A"]
        assert rig.news("open") == ["raised tokens/A"]
        assert rig.news("only") == []  # it was never told of the beginning


async def test_a_hung_notifier_delays_no_other_and_its_message_is_kept(tmp_path: Path) -> None:
    settings = {"hung": {"timeout": timedelta(milliseconds=50)}}
    async with Rig(tmp_path, receivers=["hung", "good"], settings=settings) as rig:
        hung = rig.receivers["hung"]

        async def never(message: Message) -> Receipt:
            hung.attempts.append(message)
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        hung.send = never  # type: ignore[method-assign]  # the receiver does not answer
        rig.sources["tokens"].shows(expiring("A", rig.clock.now() + DAY))
        await rig.look()
        await rig.clock.advance(MINUTE)
        couriers = rig.daemon.graph.couriers
        waiting = asyncio.ensure_future(couriers["hung"].deliver())
        await couriers["good"].deliver()
        assert rig.news("good") == ["raised tokens/A"]
        await waiting
        await rig.wait(MINUTE)
        assert len({message.key for message in hung.attempts}) == 1  # ambiguous: the same message again


async def test_what_is_taken_off_a_sources_list_goes_without_a_word_unless_a_matter_was_open(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        end = rig.clock.now() + DAY
        fine = [expiring(f"fine{n}", rig.clock.now() + 300 * DAY) for n in range(6)]
        rig.sources["tokens"].shows(expiring("bad", end), *fine)
        await rig.look()
        await rig.wait(MINUTE)
        rig.news()
        rig.sources["tokens"].shows(fine[0])
        await rig.reload(source={"mark": 1})
        await rig.look()
        await rig.wait(MINUTE)
        assert rig.news() == ["vanished tokens/bad"]
        assert [state.id for state in rig.daemon.ledger.all()] == ["tokens/fine0"]


async def test_a_source_that_is_taken_out_of_the_configuration_is_forgotten(tmp_path: Path) -> None:
    async with Rig(tmp_path, sources=["tokens", "other"]) as rig:
        rig.sources["tokens"].shows(expiring("bad", rig.clock.now() + DAY))
        rig.sources["other"].shows(expiring("fine", rig.clock.now() + 300 * DAY))
        await rig.look("tokens")
        await rig.look("other")
        await rig.wait(MINUTE)
        rig.news()
        del rig.sources["tokens"]
        del rig.sources["other"]
        await rig.reload()
        await rig.wait(MINUTE)
        assert rig.news() == ["vanished tokens/bad"]
        assert len(rig.daemon.ledger) == 0


async def test_the_store_that_fails_while_time_is_judged_is_asked_again_and_nothing_is_missed(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.sources["tokens"].shows(expiring("A", rig.clock.now() + 46 * DAY))
        await rig.look()
        store = rig.daemon.store
        commit = store.commit

        async def full(*_: object) -> None:
            raise StoreError("no room left")

        store.commit = full  # type: ignore[method-assign]  # the disk is full
        await rig.clock.advance(2 * DAY)
        try:
            await rig.tick()
        except StoreError:
            pass
        else:
            raise AssertionError("the failure must be seen")
        store.commit = commit  # type: ignore[method-assign]
        await rig.wait(MINUTE)
        await rig.wait(MINUTE)
        assert rig.news() == ["raised tokens/A"]


def once(rig: Rig, operation: str) -> None:
    """The store refuses this the next time."""
    store = rig.daemon.store
    usual = getattr(store, operation)

    async def refuse(*_: object, **__: object) -> None:
        setattr(store, operation, usual)
        raise StoreError("locked by another process")

    setattr(store, operation, refuse)


@pytest.mark.parametrize("operation", ["threads", "conversations", "dispatch"])
async def test_a_store_that_refuses_before_a_message_leaves_delays_it_for_no_more_than_that(
    tmp_path: Path, operation: str
) -> None:
    async with Rig(tmp_path, receivers=["gh"], threaded=["gh"], settings={"policy": {"first_look": "each"}}) as rig:
        rig.sources["tokens"].shows(expiring("A", rig.clock.now() + DAY))
        await rig.look()
        once(rig, operation)
        with pytest.raises(StoreError):
            await rig.wait(MINUTE)
        assert rig.news("gh") == []
        await rig.deliver()
        assert rig.news("gh") == ["raised tokens/A"]
        assert (await rig.daemon.store.outbox()).counts == {("gh", Fate.DELIVERED): 1}


async def test_what_was_sent_is_not_sent_again_because_the_store_refused_to_hear_of_it(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.sources["tokens"].shows(expiring("A", rig.clock.now() + 6 * DAY))
        await rig.look()
        await rig.clock.advance(MINUTE)
        once(rig, "settle")
        delivering = asyncio.ensure_future(rig.deliver())
        while not rig.clock._sleepers and not delivering.done():
            await asyncio.sleep(0)
        await rig.clock.advance(MINUTE)
        await delivering
        await rig.wait(HOUR)
        assert rig.news() == ["raised tokens/A"]
        await rig.wait(DAY, step=HOUR)
        assert rig.news() == ["repeated tokens/A"]


async def test_who_is_cut_short_while_the_store_writes_remembers_what_it_wrote(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.sources["tokens"].shows(expiring("A", rig.clock.now() + 6 * DAY))
        await rig.look()
        await rig.clock.advance(MINUTE)
        with closing(sqlite3.connect(tmp_path / "expiryd.db", isolation_level=None)) as other:
            delivering = asyncio.ensure_future(rig.deliver())
            while not rig.receivers["slack"].sent:
                await asyncio.sleep(0)
            other.execute("BEGIN IMMEDIATE")  # the store waits for that with what it writes
            delivering.cancel()
            await asyncio.sleep(0)
            other.execute("ROLLBACK")
            with pytest.raises(asyncio.CancelledError):
                await delivering
        counts = (await rig.daemon.store.outbox()).counts
        assert counts == {("slack", Fate.DELIVERED): 1}
        assert rig.news() == ["raised tokens/A"]
        await rig.wait(DAY + HOUR, step=HOUR)
        assert rig.news() == ["repeated tokens/A"]


async def test_a_target_that_is_missed_once_is_looked_at_again_soon(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        retries: list[timedelta] = []
        rig.daemon.schedule.retry = lambda name, delay: retries.append(delay)  # type: ignore[method-assign]
        rig.sources["tokens"].shows(Blind("a:443", "connection refused"))
        for _ in range(4):
            await rig.look()
        assert retries == [MINUTE], "once it is a matter of its own, the regular rhythm is enough"


async def test_a_look_that_is_asked_for_while_one_is_under_way_is_skipped_and_counted(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        gate = rig.sources["tokens"].holds()
        rig.daemon.look("tokens")
        await gate.reached.wait()
        rig.daemon.look("tokens")
        gate.open.set()
        await rig.daemon.graph.looks.ended("tokens")
        labels = {"collector": "tokens"}
        assert rig.daemon.metrics.registry.get_sample_value("expiryd_collector_overruns_total", labels) == 1
        assert rig.sources["tokens"].looks == 1


async def test_a_look_that_a_reload_cuts_short_is_begun_again(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.sources["tokens"].shows(expiring("A", rig.clock.now() + DAY))
        gate = rig.sources["tokens"].holds()
        rig.daemon.look("tokens")
        await gate.reached.wait()
        await rig.reload()  # with a drain of nothing, the look under way is cancelled
        gate.open.set()
        async with asyncio.timeout(10):
            while "tokens" not in rig.daemon.ledger.last_looks:
                await asyncio.sleep(0)
        assert rig.sources["tokens"].looks == 2
        await rig.wait(MINUTE)
        assert rig.news() == ["raised tokens/A"]


async def patient(rig: Rig) -> None:
    """From the next reload on, looks under way may end by themselves."""
    daemon = rig.config.daemon.model_copy(update={"drain": timedelta(seconds=10)})
    rig.config = rig.config.model_copy(update={"daemon": daemon})
    await rig.daemon.reload()


async def test_a_look_under_way_at_a_source_that_is_taken_out_brings_none_of_its_items_back(tmp_path: Path) -> None:
    async with Rig(tmp_path, sources=["tokens", "other"]) as rig:
        await patient(rig)
        rig.sources["other"].shows(expiring("bad", rig.clock.now() + DAY))
        await rig.look("other")
        await rig.wait(MINUTE)
        rig.news()
        gate = rig.sources["other"].holds()
        rig.daemon.look("other")
        await gate.reached.wait()
        old = rig.daemon.graph
        del rig.sources["other"]
        await rig.reload()
        gate.open.set()
        await old.looks.ended("other")
        await rig.wait(MINUTE)
        assert rig.news() == ["vanished other/bad"]
        assert len(rig.daemon.ledger) == 0


async def test_what_a_look_under_way_judged_by_the_old_rules_is_judged_by_the_new_ones(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await patient(rig)
        rig.sources["tokens"].shows(expiring("A", rig.clock.now() + 10 * DAY))
        await rig.look()
        await rig.wait(MINUTE)
        rig.news()
        gate = rig.sources["tokens"].holds()
        rig.daemon.look("tokens")
        await gate.reached.wait()
        old = rig.daemon.graph
        await rig.reload(policy={"critical": 14 * DAY})
        gate.open.set()
        await old.looks.ended("tokens")
        async with asyncio.timeout(10):
            while not (told := rig.news()):
                await rig.wait(MINUTE)
        assert told == ["worsened tokens/A"]
