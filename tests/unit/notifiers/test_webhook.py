"""The webhook's body, its signature and its addresses."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import aiohttp
import pytest
from pydantic import ValidationError
from tests.fakes.http import FakeHttp
from tests.fakes.messages import event, message

from expiryd.api import AuthError, EventKind, Severity
from expiryd.notifiers.webhook import MOST_EVENTS, Webhook, WebhookConfig
from expiryd.testing import EPOCH, tools

SECRETS = {"URL": "", "SIGN": "s3cret-to-sign", "KEY": "header-value-1"}


async def sent(server: FakeHttp, *messages: Any, **config: Any) -> list[Any]:
    """What arrived when these were sent to this server."""
    async with aiohttp.ClientSession() as http:
        lent = tools(http, secrets={**SECRETS, "URL": server.url + "/hook"})
        webhook = Webhook(WebhookConfig(type="webhook", **{"url": server.url, **config}), lent)
        for each in messages:
            await webhook.send(each)
    return server.seen


async def test_the_body_says_what_how_long_who_and_what_to_do() -> None:
    async with FakeHttp() as server:
        (seen,) = await sent(server, message())
    body = json.loads(seen.body)
    assert (body["version"], body["timestamp"]) == (1, int(EPOCH.timestamp() * 1000))
    assert (body["severity"], body["status"], body["category"], body["key"]) == (
        "critical",
        "firing",
        "cicd",
        "k-2f9c81d3",
    )
    assert body["title"].startswith("CRITICAL: AAR_TOKEN expires 2030-01-04 00:00 UTC, 3 days left")
    assert body["recommendations"] == ["AAR_TOKEN expires 2030-01-04 00:00 UTC, 3 days left. Rotate it now."]
    assert body["runbook"] == "https://wiki.example.org/rotate?item=aar"
    assert body["details"]["owners"] == ["web team"]
    assert body["events"] == [
        {
            "kind": "raised",
            "at": "2030-01-01T00:00:00Z",
            "item": "ci-tokens/AAR_TOKEN",
            "title": "AAR_TOKEN",
            "item_kind": "env token",
            "collector": "ci-tokens",
            "aspect": "expiry",
            "generation": "g1",
            "severity": "critical",
            "before": "healthy",
            "expires_at": "2030-01-04T00:00:00Z",
            "issued_at": "2029-10-06T00:00:00Z",
            "left": "3 days left",
            "basis": "policy",
            "detail": "",
            "rung": "",
            "places": [],
            "category": "cicd",
            "owner": "web team",
            "runbook": "https://wiki.example.org/rotate?item=aar",
            "used_by": ["deploy", "release"],
            "labels": {"env": "prod"},
        }
    ]


async def test_the_signature_is_the_hmac_of_the_exact_bytes_and_a_retry_is_the_same_request() -> None:
    async with FakeHttp() as server:
        first, again = await sent(server, message(), message(), secret={"env": "SIGN"})
    expected = hmac.new(b"s3cret-to-sign", first.body, hashlib.sha256).hexdigest()
    assert first.headers["X-Expiryd-Signature"] == f"sha256={expected}"
    assert first.headers["Idempotency-Key"] == "k-2f9c81d3"
    assert first.headers["Content-Type"] == "application/json"
    assert (again.body, again.headers) == (first.body, first.headers)


async def test_without_a_secret_nothing_is_signed_and_headers_are_sent() -> None:
    async with FakeHttp() as server:
        headers = {"X-Team": "infra", "X-Api-Key": {"env": "KEY"}}
        (seen,) = await sent(server, message(), url={"env": "URL"}, headers=headers)
    assert "X-Expiryd-Signature" not in seen.headers
    assert (seen.path, seen.headers["X-Team"], seen.headers["X-Api-Key"]) == ("/hook", "infra", "header-value-1")


async def test_what_is_over_is_resolved_and_recommends_nothing() -> None:
    async with FakeHttp() as server:
        (seen,) = await sent(server, message(event(kind=EventKind.RENEWED, severity=Severity.HEALTHY)))
    body = json.loads(seen.body)
    assert (body["status"], body["recommendations"]) == ("resolved", [])


async def test_a_flood_of_events_is_counted_and_the_body_stays_bounded() -> None:
    events = [event(f"T{n}") for n in range(MOST_EVENTS + 5)]
    async with FakeHttp() as server:
        (seen,) = await sent(server, message(*events))
    body = json.loads(seen.body)
    assert (len(body["events"]), body["details"]["events"], body["details"]["events_left_out"]) == (1000, 1005, 5)


async def test_names_that_are_no_unicode_and_keys_that_are_no_header_still_arrive() -> None:
    async with FakeHttp() as server:
        (seen,) = await sent(server, message(event("a\ud800\x00\n<b>"), key="k 1\r\nX-Evil: ü"))
    assert json.loads(seen.body)["events"][0]["title"] == "a?\x00\n<b>"
    assert seen.headers["Idempotency-Key"] == "k_1__X-Evil:__"
    assert "X-Evil" not in seen.headers


async def test_an_address_from_a_secret_that_is_none_is_not_quoted() -> None:
    async with aiohttp.ClientSession() as http:
        lent = tools(http, secrets={"URL": "canary-no-address"})
        webhook = Webhook(WebhookConfig(type="webhook", url={"env": "URL"}), lent)
        with pytest.raises(AuthError, match="the url in env URL is not an http") as caught:
            await webhook.send(message())
    assert "canary" not in repr(caught.value)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"url": "ftp://a.example"}, "not an http"),
        ({"url": "https://user:canary@a.example"}, "holds a user name"),
        ({"url": {"evn": "X"}}, "evn"),
        ({"url": "https://a.example", "secret": "canary"}, "never written here"),
        ({"url": "https://a.example", "headers": {"Authorization": "canary"}}, "holds a secret"),
        ({"url": "https://a.example", "headers": {"X-Api-Key": "canary"}}, "holds a secret"),
        ({"url": "https://a.example", "headers": {"Host": "b"}}, "not a header that can be set"),
        ({"url": "https://a.example", "headers": {"X-Expiryd-Signature": "b"}}, "not a header that can be set"),
        ({"url": "https://a.example", "headers": {"X-A": "b\r\nX-B: c"}}, "on one line"),
        ({"url": "https://a.example", "headers": {"X A": "b"}}, "not a header that can be set"),
    ],
)
def test_a_wrong_key_is_explained_and_no_value_is_quoted(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        WebhookConfig.model_validate({"type": "webhook", **config})
    assert says in str(caught.value)
    assert "canary" not in str(caught.value)
