"""Taking an alert in hand: who, why and until when are kept, through restarts and reloads, and end with the matter."""

from __future__ import annotations

import os
import pwd
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.rig import DAY, HOUR, MINUTE, Rig, expiring
from tests.web import Asker, served

from expiryd.api import Observation
from expiryd.core.model import Finding, Severity
from expiryd.testing import EPOCH

ME = pwd.getpwuid(os.getuid()).pw_name
ACK = "/api/v1/alerts/tokens%2FT%23expiry/ack"


def token(days: float = 3, name: str = "T", generation: str = "1") -> Observation:
    return expiring(name, EPOCH + days * DAY, generation=generation)


@pytest.fixture
async def asker(tmp_path: Path) -> AsyncIterator[Asker]:
    """Over the unix socket: a critical token that was told."""
    async with Rig(tmp_path, settings={"http": {"listen": ""}}) as rig, served(rig) as asker:
        rig.sources["tokens"].shows(token())
        await rig.look()
        await rig.wait(MINUTE)
        assert rig.news() == ["raised tokens/T"]
        yield asker


async def take(asker: Asker, status: int = 200, path: str = ACK, **body: Any) -> Any:
    async with asker.http.post(f"{asker.base}{path}", json=body) as response:
        told = await response.json()
        assert response.status == status, told
        return told if status == 200 else told["error"]


async def listed(asker: Asker) -> Any:
    (row,) = (await asker.get("/api/v1/alerts"))["alerts"]
    return row["acknowledged"]


async def test_it_is_told_once_and_listed_with_its_actor(asker: Asker) -> None:
    row = await take(asker, reason="ticket 4711")
    assert row["id"] == "tokens/T#expiry"
    expected = {"actor": ME, "reason": "ticket 4711", "at": row["acknowledged"]["at"]}
    assert row["acknowledged"] == expected | {"until": None, "until_renewed": False}
    assert await listed(asker) == row["acknowledged"]
    await asker.rig.wait(MINUTE)
    assert asker.rig.news() == ["acknowledged tokens/T"]
    (event,) = asker.rig.receivers["slack"].sent[-1].events
    assert event.detail == f"{ME}: ticket 4711"


async def test_the_same_again_changes_nothing(asker: Asker) -> None:
    first = await take(asker, reason="ticket 4711")
    await asker.rig.wait(MINUTE)
    assert await take(asker, reason="ticket 4711") == {**first, "told_at": first["told_at"]} | await _times(asker)
    await asker.rig.wait(MINUTE)
    assert asker.rig.news() == ["acknowledged tokens/T"]


async def _times(asker: Asker) -> dict[str, Any]:
    (row,) = (await asker.get("/api/v1/alerts"))["alerts"]
    return {key: row[key] for key in ("told_at", "asked_at", "state", "days_left")}


async def test_it_survives_restart_and_reload_and_ends_with_the_matter(tmp_path: Path) -> None:
    async with Rig(tmp_path, settings={"http": {"listen": ""}}) as rig:
        rig.sources["tokens"].shows(token())
        await rig.look()
        await rig.wait(MINUTE)
        async with served(rig) as asker:
            taken = await take(asker, reason="mine", until_renewed=True)
        await rig.restart()
        await rig.reload(source={"mark": 1})
        await rig.wait(MINUTE)
        async with served(rig) as asker:
            assert await listed(asker) == taken["acknowledged"]
        rig.sources["tokens"].shows(token(300, generation="2"))
        await rig.look()
        await rig.wait(MINUTE)
        assert rig.news()[-1] == "renewed tokens/T"
        rig.sources["tokens"].shows(token(3, generation="3"))
        await rig.look()
        async with served(rig) as asker:
            assert await listed(asker) is None


