"""Who hears of what and when: routes, windows, quiet hours, maintenance and escalation, through every disturbance.

The clock begins at midnight, on Tuesday 2030-01-01 UTC.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.rig import DAY, HOUR, MINUTE, Rig, expiring
from tests.scenario import at, want
from tests.story import Act, Disturbance, becomes, disturbed, play, sees

from expiryd.api import Finding, Observation, PermanentError, Severity
from expiryd.engine.actions import Actions, Taking

WINDOWS = {"office": {"times": "mon-fri 08:00-18:00"}, "night": {"times": "22:00-06:00"}}
ALL = ("slack", "pager")
URGENT: dict[str, Any] = {"severity": ["critical", "expired"], "notify": "pager"}


def routed(*routes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"routes": list(routes), "windows": WINDOWS, **more}


def full(severity: Severity) -> Observation:
    return Observation("AAR", "token", "AAR", findings=(Finding("full", severity, "no room"),))


def acked() -> Act:
    async def act(rig: Rig) -> None:
        await Actions(rig.daemon).acknowledge("tokens/AAR#expiry", Taking("on it"), "ann")

    return act


@disturbed
async def test_each_severity_goes_where_its_route_leads_and_the_end_to_all_who_heard(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", sees(AAR="10d", BBR="10d")),
        want("0s", "1m", "slack: raised warning tokens/AAR", "slack: raised warning tokens/BBR"),
        at("1d", sees(AAR="10d", BBR="100d")),
        want("1d", "1d1m", "slack: renewed healthy tokens/BBR"),
        want("3d", "3d1m", "pager: worsened critical tokens/AAR"),
        at("3d12h", sees(AAR="100d", BBR="100d")),
        want("3d12h", "3d13h", "slack: renewed healthy tokens/AAR", "pager: renewed healthy tokens/AAR"),
        until="5d",
        disturbance=disturbance,
        receivers=ALL,
        settings=routed(URGENT, {"notify": "slack"}),
    )


@disturbed
async def test_that_a_thing_is_gone_is_also_for_who_heard_when_it_was_worse_and_for_nobody_else_by_that_route(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", sees("tokens", full(Severity.CRITICAL), BBR="10d", CCR="100d", DDR="100d")),
        want("0s", "1m", "slack: raised warning tokens/BBR", "pager: raised critical tokens/AAR full"),
        at("1d", sees("tokens", full(Severity.WARNING), BBR="10d", CCR="100d", DDR="100d")),
        want("1d", "1d1m", "slack: eased warning tokens/AAR full", "pager: eased warning tokens/AAR full"),
        at("2d1h", sees(CCR="100d", DDR="100d")),
        want(
            "2d1h",
            "2d2h",
            "slack: vanished info tokens/BBR",
            "slack: vanished info tokens/AAR full",
            "pager: vanished info tokens/AAR full",
        ),
        until="3d",
        disturbance=disturbance,
        receivers=ALL,
        settings=routed(URGENT, {"notify": "slack"}),
    )


@disturbed
async def test_a_route_that_goes_on_and_what_no_route_matches_reach_everybody(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", sees(AAR="3d")),
        want("0s", "1m", "slack: raised critical tokens/AAR", "pager: raised critical tokens/AAR"),
        at("1h", sees(AAR="3d", BBR="20d")),
        want("1h", "1h1m", "slack: raised warning tokens/BBR", "pager: raised warning tokens/BBR"),
        until="12h",
        disturbance=disturbance,
        receivers=ALL,
        settings=routed({**URGENT, "continue": True}, {**URGENT, "notify": "slack"}),
    )


@disturbed
async def test_at_the_end_of_quiet_hours_exactly_what_still_holds_is_told_once(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("1h", sees(AAR="20d", BBR="20d")),
        at("2h", sees(AAR="20d", BBR="100d")),
        at("3h", sees(AAR="20d", BBR="100d", CCR="40d")),
        want("6h", "6h1m", "slack: raised warning tokens/AAR", "slack: raised info tokens/CCR"),
        until="20h",
        disturbance=disturbance,
        settings=routed({"notify": "slack", "quiet": "night"}),
    )


@disturbed
async def test_what_turns_critical_passes_quiet_hours_and_takes_the_place_of_what_waited(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("1h", sees(AAR="7d3h", BBR="20d")),
        want("3h", "3h1m", "slack: worsened critical tokens/AAR"),
        want("6h", "6h1m", "slack: raised warning tokens/BBR"),
        until="20h",
        disturbance=disturbance,
        settings=routed({"notify": "slack", "quiet": "night"}),
    )


@disturbed
async def test_even_what_is_critical_waits_where_its_route_says_so(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("4d", sees(AAR="9d")),  # a Saturday
        want("6d8h", "6d8h1m", "slack: raised critical tokens/AAR"),
        until="6d20h",
        disturbance=disturbance,
        settings=routed({"notify": "slack", "active": "office", "active_for_critical": True}),
    )


@disturbed
async def test_what_happens_at_the_weekend_is_told_when_the_office_opens(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("4d", sees(AAR="33d", BBR="33d")),  # a Saturday: both are infos, and warnings from 3 a.m. on Friday before
        at("5d", sees(AAR="33d", BBR="200d")),
        want("6d8h", "6d8h1m", "slack: raised warning tokens/AAR"),
        until="7d",
        disturbance=disturbance,
        settings=routed({"notify": "slack", "active": "office"}),
    )


@disturbed
async def test_the_end_of_what_was_told_waits_for_the_window_too(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("9h", sees(AAR="20d")),
        want("9h", "9h1m", "slack: raised warning tokens/AAR"),
        at("20h", sees(AAR="200d")),
        want("1d8h", "1d8h1m", "slack: renewed healthy tokens/AAR"),
        until="2d",
        disturbance=disturbance,
        settings=routed({"notify": "slack", "active": "office"}),
    )


@disturbed
async def test_maintenance_mutes_even_what_is_critical_of_what_it_matches(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("2h", sees(AAR="3d", BBR="3d")),
        want("2h", "2h1m", "slack: raised critical tokens/BBR"),
        at("3h", sees(AAR="3d", BBR="3d")),
        want("4h", "4h1m", "slack: raised critical tokens/AAR"),
        until="20h",
        disturbance=disturbance,
        settings={"maintenance": {"tuesday": {"times": "tue 01:00-04:00", "matchers": {"item": "*/AAR"}}}},
    )


@disturbed
async def test_a_window_taken_out_of_the_configuration_holds_nothing_any_more(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("1h", sees(AAR="20d")),
        at("2h", becomes(routes=[{"notify": "slack"}])),
        want("2h", "2h1m", "slack: raised warning tokens/AAR"),
        until="20h",
        disturbance=disturbance,
        settings=routed({"notify": "slack", "quiet": "night"}),
    )


@disturbed
async def test_a_window_that_a_reload_brings_holds_what_is_not_told_yet(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("1h", sees(AAR="20d"), becomes(routes=[{"notify": "slack", "quiet": "night"}])),
        want("6h", "6h1m", "slack: raised warning tokens/AAR"),
        until="20h",
        disturbance=disturbance,
        settings=routed({"notify": "slack"}),
    )


# ── escalation ────────────────────────────────────────────────────────────────────────────────────────

LEVELS: dict[str, Any] = {
    "notify": "slack",
    "quiet": "night",
    "escalate": [{"after": "15m", "notify": "oncall"}, {"after": "1h", "notify": ["manager"]}],
}
PEOPLE = ("slack", "oncall", "manager")


@disturbed
async def test_what_nobody_takes_in_hand_escalates_and_its_end_is_for_all_who_heard(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("9h", sees(AAR="3d")),
        want("9h", "9h1m", "slack: raised critical tokens/AAR"),
        want("9h15m", "9h16m30s", "oncall: escalated critical tokens/AAR"),
        at("9h40m", sees(AAR="3d")),
        want("10h", "10h1m30s", "manager: escalated critical tokens/AAR"),
        at("12h", sees(AAR="100d")),
        want("12h", "12h1m", *(f"{name}: renewed healthy tokens/AAR" for name in PEOPLE)),
        until="20h",
        disturbance=disturbance,
        receivers=PEOPLE,
        settings=routed(LEVELS),
    )


@disturbed
async def test_escalation_stops_with_the_acknowledgement(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("9h", sees(AAR="3d")),
        want("9h", "9h1m", "slack: raised critical tokens/AAR"),
        want("9h15m", "9h16m30s", "oncall: escalated critical tokens/AAR"),
        at("9h40m", acked()),
        want(
            "9h40m",
            "9h41m",
            "slack: acknowledged critical tokens/AAR",
            "oncall: acknowledged critical tokens/AAR",
        ),
        until="20h",
        disturbance=disturbance,
        receivers=PEOPLE,
        settings=routed(LEVELS),
    )


@disturbed
async def test_escalation_counts_from_the_delivery_and_not_from_the_event(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("1h", sees(AAR="20d")),
        want("6h", "6h1m", "slack: raised warning tokens/AAR"),
        want("6h15m", "6h16m", "oncall: escalated warning tokens/AAR"),
        want("7h", "7h1m", "manager: escalated warning tokens/AAR"),
        until="20h",
        disturbance=disturbance,
        receivers=PEOPLE,
        settings=routed(LEVELS),
    )


@disturbed
async def test_a_level_that_is_reached_in_quiet_hours_waits_for_their_end(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("21h30m", sees(AAR="20d")),
        want("21h30m", "21h31m", "slack: raised warning tokens/AAR"),
        want("21h45m", "21h47m", "oncall: escalated warning tokens/AAR"),
        want("1d6h", "1d6h1m", "manager: escalated warning tokens/AAR"),
        until="1d20h",
        disturbance=disturbance,
        receivers=PEOPLE,
        settings=routed(LEVELS),
    )


@disturbed
async def test_when_it_rises_escalation_begins_anew_by_the_route_of_the_new_severity(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    urgent = {**URGENT, "notify": "oncall", "escalate": [{"after": "5m", "notify": "manager"}]}
    await play(
        tmp_path,
        at("9h", sees(AAR="7d12h")),  # critical at half past eight in the evening
        want("9h", "9h1m", "slack: raised warning tokens/AAR"),
        want("12h", "12h1m", "oncall: worsened critical tokens/AAR"),
        want("12h5m", "12h6m30s", "manager: escalated critical tokens/AAR"),
        until="20h",
        disturbance=disturbance,
        receivers=PEOPLE,
        settings=routed(urgent, {"notify": "slack"}),
    )


# ── what is written down ──────────────────────────────────────────────────────────────────────────────


async def test_what_was_over_in_quiet_hours_is_a_row_with_its_reason(tmp_path: Path) -> None:
    async with Rig(tmp_path, settings=routed({"notify": "slack", "quiet": "night"})) as rig:
        rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 20 * DAY))
        await rig.look()
        await rig.wait(MINUTE)
        (held,) = await rig.daemon.store.events()
        assert held.deliveries == (
            ("slack", "pending", "muted: in the quiet hours `night` until 2030-01-01 06:00 UTC"),
        )
        rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 200 * DAY))
        await rig.look()
        await rig.wait(7 * HOUR, step=MINUTE)
        assert rig.news() == []
        over, raised = await rig.daemon.store.events()
        assert raised.deliveries == (("slack", "superseded", "renewed came after it"),)
        assert over.deliveries == (("slack", "suppressed", "over before anybody here was told of it"),)


async def test_the_trouble_of_a_notifier_is_never_left_to_itself_by_the_routes(tmp_path: Path) -> None:
    routes = ({"collector": "expiryd", "notify": "slack"}, {"notify": "slack"})
    async with Rig(tmp_path, receivers=ALL, settings=routed(*routes)) as rig:
        rig.receivers["slack"]._outcomes = [PermanentError("no such channel")]
        rig.sources["tokens"].shows(expiring("AAR", rig.clock.now() + 3 * DAY))
        await rig.look()
        await rig.wait(3 * MINUTE, step=MINUTE)
        assert [line.split()[1] for line in rig.news("pager")] == ["expiryd/notifier/slack"]
