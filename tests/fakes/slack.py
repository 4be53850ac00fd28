"""Slack's incoming webhooks as Slack documents them: checks the payload and says `ok`, or why not."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web
from tests.fakes.http import FakeHttp

PATH = "/services/T0CANARY0/B0CANARY0/slack-canary-secret-8f3a91"


class FakeSlack(FakeHttp):
    """`posted` holds the payloads it took; `blocks_taken` False makes it refuse blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.posted: list[dict[str, Any]] = []
        self.blocks_taken = True

    @property
    def webhook_url(self) -> str:
        return self.url + PATH

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path != PATH:
            return web.Response(status=404, text="no_service")
        try:
            payload = json.loads(await request.read())
        except ValueError:
            return web.Response(status=400, text="invalid_payload")
        if not payload.get("text"):
            return web.Response(status=400, text="no_text")
        if "blocks" in payload and (not self.blocks_taken or len(payload["blocks"]) > 50):
            return web.Response(status=400, text="invalid_blocks")
        self.posted.append(payload)
        return web.Response(text="ok")
