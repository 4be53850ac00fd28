"""Posts the message as signed JSON to any address."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Tag
from yarl import URL

from expiryd.api import (
    AuthError,
    Event,
    Message,
    Notifier,
    NotifierConfig,
    Receipt,
    SecretRef,
    Tools,
    action,
    headline,
    say_left,
)

from ._http import Request, check, exchange, web_address
from ._secrecy import reveal

MOST_EVENTS = 1000
MOST_RECOMMENDATIONS = 50
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_RESERVED = frozenset(
    {"connection", "content-length", "content-type", "host", "idempotency-key", "transfer-encoding", "user-agent"}
)
_TELLING = re.compile(r"authorization|cookie|token|secret|passw|api-?key", re.IGNORECASE)


def _kind(value: object) -> str:
    return "text" if isinstance(value, str) else "reference"


def _address(text: str) -> str:
    return str(web_address(text, what="url"))


def _headers(headers: Mapping[str, str | SecretRef]) -> Mapping[str, str | SecretRef]:
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or name.lower() in _RESERVED or name.lower().startswith("x-expiryd-"):
            raise ValueError(f"{name!r} is not a header that can be set here")
        if isinstance(value, str):
            if _TELLING.search(name):
                raise ValueError(f'{name} holds a secret: write {{ env = "NAME" }} or {{ file = "/path" }}')
            if not _is_sendable(value):
                raise ValueError(f"the header {name} must be printable ASCII on one line")
    return headers


def _is_sendable(value: str) -> bool:
    return value.isprintable() and value.isascii()


Address = Annotated[
    Annotated[str, AfterValidator(_address), Tag("text")] | Annotated[SecretRef, Tag("reference")],
    Discriminator(_kind),
]
HeaderValue = Annotated[Annotated[str, Tag("text")] | Annotated[SecretRef, Tag("reference")], Discriminator(_kind)]


class WebhookConfig(NotifierConfig):
    """`[notifiers.NAME] type = "webhook"`."""

    type: Literal["webhook"]
    url: Address
    secret: SecretRef | None = None
    headers: Annotated[Mapping[str, HeaderValue], AfterValidator(_headers)] = {}

    def build(self, tools: Tools) -> Webhook:
        return Webhook(self, tools)


class Webhook(Notifier):
    def __init__(self, config: WebhookConfig, tools: Tools) -> None:
        self._config = config
        self._tools = tools

    async def send(self, message: Message) -> Receipt:
        body = json.dumps(payload(message, self._tools.installation), ensure_ascii=False).encode("utf-8", "replace")
        own, secrets = await self._own_headers()
        headers = {
            **own,
            "Content-Type": "application/json",
            "Idempotency-Key": re.sub(r"[^!-~]", "_", message.key),
        }
        if self._config.secret is not None:
            key = await reveal(self._tools, self._config.secret)
            headers["X-Expiryd-Signature"] = sign(body, key)
            secrets = (*secrets, key)
        request = Request("POST", await self._address(), headers, body, secrets=secrets)
        answer = await exchange(self._tools, request)
        check(answer, self._tools.clock.now(), secret_address=True)
        return Receipt(f"{answer.peer} answered {answer.status}")

    async def _address(self) -> URL:
        url = self._config.url
        if isinstance(url, str):
            return URL(url)
        try:
            return web_address(await reveal(self._tools, url), what=f"the url in {url}")
        except ValueError as error:
            failure = AuthError(str(error))
        raise failure

    async def _own_headers(self) -> tuple[dict[str, str], tuple[str, ...]]:
        """The configured headers, and the values among them that are secret."""
        headers, secrets = {}, []
        for name, value in self._config.headers.items():
            if isinstance(value, SecretRef):
                headers[name] = await reveal(self._tools, value)
                secrets.append(headers[name])
                if not _is_sendable(headers[name]):
                    raise AuthError(f"the value of header {name}, from {value}, is not printable ASCII on one line")
            else:
                headers[name] = value
        return headers, tuple(secrets)


def sign(body: bytes, key: str) -> str:
    """`sha256=` and the lower-case hexadecimal HMAC-SHA256 (RFC 2104) of the exact bytes of the body."""
    return "sha256=" + hmac.new(key.encode("utf-8", "replace"), body, hashlib.sha256).hexdigest()


def payload(message: Message, installation: str) -> dict[str, Any]:
    """The body, version 1. It is the same at every retry that carries the same message."""
    events = message.events[:MOST_EVENTS]
    count = len(message.events) + sum(message.beyond.values())
    categories = sorted({event.traits.category for event in message.events} - {""})
    runbooks = [event.traits.runbook for event in message.events if event.traits.runbook]
    return {
        "version": 1,
        "timestamp": int(message.at.timestamp() * 1000),
        "status": "firing" if message.firing else "resolved",
        "severity": message.severity.word,
        "title": message.subject,
        "message": message.text,
        "category": categories[0] if len(categories) == 1 else "",
        "details": {
            "installation": installation,
            "events": count,
            "events_left_out": count - len(events),
            "items": list(dict.fromkeys(event.item for event in events)),
            "categories": categories,
            "owners": sorted({event.traits.owner for event in message.events} - {""}),
        },
        "recommendations": recommendations(message),
        "runbook": runbooks[0] if runbooks else "",
        "key": message.key,
        "events": [_event(event, message.at) for event in events],
    }


def recommendations(message: Message) -> list[str]:
    """What to do, most urgent first, without repetition."""
    open_ones = [event for event in message.events if not event.kind.closes]
    lines = (f"{headline(event, message.at)}. {action(event.severity, event.aspect)}" for event in open_ones)
    return list(dict.fromkeys(lines))[:MOST_RECOMMENDATIONS]


def _event(event: Event, now: datetime) -> dict[str, Any]:
    return {
        "kind": event.kind.value,
        "at": _rfc3339(event.at),
        "item": event.item,
        "title": event.title,
        "item_kind": event.item_kind,
        "collector": event.collector,
        "aspect": event.aspect,
        "generation": event.generation,
        "severity": event.severity.word,
        "before": event.before.word,
        "expires_at": _rfc3339(event.expires_at),
        "issued_at": _rfc3339(event.issued_at),
        "left": say_left(event.expires_at, now) if event.expires_at else None,
        "basis": event.basis.value if event.basis else None,
        "detail": event.detail,
        "rung": event.rung,
        "places": list(event.places),
        "category": event.traits.category,
        "owner": event.traits.owner,
        "runbook": event.traits.runbook,
        "used_by": list(event.traits.used_by),
        "labels": dict(event.traits.labels),
    }


def _rfc3339(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None
