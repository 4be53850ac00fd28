"""The ladder on a whole daemon: each rung is told once, whatever is restarted, reloaded, killed or reconfigured."""

from __future__ import annotations

from pathlib import Path

from tests.scenario import at, want
from tests.story import Disturbance, becomes, disturbed, play, sees

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
