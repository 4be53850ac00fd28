"""What somebody does about a matter: who, why and until when are kept through restarts and reloads, to their end."""

from __future__ import annotations

import os
import pwd
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.rig import DAY, HOUR, MINUTE, Rig, expiring
from tests.web import Asker, asking, served

from expiryd.api import Observation
from expiryd.core.model import Finding, Severity
from expiryd.testing import EPOCH
from expiryd.web.access import ROLES

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


# ── silences ──────────────────────────────────────────────────────────────────────────────────────────

SILENCES = "/api/v1/silences"


async def kept(asker: Asker, query: str = "") -> Any:
    return (await asker.get(f"{SILENCES}{query}"))["silences"]


async def test_a_snooze_keeps_one_alert_quiet_and_is_listed_with_it(asker: Asker) -> None:
    rig = asker.rig
    snoozed = await take(asker, path="/api/v1/alerts/tokens%2FT%23expiry/snooze", reason="at lunch", until="2h")
    assert snoozed["matchers"] == {"item": ["tokens/T"], "aspect": ["expiry"], "generation": ["1"]}
    assert (snoozed["actor"], snoozed["reason"], snoozed["state"]) == (ME, "at lunch", "active")
    assert snoozed["ends_at"] == "2030-01-01T02:01:00Z"
    (row,) = (await asker.get("/api/v1/alerts"))["alerts"]
    assert row["silenced_until"] == snoozed["ends_at"]
    assert (await asker.get("/api/v1/items/tokens/T"))["alerts"][0]["silenced_until"] == snoozed["ends_at"]
    assert (await asker.get("/health", 503))["alerts"][0]["silenced_until"] == snoozed["ends_at"]

    rig.sources["tokens"].shows(token(), token(name="U"))
    await rig.look()
    await rig.wait(MINUTE)
    assert rig.news() == ["raised tokens/U"]


async def test_a_silence_of_what_matches_ends_by_itself_and_what_still_holds_is_told(asker: Asker) -> None:
    rig = asker.rig
    silence = await take(asker, path=SILENCES, reason="moving house", until="1h", matchers=["item=tokens/U*"])
    assert (await kept(asker)) == [silence]
    rig.sources["tokens"].shows(token(), token(name="U"))
    await rig.look()
    await rig.wait(30 * MINUTE, step=10 * MINUTE)
    assert rig.news() == []
    await rig.restart()
    await rig.wait(HOUR, step=10 * MINUTE)
    assert rig.news() == ["raised tokens/U"]


async def test_a_silence_that_is_ended_tells_at_once_what_still_holds(asker: Asker) -> None:
    rig = asker.rig
    silence = await take(asker, path=SILENCES, reason="x", until="9d", matchers={"item": "tokens/U"})
    rig.sources["tokens"].shows(token(), token(name="U"))
    await rig.look()
    await rig.wait(MINUTE)
    assert rig.news() == []
    ended = await asker.ask("DELETE", f"{SILENCES}/{silence['id']}", 200)
    assert (ended["state"], ended["id"]) == ("over", silence["id"])
    await rig.wait(MINUTE)
    assert rig.news() == ["raised tokens/U"]
    assert await kept(asker) == []
    assert [one["id"] for one in await kept(asker, "?over=yes")] == [silence["id"]]
    await asker.ask("DELETE", f"{SILENCES}/{silence['id']}", 404)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"matchers": [], "until": "1h"}, "reason: is required"),
        ({"matchers": [], "reason": "x"}, "until: is required"),
        ({"until": "1h", "reason": "x"}, "matchers: is required"),
        ({"matchers": [], "until": "0s", "reason": "x"}, "until: '0s' is not after now"),
        ({"matchers": [], "until": "91d", "reason": "x"}, "until: a silence ends within 90 days, by 2030-04-01"),
        ({"matchers": ["colour=red"], "until": "1h", "reason": "x"}, "matchers: `colour=red`: write KEY=VALUE"),
        ({"matchers": {"colour": "red"}, "until": "1h", "reason": "x"}, "matchers: `colour` is nothing to match by"),
        ({"matchers": {"severity": 5}, "until": "1h", "reason": "x"}, "matchers: severity must be text"),
        ({"matchers": "category=cicd", "until": "1h", "reason": "x"}, "matchers: must be"),
    ],
)
async def test_a_silence_needs_to_say_what_until_when_and_why(asker: Asker, body: dict[str, Any], problem: str) -> None:
    assert problem in await take(asker, 400, SILENCES, **body)
    assert await kept(asker) == []


async def test_only_an_open_alert_can_be_snoozed_and_not_for_ever(asker: Asker) -> None:
    unknown = await take(asker, 404, "/api/v1/alerts/tokens%2FX%23expiry/snooze", reason="x", until="1h")
    assert "no open alert is called" in unknown
    endless = await take(asker, 400, "/api/v1/alerts/tokens%2FT%23expiry/snooze", reason="x", until="365d")
    assert "a silence ends within 90 days" in endless


async def test_an_acknowledgement_and_a_silence_stand_in_the_journal_with_their_actor(asker: Asker) -> None:
    silence = await take(asker, path=SILENCES, reason="moving house", until="1h", matchers=["category=cicd"])
    await asker.ask("DELETE", f"{SILENCES}/{silence['id']}", 200)
    entries = [entry for entry in await asker.rig.daemon.store.journal() if entry.action.startswith("silence.")]
    assert [(entry.action, entry.actor) for entry in entries] == [("silence.added", ME), ("silence.expired", ME)]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", ACK),
        ("DELETE", ACK),
        ("POST", "/api/v1/alerts/tokens%2FT%23expiry/snooze"),
        ("POST", SILENCES),
        ("DELETE", f"{SILENCES}/1"),
    ],
)
async def test_acting_takes_an_operator(tmp_path: Path, method: str, path: str) -> None:
    tokens = {role: {"hash": f"sha256:{sha256(role.encode()).hexdigest()}", "role": role} for role in ROLES}
    async with Rig(tmp_path, settings={"http": {"tokens": tokens}}) as rig, asking(rig) as asker:
        for role in ROLES:
            wanted = {400, 404} if role in ("operator", "admin") else {403}
            bearer = {"Authorization": f"Bearer {role}"}
            async with asker.http.request(method, f"{asker.base}{path}", headers=bearer) as answer:
                assert answer.status in wanted, role
        assert await asker.get(SILENCES, Authorization="Bearer viewer") == {"silences": []}


async def test_over_http_the_actor_is_the_token(tmp_path: Path) -> None:
    tokens = {"night-shift": {"hash": f"sha256:{sha256(b'secret').hexdigest()}", "role": "operator"}}
    async with Rig(tmp_path, settings={"http": {"tokens": tokens}}) as rig, asking(rig) as asker:
        rig.sources["tokens"].shows(token())
        await rig.look()
        asker.http.headers["Authorization"] = "Bearer secret"
        assert (await take(asker, reason="mine"))["acknowledged"]["actor"] == "token night-shift"
