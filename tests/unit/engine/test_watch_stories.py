"""Looks that do not come, the hours that a zone skips or repeats, suspended machines, and a network that is down."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError
from tests.rig import DAY, HOUR, MINUTE, Rig, expiring
from tests.scenario import at, want
from tests.story import Disturbance, disturbed, play, sees

from expiryd.api import CollectError, Message, Receipt, TransientError
from expiryd.config.connectivity import ConnectivityConfig
from expiryd.engine.guard import reach
from expiryd.engine.schedule import Rhythm

NEVER = {"cooldown": dict.fromkeys(("info", "warning", "critical", "expired"), "never")}
BERLIN = {
    "daemon": {"timezone": "Europe/Berlin"},
    "policy": NEVER,
    "routes": [{"notify": ["slack"], "quiet": "night"}],
    "windows": {"night": {"times": ["22:00-07:00"]}},
}

# ── looks that do not come ────────────────────────────────────────────────────────────────────────────


async def test_a_source_that_is_not_looked_at_any_more_is_told_and_over_with_the_next_look(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.sources["tokens"].shows(expiring("A", rig.clock.now() + 300 * DAY))
        await rig.look()
        rig.daemon.schedule.start()  # without jobs: its looks do not come
        await rig.wait(3 * DAY, step=6 * HOUR)
        assert rig.news() == []
        await rig.wait(HOUR, step=10 * MINUTE)
        assert rig.news() == ["raised tokens"]
        (event,) = rig.receivers["slack"].sent[-1].events
        assert (event.aspect, event.severity.word) == ("stale", "warning")
        assert event.detail.startswith("not looked at for 3d")
        await rig.wait(HOUR, step=10 * MINUTE)
        await rig.look()
        await rig.wait(2 * MINUTE, step=MINUTE)
        assert rig.news() == ["resolved tokens"]
        rig.daemon.schedule.stop()


# ── a source that could not be seen ───────────────────────────────────────────────────────────────────


@disturbed
async def test_what_was_due_while_its_source_was_blind_is_told_when_that_is_over_seen_or_not(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    gone, half = CollectError("no answer"), CollectError("the answer broke off")
    await play(
        tmp_path,
        at("0s", sees(AAR="8d", BBR="60d")),
        want("0s", "1m", "slack: raised warning tokens/AAR"),
        at("1h", sees("tokens", gone), sees("tokens", gone)),
        want("1h", "1h1m", "slack: blind warning tokens blind"),
        want("1d", "1d1m", "slack: worsened critical tokens blind"),
        at("2d", sees("tokens", half, BBR="60d")),
        want(
            "2d",
            "2d2m",
            "slack: worsened critical tokens/AAR",
            "slack: raised warning tokens partial",
            "slack: sighted warning tokens blind",
        ),
        until="3d",
        disturbance=disturbance,
        settings={"policy": NEVER},
    )


def test_three_turns_are_counted_by_its_own_rhythm_in_its_own_zone() -> None:
    last = datetime(2030, 3, 29, 12, tzinfo=UTC)
    berlin = ZoneInfo("Europe/Berlin")
    assert Rhythm(None, HOUR, berlin).third(last) == last + 3 * HOUR
    daily = Rhythm("0 6 * * *", DAY, berlin).third(last)
    assert daily == datetime(2030, 4, 1, 4, tzinfo=UTC), "six o'clock came an hour earlier on the 31st"


# ── hours that a zone skips or repeats ────────────────────────────────────────────────────────────────


@disturbed
async def test_a_night_that_an_hour_was_taken_from_ends_an_hour_sooner(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    """In Berlin on 31 March 2030, the 90th day of the story, 02:00 is 03:00."""
    await play(
        tmp_path,
        at("88d23h", sees(AAR="110d")),
        want("89d5h", "89d5h1m", "slack: raised warning tokens/AAR"),
        until="89d12h",
        disturbance=disturbance,
        settings=BERLIN,
    )


@disturbed
async def test_a_night_that_an_hour_was_given_to_ends_an_hour_later(tmp_path: Path, disturbance: Disturbance) -> None:
    """In Berlin on 27 October 2030, the 300th day of the story, 03:00 is 02:00."""
    await play(
        tmp_path,
        at("298d21h", sees(AAR="320d")),
        want("299d6h", "299d6h1m", "slack: raised warning tokens/AAR"),
        until="299d12h",
        disturbance=disturbance,
        settings=BERLIN,
    )


# ── a machine that sleeps, a clock that stays ahead ───────────────────────────────────────────────────


@pytest.mark.parametrize("restarts", [False, True])
async def test_what_a_suspended_machine_has_slept_through_is_told_once_when_it_wakes(
    tmp_path: Path, restarts: bool
) -> None:
    async with Rig(tmp_path, settings={"policy": {**NEVER, "ladder": ["14d", "10d"]}}) as rig:
        rig.sources["tokens"].shows(expiring("A", rig.clock.now() + 20 * DAY))
        await rig.look()
        await rig.wait(MINUTE)
        assert rig.news() == ["raised tokens/A"]
        await rig.clock.advance(15 * DAY)  # both clocks count what is slept
        if restarts:
            await rig.restart()
        await rig.wait(10 * MINUTE, step=MINUTE)
        assert rig.news() == ["worsened tokens/A"]
        assert rig.daemon.ledger.get("expiryd/clock") is None  # type: ignore[arg-type]  # it is a str


async def test_after_a_clock_that_stays_ahead_much_is_told_as_a_storm_is(tmp_path: Path) -> None:
    async with Rig(tmp_path, receivers=["gh"], threaded=["gh"], settings={"policy": NEVER}) as rig:
        names = [f"T{n:03}" for n in range(200)]
        rig.sources["tokens"].shows(*(expiring(name, rig.clock.now() + 300 * DAY) for name in names))
        await rig.look()
        rig.clock.jump(365 * DAY)
        await rig.wait(4 * MINUTE, step=MINUTE)
        assert rig.news("gh") == ["raised expiryd/clock"]
        await rig.wait(8 * MINUTE, step=MINUTE)
        sent = [message for message in rig.receivers["gh"].sent if not message.events[0].item.startswith("expiryd/")]
        assert 0 < len(sent) <= 21, "20 in ten minutes, and the digest"
        await rig.wait(DAY, step=10 * MINUTE)
        told = [event.item for message in rig.receivers["gh"].sent for event in message.events]
        assert {f"tokens/{name}" for name in names} <= set(told)


# ── the own network ───────────────────────────────────────────────────────────────────────────────────


async def hangs_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


async def test_a_target_is_reached_when_it_accepts_a_connection() -> None:
    server = await asyncio.start_server(hangs_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await reach(f"127.0.0.1:{port}", 3)
    assert not await reach(f"127.0.0.1:{closed_port()}", 3)
    assert not await reach("no-such-host.invalid:53", 3)


@pytest.mark.parametrize(
    "target", ["", "host", "host:", ":53", "host:0", "host:70000", "http://host:53", "::1:53", "a b:1"]
)
def test_a_target_that_is_no_host_and_port_is_refused_with_an_example(target: str) -> None:
    with pytest.raises(ValidationError, match="write host:port such as"):
        ConnectivityConfig.model_validate({"targets": [target]})


@pytest.mark.parametrize("wrong", [{"timeout": "0s"}, {"every": "-1s"}, {"target": ["a:1"]}, {"every": "soon"}])
def test_other_mistakes_in_connectivity_are_refused_by_key(wrong: dict[str, object]) -> None:
    (key,) = wrong
    with pytest.raises(ValidationError, match=key):
        ConnectivityConfig.model_validate(wrong)


@disturbed
async def test_that_the_network_is_down_is_told_by_who_needs_none_and_later_by_the_others(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    port = closed_port()
    servers: list[asyncio.Server] = []

    async def unplugged(rig: Rig) -> None:
        rig.sources["tokens"].network = True  # type: ignore[misc]  # this source is one

        async def send(_: Message) -> Receipt:
            raise TransientError("no route to host")

        rig.receivers["slack"].send = send  # type: ignore[method-assign]  # it is out there

    async def plugged(rig: Rig) -> None:
        del rig.receivers["slack"].send
        servers.append(await asyncio.start_server(hangs_up, "127.0.0.1", port))

    try:
        await play(
            tmp_path,
            at("0s", sees(AAR="300d")),
            at("1h", unplugged, sees("tokens", CollectError("no name server answers"))),
            want(
                "1h",
                "1h5m",
                "file: raised critical expiryd/network no-connectivity",
                "file: raised critical expiryd/notifier/slack delivery-failing",
            ),
            at("1h10m", plugged, sees(AAR="300d")),
            want("1h10m", "1h30m", "file: resolved healthy expiryd/network no-connectivity"),
            at("2h", sees(AAR="20d")),
            want(
                "2h",
                "2h5m",
                "slack: raised warning tokens/AAR",
                "file: raised warning tokens/AAR",
                "file: resolved healthy expiryd/notifier/slack delivery-failing",
            ),
            until="3h",
            disturbance=disturbance,
            receivers=("slack", "file"),
            settings={"policy": NEVER, "connectivity": {"targets": [f"127.0.0.1:{port}"]}},
        )
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()
