"""How the daemon stops, notices that it is stuck, and what it refuses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.rig import DAY, HOUR, MINUTE, Rig, expiring

from expiryd.api import CollectError, Message, Receipt
from expiryd.config.model import Retention
from expiryd.engine.daemon import RestartNeeded
from expiryd.store.port import Change, StoreError


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path) as rig:
        yield rig


class Held:
    """A receiver's way of taking a message: slowly."""

    def __init__(self, rig: Rig) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()
        self._take = rig.receivers["slack"].send
        rig.receivers["slack"].send = self  # type: ignore[method-assign,assignment]  # a slow one

    async def __call__(self, message: Message) -> Receipt:
        self.reached.set()
        await self.open.wait()
        return await self._take(message)


async def carrying(rig: Rig) -> Held:
    """The couriers are at work, and a message is under way."""
    held = Held(rig)
    rig.sources["tokens"].shows(expiring("A", rig.clock.now() + DAY))
    await rig.look()
    await rig.clock.advance(MINUTE)
    rig.daemon.graph.employ()
    async with asyncio.timeout(10):
        await held.reached.wait()
    return held


async def until(probe: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not probe():
            await asyncio.sleep(0.001)


# ── stopping ──────────────────────────────────────────────────────────────────────────────────────────


async def test_the_message_under_way_arrives_and_is_remembered_before_it_stops(rig: Rig) -> None:
    held = await carrying(rig)
    stopping = asyncio.ensure_future(rig.daemon.stop(timedelta(seconds=10)))
    await asyncio.sleep(0)
    held.open.set()
    assert await stopping == []
    assert rig.news() == ["raised tokens/A"]
    assert await rig.daemon.store.next_due("slack") is None


async def test_what_takes_too_long_is_cancelled_named_and_still_owed(rig: Rig) -> None:
    held = await carrying(rig)
    assert await rig.daemon.stop(timedelta(0)) == ["courier slack"]
    held.open.set()
    await rig.restart()
    await rig.wait(MINUTE)
    assert rig.news() == ["raised tokens/A"]


async def test_once_it_stops_nothing_is_looked_at_any_more(rig: Rig) -> None:
    await rig.daemon.stop(timedelta(0))
    rig.daemon.look("tokens")
    assert not rig.daemon.graph.looks.runs("tokens")
    assert rig.sources["tokens"].looks == 0


# ── reloading ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_new_state_directory_or_listener_needs_a_restart_and_changes_nothing(rig: Rig) -> None:
    daemon = rig.config.daemon.model_copy(update={"state_dir": Path("/elsewhere")})
    http = rig.config.http.model_copy(update={"listen": ""})
    running, graph = rig.daemon.graph.config, rig.daemon.graph
    rig.config = rig.config.model_copy(update={"daemon": daemon, "http": http})
    with pytest.raises(RestartNeeded, match=r"daemon\.state_dir, http: changed, which needs a restart"):
        await rig.daemon.reload()
    assert rig.daemon.graph is graph
    assert rig.daemon.graph.config is running


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("daemon.log_format", {"log_format": "console"}),
        ("daemon.retention.audit", {"retention": Retention(audit=30 * DAY)}),
        ("daemon.retention.audit_size", {"retention": Retention(audit_size=2**20)}),
    ],
)
async def test_what_a_reload_could_not_honour_is_refused_and_not_silently_left_as_it_was(
    rig: Rig, key: str, change: dict[str, object]
) -> None:
    rig.config = rig.config.model_copy(update={"daemon": rig.config.daemon.model_copy(update=change)})
    with pytest.raises(RestartNeeded, match=f"^{re.escape(key)}: changed, which needs a restart"):
        await rig.daemon.reload()


async def test_how_long_the_past_is_kept_may_be_reloaded(rig: Rig) -> None:
    kept = {"retention": Retention(events=30 * DAY)}
    rig.config = rig.config.model_copy(update={"daemon": rig.config.daemon.model_copy(update=kept)})
    await rig.daemon.reload()
    assert rig.daemon.graph.config.daemon.retention.events == 30 * DAY


async def test_reloads_that_overlap_come_one_after_the_other(rig: Rig) -> None:
    rig.sources["tokens"].shows(expiring("A", rig.clock.now() + DAY))
    await rig.look()
    await asyncio.gather(*(rig.daemon.reload() for _ in range(20)))
    await rig.wait(MINUTE)
    assert rig.news() == ["raised tokens/A"]


async def test_a_reload_lets_the_message_under_way_arrive_and_the_new_courier_does_not_repeat_it(
    tmp_path: Path,
) -> None:
    async with Rig(tmp_path) as rig:
        rig.config = rig.config.model_copy(
            update={"daemon": rig.config.daemon.model_copy(update={"drain": timedelta(seconds=10)})}
        )
        await rig.daemon.reload()
        held = await carrying(rig)
        reloading = asyncio.ensure_future(rig.daemon.reload())
        await asyncio.sleep(0)
        held.open.set()
        await reloading
        await rig.wait(HOUR, step=MINUTE)
        assert rig.news() == ["raised tokens/A"]


