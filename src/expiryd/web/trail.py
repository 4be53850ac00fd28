"""The audit trail over HTTP, for auditors: lines by time, actor, action and item, newest first."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Any

from aiohttp import web

from expiryd.audit.trail import Query, parse_past, search
from expiryd.engine.daemon import Daemon
from expiryd.web.route import Ask, Param, Problem, Right, Route, answer

LIMIT = 100
MOST = 1000
_PARAMS = (
    Param("since", "From this time on: `2030-01-31T12:00Z`, a date, or `2d` for two days ago."),
    Param("until", "Before this time."),
    Param("actor", "By this actor: `system`, `user:anna`, `token:ci`."),
    Param("action", "Of this action, or of all that begin with it: `alert`, `message.delivered`."),
    Param("item", "About this item."),
    Param("limit", f"How many, {LIMIT} unless said.", most=MOST),
    Param("before", "Older than the line of this number: the `next` of the page before.", most=2**63 - 1),
)


class TrailOffice:
    """Reads the files beside the writer; a line that is being written is not there yet."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def routes(self) -> list[Route]:
        return [
            Route(
                "GET",
                "/api/v1/audit",
                self.lines,
                "The audit trail, newest first.",
                right=Right.AUDIT,
                query=_PARAMS,
                answers={404: "This daemon keeps no audit trail."},
                schema="Trail",
            )
        ]

    async def lines(self, ask: Ask) -> web.StreamResponse:
        if self._daemon.auditor is None:
            raise Problem(404, "this daemon keeps no audit trail")
        directory, limit = self._daemon.auditor.directory, ask.query.get("limit", LIMIT)
        query = self._query(ask.query)

        def read() -> list[dict[str, Any]]:
            return list(islice(search(directory, query, before=ask.query.get("before")), limit))

        found = await asyncio.to_thread(read)
        more = found[-1]["seq"] if len(found) == limit else None
        return answer({"lines": found, "next": more})

    def _query(self, asked: Any) -> Query:
        moments: dict[str, Any] = {}
        zone = self._daemon.graph.config.daemon.timezone
        for key in ("since", "until"):
            if key in asked:
                try:
                    moments[key] = parse_past(asked[key], self._daemon.clock.now(), zone)
                except ValueError as problem:
                    raise Problem(400, f"{key}: {problem}") from None
        texts = {key: asked.get(key, "") for key in ("actor", "action", "item")}
        return Query(**moments, **texts)
