"""Trouble with telling, seeing and timing, told once by whoever can, whatever is restarted, reloaded or killed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tests.rig import DAY, HOUR, MINUTE, Rig, expiring
from tests.scenario import at, want
from tests.story import Act, Disturbance, disturbed, play, sees

from expiryd.api import AuthError, DeliveryError, Message, PermanentError, Receipt, Severity, TransientError
from expiryd.testing import EPOCH
from expiryd.web import checks

NEVER = {"cooldown": dict.fromkeys(("info", "warning", "critical", "expired"), "never")}


def fails(name: str, failure: DeliveryError, item: str = "") -> Act:
    """From now on this receiver takes no message, or none about this item."""

    async def act(rig: Rig) -> None:
        receiver = rig.receivers[name]
        takes = type(receiver).send

        async def send(message: Message) -> Receipt:
            if not item or any(event.item == item for event in message.events):
                raise failure
            return await takes(receiver, message)

        receiver.send = send  # type: ignore[method-assign]  # it is not what it was

    return act


def works(name: str) -> Act:
    """It takes all messages again."""

    async def act(rig: Rig) -> None:
        rig.receivers[name].__dict__.pop("send", None)

    return act


# ── notifiers ─────────────────────────────────────────────────────────────────────────────────────────


@disturbed
async def test_a_dead_letter_is_told_by_the_others_and_over_with_the_next_delivery(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", fails("slack", PermanentError("400 too long"), "tokens/BAD"), sees(BAD="20d")),
        want("0s", "2m", "mail: raised warning tokens/BAD", "mail: raised warning expiryd/notifier/slack dead-letter"),
        at("1h", sees(BAD="20d", GOOD="21d")),
        want(
            "1h",
            "1h2m",
            "slack: raised warning tokens/GOOD",
            "mail: raised warning tokens/GOOD",
            "mail: resolved healthy expiryd/notifier/slack dead-letter",
        ),
        until="2h",
        disturbance=disturbance,
        receivers=("slack", "mail"),
        settings={"policy": NEVER},
    )


@disturbed
async def test_a_notifier_that_fails_is_told_by_the_others_and_loses_nothing(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", fails("slack", TransientError("503 busy")), sees(AAR="20d")),
        want(
            "0s",
            "2m",
            "mail: raised warning tokens/AAR",
            "mail: raised critical expiryd/notifier/slack delivery-failing",
        ),
        at("10m", works("slack")),
        want(
            "10m",
            "30m",
            "slack: raised warning tokens/AAR",
            "mail: resolved healthy expiryd/notifier/slack delivery-failing",
        ),
        until="2h",
        disturbance=disturbance,
        receivers=("slack", "mail"),
        settings={"policy": NEVER},
    )


def reaches(name: str, *, all_but: str) -> Act:
    """From now on it delivers, but not to everybody."""

    async def act(rig: Rig) -> None:
        receiver = rig.receivers[name]
        takes = type(receiver).send

        async def send(message: Message) -> Receipt:
            return replace(await takes(receiver, message), refused=all_but)

        receiver.send = send  # type: ignore[method-assign]  # it is not what it was

    return act


@disturbed
async def test_a_recipient_who_gets_nothing_is_told_of_until_he_does(tmp_path: Path, disturbance: Disturbance) -> None:
    """One who was reached does not stand for another who was not."""
    await play(
        tmp_path,
        at("0s", reaches("mail", all_but="ann@example.org (550 no such user)"), sees(AAR="20d")),
        want(
            "0s",
            "3m",
            "slack: raised warning tokens/AAR",
            "mail: raised warning tokens/AAR",
            "slack: raised warning expiryd/notifier/mail recipients-refused",
        ),
        at("1h", sees(AAR="20d", BBR="20d")),
        want("1h", "1h2m", "slack: raised warning tokens/BBR", "mail: raised warning tokens/BBR"),
        at("2h", works("mail"), sees(AAR="20d", BBR="20d", CCR="20d")),
        want(
            "2h",
            "2h2m",
            "slack: raised warning tokens/CCR",
            "mail: raised warning tokens/CCR",
            "slack: resolved healthy expiryd/notifier/mail recipients-refused",
        ),
        until="3h",
        disturbance=disturbance,
        receivers=("slack", "mail"),
        settings={"policy": NEVER},
    )


@disturbed
async def test_the_end_of_a_matter_is_tried_again_like_its_beginning(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", sees(AAR="20d")),
        want("0s", "2m", "slack: raised warning tokens/AAR", "mail: raised warning tokens/AAR"),
        at("1h", fails("slack", TransientError("429", retry_after=10 * MINUTE)), sees(AAR="200d")),
        want("1h", "1h1m", "mail: renewed healthy tokens/AAR"),
        at("1h5m", works("slack")),
        want("1h10m", "1h11m", "slack: renewed healthy tokens/AAR"),
        until="1d",
        disturbance=disturbance,
        receivers=("slack", "mail"),
        settings={"policy": NEVER},
    )


@disturbed
async def test_a_receiver_who_wants_a_long_pause_is_told_of_at_once(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", fails("slack", TransientError("429 come back tomorrow", retry_after=DAY)), sees(AAR="20d")),
        want(
            "0s",
            "2m",
            "mail: raised critical expiryd/notifier/slack delivery-failing",
            "mail: raised warning tokens/AAR",
        ),
        at("1h", works("slack")),
        want(
            "1d",
            "1d2m",
            "slack: raised warning tokens/AAR",
            "mail: resolved healthy expiryd/notifier/slack delivery-failing",
        ),
        until="2d",
        disturbance=disturbance,
        receivers=("slack", "mail"),
        settings={"policy": NEVER},
    )


def tried_out(name: str) -> Act:
    """`expiryd notify test NAME`."""

    async def act(rig: Rig) -> None:
        await rig.daemon.graph.couriers[name].try_out(Message("test", "TEST", "", "", Severity.INFO, True, EPOCH, ()))

    return act


async def test_a_notifier_that_passes_its_test_is_in_trouble_no_more(tmp_path: Path) -> None:
    await play(
        tmp_path,
        at("0s", fails("slack", AuthError("403 revoked")), sees(AAR="20d")),
        want("0s", "2m", "mail: raised critical expiryd/notifier/slack auth-failed", "mail: raised warning tokens/AAR"),
        at("30m", sees(AAR="200d")),  # so that nothing is owed to slack any more
        want("30m", "31m", "mail: renewed healthy tokens/AAR"),
        at("6h", works("slack"), tried_out("slack")),
        want("6h", "6h1m", "mail: resolved healthy expiryd/notifier/slack auth-failed"),
        until="8h",
        receivers=("slack", "mail"),
        settings={"policy": NEVER},
    )


@disturbed
async def test_a_revoked_webhook_is_told_by_the_others_at_once(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", fails("slack", AuthError("403 revoked")), sees(AAR="20d")),
        want("0s", "2m", "mail: raised critical expiryd/notifier/slack auth-failed", "mail: raised warning tokens/AAR"),
        at("10m", works("slack")),
        want(
            "10m",
            "30m",
            "slack: raised warning tokens/AAR",
            "mail: resolved healthy expiryd/notifier/slack auth-failed",
        ),
        until="2h",
        disturbance=disturbance,
        receivers=("slack", "mail"),
        settings={"policy": NEVER},
    )


@disturbed
async def test_the_only_notifier_tells_of_its_own_trouble_when_it_works_again(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    rig = await play(
        tmp_path,
        at("0s", fails("slack", AuthError("403 revoked")), sees(AAR="20d")),
        at("10m", works("slack")),
        want(
            "10m",
            "30m",
            "slack: raised critical expiryd/notifier/slack auth-failed",
            "slack: raised warning tokens/AAR",
            "slack: resolved healthy expiryd/notifier/slack auth-failed",
        ),
        until="2h",
        disturbance=disturbance,
        settings={"policy": NEVER},
    )
    assert any(event == "message.postponed" and keys["reason"] == "403 revoked" for _, event, keys in rig.log.lines)


@disturbed
async def test_the_only_notifier_tells_of_its_own_dead_letter_too(tmp_path: Path, disturbance: Disturbance) -> None:
    rig = await play(
        tmp_path,
        at("0s", fails("slack", PermanentError("400 too long"), "tokens/BAD"), sees(BAD="20d")),
        want(
            "0s",
            "3m",
            "slack: raised warning expiryd/notifier/slack dead-letter",
            "slack: resolved healthy expiryd/notifier/slack dead-letter",
        ),
        until="2h",
        disturbance=disturbance,
        settings={"policy": NEVER},
    )
    assert any(event == "message.dead" and keys["reason"] == "400 too long" for _, event, keys in rig.log.lines)


@disturbed
async def test_two_notifiers_that_fail_at_once_tell_of_each_other(tmp_path: Path, disturbance: Disturbance) -> None:
    down = AuthError("403 revoked")
    await play(
        tmp_path,
        at("0s", fails("slack", down), fails("mail", down), sees(AAR="20d")),
        at("10m", works("slack")),
        want(
            "10m",
            "30m",
            "slack: raised critical expiryd/notifier/mail auth-failed",
            "slack: raised warning tokens/AAR",
        ),
        at("40m", works("mail")),
        want(
            "40m",
            "1h40m",
            "mail: raised warning tokens/AAR",
            "slack: resolved healthy expiryd/notifier/mail auth-failed",
        ),
        until="2h",
        disturbance=disturbance,
        receivers=("slack", "mail"),
        settings={"policy": NEVER},
    )


async def test_what_is_known_of_the_only_notifiers_trouble_is_seen_by_health(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await fails("slack", AuthError("403 revoked"))(rig)
        rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + DAY))
        await rig.look()
        await rig.wait(MINUTE)
        for _ in range(2):
            check = checks.notifier(rig.daemon, "slack", await rig.daemon.store.outbox())
            assert (check.status.word, check.message) == ("warning", "auth-failed: 403 revoked")
            assert (check.failing, check.details["owed"]) == (True, 2)
            await rig.restart()
        await works("slack")(rig)
        await rig.wait(3 * MINUTE, step=MINUTE)
        assert checks.notifier(rig.daemon, "slack", None).status.word == "healthy"


async def test_what_is_given_up_by_a_failing_notifier_is_told_beside_its_failing(tmp_path: Path) -> None:
    async with Rig(tmp_path, receivers=("slack", "mail"), settings={"policy": NEVER}) as rig:
        await fails("slack", TransientError("503 busy"))(rig)
        rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 20 * DAY))
        await rig.look()
        await rig.wait(3 * DAY + 2 * HOUR, step=20 * MINUTE)
        told = [
            f"{e.kind} {e.aspect}: {e.detail}"
            for m in rig.receivers["mail"].sent
            for e in m.events
            if e.item != "tokens/AAR"
        ]
        assert told == [
            "raised delivery-failing: 503 busy",
            "raised dead-letter: what it was to tell of tokens/AAR: given up after 3d: 503 busy",
        ]
        assert checks.notifier(rig.daemon, "slack", None).failing
        rig.news("mail")
        await works("slack")(rig)
        rig.sources["tokens"].shows(expiring("B", rig.clock.now() + DAY))
        await rig.look()
        await rig.wait(timedelta(hours=2), step=MINUTE)
        assert "resolved expiryd/notifier/slack, resolved expiryd/notifier/slack" in ", ".join(rig.news("mail"))
