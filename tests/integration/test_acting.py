"""The verbs of people who act, against a daemon that answers on its socket: what they print, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import pwd
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.rig import DAY, MINUTE, Rig, expiring

from expiryd.api import Observation
from expiryd.cli.main import call
from expiryd.core.model import Finding, Severity, Traits
from expiryd.testing import EPOCH
from expiryd.web.server import serve

ME = pwd.getpwuid(os.getuid()).pw_name


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Desk:
    """Where somebody sits who has a shell on the daemon's machine."""

    rig: Rig
    config: Path

    async def run(self, *arguments: str) -> Done:
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = await asyncio.to_thread(call, ["-c", str(self.config), *arguments], {})
        return Done(code, output.getvalue(), errors.getvalue())

    async def good(self, *arguments: str) -> str:
        done = await self.run(*arguments)
        assert (done.code, done.err) == (0, "")
        return done.out

    async def rows(self, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(await self.good(*arguments, "--json"))
        return found


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """Two critical tokens, one of which is a placeholder besides; all of it was told."""
    placeholder = (Finding("placeholder", Severity.WARNING),)
    with tempfile.TemporaryDirectory(prefix="act") as short:
        config = Path(short) / "expiryd.toml"
        config.write_text('[daemon]\nstate_dir = "."\n[http]\nlisten = ""\n')
        async with (
            Rig(tmp_path, settings={"http": {"listen": ""}}) as rig,
            serve(rig.daemon, Path(short) / "expiryd.sock"),
        ):
            rig.sources["tokens"].shows(
                expiring("AAR", EPOCH + 3 * DAY, title="agent token", traits=Traits(category="cicd")),
                expiring("BOT", EPOCH + 3 * DAY, findings=placeholder),
                Observation("bot[1]", findings=placeholder),
            )
            await rig.look()
            await rig.wait(MINUTE)
            rig.news()
            yield Desk(rig, config)


# ── ack ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_alert_is_taken_in_hand_listed_so_and_let_go(desk: Desk) -> None:
    said = await desk.good("ack", "tokens/AAR#expiry", "--reason", "ticket 4711", "--until", "2030-01-03")
    assert said == f"tokens/AAR#expiry: in the hand of {ME}, until 2030-01-04 00:00 UTC: ticket 4711\n"
    (listed,) = [line for line in (await desk.good("alerts")).splitlines() if "tokens/AAR" in line]
    assert f"{ME} since 2030-01-01, until 2030-01-04" in listed
    assert await desk.good("ack", "AAR", "--undo") == "tokens/AAR#expiry: in nobody's hand\n"
    assert "IN HAND" not in await desk.good("alerts")


@pytest.mark.parametrize("alert", ["tokens/AAR#expiry", "tokens/AAR", "agent token", "AAR", "aar", "*/A*", "*R#exp*"])
async def test_an_alert_is_named_by_its_id_or_what_means_only_it(desk: Desk, alert: str) -> None:
    assert "tokens/AAR#expiry: in the hand of" in await desk.good("ack", alert, "--reason", "mine", "--until-renewed")


async def test_an_exact_name_beats_what_else_it_could_mean(desk: Desk) -> None:
    assert (await desk.good("ack", "tokens/bot[1]", "--reason", "x")).startswith("tokens/bot[1]#placeholder: ")


async def test_what_means_several_lists_them(desk: Desk) -> None:
    done = await desk.run("ack", "BOT", "--reason", "mine")
    assert done.code == 1
    assert done.err.splitlines()[0] == "expiryd: BOT means 2 open alerts; which one?"
    assert "tokens/BOT#placeholder" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["ack", "NOPE", "--reason", "x"], 2, "no open alert is called 'NOPE'"),
        (["ack", "AAR"], 64, "say why: --reason TEXT"),
        (["ack", "AAR", "--reason", " "], 64, "reason: say why"),
        (["ack", "AAR", "--reason", "x", "--until", "0s"], 64, "until: '0s' is not after now"),
        (["ack", "AAR", "--reason", "x", "--until", "soon"], 64, "write a span such as 2h or 2d"),
        (["ack", "AAR", "--reason", "x", "--until", "2d", "--until-renewed"], 64, "give one of them"),
    ],
)
async def test_what_cannot_be_done_says_why(desk: Desk, arguments: list[str], code: int, problem: str) -> None:
    done = await desk.run(*arguments)
    assert (done.code, done.out) == (code, "")
    assert problem in done.err
    assert len(done.err.splitlines()) == 1


async def test_a_name_that_steers_a_terminal_is_printed_harmless(desk: Desk) -> None:
    desk.rig.sources["tokens"].shows(Observation("x\x1b[2J", findings=(Finding("placeholder", Severity.WARNING),)))
    await desk.rig.look()
    assert "\x1b" not in await desk.good("ack", "x", "--reason", "\x1b[31mred")


