"""A clock that jumps, a network that is down, crowded days, a source that shows nothing: told for what they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.rig import DAY, HOUR, MINUTE, Rig, expiring

from expiryd.api import Blind, CollectError
from expiryd.core.matching import EVERYTHING
from expiryd.core.model import Ack
from expiryd.core.silencing import Silence
from expiryd.engine.actions import Actions, Taking

YEAR = 365 * DAY
Between = Callable[[Rig], Awaitable[None]]


async def nothing(_: Rig) -> None:
    return


async def restarted(rig: Rig) -> None:
    await rig.restart()


async def reloaded(rig: Rig) -> None:
    await rig.reload()


disturbed = pytest.mark.parametrize("between", [nothing, restarted, reloaded], ids=lambda act: act.__name__)


async def goes_on(rig: Rig, between: Between, span: timedelta = 2 * MINUTE) -> None:
    await rig.tick()
    await between(rig)
    await rig.wait(span, step=MINUTE)


# ── the clock ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("by", [YEAR, -YEAR, HOUR, -HOUR], ids=str)
@disturbed
async def test_of_a_clock_that_jumps_and_comes_back_only_that_is_heard(
    tmp_path: Path, by: timedelta, between: Between
) -> None:
    async with Rig(tmp_path) as rig:
        start = rig.clock.now()
        rig.sources["tokens"].shows(expiring("A", start + 20 * DAY), expiring("B", start + 300 * DAY))
        await rig.look()
        await goes_on(rig, between)
        assert rig.news() == ["raised tokens/A"]
        rig.clock.jump(by)
        await goes_on(rig, between)
        await rig.look()
        await goes_on(rig, between, MINUTE)
        assert rig.news() == ["raised expiryd/clock"]
        rig.clock.jump(-by)
        await goes_on(rig, between, HOUR)
        await rig.look()
        await goes_on(rig, between, HOUR)
        assert rig.news() == ["resolved expiryd/clock"]


async def test_a_clock_that_stays_ahead_is_believed_after_the_hold_and_then_all_is_told(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.sources["tokens"].shows(*(expiring(name, rig.clock.now() + 300 * DAY) for name in "ABC"))
        await rig.look()
        rig.clock.jump(YEAR)
        await rig.wait(4 * MINUTE, step=MINUTE)
        assert rig.news() == ["raised expiryd/clock"]
        await rig.wait(10 * MINUTE, step=MINUTE)
        heard = ", ".join(rig.news()).split(", ")
        assert sorted(heard) == [
            "raised tokens/A",
            "raised tokens/B",
            "raised tokens/C",
            "resolved expiryd/clock",
        ]


async def test_after_a_clock_was_set_back_for_good_a_cooldown_is_as_long_as_ever(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.sources["tokens"].shows(expiring("A", rig.clock.now() + 20 * DAY))
        await rig.look()
        await rig.wait(MINUTE)
        assert rig.news() == ["raised tokens/A"]
        rig.clock.jump(-2 * DAY)
        await rig.wait(10 * MINUTE, step=MINUTE)
        rig.news()
        await rig.restart()
        assert rig.daemon.clock.doubt is None
        await rig.wait(7 * DAY - HOUR, step=HOUR)
        assert rig.news() == []
        await rig.wait(2 * HOUR, step=MINUTE)
        assert rig.news() == ["repeated tokens/A"]


async def test_what_was_asked_for_by_a_wrong_clock_ends_when_it_was_meant_to(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.sources["tokens"].shows(expiring("A", rig.clock.now() + 20 * DAY))
        await rig.look()
        kept = await rig.daemon.silences.add(
            Silence(EVERYTHING, rig.clock.now(), rig.clock.now() + DAY, "ann", "x", rig.clock.now())
        )
        rig.clock.jump(YEAR)
        await rig.wait(10 * MINUTE, step=MINUTE)
        ahead = rig.daemon.clock.now()
        terms = Taking("ticket 4711", ahead + 2 * HOUR)
        await Actions(rig.daemon).acknowledge("tokens/A#expiry", terms, "ann")
        await rig.daemon.silences.add(Silence(EVERYTHING, ahead, ahead + 2 * HOUR, "ann", "x", ahead))
        rig.clock.jump(-YEAR)
        await rig.wait(10 * MINUTE, step=MINUTE)
        await rig.restart()
        ends = [silence.ends_at for silence in rig.daemon.silences.holding(rig.daemon.clock.now())]
        assert ends == [ahead - YEAR + 2 * HOUR, kept.ends_at]
        alert = Actions(rig.daemon).find("tokens/A#expiry")[1]
        assert alert.ack == Ack("ann", ahead - YEAR, "ticket 4711", ahead - YEAR + 2 * HOUR)


async def test_a_message_that_waits_for_its_turn_is_not_lost_to_a_future_that_was_taken_back(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.sources["tokens"].shows(expiring("A", rig.clock.now() + 20 * DAY))
        await rig.look()
        rig.clock.jump(-YEAR)
        await rig.wait(10 * MINUTE, step=MINUTE)
        await rig.look()
        assert "raised tokens/A" in rig.news()[0]


async def test_a_start_before_what_is_remembered_waits_too(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.sources["tokens"].shows(expiring("A", rig.clock.now() + 300 * DAY))
        await rig.look()
        rig.clock.jump(-30 * DAY)
        await rig.restart()
        assert rig.daemon.clock.now() >= rig.begins_at
        await rig.wait(2 * MINUTE, step=MINUTE)
        assert rig.news() == ["raised expiryd/clock"]
        await rig.wait(10 * MINUTE, step=MINUTE)
        assert rig.news() == ["resolved expiryd/clock"]
        assert rig.daemon.clock.now() == rig.clock.now()


# ── the network ───────────────────────────────────────────────────────────────────────────────────────


class Link:
    up = True


def watched(rig: Rig, link: Link) -> None:
    async def reach(_target: str, _seconds: float) -> bool:
        return link.up

    rig.daemon.network.reach = reach
    rig.sources["tokens"].network = True  # type: ignore[misc]  # this source is one


@disturbed
async def test_while_the_own_network_is_down_that_alone_is_told_and_all_is_looked_at_on_its_return(
    tmp_path: Path, between: Between
) -> None:
    link = Link()

    async def disturb(rig: Rig) -> None:
        await between(rig)
        watched(rig, link)

    async with Rig(tmp_path, settings={"connectivity": {"targets": ["192.0.2.1:53"]}}) as rig:
        watched(rig, link)
        good = [expiring(f"host{n}", rig.clock.now() + 300 * DAY) for n in range(20)]
        rig.sources["tokens"].shows(*good)
        await rig.look()
        link.up = False
        rig.sources["tokens"].shows(*(Blind(one.id, "no route to host") for one in good))
        for _ in range(4):
            await rig.look()
            await goes_on(rig, disturb)
        rig.sources["tokens"].shows(CollectError("no name server answers"))
        for _ in range(4):
            await rig.look()
            await goes_on(rig, disturb)
        assert rig.news() == ["raised expiryd/network"]
        assert all(state.blind_looks == 0 for state in rig.daemon.ledger.of("tokens"))
        link.up = True
        rig.sources["tokens"].shows(*good)
        before = rig.sources["tokens"].looks
        await goes_on(rig, disturb)
        assert rig.news() == ["resolved expiryd/network"]
        assert rig.sources["tokens"].looks == before + 1


async def test_what_cannot_be_seen_counts_while_one_target_answers_and_without_targets(tmp_path: Path) -> None:
    async with Rig(tmp_path, settings={"connectivity": {"targets": ["192.0.2.1:53"]}}) as rig:
        watched(rig, Link())
        rig.sources["tokens"].shows(Blind("host", "no route to host"))
        for _ in range(2):
            await rig.look()
        await rig.wait(MINUTE)
        assert rig.news() == ["blind tokens/host"]


# ── crowded days, empty sources ───────────────────────────────────────────────────────────────────────


@disturbed
async def test_a_crowded_day_is_told_early_once_and_again_when_it_doubles(tmp_path: Path, between: Between) -> None:
    async with Rig(tmp_path, settings={"policy": {"crowd": 4}}) as rig:
        end = rig.clock.now() + 60 * DAY

        async def ends(count: int) -> list[str]:
            rig.sources["tokens"].shows(*(expiring(f"T{n}", end + HOUR + n * MINUTE) for n in range(count)))
            for _ in range(2):
                await rig.look()
                await goes_on(rig, between)
            heard = ", ".join(rig.news()).split(", ")
            return [line for line in heard if day in line]

        day = "expiryd/day/2030-03-02"
        assert await ends(3) == []
        assert await ends(4) == [f"raised {day}"]
        assert await ends(7) == []
        assert await ends(8) == [f"raised {day}"]
        assert await ends(3) == []
        assert await ends(1) == [f"resolved {day}"]


@disturbed
async def test_a_source_that_shows_nothing_is_believed_when_a_second_look_agrees(
    tmp_path: Path, between: Between
) -> None:
    async with Rig(tmp_path) as rig:
        rig.sources["tokens"].shows(expiring("A", rig.clock.now() + 20 * DAY))
        await rig.look()
        await goes_on(rig, between)
        rig.news()
        rig.sources["tokens"].shows()
        await rig.look()
        await goes_on(rig, between)
        assert rig.news() == ["raised tokens"]
        assert [state.id for state in rig.daemon.ledger.of("tokens") if "/" in state.id] == ["tokens/A"]
        await rig.look()
        await goes_on(rig, between)
        heard = sorted(", ".join(rig.news()).split(", "))
        assert heard == ["resolved tokens", "vanished tokens/A"]
