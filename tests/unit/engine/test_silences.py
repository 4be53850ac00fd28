"""While a silence holds nothing of what it means is said; at its end what still holds is told, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.rig import DAY, HOUR, MINUTE, Rig, expiring
from tests.scenario import at, want
from tests.story import Act, Disturbance, disturbed, play, sees

from expiryd.api import parse_duration
from expiryd.core.matching import EVERYTHING, Matcher
from expiryd.core.silencing import Silence, snoozed
from expiryd.engine.silences import NoSuchSilence
from expiryd.store.sql import SqlStore


def silence(rig: Rig, span: timedelta, *texts: str, begins: timedelta = timedelta(0)) -> Silence:
    now = rig.clock.now()
    matcher = Matcher.parse(texts) if texts else EVERYTHING
    return Silence(matcher, now + begins, now + span, "ann", "moving house", now)


def silenced(span: str, *texts: str, begins: str = "0s") -> Act:
    async def act(rig: Rig) -> None:
        await rig.daemon.silences.add(silence(rig, parse_duration(span), *texts, begins=parse_duration(begins)))

    return act


def ended() -> Act:
    """All that hold now; one that a life before this one has ended already is no surprise."""

    async def act(rig: Rig) -> None:
        for holding in rig.daemon.silences.holding(rig.clock.now()):
            with suppress(NoSuchSilence):
                await rig.daemon.silences.expire(holding.id, "bob")

    return act


def snooze(span: str) -> Act:
    async def act(rig: Rig) -> None:
        (alert,) = (alert for _, alert in rig.daemon.ledger.alerts() if alert.item == "tokens/AAR")
        now = rig.clock.now()
        await rig.daemon.silences.add(
            Silence(snoozed(alert), now, now + parse_duration(span), "ann", "next sprint", now)
        )

    return act


@disturbed
async def test_at_the_end_of_a_silence_exactly_what_still_holds_is_told_once(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", silenced("6h")),
        at("1h", sees(AAR="20d", BBR="20d", CCR="3d")),
        at("2h", sees(AAR="20d", BBR="100d", CCR="3d")),
        want("6h", "6h1m", "slack: raised critical tokens/CCR", "slack: raised warning tokens/AAR"),
        until="1d",
        disturbance=disturbance,
    )


@disturbed
async def test_evaluation_goes_on_underneath_and_the_newest_word_is_told(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", sees(AAR="8d", BBR="8d")),
        want("0s", "1m", "slack: raised warning tokens/AAR", "slack: raised warning tokens/BBR"),
        at("12h", silenced("1d")),
        at("1d2h", sees(AAR="8d", BBR="200d")),  # both have been critical since one day
        want("1d12h", "1d12h1m", "slack: worsened critical tokens/AAR", "slack: renewed healthy tokens/BBR"),
        until="2d",
        disturbance=disturbance,
    )


@disturbed
async def test_a_silence_that_is_ended_early_frees_what_it_held(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", silenced("6h")),
        at("1h", sees(AAR="20d")),
        at("2h", ended()),
        want("2h", "2h1m", "slack: raised warning tokens/AAR"),
        until="1d",
        disturbance=disturbance,
    )


@disturbed
async def test_of_two_silences_the_later_end_counts(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", silenced("3h"), silenced("6h", "category=nothing of ours"), silenced("5h", "item=tokens/*")),
        at("1h", sees(AAR="20d")),
        want("5h", "5h1m", "slack: raised warning tokens/AAR"),
        until="1d",
        disturbance=disturbance,
    )


@disturbed
async def test_a_silence_may_begin_later(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", silenced("6h", begins="3h")),
        at("1h", sees(AAR="20d")),
        want("1h", "1h1m", "slack: raised warning tokens/AAR"),
        at("4h", sees(AAR="20d", BBR="20d")),
        want("6h", "6h1m", "slack: raised warning tokens/BBR"),
        until="1d",
        disturbance=disturbance,
    )


@disturbed
async def test_a_snoozed_alert_sleeps_alone(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", sees(AAR="6d", BBR="6d")),
        want("0s", "1m", "slack: raised critical tokens/AAR", "slack: raised critical tokens/BBR"),
        at("1h", snooze("2d")),
        want("1d", "1d2m", "slack: repeated critical tokens/BBR"),
        want("2d", "2d4m", "slack: repeated critical tokens/BBR"),
        want("2d1h", "2d1h1m", "slack: repeated critical tokens/AAR"),
        until="2d12h",
        disturbance=disturbance,
    )


# ── what is written down ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path) as rig:
        yield rig


async def test_what_was_over_before_the_silence_was_is_a_row_with_its_reason(rig: Rig) -> None:
    await rig.daemon.silences.add(silence(rig, 2 * HOUR))
    rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 20 * DAY))
    await rig.look()
    await rig.wait(MINUTE)
    (held,) = await rig.daemon.store.events()
    assert held.deliveries == (("slack", "pending", "muted: silenced until 2030-01-01 02:00 UTC by ann: moving house"),)
    rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 200 * DAY))
    await rig.look()
    await rig.wait(3 * HOUR, step=MINUTE)
    assert rig.news() == []
    over, raised = await rig.daemon.store.events()
    assert raised.deliveries == (("slack", "superseded", "renewed came after it"),)
    assert over.deliveries == (("slack", "suppressed", "over before anybody here was told of it"),)


async def test_a_silence_survives_a_restart_and_is_listed_with_who_and_why(rig: Rig) -> None:
    late = await rig.daemon.silences.add(silence(rig, 2 * DAY, "category=cicd"))
    soon = await rig.daemon.silences.add(silence(rig, DAY))
    await rig.restart()
    assert list(await rig.daemon.silences.list()) == [soon, late]
    assert (late.actor, late.reason, str(late.matcher)) == ("ann", "moving house", "category=cicd")
    await rig.clock.advance(DAY)
    assert list(rig.daemon.silences.holding(rig.clock.now())) == [late]
    assert list(await rig.daemon.silences.list()) == [soon, late]


async def test_what_is_over_is_in_the_list_and_not_in_memory(rig: Rig) -> None:
    soon = await rig.daemon.silences.add(silence(rig, HOUR))
    late = await rig.daemon.silences.add(silence(rig, DAY))
    await rig.wait(2 * HOUR, step=HOUR)
    rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 20 * DAY))
    await rig.look()
    await rig.wait(MINUTE)
    later = await rig.daemon.silences.add(silence(rig, DAY))
    assert list(rig.daemon.silences._kept) == [late.id, later.id]
    assert list(await rig.daemon.silences.list()) == [soon, late, later]


async def test_a_silence_that_is_added_while_a_thread_asks_is_neither_lost_nor_in_its_way(rig: Rig) -> None:
    """A courier with very many parcels plans them in a thread."""
    kept = await rig.daemon.silences.add(silence(rig, HOUR))
    loop, added = asyncio.get_running_loop(), list[Silence]()

    class Meanwhile(datetime):
        def __lt__(self, other: datetime) -> bool:
            if not added:
                adding = rig.daemon.silences.add(silence(rig, DAY))
                added.append(asyncio.run_coroutine_threadsafe(adding, loop).result(10))
            return super().__lt__(other)

    now = rig.daemon.clock.now()
    asked = Meanwhile.fromtimestamp(now.timestamp(), UTC)
    assert kept in await asyncio.to_thread(rig.daemon.silences.holding, asked)
    assert list(rig.daemon.silences.holding(now)) == [kept, *added]


async def test_a_silence_that_was_over_by_a_clock_that_is_set_back_holds_again(rig: Rig) -> None:
    kept = await rig.daemon.silences.add(silence(rig, DAY))
    rig.clock.jump(2 * DAY)
    await rig.wait(10 * MINUTE, step=MINUTE)
    assert list(rig.daemon.silences.holding(rig.daemon.clock.now())) == []
    rig.clock.jump(-2 * DAY)
    await rig.wait(10 * MINUTE, step=MINUTE)
    assert list(rig.daemon.silences.holding(rig.daemon.clock.now())) == [kept]


async def test_the_same_wish_twice_is_two_silences(rig: Rig) -> None:
    first, second = [await rig.daemon.silences.add(silence(rig, DAY)) for _ in range(2)]
    assert first.id != second.id
    await rig.daemon.silences.expire(first.id, "bob")
    assert list(rig.daemon.silences.holding(rig.clock.now())) == [second]


async def test_what_is_over_or_was_never_there_cannot_be_ended(rig: Rig) -> None:
    kept = await rig.daemon.silences.add(silence(rig, HOUR))
    await rig.daemon.silences.expire(kept.id, "bob")
    for id_ in (kept.id, "nonsense"):
        with pytest.raises(NoSuchSilence, match=id_):
            await rig.daemon.silences.expire(id_, "bob")


async def test_a_silence_that_has_not_begun_can_be_taken_back(rig: Rig) -> None:
    kept = await rig.daemon.silences.add(silence(rig, 2 * DAY, begins=DAY))
    await rig.daemon.silences.expire(kept.id, "bob")
    await rig.clock.advance(DAY + HOUR)
    assert list(rig.daemon.silences.holding(rig.clock.now())) == []


async def test_a_silence_that_is_over_before_it_is_kept_is_refused(rig: Rig) -> None:
    wish = silence(rig, HOUR)
    await rig.clock.advance(HOUR)
    with pytest.raises(ValueError, match="must end later than now"):
        await rig.daemon.silences.add(wish)
    assert list(await rig.daemon.silences.list()) == []


class Interrupted:
    """A store at which somebody else does something just before the first hold."""

    def __init__(self, real: SqlStore) -> None:
        self._real = real
        self.interrupt: Callable[[], Awaitable[None]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def hold(self, *args: Any, **kwargs: Any) -> None:
        interrupt, self.interrupt = self.interrupt, None
        if interrupt is not None:
            await interrupt()
        await self._real.hold(*args, **kwargs)


async def test_a_silence_that_is_ended_while_a_courier_holds_by_it_frees_that_too(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.wrap = Interrupted
    async with rig:
        kept = await rig.daemon.silences.add(silence(rig, DAY))
        rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 20 * DAY))
        await rig.look()

        async def end_it() -> None:
            await rig.daemon.silences.expire(kept.id, "bob")
            await rig.tick()

        store: Any = rig.daemon.store
        store.interrupt = end_it
        await rig.wait(MINUTE)
        assert rig.news() == []
        await rig.wait(MINUTE, step=timedelta(seconds=1))
        assert rig.news() == ["raised tokens/AAR"]


async def test_each_silence_and_its_early_end_are_entered_in_the_journal_with_who_did_it(rig: Rig) -> None:
    kept = await rig.daemon.silences.add(silence(rig, DAY, "owner=web*"))
    await rig.daemon.silences.expire(kept.id, "bob")
    entries = [entry for entry in await rig.daemon.store.journal() if entry.action.startswith("silence.")]
    assert [(entry.action, entry.actor, entry.detail["matches"]) for entry in entries] == [
        ("silence.added", "ann", "owner=web*"),
        ("silence.expired", "bob", "owner=web*"),
    ]
    assert entries[0].detail["reason"] == "moving house"
