"""Storms, first looks, groups: how much is said at once, and that all of it is said, whatever comes in between."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.rig import DAY, HOUR, MINUTE, RECEIVERS, Rig, expiring
from tests.scenario import at, want
from tests.story import Act, Disturbance, becomes, disturbed, play, sees

from expiryd.api import Finding, ItemId, Message, Observation, PermanentError, Receipt, Severity, TransientError
from expiryd.store.port import Fate

FEW = {"first_look": "each", "storm": {"total": "5/10m", "critical_reserve": 2}}
PLACES = {"first_look": "each", "storm": {"max_active": 2}}
WARNING, CRITICAL = 20, 3
"""Days left."""


def tokens(rig: Rig, count: int, days: int = WARNING, *, first: int = 0) -> list[Observation]:
    return [expiring(f"t{n:03}", rig.begins_at + days * DAY) for n in range(first, first + count)]


def many(count: int, days: int = WARNING, source: str = "tokens") -> Act:
    """A look shows so many tokens."""

    async def act(rig: Rig) -> None:
        rig.sources[source].shows(*tokens(rig, count, days))
        await rig.look(source)

    return act


async def nothing(_rig: Rig) -> None:
    """The courier comes round, as it does every half minute."""


def told(receiver: str, message: Message) -> list[str]:
    """`slack: digest of 6`, or the one matter it is about."""
    (first, *others) = message.events
    purpose = message.key.partition("-")[0] if "-" in message.key else "message"
    if others:
        return [f"{receiver}: {purpose} of {len(message.events)}"]
    return [f"{receiver}: {first.kind} {first.item}"]


# ── the total ─────────────────────────────────────────────────────────────────────────────────────────


@disturbed
async def test_the_overflow_is_one_digest_and_the_storm_is_told_when_it_begins_and_when_it_ends(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", many(8)),
        want("0s", "30s", "gh: raised tokens/t000", "gh: raised tokens/t001", "gh: digest of 6"),
        want("1m", "1m30s", "gh: raised expiryd/storm/gh"),
        at("5m", many(12)),  # no room is left for what is less than critical
        want("10m", "10m30s", "gh: digest of 4"),
        want("11m", "11m", "gh: resolved expiryd/storm/gh"),
        until="1h",
        disturbance=disturbance,
        line=told,
        receivers=["gh"],
        threaded=["gh"],
        settings={"policy": FEW},
    )


@disturbed
async def test_what_is_critical_has_a_reserve(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", sees(a="20d")),
        want("0s", "30s", "slack: raised tokens/a"),
        at("1m", sees(a="20d", b="20d")),
        want("1m", "1m30s", "slack: raised tokens/b"),
        at("2m", sees(a="20d", b="20d", c="20d")),
        want("2m", "2m30s", "slack: raised tokens/c"),
        at("3m", sees(a="20d", b="20d", c="20d", d="20d")),  # waits
        at("4m", sees(a="20d", b="20d", c="20d", d="20d", e="3d")),
        want("4m", "4m", "slack: message of 2"),  # with the news that it is a storm
        want("11m", "11m30s", "slack: raised tokens/d"),  # when less than three others are younger than ten minutes
        at("13m", nothing),  # two of three are no calm
        at("15m", nothing),
        want("15m", "15m30s", "slack: resolved expiryd/storm/slack"),
        until="30m",
        disturbance=disturbance,
        line=told,
        settings={"policy": FEW},
    )


@disturbed
async def test_a_reload_in_a_storm_neither_forgets_what_waits_nor_what_was_sent(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", many(8)),
        want("0s", "30s", "gh: raised tokens/t000", "gh: raised tokens/t001", "gh: digest of 6"),
        at("45s", many(10)),
        at("2m", becomes(policy={**FEW, "cooldown": {"warning": "never"}})),
        want("1m", "1m30s", "gh: raised expiryd/storm/gh"),
        want("10m", "10m30s", "gh: digest of 2"),
        want("11m", "11m", "gh: resolved expiryd/storm/gh"),
        until="30m",
        disturbance=disturbance,
        line=told,
        receivers=["gh"],
        threaded=["gh"],
        settings={"policy": FEW},
    )


async def test_what_waits_says_why_and_is_counted(tmp_path: Path) -> None:
    async with Rig(tmp_path, receivers=["gh"], threaded=["gh"], settings={"policy": FEW}) as rig:
        rig.sources["tokens"].shows(*tokens(rig, 8))
        await rig.look()
        await rig.wait(MINUTE)
        rig.sources["tokens"].shows(*tokens(rig, 10))
        await rig.look()
        await rig.wait(MINUTE, step=10 * timedelta(seconds=1))
        newest = [record.deliveries for record in await rig.daemon.store.events(limit=3)]
        waiting = ("gh", Fate.PENDING, "storm: more messages than 5 in 10m (`total`), they leave as one digest")
        assert newest.count((waiting,)) == 2
        registry = rig.daemon.metrics.registry
        assert registry.get_sample_value("expiryd_notifications_suppressed_total", {"reason": "storm"}) == 2


async def test_what_is_over_before_there_is_room_is_not_told_and_what_grew_worse_is_told_as_it_is(
    tmp_path: Path,
) -> None:
    async with Rig(tmp_path, settings={"policy": FEW}) as rig:
        for count in range(1, 6):
            rig.sources["tokens"].shows(*tokens(rig, count))
            await rig.look()
            await rig.wait(MINUTE)
        assert rig.news() == [*(f"raised tokens/t00{n}" for n in range(3)), "raised expiryd/storm/slack"]
        fixed, _waits = tokens(rig, 1, 300, first=3), tokens(rig, 1, first=4)
        rig.sources["tokens"].shows(*tokens(rig, 3), *fixed, *tokens(rig, 1, CRITICAL, first=4))
        await rig.look()
        await rig.wait(MINUTE)
        assert rig.news()[-1] == "raised tokens/t004"
        await rig.wait(20 * MINUTE, step=MINUTE)
        assert all("t003" not in line for line in rig.news())


async def test_a_flapping_thing_is_told_five_times_in_five_minutes_and_then_how_it_stands(tmp_path: Path) -> None:
    policy = {"first_look": "each", "group_wait": "0s"}
    async with Rig(tmp_path, settings={"policy": policy}) as rig:
        for n in range(9):
            mode = Finding("unsafe-permissions", Severity.CRITICAL if n % 2 else Severity.WARNING, "0666")
            rig.sources["tokens"].shows(Observation("A", findings=(mode,)))
            await rig.look()
            await rig.wait(timedelta(seconds=10))
        assert [line.split()[0] for line in rig.news()] == ["raised", "worsened", "eased", "worsened", "eased"]
        await rig.wait(6 * MINUTE, step=timedelta(seconds=10))
        assert rig.news() == ["eased tokens/A"]
        assert rig.daemon.ledger.get(ItemId("expiryd/storm/slack")) is None, "one nuisance is no storm"


# ── the day ───────────────────────────────────────────────────────────────────────────────────────────


@disturbed
async def test_the_daily_cap_holds_until_midnight_whatever_restarts(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        *(at(f"{hour}h", many(hour)) for hour in range(1, 8)),
        want("1h", "1h1m", "sms: raised tokens/t000"),
        want("2h", "2h1m", "sms: raised tokens/t001"),
        want("3h", "3h1m", "sms: raised tokens/t002"),
        want("4h", "4h2m", "sms: raised expiryd/storm/sms"),
        want("1d", "1d", "sms: message of 4"),
        want("1d30s", "1d30s", "sms: resolved expiryd/storm/sms"),
        until="1d2h",
        disturbance=disturbance,
        line=told,
        receivers=["sms"],
        settings={"sms": {"daily": 3}, "policy": {"first_look": "each"}},
    )


# ── conversations ─────────────────────────────────────────────────────────────────────────────────────


def answers(count: int) -> Act:
    """The receiver opens a conversation for each message."""

    async def act(_rig: Rig) -> None:
        RECEIVERS["gh"]._outcomes = [Receipt(f"issue {n}", f"{n}") for n in range(count)]

    return act


def pages(receiver: str, message: Message) -> list[str]:
    if not message.events:
        return [f"{receiver}: {message.subject.partition(':')[0]} {message.thread and message.thread.item}"]
    return told(receiver, message)


@disturbed
async def test_a_page_makes_room_for_one_that_is_more_severe_and_the_rest_is_a_digest(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", answers(10_000), sees(a="20d", b="3d")),
        want("0s", "30s", "gh: raised tokens/b", "gh: raised tokens/a"),
        at("1m", sees(a="20d", b="3d", c="-1d", d="40d", e="40d")),
        want("1m", "1m30s", "gh: raised tokens/c", "gh: digest of 2", "gh: MOVED tokens/a"),
        want("2m", "2m30s", "gh: raised expiryd/storm/gh"),
        at("1h", sees(a="20d", b="300d", c="-1d", d="40d", e="40d")),
        want("1h", "1h1m", "gh: resolved expiryd/storm/gh", "gh: renewed tokens/b"),
        at("2h", becomes(policy={**PLACES, "critical": "25d"})),
        want("2h", "2h1m", "gh: worsened tokens/a"),  # there is a place again
        until="3h",
        disturbance=disturbance,
        line=pages,
        receivers=["gh"],
        threaded=["gh"],
        settings={"policy": PLACES},
    )


async def test_a_farewell_says_that_the_matter_goes_on_and_where_it_is_listed(tmp_path: Path) -> None:
    policy = {"first_look": "each", "storm": {"max_active": 1}}
    async with Rig(tmp_path, receivers=["gh"], threaded=["gh"], settings={"policy": policy}) as rig:
        await answers(3)(rig)
        rig.sources["tokens"].shows(expiring("a", rig.begins_at + 20 * DAY))
        await rig.look()
        await rig.wait(MINUTE)
        rig.sources["tokens"].shows(expiring("a", rig.begins_at + 20 * DAY), expiring("b", rig.begins_at - DAY))
        await rig.look()
        await rig.wait(MINUTE)
        (_, _, moved) = rig.receivers["gh"].sent
        assert moved.subject == "MOVED: a is still open, but makes room for what is more severe"
        assert "`expiryd alerts` lists it" in moved.text
        assert moved.thread is not None
        assert (moved.firing, moved.thread.item, moved.thread.reference) == (False, "tokens/a", "0")


async def test_a_page_that_could_not_be_closed_stays_and_is_closed_for_the_next(tmp_path: Path) -> None:
    policy = {"first_look": "each", "storm": {"max_active": 1}}
    async with Rig(tmp_path, receivers=["gh"], threaded=["gh"], settings={"policy": policy}) as rig:
        one, two = expiring("a", rig.begins_at + 20 * DAY), expiring("b", rig.begins_at + DAY)
        rig.receivers["gh"]._outcomes = [Receipt("", "1"), Receipt("", "2"), TransientError("503"), Receipt("", "3")]
        rig.sources["tokens"].shows(one)
        await rig.look()
        await rig.wait(MINUTE)
        rig.sources["tokens"].shows(one, two)
        await rig.look()
        await rig.wait(MINUTE)
        assert len(await rig.daemon.store.conversations("gh")) == 2
        rig.sources["tokens"].shows(one, two, expiring("c", rig.begins_at - DAY))
        await rig.look()
        await rig.wait(MINUTE)
        assert rig.receivers["gh"].sent[-1].subject.startswith("MOVED: a")


# ── what a receiver refuses ───────────────────────────────────────────────────────────────────────────


def refusing(rig: Rig, guilty: Iterable[str]) -> None:
    receiver = rig.receivers["slack"]
    bad = set(guilty)

    async def send(message: Message) -> Receipt:
        receiver.attempts.append(message)
        if bad & {event.item for event in message.events}:
            raise PermanentError("400 invalid_blocks")
        receiver.sent.append(message)
        return Receipt("ok")

    receiver.send = send  # type: ignore[method-assign]  # a receiver that does not like some words


@pytest.mark.parametrize("count", [1, 2, 3, 100])
async def test_one_bad_matter_does_not_take_the_others_of_its_message_with_it(tmp_path: Path, count: int) -> None:
    async with Rig(tmp_path, receivers=["slack", "mail"], settings={"policy": {"first_look": "each"}}) as rig:
        refusing(rig, ["tokens/t000"])
        rig.sources["tokens"].shows(*tokens(rig, count))
        await rig.look()
        await rig.wait(MINUTE)
        told = [event.item for message in rig.receivers["slack"].sent for event in message.events]
        assert sorted(told) == [f"tokens/t{n:03}" for n in range(1, count)]
        outbox = await rig.daemon.store.outbox()
        assert outbox.counts["slack", Fate.DEAD] == 1
        assert len(rig.receivers["slack"].attempts) <= 2 * count.bit_length() + 1
        await rig.wait(MINUTE)
        assert "raised expiryd/notifier/slack" in rig.news("mail")[-1]


async def test_a_receiver_that_refuses_everything_is_not_asked_for_ever(tmp_path: Path) -> None:
    async with Rig(tmp_path, settings={"policy": {"first_look": "each"}}) as rig:
        refusing(rig, [f"tokens/t{n:03}" for n in range(100)])
        rig.sources["tokens"].shows(*tokens(rig, 100))
        await rig.look()
        await rig.wait(MINUTE)
        assert len(rig.receivers["slack"].attempts) <= 15
        outbox = await rig.daemon.store.outbox()
        own_trouble = {("slack", Fate.PENDING): 1}  # which no other can tell of
        assert outbox.counts == {("slack", Fate.DEAD): 100, **own_trouble}


async def test_a_digest_that_could_not_be_delivered_goes_again_as_one(tmp_path: Path) -> None:
    async with Rig(tmp_path, receivers=["gh"], threaded=["gh"], settings={"policy": FEW}) as rig:
        rig.receivers["gh"]._outcomes = [
            None,
            None,
            TransientError("503"),
            None,
            TransientError("late", ambiguous=True),
        ]
        rig.sources["tokens"].shows(*tokens(rig, 8))
        await rig.look()
        await rig.wait(2 * MINUTE, step=timedelta(seconds=5))
        *_, digest = [message for message in rig.receivers["gh"].sent if len(message.events) > 1]
        assert len(digest.events) == 6
        attempts = [message for message in rig.receivers["gh"].attempts if len(message.events) > 1]
        assert [message.key for message in attempts] == [digest.key] * 3
        assert digest.subject.startswith("WARNING: digest of 6 matters: ")


# ── first looks ───────────────────────────────────────────────────────────────────────────────────────


@disturbed
async def test_the_first_look_at_a_source_is_one_summary_and_what_comes_later_is_news(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", many(30)),
        want("0s", "30s", "gh: first of 30", "slack: first of 30"),
        at("1h", many(31)),
        want("1h", "1h1m", "gh: raised tokens/t030", "slack: raised tokens/t030"),
        until="2h",
        disturbance=disturbance,
        line=told,
        receivers=["gh", "slack"],
        threaded=["gh"],
    )


async def test_a_summary_counts_all_that_each_source_shows(tmp_path: Path) -> None:
    async with Rig(tmp_path, sources=["tokens", "certs"]) as rig:
        rig.sources["tokens"].shows(*tokens(rig, 117, 300), *tokens(rig, 3, CRITICAL, first=200))
        rig.sources["certs"].shows(expiring("a", rig.begins_at - DAY))
        await rig.look("tokens")
        await rig.look("certs")
        await rig.wait(MINUTE)
        (message,) = rig.receivers["slack"].sent
        assert message.subject == "First look at certs, tokens: 121 items, 1 expired, 3 critical"
        assert "\ntokens: 120 items, 3 critical, 117 healthy\n" in message.text
        assert "\ncerts: 1 item, 1 expired\n" in message.text
        assert "tokens: 120 items" in message.html


async def test_a_silent_first_look_tells_nothing_until_something_changes(tmp_path: Path) -> None:
    async with Rig(tmp_path, settings={"policy": {"first_look": "silent"}}) as rig:
        rig.sources["tokens"].shows(*tokens(rig, 3), expiring("far", rig.begins_at + 300 * DAY))
        await rig.look()
        await rig.wait(DAY, step=HOUR)
        assert rig.news() == []
        (record, *_) = await rig.daemon.store.events()
        assert record.deliveries == (("slack", Fate.SUPPRESSED, "seen by the first look at its source (`first_look`)"),)
        rig.sources["tokens"].shows(*tokens(rig, 3), expiring("far", rig.begins_at + 5 * DAY))
        await rig.look()
        await rig.wait(MINUTE)
        assert rig.news() == ["raised tokens/far"]


# ── groups ────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_ends_on_one_day_is_one_message_that_says_so(tmp_path: Path) -> None:
    settings = {"slack": {"group_by": ["day"]}, "policy": {"first_look": "each"}}
    async with Rig(tmp_path, settings=settings) as rig:
        end = rig.begins_at + 20 * DAY + HOUR
        rig.sources["tokens"].shows(*(expiring(f"t{n}", end) for n in range(15)), expiring("x", end + 5 * DAY))
        await rig.look()
        await rig.wait(MINUTE)
        subjects = [message.subject for message in rig.receivers["slack"].sent]
        assert subjects == [
            "WARNING: 15 tokens expire in 20 days (t0, t1, t10 and 12 more)",
            "WARNING: x expires 2030-01-26 01:00 UTC, 25 days left",
        ]