async def test_letting_go_is_said_to_nobody_and_leaves_nothing(asker: Asker) -> None:
    await take(asker, reason="mine")
    await asker.rig.wait(MINUTE)
    row = await asker.ask("DELETE", ACK, 200)
    assert row["acknowledged"] is None
    assert (await asker.ask("DELETE", ACK, 200))["acknowledged"] is None
    await asker.rig.wait(MINUTE)
    assert asker.rig.news() == ["acknowledged tokens/T"]


@pytest.mark.parametrize(
    ("until", "end"),
    [("2d", 2 * DAY + MINUTE), ("2030-01-03", 3 * DAY), ("2030-01-03T12:00Z", 2 * DAY + 12 * HOUR)],
)
async def test_an_end_is_a_span_a_day_or_a_time(asker: Asker, until: str, end: Any) -> None:
    row = await take(asker, reason="mine", until=until)
    assert row["acknowledged"]["until"] == (EPOCH + end).isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "reason: is required"),
        ({"reason": " \n"}, "reason: say why: whoever reads this later wants to know"),
        ({"reason": "x", "until": "0s"}, "until: '0s' is not after now"),
        ({"reason": "x", "until": "soon"}, "until: 'soon' is no end: write a span such as 2h"),
        ({"reason": "x", "until": "2d", "until_renewed": True}, "until, until_renewed: give one of them"),
        ({"reason": "x", "untill": "2d"}, "untill: there is no such key; did you mean until?"),
        ({"reason": 5, "until_renewed": "perhaps"}, "reason: must be text in quotes"),
    ],
)
async def test_what_is_wrong_is_told_by_key(asker: Asker, body: dict[str, Any], problem: str) -> None:
    assert (await take(asker, 400, **body)).startswith(problem)


@pytest.mark.parametrize("body", [b"{", b"[1]", b"null", b"\xff", b"[" * 50_000])
async def test_a_body_that_is_no_wish_is_refused(asker: Asker, body: bytes) -> None:
    async with asker.http.post(f"{asker.base}{ACK}", data=body) as response:
        assert response.status == 400
        assert "error" in await response.json()


async def test_a_reason_is_one_harmless_line(asker: Asker) -> None:
    row = await take(asker, reason="  two\nlines\x1b[31m ")
    assert row["acknowledged"]["reason"] == "two lines\ufffd[31m"


@pytest.mark.parametrize("alert", ["tokens/T#placeholder", "tokens/T", "tokens/X#expiry", "", "#", "expiry"])
async def test_an_alert_that_is_not_open_is_not_found(asker: Asker, alert: str) -> None:
    path = f"/api/v1/alerts/{quote(alert, safe='')}/ack"
    if alert:
        assert "no open alert is called" in await take(asker, 404, path, reason="mine")
    await asker.ask("DELETE", path, 404)


@pytest.mark.parametrize("name", ["/etc/a b.pem", "a#b", "ä/ack", "x%2Fy", "a\nb", "?q=1"])
async def test_every_name_can_be_acknowledged(asker: Asker, name: str) -> None:
    rig = asker.rig
    rig.sources["tokens"].shows(token(), Observation(name, findings=(Finding("placeholder", Severity.WARNING),)))
    await rig.look()
    alert = f"tokens/{name}#placeholder"
    row = await take(asker, path=f"/api/v1/alerts/{quote(alert, safe='')}/ack", reason="mine")
    assert (row["id"], row["acknowledged"]["actor"]) == (alert, ME)


async def test_the_deed_is_logged_and_stands_in_the_journal(asker: Asker) -> None:
    await take(asker, reason="mine", until="2d")
    (entry,) = [entry for entry in await asker.rig.daemon.store.journal() if entry.action == "alert.acknowledged"]
    assert (entry.actor, entry.item, entry.detail["aspect"]) == (ME, "tokens/T", "expiry")
    assert entry.detail["terms"] == f"{ME}, until 2030-01-03 00:01 UTC: mine"
    assert ("info", "alert.acknowledged") in [(level, event) for level, event, _ in asker.rig.log.lines]
