"""Who may do what: tokens with roles over TCP, nothing but reading for this machine without them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.rig import MINUTE, Rig
from tests.web import Asker, asking

from expiryd.api import CollectError
from expiryd.web.access import MOST_GUESSES, is_local

TOKENS = {role: f"canary-{role}-0f9d8b7a6c5e" for role in ("viewer", "operator", "auditor", "admin")}
READING = "/api/v1/items"
ACTING = "/api/v1/collectors/tokens/look"
OPEN = ["/-/healthy", "/health", "/health/status", "/health/metrics"]


def hashed(token: str) -> str:
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


@asynccontextmanager
async def guarded(path: Path, **http: Any) -> AsyncIterator[Asker]:
    tokens = {role: {"hash": hashed(token), "role": role} for role, token in TOKENS.items()}
    async with Rig(path, settings={"http": {"tokens": tokens, **http}}) as rig:
        rig.sources["tokens"].shows()
        async with asking(rig) as asker:
            yield asker


@pytest.fixture
async def asker(tmp_path: Path) -> AsyncIterator[Asker]:
    """A daemon with one token per role."""
    async with guarded(tmp_path) as asker:
        yield asker


@pytest.fixture
async def bare(tmp_path: Path) -> AsyncIterator[Asker]:
    """A daemon without tokens."""
    async with Rig(tmp_path) as rig, asking(rig) as asker:
        rig.sources["tokens"].shows()
        yield asker


def bearer(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[role]}"}


# ── with tokens ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("role", TOKENS)
async def test_every_role_may_read(asker: Asker, role: str) -> None:
    await asker.get(READING, **bearer(role))
    await asker.get("/metrics", **bearer(role))


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("auditor", 403), ("operator", 200), ("admin", 200)])
async def test_only_an_operator_or_admin_may_act(asker: Asker, role: str, status: int) -> None:
    said = await asker.post(ACTING, status, **bearer(role))
    if status == 403:
        assert said["error"] == f"token {role} may not do this: it needs the role operator or admin"


@pytest.mark.parametrize("path", [READING, "/metrics", "/openapi.json", "/api/v1/status"])
async def test_reading_needs_a_token_once_there_are_tokens(asker: Asker, path: str) -> None:
    assert "Authorization: Bearer" in (await asker.get(path, 401))["error"]


@pytest.mark.parametrize("path", OPEN)
async def test_health_is_open_to_everybody(asker: Asker, path: str) -> None:
    await asker.get(path)


@pytest.mark.parametrize("value", ["Bearer wrong", "Bearer ", "Bearer", "Basic dXNlcjpwYXNz", "wrong", "Bearer \udcff"])
async def test_a_wrong_credential_is_refused(asker: Asker, value: str) -> None:
    async with asker.http.get(f"{asker.base}{READING}", headers={"Authorization": value}) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_the_scheme_may_be_written_in_any_case(asker: Asker) -> None:
    await asker.get(READING, Authorization=f"bEARER  {TOKENS['viewer']}")


async def test_guessing_is_slowed_down_and_logged_without_what_was_guessed(asker: Asker) -> None:
    for number in range(MOST_GUESSES):
        await asker.get(READING, 401, Authorization=f"Bearer guess-{number}")
    assert "too many" in (await asker.get(READING, 429, **bearer("admin")))["error"]
    lines = [line for line in asker.rig.log.lines if line[1] == "access.refused"]
    assert [keys["different_tokens"] for _, _, keys in lines] == [1, MOST_GUESSES]
    assert "guess-" not in json.dumps(asker.rig.log.lines, default=str)
    await asker.get("/-/healthy")  # a probe is not guessing
    await asker.rig.clock.advance(MINUTE)
    await asker.get(READING, **bearer("admin"))


async def test_a_forgotten_client_with_an_old_token_shuts_nobody_out(asker: Asker) -> None:
    for _ in range(MOST_GUESSES * 2):
        await asker.get(READING, 401, Authorization="Bearer last-years-token")
    await asker.get(READING, **bearer("viewer"))


async def test_a_deed_is_logged_with_the_name_of_its_token(asker: Asker) -> None:
    await asker.post(ACTING, **bearer("operator"))
    assert ("info", "collector.look_asked", {"actor": "token operator", "collector": "tokens"}) in asker.rig.log.lines


# ── without tokens ────────────────────────────────────────────────────────────────────────────────────


async def test_without_tokens_this_machine_may_read_but_nobody_may_act(bare: Asker) -> None:
    await bare.get(READING)
    said = await bare.post(ACTING, 403)
    assert "[http.tokens.NAME]" in said["error"]
    assert "unix socket" in said["error"]
    assert "nobody may change anything" in said["error"]
    assert "nobody may read the audit trail" in (await bare.get("/api/v1/audit", 403))["error"]


@pytest.mark.parametrize(
    "header",
    [
        {"X_Forwarded_For": "203.0.113.7"},
        {"Forwarded": "for=203.0.113.7"},
        {"X_Real_IP": "203.0.113.7"},
        {"Host": "attacker.example"},
        {"Host": "attacker.example:9783"},
        {"Host": "127.0.0.1.attacker.example"},
    ],
)
async def test_without_tokens_a_proxy_or_a_name_of_somebody_else_is_not_this_machine(
    bare: Asker, header: dict[str, str]
) -> None:
    assert "[http.tokens.NAME]" in (await bare.get(READING, 403, **header))["error"]
    await bare.get("/-/ready", 503, **header)


@pytest.mark.parametrize(
    ("remote", "local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.7", False),
        ("::ffff:192.0.2.7", False),
        ("fe80::1%eth0", False),
        ("", False),
        (None, False),
    ],
)
def test_only_a_loopback_peer_is_this_machine(remote: str | None, local: bool) -> None:
    assert is_local(remote, {"Host": "localhost:9783"}) is local


@pytest.mark.parametrize("host", ["localhost", "localhost:9783", "127.0.0.1", "[::1]:9783"])
async def test_without_tokens_this_machine_may_call_itself_so(bare: Asker, host: str) -> None:
    await bare.get(READING, Host=host)


async def test_health_names_nothing_to_who_may_not_read(bare: Asker) -> None:
    bare.rig.sources["tokens"].shows(CollectError("canary reason"))
    await bare.rig.look()
    full = await bare.get("/health", 503)
    assert "canary reason" in json.dumps(full)
    limited = await bare.get("/health", 503, Host="elsewhere.example")
    assert "canary reason" not in json.dumps(limited)
    assert "tokens" not in json.dumps(limited["checks"])
    assert limited["alerts"] == []
    assert limited.keys() == full.keys()
    assert "token" in limited["recommendations"][0]


# ── other sites ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "header",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://attacker.example"},
        {"Origin": "null"},
    ],
)
async def test_a_page_of_another_site_may_not_act_whatever_it_was_given(asker: Asker, header: dict[str, str]) -> None:
    assert "another site" in (await asker.post(ACTING, 403, **bearer("admin"), **header))["error"]


async def test_a_page_of_this_site_may_act(asker: Asker) -> None:
    await asker.post(ACTING, **bearer("admin"), Origin=asker.base, Sec_Fetch_Site="same-origin")


async def test_no_answer_may_be_framed_sniffed_or_kept(bare: Asker) -> None:
    for path in ("/health", "/metrics", "/nothing", READING):
        async with bare.http.get(f"{bare.base}{path}") as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cache-Control"] == "no-store"
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
            assert response.headers["Server"] == "expiryd"
