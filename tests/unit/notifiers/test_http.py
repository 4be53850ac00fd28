"""Every way in which an HTTP exchange ends has its meaning, and nothing of the request is told."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.http import FakeHttp, Reply
from tests.fakes.smtp import Pki
from yarl import URL

from expiryd.api import AuthError, PermanentError, TransientError
from expiryd.notifiers._http import Answer, Request, check, exchange, retry_after, web_address
from expiryd.testing import EPOCH, tools

SECRET = "canary-4711-0815"


async def reason(url: str, session: aiohttp.ClientSession | None = None) -> TransientError | PermanentError:
    """The error with which an exchange with this address ends."""
    async with session or aiohttp.ClientSession() as http:
        with pytest.raises((TransientError, PermanentError)) as caught:
            await exchange(tools(http), Request("POST", URL(url), {"Authorization": SECRET}, b"x"))
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    assert SECRET not in repr(error)
    return error


class Names(AbstractResolver):
    """A resolver that knows every name as one address, or none."""

    def __init__(self, address: str | None) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if self._address is None:
            raise OSError(None, "Domain name not found")
        return [ResolveResult(hostname=host, host=self._address, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        return


async def test_a_refused_connection_is_transient_and_certainly_nothing_was_sent() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: the port is refused and nobody else gets it
        error = await reason(f"http://127.0.0.1:{taken.getsockname()[1]}/{SECRET}")
    assert isinstance(error, TransientError)
    assert not error.ambiguous
    assert "no connection to 127.0.0.1" in str(error)


async def test_a_name_that_does_not_resolve_is_transient_and_named() -> None:
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Names(None)))
    error = await reason(f"http://hooks.example.org/{SECRET}", session)
    assert isinstance(error, TransientError)
    assert not error.ambiguous
    assert str(error) == "the name hooks.example.org does not resolve"


@pytest.mark.parametrize(("expired", "says"), [(True, "certificate has expired"), (False, "self-signed|unable to get")])
async def test_a_certificate_that_does_not_verify_is_transient_and_says_why(
    expired: bool, says: str, tmp_path: Path
) -> None:
    pki = Pki.make(tmp_path)
    trust = ssl.create_default_context(cafile=pki.ca_file) if expired else ssl.create_default_context()
    server = await asyncio.start_server(_hang_up, "127.0.0.1", 0, ssl=pki.context(expired=expired))
    async with server:
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust))
        error = await reason(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/{SECRET}", session)
    assert isinstance(error, TransientError)
    assert not error.ambiguous
    assert re.search(says, str(error))


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def test_a_server_that_speaks_no_http_is_transient() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail ESMTP " + SECRET.encode() + b"\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        error = await reason(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x")
    assert isinstance(error, TransientError)


async def test_a_refusal_whose_body_drips_is_still_heard() -> None:
    over = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 429 Slow down\r\nRetry-After: 7\r\nContent-Length: 999\r\n\r\nslow")
        await reader.read()
        writer.close()
        over.set()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server, aiohttp.ClientSession() as http:
        url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x")
        answer = await exchange(tools(http), Request("POST", url, body=b"x"))
        await http.close()
        await over.wait()
    with pytest.raises(TransientError, match="answered 429: slow") as caught:
        check(answer, EPOCH)
    assert caught.value.retry_after == timedelta(seconds=7)


async def test_a_redirect_is_not_followed_and_only_its_host_is_told() -> None:
    async with FakeHttp() as server, FakeHttp() as other, aiohttp.ClientSession() as http:
        server.faulty = Reply(307, headers={"Location": f"{other.url}/{SECRET}"})
        answer = await exchange(tools(http), Request("POST", URL(server.url), body=b"x"))
        assert other.seen == []
    with pytest.raises(PermanentError, match=r"a redirect to 127\.0\.0\.1: configure the new address"):
        check(answer, EPOCH)


def answer(status: int, body: str = "", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer("api.example.org", status, named, body.encode())


def test_an_address_that_is_gone_is_a_refused_credential_only_where_the_address_is_one() -> None:
    for status in (404, 410):
        with pytest.raises(AuthError, match="revoked or is mistyped"):
            check(answer(status), EPOCH, secret_address=True)
        with pytest.raises(PermanentError) as caught:
            check(answer(status), EPOCH)
        assert not isinstance(caught.value, AuthError)


@settings(deadline=None)
@given(st.integers(min_value=100, max_value=999))
def test_every_status_has_exactly_one_meaning(status: int) -> None:
    if 200 <= status < 300:
        check(answer(status), EPOCH)
        return
    with pytest.raises(TransientError if status in {408, 425, 429} or status >= 500 else PermanentError):
        check(answer(status), EPOCH)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_retry_after_is_a_span_of_a_day_at_most_or_none(value: str) -> None:
    span = retry_after({"Retry-After": value}, EPOCH)
    assert span is None or timedelta(0) <= span <= timedelta(hours=24)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("1.5", 1.5),
        ("99999999999999999999", 86_400),
        ("Tue, 01 Jan 2030 00:00:10 GMT", 10),
        ("Tue, 01 Jan 2030 00:00:10 -0000", 10),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str, seconds: float) -> None:
    assert datetime(2030, 1, 1, tzinfo=UTC) == EPOCH
    assert retry_after({"Retry-After": value}, EPOCH) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "x", "ftp://a", "http://", "https://u:p@a/", "http://[::1", "https:///x"])
def test_an_address_that_cannot_be_one_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="the url ") as caught:
        web_address(text, what="the url")
    assert len(text) < 8 or text not in str(caught.value)


def test_a_credential_travels_only_encrypted_or_on_this_machine() -> None:
    assert web_address("http://127.0.0.1:8080/x", what="it", private=True)
    with pytest.raises(ValueError, match="must be https"):
        web_address("http://ghe.example.org", what="it", private=True)