async def test_a_store_that_fails_at_a_reload_keeps_nobody_from_work_and_what_is_gone_is_forgotten_later(
    tmp_path: Path,
) -> None:
    async with Rig(tmp_path, sources=["tokens", "other"]) as rig:
        rig.sources["other"].shows(expiring("A", rig.clock.now() + 300 * DAY))
        await rig.look("other")
        rig.daemon.begin()
        store = rig.daemon.store
        commit = store.commit

        async def full(_: Change) -> None:
            raise StoreError("no room left on /var/lib/expiryd")

        store.commit = full  # type: ignore[method-assign]  # the disk is full
        del rig.sources["other"]
        await rig.reload()
        assert rig.daemon.graph.idle_couriers(rig.clock.monotonic()) == []
        assert rig.daemon.schedule.next_run("other") is None
        assert len(rig.daemon.ledger) == 1
        store.commit = commit  # type: ignore[method-assign]
        await rig.tick()
        assert len(rig.daemon.ledger) == 0
        await rig.daemon.stop(timedelta(0))


# ── noticing ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_part_that_gives_no_sign_of_life_for_a_minute_is_stuck(rig: Rig) -> None:
    rig.daemon.graph.employ()
    assert rig.daemon.stuck() == []
    await rig.clock.advance(timedelta(seconds=61))
    assert rig.daemon.stuck() == ["scheduler", "pulse", "store"]


async def test_an_audit_trail_that_is_carried_by_nobody_is_stuck(rig: Rig) -> None:
    async def dies() -> None:
        raise RuntimeError("a bug")

    assert rig.daemon.auditor is not None
    rig.daemon.auditor.serve = dies  # type: ignore[method-assign]
    rig.daemon.begin()
    await until(lambda: rig.daemon.stuck() == ["audit"])


async def test_a_courier_that_died_or_is_deaf_to_its_own_time_out_is_stuck(rig: Rig) -> None:
    assert rig.daemon.stuck() == ["courier slack"]
    held = await carrying(rig)
    assert "courier slack" not in rig.daemon.stuck()
    await rig.clock.advance(timedelta(seconds=81))
    assert "courier slack" in rig.daemon.stuck()
    held.open.set()


async def test_a_clock_that_is_put_back_is_noticed_and_the_schedule_worked_out_anew(rig: Rig) -> None:
    rig.daemon.begin()
    await until(lambda: len(rig.clock._sleepers) == 2)  # the pulse and the courier
    rig.clock.jump(-365 * DAY)
    await rig.clock.advance(timedelta(seconds=1))
    await until(lambda: any(event == "clock.jumped" for _, event, _ in rig.log.lines))
    after = rig.daemon.schedule.next_run("tokens")
    assert after is not None
    assert after <= rig.clock.now() + MINUTE
    await rig.daemon.stop(timedelta(0))


# ── failing looks ─────────────────────────────────────────────────────────────────────────────────────


async def test_how_long_it_has_run_is_not_asked_of_a_clock_that_may_be_set(rig: Rig) -> None:
    await rig.clock.advance(HOUR)
    rig.clock.jump(-DAY)
    assert rig.daemon.uptime == HOUR


async def test_a_look_that_could_not_be_remembered_is_made_again_soon_and_said_once(rig: Rig) -> None:
    retries: list[timedelta] = []
    rig.daemon.schedule.retry = lambda name, delay: retries.append(delay)  # type: ignore[method-assign]  # no timers here
    store = rig.daemon.store
    commit = store.commit

    async def full(change: Change) -> None:
        raise StoreError("no room left on /var/lib/expiryd")

    store.commit = full  # type: ignore[method-assign]  # the disk is full
    rig.sources["tokens"].shows(expiring("A", rig.clock.now() + DAY))
    await rig.look()
    await rig.look()
    assert retries == [MINUTE, MINUTE]
    assert rig.daemon.store_error == "no room left on /var/lib/expiryd"
    assert sum(event == "store.failed" for _, event, _ in rig.log.lines) == 1
    assert len(rig.daemon.ledger) == 0
    store.commit = commit  # type: ignore[method-assign]
    await rig.look()
    await rig.wait(MINUTE)
    assert rig.news() == ["raised tokens/A"]


async def test_a_source_that_stays_unseen_is_asked_ever_less_often(rig: Rig) -> None:
    retries: list[timedelta] = []
    rig.daemon.schedule.retry = lambda name, delay: retries.append(delay)  # type: ignore[method-assign]  # no timers here
    rig.sources["tokens"].shows(CollectError("cannot read /srv/.tokens"))
    for _ in range(14):
        await rig.look()
    assert retries[:4] == [MINUTE, 2 * MINUTE, 4 * MINUTE, 8 * MINUTE]
    assert max(retries) == 1024 * MINUTE
    rig.sources["tokens"].shows()
    await rig.look()
    rig.sources["tokens"].shows(CollectError("cannot read /srv/.tokens"))
    await rig.look()
    assert retries[-1] == MINUTE


async def test_nobody_can_have_a_source_looked_at_that_is_not_there(rig: Rig) -> None:
    assert await rig.daemon.look_now("nobody") is None
