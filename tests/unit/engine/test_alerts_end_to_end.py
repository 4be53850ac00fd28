"""From looks to messages, over a real store on a fake clock: said once, in time, however often it dies in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.rig import DAY, HOUR, MINUTE, Rig, expiring
from tests.story import Killed

from expiryd.api import (
    AuthError,
    Blind,
    CollectError,
    Finding,
    Observation,
    PermanentError,
    Receipt,
    Severity,
    TransientError,
)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path) as rig:
        yield rig


async def test_a_token_is_told_at_each_severity_and_once_when_renewed(rig: Rig) -> None:
    now = rig.clock.now()
    rig.sources["tokens"].shows(expiring("AAR", now + 31 * DAY))
    await rig.look()
    await rig.wait(MINUTE)
    told = rig.news()
    assert told == ["raised tokens/AAR"]  # info
    await rig.wait(2 * DAY, step=HOUR)
    assert rig.news() == ["worsened tokens/AAR"]  # warning at 30 days
    await rig.wait(6 * DAY, step=HOUR)
    assert rig.news() == []
    await rig.wait(1 * DAY, step=HOUR)
    assert rig.news() == ["repeated tokens/AAR"]  # the cooldown of a warning is 7 days
    rig.sources["tokens"].shows(expiring("AAR", now + 200 * DAY))
    await rig.look()
    await rig.look()
    await rig.wait(DAY, step=HOUR)
    assert rig.news() == ["renewed tokens/AAR"]


async def test_events_of_many_collectors_leave_as_one_message(tmp_path: Path) -> None:
    async with Rig(tmp_path, sources=[f"c{n}" for n in range(20)]) as rig:
        for source in rig.sources.values():
            source.shows(expiring("x", rig.clock.now() + DAY))
        for name in rig.sources:
            await rig.look(name)
            await rig.clock.advance(timedelta(seconds=1))
            await rig.deliver()
        assert rig.news() == []
        await rig.wait(timedelta(seconds=30))
        (message,) = rig.news()
        assert message.count("raised") == 20


async def test_a_restart_at_any_moment_loses_and_repeats_nothing(rig: Rig) -> None:
    rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 3 * DAY))
    await rig.restart()
    await rig.look()
    await rig.restart()
    await rig.look()
    await rig.restart()
    await rig.wait(MINUTE)
    assert rig.news() == ["raised tokens/AAR"]
    await rig.restart()
    await rig.look()
    await rig.wait(HOUR, step=MINUTE)
    assert rig.news() == []


async def test_a_reload_sends_nothing(rig: Rig) -> None:
    rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 3 * DAY))
    await rig.look()
    await rig.wait(MINUTE)
    assert rig.news() == ["raised tokens/AAR"]
    for mark in range(3):
        await rig.reload(source={"mark": mark})
        await rig.look()
        await rig.wait(MINUTE)
    assert rig.news() == []


async def test_a_rejected_config_keeps_the_old_one_working(rig: Rig) -> None:
    rig.config = PermanentError("collectors.x.type: unknown")
    with pytest.raises(PermanentError):
        await rig.daemon.reload()
    rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 3 * DAY))
    await rig.look()
    await rig.wait(MINUTE)
    assert rig.news() == ["raised tokens/AAR"]
    assert rig.daemon.metrics.registry.get_sample_value("expiryd_config_last_reload_successful") == 0


async def test_a_matter_that_came_and_went_before_anybody_was_told_is_not_told(rig: Rig) -> None:
    rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 3 * DAY))
    await rig.look()
    rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 300 * DAY))
    await rig.look()
    await rig.wait(MINUTE)
    assert rig.news() == []


async def test_transient_failures_are_retried_and_the_cooldown_starts_with_the_delivery(tmp_path: Path) -> None:
    async with Rig(tmp_path, receivers=["slack"]) as rig:
        rig.receivers["slack"]._outcomes = [TransientError("503"), TransientError("429", retry_after=9 * MINUTE)]
        rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 3 * DAY))
        await rig.look()
        await rig.wait(timedelta(seconds=30))
        await rig.wait(timedelta(seconds=5))
        assert len(rig.receivers["slack"].attempts) == 2
        await rig.wait(8 * MINUTE, step=MINUTE)
        assert len(rig.receivers["slack"].attempts) == 2  # Retry-After is kept to
        await rig.wait(2 * MINUTE, step=MINUTE)
        assert rig.news() == ["raised tokens/AAR"]
        await rig.wait(23 * HOUR, step=HOUR)
        assert rig.news() == []
        await rig.wait(2 * HOUR, step=HOUR)
        assert rig.news() == ["repeated tokens/AAR"]


async def test_an_unanswered_message_is_repeated_as_it_was_under_the_same_key(rig: Rig) -> None:
    rig.receivers["slack"]._outcomes = [TransientError("reset", ambiguous=True)]
    end = rig.clock.now() + 3 * DAY
    rig.sources["tokens"].shows(expiring("A", end))
    await rig.look()
    await rig.wait(timedelta(seconds=30))
    rig.sources["tokens"].shows(expiring("A", end), expiring("B", end))
    await rig.look()
    await rig.restart()
    await rig.wait(MINUTE)
    await rig.wait(MINUTE)
    first, second = rig.receivers["slack"].attempts[:2]
    assert first.key == second.key
    assert [e.item for e in first.events] == [e.item for e in second.events] == ["tokens/A"]
    assert rig.news() == ["raised tokens/A", "raised tokens/B"]


async def test_a_message_that_died_in_flight_is_sent_again_under_the_same_key(rig: Rig) -> None:
    rig.sources["tokens"].shows(expiring("A", rig.clock.now() + 3 * DAY))
    await rig.look()
    await rig.clock.advance(MINUTE)
    store, courier = rig.daemon.store, rig.daemon.graph.couriers["slack"]
    settle, store.settle = store.settle, _die  # type: ignore[method-assign]  # the process dies right after the send
    with pytest.raises(Killed):
        await courier.deliver()
    store.settle = settle  # type: ignore[method-assign]
    await rig.restart()
    await rig.deliver()
    first, second = rig.receivers["slack"].attempts
    assert first.key == second.key


async def _die(*_: object) -> None:
    raise Killed


async def test_one_failing_notifier_delays_no_other_and_is_told_through_it(tmp_path: Path) -> None:
    async with Rig(tmp_path, receivers=["slack", "mail"]) as rig:
        rig.receivers["slack"]._outcomes = [AuthError("Slack answered 403 invalid_token")]
        rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 3 * DAY))
        await rig.look()
        await rig.wait(MINUTE)
        assert rig.news("mail") == ["raised tokens/AAR, raised expiryd/notifier/slack"]
        await rig.wait(MINUTE)
        assert rig.news("slack") == ["raised tokens/AAR"]
        await rig.wait(MINUTE)
        assert rig.news("mail") == ["resolved expiryd/notifier/slack"]
        assert rig.news("slack") == []


async def test_a_refused_message_is_a_dead_letter_and_asked_again_after_the_cooldown(tmp_path: Path) -> None:
    async with Rig(tmp_path, receivers=["slack", "mail"]) as rig:
        rig.receivers["slack"]._outcomes = [PermanentError("400 invalid_blocks")]
        rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 3 * DAY))
        await rig.look()
        await rig.wait(10 * MINUTE, step=MINUTE)
        assert rig.news("slack") == []
        assert rig.news("mail") == ["raised tokens/AAR, raised expiryd/notifier/slack"]
        await rig.wait(25 * HOUR, step=HOUR)
        assert rig.news("slack") == ["repeated tokens/AAR"]


async def test_a_bug_in_a_notifier_or_a_collector_stops_nothing_else(tmp_path: Path) -> None:
    async with Rig(tmp_path, receivers=["slack", "mail"], sources=["tokens", "buggy"]) as rig:
        rig.receivers["slack"]._outcomes = [ZeroDivisionError("oops")]
        rig.sources["buggy"].shows(ZeroDivisionError("oops"))
        rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 3 * DAY))
        await rig.look("buggy")
        await rig.look()
        await rig.wait(MINUTE)
        assert rig.news("mail") == ["raised tokens/AAR"]
        await rig.look("buggy")
        await rig.wait(2 * MINUTE, step=MINUTE)
        assert rig.news("mail") == ["blind buggy"]
        assert rig.news("slack") == ["raised tokens/AAR", "blind buggy"]


async def test_a_blind_source_is_told_once_and_speaks_for_what_it_hides(rig: Rig) -> None:
    rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 60 * DAY))
    await rig.look()
    rig.sources["tokens"].shows(CollectError("cannot read /srv/.tokens"))
    await rig.look()
    await rig.wait(MINUTE)
    assert rig.news() == []
    await rig.look()
    await rig.wait(MINUTE)
    assert rig.news() == ["blind tokens"]
    assert rig.receivers["slack"].sent[-1].severity is Severity.WARNING
    await rig.wait(54 * DAY, step=DAY)
    assert [line for line in rig.news() if "AAR" in line] == []  # its date is not judged while it cannot be seen
    assert rig.receivers["slack"].sent[-1].severity is Severity.CRITICAL  # but the blindness weighs more
    rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 90 * DAY))
    await rig.look()
    await rig.wait(MINUTE)
    assert rig.news() == ["sighted tokens"]
    assert [state.id for state in rig.daemon.ledger.all()] == ["tokens/AAR"]


async def test_one_item_that_cannot_be_seen_is_its_own_matter(rig: Rig) -> None:
    good, bad = expiring("a:443", rig.clock.now() + 300 * DAY), Blind("b:443", "connection refused")
    rig.sources["tokens"].shows(good, bad)
    for _ in range(3):
        await rig.look()
        await rig.wait(MINUTE)
    assert rig.news() == ["blind tokens/b:443"]


async def test_a_partial_look_never_erases_what_was_known(rig: Rig) -> None:
    a, b = expiring("a", rig.clock.now() + 300 * DAY), expiring("b", rig.clock.now() + 300 * DAY)
    rig.sources["tokens"].shows(a, b)
    await rig.look()
    rig.sources["tokens"].shows(a, CollectError("the second page timed out"))
    await rig.look()
    await rig.wait(MINUTE)
    assert rig.news() == ["raised tokens"]
    assert {state.id for state in rig.daemon.ledger.all()} >= {"tokens/a", "tokens/b"}


async def test_what_a_complete_look_no_longer_finds_has_vanished(rig: Rig) -> None:
    a, b = expiring("a", rig.clock.now() + 300 * DAY), expiring("b", rig.clock.now() + 3 * DAY)
    rig.sources["tokens"].shows(a, b)
    await rig.look()
    await rig.wait(MINUTE)
    rig.news()
    rig.sources["tokens"].shows(a)
    await rig.look()
    await rig.wait(MINUTE)
    assert rig.news() == ["vanished tokens/b"]


async def test_a_source_that_shrinks_by_more_than_half_is_believed_only_at_the_second_look(rig: Rig) -> None:
    everything = [expiring(f"t{n}", rig.clock.now() + 300 * DAY) for n in range(10)]
    rig.sources["tokens"].shows(*everything)
    await rig.look()
    rig.sources["tokens"].shows(*everything[:2])
    await rig.look()
    await rig.wait(MINUTE)
    assert rig.news() == ["raised tokens"]
    assert len(rig.daemon.ledger) == 11
    await rig.look()
    await rig.wait(MINUTE)
    (message,) = rig.news()
    assert message.count("vanished") == 8
    assert message.count("resolved tokens") == 1


async def test_a_threaded_notifier_gets_one_message_per_item_and_its_own_reference_back(tmp_path: Path) -> None:
    settings = {"policy": {"first_look": "each"}}
    async with Rig(tmp_path, receivers=["github"], threaded=["github"], settings=settings) as rig:
        rig.receivers["github"]._outcomes = [Receipt("…/issues/7", "7"), Receipt("…/issues/8", "8")]
        b = expiring("B", rig.clock.now() + 3 * DAY)
        rig.sources["tokens"].shows(expiring("A", rig.clock.now() + 3 * DAY, generation="a1"), b)
        await rig.look()
        await rig.wait(MINUTE)
        assert sorted(rig.news("github")) == ["raised tokens/A", "raised tokens/B"]
        rig.sources["tokens"].shows(expiring("A", rig.clock.now() + 300 * DAY, generation="a2"), b)
        await rig.restart()
        await rig.look()
        await rig.wait(MINUTE)
        message = rig.receivers["github"].sent[-1]
        assert rig.news("github") == ["renewed tokens/A"]
        assert message.thread is not None
        assert (message.thread.item, message.thread.generation, message.thread.reference) == ("tokens/A", "a1", "7")
        assert not message.firing


async def test_a_finding_is_a_matter_of_its_own_and_ends_by_itself(rig: Rig) -> None:
    loose = Finding("unsafe-permissions", Severity.WARNING, "mode 0644")
    rig.sources["tokens"].shows(Observation("file", findings=(loose,)))
    await rig.look()
    await rig.wait(MINUTE)
    rig.sources["tokens"].shows(Observation("file"))
    await rig.look()
    await rig.wait(MINUTE)
    assert rig.news() == ["raised tokens/file", "resolved tokens/file"]
