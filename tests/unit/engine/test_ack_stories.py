"""What somebody has in hand or snoozed is quiet to the end of that; restarts and deaths change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.rig import Rig, expiring
from tests.scenario import at, want
from tests.story import Act, Disturbance, disturbed, play, sees
from tests.unit.engine.test_silences import silenced

from expiryd.api import parse_duration
from expiryd.engine.actions import Actions, Taking
from expiryd.testing import EPOCH


def taken(alert: str = "tokens/AAR#expiry", *, until: str = "", until_renewed: bool = False) -> Act:
    async def act(rig: Rig) -> None:
        end = rig.clock.now() + parse_duration(until) if until else None
        await Actions(rig.daemon).acknowledge(alert, Taking("ticket 4711", end, until_renewed), "ann")

    return act


def let_go(alert: str = "tokens/AAR#expiry") -> Act:
    async def act(rig: Rig) -> None:
        await Actions(rig.daemon).let_go(alert, "ann")

    return act


def snoozed(alert: str = "tokens/AAR#expiry", *, until: str) -> Act:
    async def act(rig: Rig) -> None:
        await Actions(rig.daemon).snooze(alert, rig.clock.now() + parse_duration(until), "at lunch", "ann")

    return act


QUIET_LADDER: dict[str, Any] = {"policy": {"ladder": []}}


@disturbed
async def test_reminders_stop_until_the_severity_rises(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", sees(AAR="25d")),
        want("0s", "1m", "slack: raised warning tokens/AAR"),
        at("1d", taken()),
        want("1d", "1d2m", "slack: acknowledged warning tokens/AAR"),
        want("18d", "18d2m", "slack: worsened critical tokens/AAR"),
        want("19d", "19d3m", "slack: repeated critical tokens/AAR"),
        until="20d",
        disturbance=disturbance,
        settings=QUIET_LADDER,
    )


@disturbed
async def test_until_renewed_holds_through_a_rise_and_ends_with_the_matter(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", sees(AAR="20d")),
        want("0s", "1m", "slack: raised warning tokens/AAR"),
        at("1d", taken(until_renewed=True)),
        want("1d", "1d2m", "slack: acknowledged warning tokens/AAR"),
        want("13d", "13d2m", "slack: worsened critical tokens/AAR"),
        at("18d", sees(AAR="40d")),
        want("18d", "18d2m", "slack: raised warning tokens/AAR", "slack: renewed warning tokens/AAR"),
        want("25d", "25d3m", "slack: repeated warning tokens/AAR"),
        until="26d",
        disturbance=disturbance,
        settings=QUIET_LADDER,
    )


@disturbed
async def test_at_its_end_what_still_holds_is_asked_again(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", sees(AAR="6d")),
        want("0s", "1m", "slack: raised critical tokens/AAR"),
        at("12h", taken(until="2d")),
        want("12h", "12h2m", "slack: acknowledged critical tokens/AAR"),
        want("2d12h", "2d12h2m", "slack: repeated critical tokens/AAR"),
        until="3d",
        disturbance=disturbance,
        settings=QUIET_LADDER,
    )


@disturbed
async def test_who_lets_go_hears_of_it_again(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", sees(AAR="6d")),
        want("0s", "1m", "slack: raised critical tokens/AAR"),
        at("12h", taken()),
        want("12h", "12h2m", "slack: acknowledged critical tokens/AAR"),
        at("2d", let_go()),
        want("2d", "2d2m", "slack: repeated critical tokens/AAR"),
        until="2d12h",
        disturbance=disturbance,
        settings=QUIET_LADDER,
    )


@disturbed
async def test_who_lets_go_before_it_was_told_is_not_said_to_have_it(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", sees(AAR="6d")),
        want("0s", "1m", "slack: raised critical tokens/AAR"),
        at("12h", taken()),
        at("12h5s", let_go()),
        want("12h", "12h2m", "slack: repeated critical tokens/AAR"),
        want("1d12h", "1d12h3m", "slack: repeated critical tokens/AAR"),
        until="2d",
        disturbance=disturbance,
        settings=QUIET_LADDER,
    )


@disturbed
async def test_a_snooze_holds_what_rises_and_repeats_and_tells_once_what_still_holds(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", sees(AAR="8d")),
        want("0s", "1m", "slack: raised warning tokens/AAR"),
        at("12h", snoozed(until="2d")),
        want("2d12h", "2d12h2m", "slack: worsened critical tokens/AAR"),
        want("3d12h", "3d12h3m", "slack: repeated critical tokens/AAR"),
        until="4d",
        disturbance=disturbance,
        settings=QUIET_LADDER,
    )


@disturbed
async def test_what_is_over_during_a_snooze_is_told_to_who_knew_of_it(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", sees(AAR="6d")),
        want("0s", "1m", "slack: raised critical tokens/AAR"),
        at("12h", snoozed(until="2d")),
        at("1d", sees(AAR="300d")),
        want("2d12h", "2d12h2m", "slack: renewed healthy tokens/AAR"),
        until="4d",
        disturbance=disturbance,
        settings=QUIET_LADDER,
    )


@disturbed
async def test_a_snooze_is_of_one_credential_and_the_next_one_is_heard(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    def shows(generation: str, end: str) -> Act:
        return sees("tokens", expiring("AAR", EPOCH + parse_duration(end), generation=generation))

    await play(
        tmp_path,
        at("0s", shows("old", "6d")),
        want("0s", "1m", "slack: raised critical tokens/AAR"),
        at("1h", snoozed(until="20d")),
        at("1d", shows("new", "9d")),
        want("1d", "1d1m", "slack: raised warning tokens/AAR"),
        want("2d", "2d1m", "slack: worsened critical tokens/AAR"),
        until="2d12h",
        disturbance=disturbance,
        settings=QUIET_LADDER,
    )


@disturbed
async def test_a_reminder_is_not_spared_to_who_never_heard_of_the_matter(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    """The reminder has taken the place of the first word, which could not be told."""
    await play(
        tmp_path,
        at("0s", silenced("2d", "item=tokens/AAR"), sees(AAR="15d")),
        at("1d12h", taken(until_renewed=True)),
        want("2d", "2d2m", "slack: rung warning tokens/AAR"),
        until="3d",
        disturbance=disturbance,
        settings={"policy": {"ladder": ["14d"], "cooldown": {"warning": "never"}}},
    )


@disturbed
async def test_a_reminder_that_waits_is_spared_to_who_knows_of_the_matter(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", sees(AAR="15d")),
        want("0s", "1m", "slack: raised warning tokens/AAR"),
        at("12h", silenced("2d", "item=tokens/AAR")),
        at("1d12h", taken(until_renewed=True)),
        want("2d12h", "2d12h2m", "slack: acknowledged warning tokens/AAR"),
        until="3d",
        disturbance=disturbance,
        settings={"policy": {"ladder": ["14d"], "cooldown": {"warning": "never"}}},
    )
