"""Speaks the issues API of GitHub: one call in, checked JSON out, with GitHub's own idea of rate limits.

https://docs.github.com/en/rest/issues and https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

from yarl import URL

from expiryd.api import AuthError, PermanentError, Tools, TransientError

from ._http import MOST_RETRY_AFTER, Answer, Request, check, exchange, retry_after

MOST_ANSWER = 8 * 2**20
MOST_REDIRECTS = 3
SECONDARY_PAUSE = timedelta(minutes=1)
_HEAVY = 64 * 2**10
_MOVED = frozenset({301, 302, 307, 308})

Json = dict[str, Any]


class Gone(AuthError):
    """What was asked for is not there, or not for this token: GitHub says 404 (or 410) to both."""


class Locked(PermanentError):
    """The conversation of this issue was locked by somebody: this token may not say anything there (403)."""


class Invalid(PermanentError):
    """The request was understood and refused (422). `fields` are the names of those that were wrong."""

    def __init__(self, reason: str, fields: frozenset[str]) -> None:
        super().__init__(reason)
        self.fields = fields


class GithubApi:
    """The issues of one repository, as one token sees them."""

    def __init__(self, tools: Tools, api_url: URL, repository: str, token: str) -> None:
        self._tools = tools
        self._token = token
        self._repository = repository
        self._root = api_url / "repos" / repository

    async def get(self, *path: str, **query: str) -> Any:
        return await self._call("GET", self._root.joinpath(*path) % query, None)

    async def post(self, *path: str, **fields: Any) -> Json:
        return _object(await self._call("POST", self._root.joinpath(*path), fields))

    async def patch(self, *path: str, **fields: Any) -> Json:
        return _object(await self._call("PATCH", self._root.joinpath(*path), fields))

    async def _call(self, method: str, url: URL, fields: Json | None) -> Any:
        """Decoded JSON. What has moved is followed on the same server only: the token goes nowhere else."""
        body = None if fields is None else json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")
        for _ in range(MOST_REDIRECTS):
            answer = await exchange(self._tools, self._request(method, url, body))
            target = _redirected(answer, url)
            if target is None:
                break
            url = target
        self._judge(answer)
        return await _decode(answer, changed=method != "GET")

    def _request(self, method: str, url: URL, body: bytes | None) -> Request:
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        return Request(method, url, headers, body, wanted=MOST_ANSWER, secrets=(self._token,))

    def _judge(self, answer: Answer) -> None:
        now = self._tools.clock.now()
        if answer.status in {403, 429} and (pause := rate_limit(answer, now)) is not None:
            raise TransientError(f"{answer.peer} limits the rate ({answer.status}{answer.said})", retry_after=pause)
        if answer.status == 403 and "issue is locked" in answer.text.lower():
            raise Locked(f"{answer.peer} answered 403{answer.said}")
        if answer.status == 410 and "issues" in answer.text.lower() and "disabled" in answer.text.lower():
            raise AuthError(
                f"{answer.peer}: issues are switched off in this repository: switch them on in its settings"
            )
        if answer.status in {404, 410}:
            raise Gone(
                f"{answer.peer} answered {answer.status}{answer.said} for {self._repository}: "
                "it does not exist, or the token may not see or change it"
            )
        if answer.status == 422:
            raise Invalid(f"{answer.peer} answered 422{answer.said}", _wrong_fields(answer))
        check(answer, now)


def rate_limit(answer: Answer, now: datetime) -> timedelta | None:
    """How long GitHub wants us to wait, or None when this is no rate limit but a refusal."""
    if (asked := retry_after(answer.headers, now)) is not None:
        return asked
    reset = answer.headers.get("X-RateLimit-Reset", "")
    if answer.headers.get("X-RateLimit-Remaining") == "0" and reset.isascii() and reset.isdigit():
        seconds = int(reset[:12]) - now.timestamp() + 1
        return timedelta(seconds=min(max(seconds, 1), MOST_RETRY_AFTER.total_seconds()))
    limited = answer.status == 429 or "rate limit" in answer.text.lower() or "abuse detection" in answer.text.lower()
    return SECONDARY_PAUSE if limited else None


def _redirected(answer: Answer, url: URL) -> URL | None:
    location = answer.headers.get("Location")
    if answer.status not in _MOVED or not location:
        return None
    try:
        target = url.join(URL(location))
    except ValueError:
        return None
    return target if target.origin() == url.origin() else None


async def _decode(answer: Answer, *, changed: bool) -> Any:
    """Big answers are parsed in a thread. TransientError for what is not JSON: a proxy's page, a cut answer."""
    try:
        if len(answer.body) > _HEAVY:
            return await asyncio.to_thread(json.loads, answer.body)
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        size = "too much" if len(answer.body) >= MOST_ANSWER else "no JSON"
    raise TransientError(f"{answer.peer} answered {answer.status} with {size}{answer.said}", ambiguous=changed)


def _object(decoded: Any) -> Json:
    if not isinstance(decoded, dict):
        raise TransientError("GitHub answered with JSON of an unexpected shape", ambiguous=True)
    return decoded


def _wrong_fields(answer: Answer) -> frozenset[str]:
    try:
        errors = json.loads(answer.body).get("errors") or ()
        return frozenset(str(error["field"]) for error in errors if isinstance(error, dict) and "field" in error)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return frozenset()
