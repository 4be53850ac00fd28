"""Slack gets valid blocks within its limits, whatever the names; what comes from outside is never markup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block
from tests.fakes.http import Reply
from tests.fakes.messages import event, message
from tests.fakes.slack import FakeSlack

from expiryd.api import AuthError, EventKind, Message, PermanentError, Receipt, Severity, Traits, TransientError
from expiryd.notifiers._markup import units
from expiryd.notifiers.slack import MOST_EVENTS, Slack, SlackConfig, blocks
from expiryd.testing import EPOCH, SilentLog, tools

NASTY = st.one_of(
    st.text(max_size=200),
    st.text(alphabet="<!@&>|*_~`:#\n \ud83d", max_size=80),
    st.integers(min_value=1, max_value=5000).map(lambda n: "&😀" * n),
    st.sampled_from(["<!channel>", "<https://evil|Runbook>", "*bold*", ":tada:", "\x00", "", " "]),
)


async def sent(server: FakeSlack, what: Message, **config: Any) -> tuple[Receipt, SilentLog]:
    async with aiohttp.ClientSession() as http:
        lent = tools(http, secrets={"URL": server.webhook_url})
        slack = Slack(SlackConfig(type="slack", webhook_url={"env": "URL"}, **config), lent)
        receipt = await slack.send(what)
        assert isinstance(lent.log, SilentLog)
        return receipt, lent.log


def texts(laid_out: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    for block in laid_out:
        yield from block.get("elements") or [block["text"]]


def assert_valid(laid_out: list[dict[str, Any]]) -> None:
    assert 0 < len(laid_out) <= 50
    for block in Block.parse_all(laid_out):
        assert block is not None
        block.validate_json()
    for block in laid_out:
        for text in block.get("elements") or [block["text"]]:
            assert 0 < units(text["text"]) <= (150 if block["type"] == "header" else 3000)
            assert text["text"].strip()


async def test_a_message_says_what_how_long_who_what_to_do_and_links_the_runbook() -> None:
    async with FakeSlack() as server:
        receipt, _ = await sent(server, message(), channel="#alerts", username="expiryd")
        (payload,) = server.posted
    assert receipt.proof.endswith("answered 200 ok")
    assert (payload["channel"], payload["username"], payload["unfurl_links"]) == ("#alerts", "expiryd", False)
    header, group, section, context = payload["blocks"]
    assert header["text"]["text"] == "CRITICAL: AAR_TOKEN expires 2030-01-04 00:00 UTC, 3 days left"
    assert group["text"]["text"] == "🔴 *Critical* (1)"
    for fact in (
        "3 days left",
        "Owner: web team",
        "Used by: deploy, release",
        "Do: Rotate it now.",
        "Labels: env=prod",
    ):
        assert fact in section["text"]["text"]
    assert context["elements"][0]["text"] == "📖 <https://wiki.example.org/rotate?item=aar|Runbook>"
    assert payload["text"].startswith("CRITICAL: AAR_TOKEN expires")


@settings(max_examples=60, deadline=None)
@given(title=NASTY, detail=NASTY, owner=NASTY, runbook=NASTY, label=NASTY, many=st.integers(min_value=1, max_value=60))
def test_whatever_the_names_the_blocks_are_valid_and_only_our_words_are_markup(
    title: str, detail: str, owner: str, runbook: str, label: str, many: int
) -> None:
    traits = Traits(owner=owner, runbook=runbook, used_by=(title,), labels={label: label})
    kinds, severities = list(EventKind), list(Severity)
    events = [
        event(f"{title}{n}", kinds[n % 9], detail=detail, traits=traits, severity=severities[n % 6], aspect=title)
        for n in range(many)
    ]
    laid_out = blocks(message(*events))
    assert_valid(laid_out)
    for text in texts(laid_out):
        if text["type"] == "mrkdwn":
            assert re.fullmatch(r"\S+ \*\w+\* \(\d+\)|📖 <https?://[^<>|]+\|Runbook>", text["text"])
        else:
            assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", text["text"])
    if many > MOST_EVENTS:
        assert f"and {many - MOST_EVENTS} more" in laid_out[-1]["text"]["text"]


def test_most_events_of_every_severity_with_runbooks_stay_under_fifty_blocks() -> None:
    severities = list(Severity)
    events = [event(f"T{n}", severity=severities[n % 6]) for n in range(30)]
    events += [event(f"R{n}", EventKind.RENEWED) for n in range(30)]
    assert_valid(blocks(message(*events)))


def test_a_message_without_events_is_its_text() -> None:
    plain = Message("k", "", "a test of <this> channel", "", Severity.INFO, True, EPOCH)
    laid_out = blocks(plain)
    assert_valid(laid_out)
    assert unescape(laid_out[1]["text"]["text"]) == "a test of <this> channel"


async def test_the_fallback_text_calls_nobody_and_is_bounded() -> None:
    async with FakeSlack() as server:
        await sent(server, message(event("<!channel> @here " + "x" * 9000)))
        text = server.posted[0]["text"]
    assert units(text) <= 3000
    assert "<" not in text
    assert "@here" not in text
    assert server.posted[0]["mrkdwn"] is False


async def test_refused_blocks_are_sent_again_at_once_as_plain_words() -> None:
    async with FakeSlack() as server:
        server.blocks_taken = False
        receipt, log = await sent(server, message())
        (payload,) = server.posted
    assert "blocks" not in payload
    assert receipt.proof.endswith("without blocks")
    assert log.lines[0][1] == "slack.blocks_refused"


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (400, "invalid_payload", PermanentError),
        (400, "no_text", PermanentError),
        (403, "action_prohibited", AuthError),
        (403, "invalid_token", AuthError),
        (404, "no_service", AuthError),
        (404, "channel_not_found", AuthError),
        (410, "channel_is_archived", AuthError),
        (500, "rollup_error", TransientError),
        (200, "something else", TransientError),
    ],
)
async def test_slacks_own_words_are_quoted_and_understood(status: int, words: str, kind: type[Exception]) -> None:
    async with FakeSlack() as server:
        server.faulty = Reply(status, words)
        with pytest.raises(kind, match=words) as caught:
            await sent(server, message())
    assert isinstance(caught.value, AuthError) == (kind is AuthError)


@pytest.mark.parametrize("words", ["ok", "OK\n", '{"ok": true}', '{"success":true}'])
async def test_lookalikes_say_ok_in_their_own_way(words: str) -> None:
    async with FakeSlack() as server:
        server.faulty = Reply(200, words)
        assert await sent(server, message())


async def test_too_many_requests_waits_as_long_as_slack_says() -> None:
    async with FakeSlack() as server:
        server.faulty = Reply(429, "rate_limited", {"Retry-After": "30"})
        with pytest.raises(TransientError) as caught:
            await sent(server, message())
    assert caught.value.retry_after == timedelta(seconds=30)