# ── silences ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_snooze_says_until_when_and_is_listed(desk: Desk) -> None:
    said = await desk.good("snooze", "AAR", "--for", "2h", "--reason", "at lunch")
    (row,) = await desk.rows("silence", "list")
    assert said == f"tokens/AAR#expiry: silenced until 2030-01-01 02:01 UTC by silence {row['id']}: at lunch\n"
    (listed,) = [line for line in (await desk.good("alerts")).splitlines() if "tokens/AAR" in line]
    assert "2030-01-01" in listed


async def test_a_silence_is_added_listed_and_ended(desk: Desk) -> None:
    wish = ("category=cicd", "severity=critical,expired", "--until", "2030-01-02", "--reason", "moving house")
    said = await desk.good("silence", "add", *wish)
    id_, _, rest = said.partition(": ")
    assert rest == (
        "severity=critical severity=expired category=cicd silenced until 2030-01-03 00:00 UTC: moving house\n"
    )
    heading, row, _, count = (await desk.good("silence", "list")).splitlines()
    assert heading.split() == ["ID", "MATCHES", "UNTIL", "(UTC)", "LEFT", "BY", "REASON"]
    assert row.split()[0] == id_
    assert (ME in row, "moving house" in row, count) == (True, True, "1 silence")
    assert (await desk.good("silence", "expire", id_)).startswith(f"{id_}: the silence of severity=critical")
    assert await desk.good("silence", "list") == "0 silences\n"
    assert [one["state"] for one in await desk.rows("silence", "list", "--all")] == ["over"]
    assert (await desk.run("silence", "expire", id_)).code == 2
    other = (await desk.good("silence", "add", "kind=token", "--for", "1h", "--reason", "r")).partition(":")[0]
    both = await desk.run("silence", "expire", id_, other)
    assert both.code == 2
    assert both.out.startswith(f"{other}: the silence of kind=token"), "one that is not there keeps no other"


async def test_maintenance_silences_everything_and_stop_ends_what_was_begun(desk: Desk) -> None:
    await desk.good("silence", "add", "category=other", "--for", "1h", "--reason", "maintenance of something else")
    begun = await desk.good("maintenance", "start", "--for", "2h", "--reason", "new switch")
    assert "everything silenced until 2030-01-01 02:01 UTC: maintenance: new switch" in begun
    await desk.good("maintenance", "start", "category=cicd", "--for", "3h", "--reason", "deploy")
    assert len(await desk.rows("silence", "list")) == 3
    ended = await desk.good("maintenance", "stop")
    assert [line.partition(": ")[2] for line in ended.splitlines()] == [
        "the silence of everything is over",
        "the silence of category=cicd is over",
    ]
    assert [one["matches"] for one in await desk.rows("silence", "list")] == ["category=other"]
    done = await desk.run("maintenance", "stop")
    assert (done.code, "no maintenance is under way" in done.err) == (2, True)


async def test_what_is_held_is_listed_with_its_reason(desk: Desk) -> None:
    await desk.good("maintenance", "start", "--for", "2h", "--reason", "new switch")
    desk.rig.sources["tokens"].shows(expiring("NEW", EPOCH + DAY))
    await desk.rig.look()
    await desk.rig.wait(MINUTE)
    (line,) = [line for line in (await desk.good("events")).splitlines() if "tokens/NEW" in line]
    assert f"slack (pending: muted: silenced until 2030-01-01 02:01 UTC by {ME}: maintenance: new switch)" in line


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["snooze", "AAR", "--reason", "x"], 64, "say until when: give --for 2d or --until 2026-12-01"),
        (["snooze", "AAR", "--for", "1h", "--until", "2d", "--reason", "x"], 64, "one of them"),
        (["snooze", "AAR", "--for", "1h"], 64, "--reason"),
        (["snooze", "NOPE", "--for", "1h", "--reason", "x"], 2, "no open alert is called 'NOPE'"),
        (["snooze", "AAR", "--for", "0s", "--reason", "x"], 64, "until: '0s' is not after now"),
        (["silence", "add", "--for", "1h", "--reason", "x"], 64, "MATCHER"),
        (["silence", "add", "category", "--for", "1h", "--reason", "x"], 64, "write KEY=VALUE"),
        (["silence", "add", "category=x", "--for", "91d", "--reason", "x"], 64, "a silence ends within 90 days"),
        (["silence", "add", "category=x", "--for", "1h"], 64, "--reason"),
        (["silence", "expire", "nope"], 2, "no silence to end is called"),
        (["maintenance", "start", "--reason", "x"], 64, "say until when"),
        (["maintenance", "start", "--for", "1h"], 64, "--reason"),
    ],
)
async def test_what_cannot_be_silenced_says_why(desk: Desk, arguments: list[str], code: int, problem: str) -> None:
    done = await desk.run(*arguments)
    assert (done.code, done.out) == (code, "")
    assert problem in done.err
    assert await desk.rows("silence", "list") == []
