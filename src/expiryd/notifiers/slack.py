"""Posts the message to a Slack channel as blocks, over an incoming webhook.

Names and details come from the outside, so they stand only in `plain_text` objects: there Slack knows no markup,
no mention and no link, and what a person copies is exact. Only our own words are `mrkdwn`.
Limits: https://docs.slack.dev/reference/block-kit/blocks (50 blocks, 3000 characters a text, 150 a header).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Literal

from yarl import URL

from expiryd.api import (
    AuthError,
    Event,
    Message,
    Notifier,
    NotifierConfig,
    Receipt,
    SecretRef,
    Severity,
    Tools,
    TransientError,
    facts,
    headline,
    tally,
)

from ._http import Answer, Request, check, exchange, web_address
from ._markup import GAP, clean, fit, is_link, one_line
from ._secrecy import reveal

MOST_HEADER = 150
MOST_TEXT = 3000
MOST_DETAIL = 1500
MOST_LINK = 1000
MOST_EVENTS = 20
"""At most two blocks an event, one a group of severities, and three around them: always under Slack's 50."""

_ESCAPES = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}
_FALLBACK = _ESCAPES | {ord("@"): "@" + GAP}
_SIGNS = {
    Severity.EXPIRED: "⛔",
    Severity.CRITICAL: "🔴",
    Severity.WARNING: "🟠",
    Severity.INFO: "🔵",
    Severity.HEALTHY: "🟢",
    Severity.UNKNOWN: "⚪",
}
_REFUSED_BLOCKS = frozenset({"invalid_blocks", "invalid_blocks_format"})


class SlackConfig(NotifierConfig):
    """`[notifiers.NAME] type = "slack"`. `channel` and `username` matter to legacy webhooks and to Mattermost."""

    type: Literal["slack"]
    webhook_url: SecretRef
    channel: str | None = None
    username: str | None = None

    def build(self, tools: Tools) -> Slack:
        return Slack(self, tools)


class Slack(Notifier):
    def __init__(self, config: SlackConfig, tools: Tools) -> None:
        self._config = config
        self._tools = tools

    async def send(self, message: Message) -> Receipt:
        url = await self._address()
        answer = await self._post(url, self._payload(message, blocks(message)))
        plain = answer.status == 400 and answer.text.strip() in _REFUSED_BLOCKS
        if plain:  # it certainly took nothing: better plain words than none
            self._tools.log.warning("slack.blocks_refused", key=message.key, said=answer.text.strip())
            answer = await self._post(url, self._payload(message, None))
        check(answer, self._tools.clock.now(), secret_address=True)
        if not _accepted(answer):
            raise TransientError(f"{answer.peer} answered {answer.status} but not as Slack does{answer.said}")
        return Receipt(f"{answer.peer} answered {answer.status} ok" + (", without blocks" if plain else ""))

    async def _address(self) -> URL:
        ref = self._config.webhook_url
        try:
            return web_address(await reveal(self._tools, ref), what=f"the webhook_url in {ref}")
        except ValueError as error:
            failure = AuthError(str(error))
        raise failure

    async def _post(self, url: URL, payload: dict[str, Any]) -> Answer:
        body = json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace")
        headers = {"Content-Type": "application/json; charset=utf-8"}
        return await exchange(self._tools, Request("POST", url, headers, body, wanted=4096))

    def _payload(self, message: Message, laid_out: list[dict[str, Any]] | None) -> dict[str, Any]:
        """`text` is what notifications show, and all that Mattermost and other look-alikes show."""
        fallback = fit(clean(f"{one_line(message.subject)}\n\n{message.text}").strip(), MOST_TEXT, _FALLBACK)
        options = {"blocks": laid_out, "channel": self._config.channel, "username": self._config.username}
        chosen = {name: value for name, value in options.items() if value is not None}
        return {"text": fallback or "expiryd", "mrkdwn": False, "unfurl_links": False, **chosen}


def blocks(message: Message) -> list[dict[str, Any]]:
    """The message as Block Kit blocks. Every event is counted; the first MOST_EVENTS are told in full."""
    events = () if "text" in message.own else message.events
    told, left = events[:MOST_EVENTS], events[MOST_EVENTS:]
    laid_out = [{"type": "header", "text": _plain(one_line(message.subject) or "expiryd", MOST_HEADER)}]
    if not told:
        laid_out.append(_section(message.text))
    for heading, group in groupby(told, key=_group):
        alike = list(group)
        laid_out.append({"type": "section", "text": _mrkdwn(f"{heading} ({len(alike)})")})
        for event in alike:
            laid_out += _event(event, message)
    if more := len(left) + sum(message.beyond.values()):
        laid_out.append(_section(f"… and {more} more: {tally(left, message.beyond)}. `expiryd alerts` lists them all."))
    return laid_out


def _group(event: Event) -> str:
    if event.kind.closes:
        return "🟢 *Over*"
    return f"{_SIGNS[event.severity]} *{event.severity.word.capitalize()}*"


def _event(event: Event, message: Message) -> list[dict[str, Any]]:
    lines = facts(event)
    body = "\n".join(f"{label}: {one_line(value)}" for label, value in lines if label != "Runbook")
    labels = ", ".join(f"{name}={value}" for name, value in event.traits.labels.items())
    detail = (
        f"\nDetail: {one_line(event.detail)}"
        if event.detail and event.detail not in headline(event, message.at)
        else ""
    )
    text = f"{one_line(headline(event, message.at))}{fit(detail, MOST_DETAIL)}\n{body}"
    section = _section(text + (f"\nLabels: {one_line(labels)}" if labels else ""))
    return [section, *_runbook(event.traits.runbook)]


def _runbook(runbook: str) -> Sequence[dict[str, Any]]:
    if not runbook:
        return []
    if is_link(runbook) and len(runbook) <= MOST_LINK:
        element = _mrkdwn(f"📖 <{runbook.translate(_ESCAPES)}|Runbook>")
    else:
        element = _plain(f"📖 Runbook: {one_line(runbook)}", MOST_LINK)
    return [{"type": "context", "elements": [element]}]


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _plain(clean(text).strip() or "-", MOST_TEXT)}


def _plain(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": fit(text, limit, _ESCAPES), "emoji": False}


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _accepted(answer: Answer) -> bool:
    """`ok` as Slack, Mattermost and Discord say it, or a JSON object that says so."""
    words = answer.text.strip()
    if words.lower() == "ok" or answer.status == 204:
        return True
    try:
        said = json.loads(words)
    except ValueError:
        return False
    return isinstance(said, dict) and (said.get("ok") is True or said.get("success") is True)
