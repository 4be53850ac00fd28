"""What a person on duty lives through, told once and then disturbed at every step: what is heard stays the same."""

from __future__ import annotations

from pathlib import Path

from tests.scenario import at, want
from tests.story import Disturbance, becomes, disturbed, play, sees


@disturbed
async def test_a_token_is_told_at_each_severity_and_once_when_renewed(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", sees(AAR="31d")),
        want("0s", "1m", "slack: raised info tokens/AAR"),
        want("1d", "1d1m", "slack: worsened warning tokens/AAR"),
        want("8d", "8d2m", "slack: repeated warning tokens/AAR"),
        at("9d", sees(AAR="200d")),
        want("9d", "9d1m", "slack: renewed healthy tokens/AAR"),
        until="30d",
        disturbance=disturbance,
    )


@disturbed
async def test_a_stricter_threshold_tells_only_what_rose(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", sees(AAR="25d", BBR="100d")),
        want("0s", "1m", "slack: raised warning tokens/AAR"),
        at("1h", becomes(policy={"critical": "26d", "warning": "30d"})),
        want("1h", "1h1m", "slack: worsened critical tokens/AAR"),
        at("2h", becomes(policy={"critical": "7d", "warning": "30d"})),
        want("2h", "2h1m", "slack: eased warning tokens/AAR"),
        until="12h",
        disturbance=disturbance,
    )
