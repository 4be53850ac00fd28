"""Deeds: a reload tells every error, a look is waited for, a test message arrives marked and leaves no trace."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.rig import MINUTE, Rig, expiring
from tests.web import Asker, served

from expiryd.api import AuthError, CollectError, TransientError
from expiryd.config.errors import ConfigError, ConfigProblem
from expiryd.config.model import Config

SOCKET_ONLY = {"http": {"listen": ""}}


@pytest.fixture
async def asker(tmp_path: Path) -> AsyncIterator[Asker]:
    """Over the unix socket."""
    async with Rig(tmp_path, receivers=("slack", "mail"), settings=SOCKET_ONLY) as rig, served(rig) as asker:
        rig.sources["tokens"].shows()
        yield asker


# ── reload ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_reload_is_confirmed_with_the_hash_of_what_now_runs(asker: Asker) -> None:
    asker.rig.settings["source"] = {"mark": 1}
    asker.rig.config = asker.rig._configured()
    assert await asker.post("/-/reload") == f"reloaded, hash {asker.rig.config.hash}\n"
    assert asker.rig.daemon.graph.config == asker.rig.config


async def test_a_wrong_configuration_is_refused_with_all_its_errors_one_per_line(asker: Asker) -> None:
    running = asker.rig.daemon.graph
    problems = [ConfigProblem("policy.critcal", "no such key"), ConfigProblem("http.listen", "write host:port")]
    asker.rig.config = ConfigError(problems)  # type: ignore[assignment]
    assert await asker.post("/-/reload", 422) == "policy.critcal: no such key\nhttp.listen: write host:port\n"
    assert asker.rig.daemon.graph is running


async def test_who_asks_while_a_reload_runs_shares_the_next_one(tmp_path: Path) -> None:
    async with Rig(tmp_path, settings=SOCKET_ONLY) as rig:
        reads, reading, go_on = 0, asyncio.Event(), asyncio.Event()

        async def load() -> Config:
            nonlocal reads
            reads += 1
            reading.set()
            await go_on.wait()
            return rig.config

        rig.daemon._load = load
        async with served(rig) as asker, asyncio.TaskGroup() as group:
            first = group.create_task(asker.post("/-/reload"))
            await reading.wait()
            later = [group.create_task(asker.post("/-/reload")) for _ in range(5)]
            while sum(line[1] == "config.reload_asked" for line in rig.log.lines) < 6:
                await asyncio.sleep(0.001)
            go_on.set()
        assert reads == 2
        assert all("reloaded" in task.result() for task in (first, *later))


# ── look ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_look_is_waited_for_and_told(asker: Asker) -> None:
    asker.rig.sources["tokens"].shows(expiring("T", asker.rig.clock.now()))
    look = await asker.post("/api/v1/collectors/tokens/look")
    assert (look["outcome"], look["items"]) == ("complete", 1)
    assert (await asker.get("/api/v1/items"))["items"][0]["item"] == "tokens/T"


async def test_a_blind_look_says_why(asker: Asker) -> None:
    asker.rig.sources["tokens"].shows(CollectError("/srv/.tokens: no such file"))
    look = await asker.post("/api/v1/collectors/tokens/look")
    assert (look["outcome"], look["reason"]) == ("blind", "/srv/.tokens: no such file")


async def test_an_unknown_collector_or_notifier_is_not_found(asker: Asker) -> None:
    assert "'nope'" in (await asker.post("/api/v1/collectors/nope/look", 404))["error"]
    assert "'nope'" in (await asker.post("/api/v1/notify/test/nope", 404))["error"]


# ── test messages ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_test_message_goes_to_one_notifier_marked_as_such_and_is_proven(asker: Asker) -> None:
    answer = await asker.post("/api/v1/notify/test/slack")
    (message,) = asker.rig.receivers["slack"].sent
    assert answer == {"notifier": "slack", "delivered": True, "proof": f"recorded {message.key}"}
    assert message.subject.startswith("[TEST]")
    assert "nothing is wrong" in message.text
    assert asker.rig.receivers["mail"].sent == []


async def test_a_test_message_leaves_nothing_behind(asker: Asker) -> None:
    await asker.post("/api/v1/notify/test/slack")
    await asker.rig.wait(MINUTE)
    assert (await asker.get("/api/v1/events"))["events"] == []
    assert (await asker.get("/api/v1/alerts"))["alerts"] == []
    assert len(asker.rig.receivers["slack"].sent) == 1


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (AuthError("token revoked: make a new one"), "token revoked: make a new one"),
        (TransientError("no connection to hooks.example:443"), "no connection to hooks.example:443"),
        (ZeroDivisionError("secret-canary"), "bug in the notifier: ZeroDivisionError"),
    ],
)
async def test_a_test_that_fails_says_why_and_no_more(asker: Asker, failure: Exception, says: str) -> None:
    asker.rig.receivers["slack"]._outcomes = [failure]
    answer = await asker.post("/api/v1/notify/test/slack", 502)
    assert answer == {"notifier": "slack", "delivered": False, "error": says}
    assert asker.rig.daemon.graph.couriers["slack"].failures == 0


async def test_every_deed_is_logged_with_the_user_who_asked(asker: Asker) -> None:
    asker.rig.config = ConfigError([ConfigProblem("x", "y")])  # type: ignore[assignment]
    await asker.post("/-/reload", 422)
    await asker.post("/api/v1/collectors/tokens/look")
    await asker.post("/api/v1/notify/test/slack")
    asker.rig.receivers["mail"]._outcomes = [AuthError("no")]
    await asker.post("/api/v1/notify/test/mail", 502)
    deeds = ("config.reload_asked", "collector.look_asked", "notifier.tested", "notifier.test_failed")
    actors = {event: keys["actor"] for _, event, keys in asker.rig.log.lines if event in deeds}
    assert actors == dict.fromkeys(deeds, pwd.getpwuid(os.getuid()).pw_name)
