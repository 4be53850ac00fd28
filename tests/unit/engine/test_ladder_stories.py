"""The ladder on a whole daemon: each rung is told once, whatever is restarted, reloaded, killed or reconfigured."""

from __future__ import annotations

from pathlib import Path

from tests.rig import DAY, Rig
from tests.scenario import at, want
from tests.story import Act, Disturbance, becomes, disturbed, play, sees
from tests.unit.engine.test_silences import silenced

from expiryd.api import Observation
from expiryd.testing import EPOCH

LADDER = {"ladder": ["14d", "7d", "1d", "0d", "-1d"], "cooldown": {"warning": "never", "critical": "never"}}
QUIET = {**LADDER, "cooldown": dict.fromkeys(("info", "warning", "critical", "expired"), "never")}


@disturbed
async def test_every_rung_is_told_once(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", sees(AAR="16d")),
        want("0s", "1m", "slack: raised warning tokens/AAR"),
        want("2d", "2d2m", "slack: rung warning tokens/AAR"),
        want("9d", "9d2m", "slack: worsened critical tokens/AAR"),
        want("15d", "15d2m", "slack: rung critical tokens/AAR"),
        want("16d", "16d2m", "slack: worsened expired tokens/AAR"),
        want("17d", "17d2m", "slack: rung expired tokens/AAR"),
        until="30d",
        disturbance=disturbance,
        settings={"policy": QUIET},
    )


@disturbed
async def test_the_last_day_and_the_last_moment_are_told_like_any_other(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    """With less than a day left no whole day is left."""
    await play(
        tmp_path,
        at("0s", sees(BBR="0s", CCR="23h", DDR="0.000001s")),
        want(
            "0s",
            "1m",
            "slack: raised expired tokens/BBR",
            "slack: raised critical tokens/CCR",
            "slack: worsened expired tokens/DDR",
        ),
        want("23h", "23h1m", "slack: worsened expired tokens/CCR"),
        want("1d", "1d1m", "slack: rung expired tokens/BBR", "slack: rung expired tokens/DDR"),
        want("1d23h", "1d23h1m", "slack: rung expired tokens/CCR"),
        until="4d",
        disturbance=disturbance,
        settings={"policy": QUIET},
    )


@disturbed
async def test_a_date_that_is_corrected_in_the_configuration_ends_the_reminders_of_the_old_one(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    def typed(days: int) -> Act:
        return becomes(source={"items": {"AAR": {"expires": EPOCH + days * DAY}}})

    async def look(rig: Rig) -> None:
        rig.sources["tokens"].shows(Observation("AAR", "account"))
        await rig.look()

    await play(
        tmp_path,
        at("0s", typed(10), look),
        want("0s", "1m", "slack: raised warning tokens/AAR"),
        at("2d12h", silenced("1d")),
        at("3d6h", typed(30), look),  # while the word on the last week still waits
        want("3d12h", "3d12h1m", "slack: renewed healthy tokens/AAR"),
        want("16d", "16d2m", "slack: raised warning tokens/AAR"),
        until="20d",
        disturbance=disturbance,
        settings={"policy": {**QUIET, "info": "14d", "warning": "14d", "critical": "7d"}},
    )


@disturbed
async def test_another_ladder_tells_nothing_again(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", sees(AAR="13d12h", BBR="400d")),
        want("0s", "1m", "slack: raised warning tokens/AAR"),
        at("1h", becomes(policy={**QUIET, "ladder": ["29d", "21d", "14d", "12d"]})),
        at("2h", becomes(policy=QUIET)),
        at("3h", becomes(policy={**QUIET, "ladder": []})),
        at("4h", becomes(policy={**QUIET, "warning": "40d", "info": "60d", "ladder": ["12d"]})),
        want("1d12h", "1d12h2m", "slack: rung warning tokens/AAR"),
        until="2d",
        disturbance=disturbance,
        settings={"policy": QUIET},
    )


@disturbed
async def test_milder_nights_are_told_in_the_morning_and_never_twice(tmp_path: Path, disturbance: Disturbance) -> None:
    """The story begins at midnight."""
    await play(
        tmp_path,
        at("0s", sees(AAR="5d")),
        want("0s", "1m", "slack: raised warning tokens/AAR"),
        want("6h", "6h2m", "slack: worsened critical tokens/AAR"),
        until="2d",
        disturbance=disturbance,
        settings={
            "policy": {**QUIET, "ladder": [], "at": [{"window": "night", "critical": "1d"}]},
            "windows": {"night": {"times": ["22:00-06:00"]}},
        },
    )


@disturbed
async def test_a_kind_has_a_ladder_and_thresholds_of_its_own(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", sees(AAR="11d")),
        want("1d", "1d2m", "slack: raised info tokens/AAR"),
        want("6d", "6d2m", "slack: worsened critical tokens/AAR"),
        until="7d",
        disturbance=disturbance,
        settings={
            "policy": QUIET,
            "kinds": {"token": {"critical": "5d", "warning": "5d", "info": "5d", "ladder": ["10d"]}},
        },
    )
