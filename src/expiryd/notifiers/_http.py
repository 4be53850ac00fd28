"""Turns one HTTP exchange into the outcome of a delivery, in one place for every notifier that speaks HTTP.

Time-outs are the engine's: it cancels. The single exception is the body of a refusal, which is only a courtesy:
it is waited for `PATIENCE` (one second), so that a dripping server does not turn a clear 429 into an unclear time-out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import aiohttp
from yarl import URL

from expiryd.api import AuthError, DeliveryError, PermanentError, Tools, TransientError

from ._secrecy import excerpt

EXCERPT_BYTES = 4096
PATIENCE = 1.0
MOST_RETRY_AFTER = timedelta(hours=24)
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_UNTIMED = aiohttp.ClientTimeout(total=None)
_TRANSIENT = frozenset({408, 425, 429})
_GATEWAY = frozenset({502, 504})
_NOT_FOUND = frozenset({404, 410})


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `wanted`: bytes of a good answer that are needed. `secrets`: what no message may repeat."""

    method: str
    url: URL = field(repr=False)
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)
    body: bytes | None = field(repr=False, default=None)
    wanted: int = 0
    secrets: tuple[str, ...] = field(repr=False, default=())


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `peer` is the receiver's host, the only part of its address that is ever shown."""

    peer: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    secrets: tuple[str, ...] = field(repr=False, default=())

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def said(self) -> str:
        """`: what it said`, redacted and short, or nothing."""
        words = excerpt(self.body[:EXCERPT_BYTES].decode("utf-8", "replace"), self.secrets)
        return f": {words}" if words else ""


def web_address(text: str, *, what: str, private: bool = False) -> URL:
    """A checked http(s) address. `private`: a credential travels to it, so only https, or http to this machine.

    Raises ValueError, which names `what` and never the address.
    """
    try:
        url = URL(text.strip())
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"{what} is not an http:// or https:// address")
    if url.user or url.password:
        raise ValueError(f"{what} holds a user name or password; send them in a header that names a secret")
    if private and url.scheme == "http" and url.host not in LOOPBACK:
        raise ValueError(f"{what} must be https://: a credential travels to it")
    return url


async def exchange(tools: Tools, request: Request) -> Answer:
    """Send once and hear the answer, whatever its status. Redirects are never followed here.

    Raises TransientError when no answer came, `ambiguous` when the request may have been taken all the same.
    """
    secrets = (*request.secrets, *_segments(request.url))
    headers = {"User-Agent": "expiryd", **request.headers}
    try:
        async with tools.http.request(
            request.method,
            request.url,
            headers=headers,
            data=request.body,
            allow_redirects=False,
            timeout=_UNTIMED,
        ) as response:
            good = response.status < 300
            body = await _read(response, request.wanted if good else EXCERPT_BYTES, None if good else PATIENCE)
            return Answer(_peer(request.url), response.status, response.headers.copy(), body, secrets)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        failure = _no_answer(error, _peer(request.url), changes=request.method != "GET")
    raise failure  # outside of the handler: an aiohttp error holds addresses and headers and is not to be chained


def check(answer: Answer, now: datetime, *, secret_address: bool = False) -> None:
    """Return for 2xx, else raise what the status means. `secret_address`: the address itself is the credential."""
    if not 200 <= answer.status < 300:
        raise _refusal(answer, now, secret_address)


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """The Retry-After header (RFC 9110 §10.2.3: seconds or an HTTP date) as a span of 0 to 24 hours."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d+(\.\d*)?", value, re.ASCII):
        return timedelta(seconds=min(float(value[:9]), MOST_RETRY_AFTER.total_seconds()))
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max(until - now, timedelta(0)), MOST_RETRY_AFTER)


def _refusal(answer: Answer, now: datetime, secret_address: bool) -> DeliveryError:
    status, words = answer.status, f"{answer.peer} answered {answer.status}{answer.said}"
    if status in _TRANSIENT or status >= 500:
        return TransientError(words, retry_after=retry_after(answer.headers, now), ambiguous=status in _GATEWAY)
    if status < 400:
        return PermanentError(
            f"{answer.peer} answered {status}, a redirect{_target(answer)}: configure the new address"
        )
    if status in {401, 403, 407}:
        return AuthError(f"{words}. It refused this notifier's credential: renew it or give it the right to write")
    if status in _NOT_FOUND and secret_address:
        return AuthError(f"{words}. The address was revoked or is mistyped: make a new one and configure it")
    return PermanentError(words)


def _target(answer: Answer) -> str:
    try:
        host = URL(answer.headers.get("Location", "")).host
    except ValueError:
        host = None
    return f" to {excerpt(host, answer.secrets, 80)}" if host else ""


def _no_answer(error: Exception, peer: str, *, changes: bool) -> DeliveryError:
    """Why there is no answer, in words that hold nothing of the request."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):  # first: it is a ValueError, too
        reason = getattr(error.certificate_error, "verify_message", "") or "it does not verify"
        return TransientError(f"the TLS certificate of {peer} is not accepted: {reason}")
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return PermanentError(f"the address or a header for {peer} cannot be sent: look for stray characters in them")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return TransientError(f"the name {peer} does not resolve")
    if isinstance(error, aiohttp.ClientSSLError):
        return TransientError(f"no TLS connection to {peer}: {error.os_error.strerror or 'handshake failed'}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return TransientError(f"no connection to {peer}: {error.os_error.strerror or 'refused'}")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return TransientError(f"no connection to {peer} in time")
    if isinstance(error, TimeoutError):
        return TransientError(f"{peer} did not answer in time; it may have taken the message", ambiguous=changes)
    return TransientError(
        f"{peer} broke the connection off before an answer; it may have taken the message", ambiguous=changes
    )


async def _read(response: aiohttp.ClientResponse, limit: int, patience: float | None) -> bytes:
    """At most `limit` bytes of the body. A body that breaks off is cut: the status has already been said."""
    body = bytearray()
    try:
        async with asyncio.timeout(patience):
            while len(body) < limit and (chunk := await response.content.read(limit - len(body))):
                body += chunk
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass
    return bytes(body)


def _peer(url: URL) -> str:
    host = url.host or "the receiver"
    return host if url.explicit_port is None else f"{host}:{url.explicit_port}"


def _segments(url: URL) -> tuple[str, ...]:
    """The parts of an address that may be a secret: long segments of its path, and its query's values."""
    parts = (*url.path.split("/"), *url.query.values(), url.fragment)
    return (str(url), url.path_qs, *(part for part in parts if len(part) >= 6))
