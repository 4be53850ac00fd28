"""The `tls` collector against nginx, PostgreSQL, slapd and Postfix: the dates openssl sees, the findings documented."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from expiryd.api import Blind, Observation, Severity

from .tls_looks import look
from .tls_servers import BARE, DATABASE, DIRECTORY, EXPIRED, MAIL, MUTUAL, STRICT, VALID, Servers, serving

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[Servers]:
    home = folder / "tls-targets"
    home.mkdir()
    with serving(home) as running:
        yield running


async def seen(servers: Servers, name: str, **config: object) -> Observation:
    target = servers.named(name).target
    reading = (await look(target, **{"ca_file": servers.root, **config}))[target]
    assert isinstance(reading, Observation), reading
    return reading


async def test_every_server_ends_when_openssl_says(servers: Servers) -> None:
    found = await look(*(server.target for server in servers.each), ca_file=servers.root)
    ours, theirs = {}, {}
    for server in servers.each:
        reading = found[server.target]
        assert isinstance(reading, Observation), reading
        assert reading.lifetime is not None
        assert reading.lifetime.expires_at is not None
        ours[server.target] = f"notAfter={reading.lifetime.expires_at:%b %e %H:%M:%S %Y GMT}"
        theirs[server.target] = server.end_date()
    assert ours == theirs
    assert len(set(ours.values())) == 8, "each server has a day of its own, a directory two ports"


@pytest.mark.parametrize("name", [VALID, EXPIRED, DATABASE, DIRECTORY, MAIL])
async def test_a_well_served_chain_has_no_finding_also_when_its_date_has_passed(servers: Servers, name: str) -> None:
    assert (await seen(servers, name)).findings == ()


@pytest.mark.parametrize(
    ("name", "code", "severity"),
    [
        (BARE, "incomplete-chain", Severity.WARNING),
        (STRICT, "client-certificate-required", Severity.INFO),
    ],
)
async def test_what_is_wrong_is_found_and_nothing_else(
    servers: Servers, name: str, code: str, severity: Severity
) -> None:
    found = (await seen(servers, name)).findings
    assert [(finding.code, finding.severity) for finding in found] == [(code, severity)]


async def test_a_server_that_turns_away_after_the_handshake_is_seen_like_any_other(servers: Servers) -> None:
    """nginx asks for a certificate, takes clients without one, and answers them with 400."""
    assert (await seen(servers, MUTUAL)).findings == ()


@pytest.mark.parametrize("name", [VALID, DATABASE, DIRECTORY, MAIL])
async def test_without_its_authority_a_server_is_not_trusted_but_still_dated(servers: Servers, name: str) -> None:
    trusted, stranger = await seen(servers, name), await seen(servers, name, ca_file=None)
    assert [finding.code for finding in stranger.findings] == ["untrusted"]
    assert stranger.lifetime == trusted.lifetime


async def test_a_certificate_for_another_name_is_found(servers: Servers) -> None:
    """Postfix has one certificate, whatever name it is asked for."""
    (finding,) = (await seen(servers, MAIL, server_name="other.test")).findings
    assert finding.code == "wrong-name"
    assert "not valid for other.test, but for mail.test" in finding.detail


async def test_the_wrong_protocol_is_blind_and_says_what_the_server_said(servers: Servers) -> None:
    mail, web, database = (servers.named(name).port for name in (MAIL, VALID, DATABASE))
    wrong = {
        f"tls://mail.test:{mail}": "TLS: 127.0.0.1 does not speak TLS on this port",
        f"smtp://valid.test:{web}": "STARTTLS: 127.0.0.1 ",
        f"postgres://valid.test:{web}": "STARTTLS: 127.0.0.1 ",
        f"ldap://database.test:{database}": "STARTTLS: 127.0.0.1 ",
        f"tls://database.test:{database}": "TLS: 127.0.0.1 ",
    }
    for target, reading in (await look(*wrong, tls_timeout="3s")).items():
        assert isinstance(reading, Blind), target
        assert reading.reason.startswith(wrong[target]), reading
